// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestAStatusIsPatchedAsIfTheWholeObjectWereCompared(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	cn := "gateway.example"
	base := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{
		Namespace: "fleet", Name: "gateway", UID: "u", ResourceVersion: "41", Finalizers: []string{v1alpha1.Finalizer},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate}},
	}}
	base.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &cn}}
	base.Status.Attempt, base.Status.NotAfter = &v1alpha1.Attempt{ID: "a"}, timeOf(at)
	changed := base.DeepCopy()
	changed.Status.Attempt, changed.Status.SerialNumber, changed.Status.NotAfter = nil, "01", timeOf(at.Add(time.Hour))
	changed.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue}}
	want, err := client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}).Data(changed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statusPatch{base}.Data(changed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
	if _, err := (statusPatch{base}).Data(&corev1.Secret{}); err == nil {
		t.Error("the status of a Secret was patched")
	}
}
