// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

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
	leanCertificate(certificate)
	secret := &metav1.PartialObjectMetadata{}
	secret.Annotations = map[string]string{v1alpha1.AnnotationCertificateID: huge, v1alpha1.AnnotationFingerprint: huge, "devicecert.io/made-up": huge}
	secret.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	leanSecret(secret)
	for kind, object := range map[string]any{"certificate": certificate, "Secret": secret} {
		kept, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) > 4<<10 {
			t.Errorf("a %s with huge annotations takes %d bytes of the cache", kind, len(kept))
		}
	}
	if certificate.Annotations[v1alpha1.AnnotationRenewRequestedAt] == "" {
		t.Error("a wish that means nothing is to be seen all the same")
	}
	if !slices.Equal(certificate.Finalizers, []string{v1alpha1.Finalizer}) || certificate.Annotations[annotationInPart] == "" {
		t.Errorf("finalizers are %v, and nothing says that there are others", certificate.Finalizers)
	}
}
