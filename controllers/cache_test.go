// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// The API server takes 256 KiB of annotations on each object, and more of finalizers. Ten thousand of them would be some GiB.
func TestMetadataOfATenantDoesNotFillTheCache(t *testing.T) {
	huge := strings.Repeat("x", 200<<10)
	certificate := &v1alpha1.DeviceCertificate{}
	certificate.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: huge, v1alpha1.AnnotationRenewRequestedAt: huge, "devicecert.io/made-up": huge}
	for i := range 1000 {
		certificate.Annotations[fmt.Sprint("devicecert.io/made-up-", i)] = "x"
	}
	for i := range 5000 {
		certificate.Finalizers = append(certificate.Finalizers, fmt.Sprint("example.com/finalizer-", i))
	}
	certificate.Finalizers = append(certificate.Finalizers, v1alpha1.Finalizer)
	hoarder := &v1alpha1.DeviceCertificate{}
	hoarder.Finalizers = slices.Repeat([]string{v1alpha1.Finalizer}, 50000)
	for range 2 { // a list is made smaller as it is read, and once more as it is stored
		leanCertificate(certificate)
		leanCertificate(hoarder)
	}
	plain := &metav1.PartialObjectMetadata{}
	plain.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	plain.Finalizers = slices.Repeat([]string{"example.com/finalizer"}, 50000)
	leanSecret(plain)
	secret := &metav1.PartialObjectMetadata{}
	secret.Annotations = map[string]string{v1alpha1.AnnotationCertificateID: huge, v1alpha1.AnnotationFingerprint: huge, "devicecert.io/made-up": huge}
	secret.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	leanSecret(secret)
	for kind, object := range map[string]any{"certificate": certificate, "certificate with one finalizer over and over": hoarder, "Secret": secret, "Secret without annotations": plain} {
		kept, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) > 4<<10 {
			t.Errorf("a %s takes %d bytes of the cache", kind, len(kept))
		}
	}
	if certificate.Annotations[v1alpha1.AnnotationRenewRequestedAt] == "" {
		t.Error("a wish that means nothing is to be seen all the same")
	}
	if !slices.Equal(certificate.Finalizers, []string{v1alpha1.Finalizer}) || certificate.Annotations[annotationInPart] == "" {
		t.Errorf("finalizers are %v, and nothing says that there are others", certificate.Finalizers)
	}
}

// Maps are shared between cached objects, which others read meanwhile.
func TestWhatIsMadeSmallerTwiceIsNotWrittenTheSecondTime(t *testing.T) {
	hoarders := make([]*v1alpha1.DeviceCertificate, 2)
	for i := range hoarders {
		hoarders[i] = &v1alpha1.DeviceCertificate{}
		hoarders[i].Finalizers = slices.Repeat([]string{v1alpha1.Finalizer}, mostFinalizers+1)
		leanCertificate(hoarders[i])
	}
	shared := hoarders[0].Annotations
	shared["a.example/seen"] = "by whoever shares it"
	if hoarders[1].Annotations["a.example/seen"] == "" {
		t.Fatal("the objects share no map: this test shows nothing")
	}
	delete(shared, "a.example/seen")
	done := make(chan struct{})
	go func() { // the race detector sees a write beside this
		defer close(done)
		for range 1000 {
			_ = hoarders[0].DeepCopy()
		}
	}()
	for range 1000 {
		leanCertificate(hoarders[1])
	}
	<-done
	if got := len(hoarders[1].Finalizers); got != 1 {
		t.Errorf("%d finalizers are kept, want one", got)
	}
}

func TestACachedSecretSaysWhichCertificateItHoldsHoweverOftenItIsMadeSmaller(t *testing.T) {
	for name, c := range map[string]struct {
		annotations map[string]string
		want        [2]string
	}{
		"the operator's": {map[string]string{v1alpha1.AnnotationCertificateID: "id", v1alpha1.AnnotationFingerprint: "print", "other": "x"}, [2]string{"id", "print"}},
		"a retained one that an edit took an annotation from": {map[string]string{v1alpha1.AnnotationFingerprint: "print"}, [2]string{"", "print"}},
		"a user's":                     {map[string]string{"other": "x"}, [2]string{}},
		"a user's without annotations": {nil, [2]string{}},
	} {
		secret := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: "edge", Name: "gateway", UID: "uid", ResourceVersion: "7", Finalizers: []string{"a.example/one", "b.example/two"},
			Labels: map[string]string{v1alpha1.LabelWatch: "true", "team": "a"}, Annotations: c.annotations,
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		}}
		for range 2 { // a list is made smaller as it is read, and once more as it is stored
			leanSecret(secret)
			var got [2]string
			if got[0], got[1] = heldBy(secret); got != c.want {
				t.Errorf("%s: says %q, want %q", name, got, c.want)
			}
		}
		rest := secret.DeepCopy()
		rest.Finalizers = nil
		want := metav1.ObjectMeta{Namespace: "edge", Name: "gateway", UID: "uid", ResourceVersion: "7", Labels: watched}
		if diff := cmp.Diff(want, rest.ObjectMeta); diff != "" {
			t.Errorf("%s: what is cached (-want +got):\n%s", name, diff)
		}
	}
}
