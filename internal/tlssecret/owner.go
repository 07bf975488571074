// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecret

import (
	"crypto/x509"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

type certificate = x509.Certificate

// Ownership says whose a Secret is.
type Ownership struct {
	// Ours: this DeviceCertificate wrote it, or one of the same name did before a backup was restored.
	Ours bool
	// Adoptable: its owner consents that this DeviceCertificate takes it over.
	Adoptable bool
	// Unclaimed: nothing on it says whose it is.
	Unclaimed bool
	// Owner names, in words, whoever it belongs to when it is not ours.
	Owner string
}

// OwnershipOf decides by the Secret's annotations alone. A name belongs to one DeviceCertificate at a time, so a Secret that names
// ours is ours even when its UID is that of a deleted predecessor.
func OwnershipOf(s metav1.Object, c *v1alpha1.DeviceCertificate) Ownership {
	a := s.GetAnnotations()
	switch name := a[v1alpha1.AnnotationCertificateName]; {
	case name == c.Name:
		return Ownership{Ours: true}
	case a[v1alpha1.AnnotationAdoptableBy] == c.Name:
		return Ownership{Adoptable: true}
	case name != "":
		return Ownership{Owner: "DeviceCertificate " + name}
	}
	if owner := metav1.GetControllerOf(s); owner != nil {
		return Ownership{Owner: fmt.Sprintf("%s %s", owner.Kind, owner.Name)}
	}
	return Ownership{Unclaimed: true, Owner: "somebody else"}
}
