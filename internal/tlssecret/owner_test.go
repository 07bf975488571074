// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecret

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestOwnershipIsDecidedByTheSecretsAnnotations(t *testing.T) {
	controller := true
	ingress := metav1.OwnerReference{Kind: "Certificate", Name: "web", Controller: &controller}
	for name, c := range map[string]struct {
		annotations map[string]string
		owners      []metav1.OwnerReference
		want        Ownership
	}{
		"ours": {
			map[string]string{v1alpha1.AnnotationCertificateName: "gateway-17", v1alpha1.AnnotationCertificateUID: "uid-1"}, nil, Ownership{Ours: true},
		},
		"ours of before a backup was restored": {
			map[string]string{v1alpha1.AnnotationCertificateName: "gateway-17", v1alpha1.AnnotationCertificateUID: "uid-0"}, nil, Ownership{Ours: true},
		},
		"ours although marked for another": {
			map[string]string{v1alpha1.AnnotationCertificateName: "gateway-17", v1alpha1.AnnotationAdoptableBy: "gateway-18"}, nil, Ownership{Ours: true},
		},
		"somebody else's, with consent": {
			map[string]string{v1alpha1.AnnotationAdoptableBy: "gateway-17"}, []metav1.OwnerReference{ingress}, Ownership{Adoptable: true},
		},
		"another DeviceCertificate's, with consent": {
			map[string]string{v1alpha1.AnnotationCertificateName: "gateway-18", v1alpha1.AnnotationAdoptableBy: "gateway-17"}, nil, Ownership{Adoptable: true},
		},
		"somebody else's, with consent for another": {
			map[string]string{v1alpha1.AnnotationAdoptableBy: "gateway-18"}, nil, Ownership{Unclaimed: true, Owner: "somebody else"},
		},
		"another DeviceCertificate's": {
			map[string]string{v1alpha1.AnnotationCertificateName: "gateway-18"}, nil, Ownership{Owner: "DeviceCertificate gateway-18"},
		},
		"a controller's": {nil, []metav1.OwnerReference{ingress}, Ownership{Owner: "Certificate web"}},
		"an owner that does not control it": {
			nil, []metav1.OwnerReference{{Kind: "Certificate", Name: "web"}}, Ownership{Unclaimed: true, Owner: "somebody else"},
		},
		"nobody's": {nil, nil, Ownership{Unclaimed: true, Owner: "somebody else"}},
		"an empty name": {
			map[string]string{v1alpha1.AnnotationCertificateName: "", v1alpha1.AnnotationAdoptableBy: ""}, nil, Ownership{Unclaimed: true, Owner: "somebody else"},
		},
		"the UID alone": {
			map[string]string{v1alpha1.AnnotationCertificateUID: "uid-1"}, nil, Ownership{Unclaimed: true, Owner: "somebody else"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: c.annotations, OwnerReferences: c.owners}}
			certificate := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Name: "gateway-17", UID: "uid-1"}}
			if got := OwnershipOf(secret, certificate); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
