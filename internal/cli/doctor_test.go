// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	w := newWorld(t, "plant")
	w.issuer(func(i *v1alpha1.DeviceIssuer) {
		skew := int64(90)
		i.Status.ClockSkewSeconds = &skew
		i.Status.BlockedProfiles = []v1alpha1.BlockedProfile{{ProfileID: profileB, Format: v1alpha1.FormatPEM, Reason: v1alpha1.ReasonUnverified, Message: "the answer held no certificate"}}
	})
	w.issuer(func(i *v1alpha1.DeviceIssuer) {
		i.Name = "other"
		i.Status.Conditions = []metav1.Condition{falseCondition(v1alpha1.ConditionReady, v1alpha1.ReasonCredentialRefused, "the vendor refused the credential")}
	})
	w.certificate("gateway-1", ready(30))
	w.certificate("gateway-2", ready(85), failing(v1alpha1.ReasonRefused, "the vendor refused the request"), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Orphans = []v1alpha1.Orphan{{AttemptID: "aaaa", ProfileID: profileA, WindowStart: at(now), WindowEnd: at(now), Outcome: v1alpha1.OrphanReported}}
	})
	w.clock = time.Now() // it is compared with the API server's
	r := w.plugin("doctor", "-o", "json")
	w.wants(r, 1)
	var found struct {
		Findings []struct{ Area, Health, Text, Remedy string }
	}
	w.must(json.Unmarshal([]byte(r.out), &found))
	for _, f := range found.Findings {
		if f.Area == "Clock" && f.Health != "OK" {
			t.Errorf("one machine has two clocks: %+v", f)
		}
	}
	w.clock = now
	w.golden("doctor", w.plugin("doctor"))
}

func TestDoctorIsContentWithWhatIsRight(t *testing.T) {
	w := newWorld(t, "sound")
	w.issuer()
	w.certificate("gateway-1", ready(30))
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "manager", Namespace: w.namespace, Labels: map[string]string{"app.kubernetes.io/name": "devicecert-operator"}}}
	deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	deployment.Spec.Template.Labels = map[string]string{"a": "b"}
	deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "manager", Image: "registry.example/devicecert-operator:v1.2.3"}}
	w.must(api.Create(t.Context(), deployment))
	w.Cleanup(func() { w.must(api.Delete(context.Background(), deployment)) })
	deployment.Status.Replicas, deployment.Status.ReadyReplicas = 1, 1
	w.must(api.Status().Update(t.Context(), deployment))
	w.wants(w.plugin("doctor"), 0, "devicecert-operator:v1.2.3 in sound/manager, 1 of 1 ready", "DeviceIssuer sound/digicert is ready", "it can enroll, search and read profiles; not known: renew and revoke", "1 certificate: 1 ready")
	w.wants(w.plugin("version"), 0, "devicecert-operator:v1.2.3")
}

func TestDoctorTellsAUserWhatIsNotAllowed(t *testing.T) {
	w := newWorld(t, "doctor-least")
	w.certificate("gateway-1", ready(30))
	user := w.as("doctor-user", least)
	user.golden("doctor-least", user.plugin("doctor"))
	// What one may in a namespace one need not in all.
	user.wants(user.plugin("doctor", "-A"), 1, "you may not list devicecertificates in all namespaces")
}
