// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// finalize carries out the deletion policy and lets the object go. What is left behind at the vendor is said once more, because the
// status that says it goes too.
func (r *DeviceCertificateReconciler) finalize(ctx context.Context, s *scope) error {
	if s.cert.Spec.Secret.DeletionPolicy == v1alpha1.DeletionDelete {
		if err := r.deleteSecret(ctx, s, s.layout.Name); err != nil {
			return err
		}
	}
	if attempt := s.cert.Status.Attempt; attempt != nil {
		r.event(s.cert, corev1.EventTypeWarning, v1alpha1.ReasonOrphan, "Finalize",
			fmt.Sprintf("deleted with attempt %s unresolved: search the vendor's inventory for %s", attempt.ID, describePurchase(attempt)))
	}
	for _, o := range s.cert.Status.Orphans {
		if o.Outcome != v1alpha1.OrphanRevoked {
			s.log(r).Info("deleted with an orphan left at the vendor", "certificateID", o.CertificateID, "serial", o.SerialNumber, "profile", o.ProfileID, "commonName", o.CommonName)
		}
	}
	if controllerutil.RemoveFinalizer(s.cert, v1alpha1.Finalizer) {
		err := r.Client.Patch(ctx, s.cert, client.MergeFromWithOptions(s.base, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove the finalizer: %w", err)
		}
	}
	r.memory.forget(s.cert.UID)
	return nil
}

// deleteSecret deletes the Secret if this very object wrote it. One that a re-created object of the same name took over has its UID.
func (r *DeviceCertificateReconciler) deleteSecret(ctx context.Context, s *scope, name string) error {
	secret := &corev1.Secret{}
	err := r.Reader.Get(ctx, types.NamespacedName{Namespace: s.cert.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read Secret %s: %w", name, err)
	}
	if secret.Annotations[v1alpha1.AnnotationCertificateName] != s.cert.Name || secret.Annotations[v1alpha1.AnnotationCertificateUID] != string(s.cert.UID) {
		return nil
	}
	seen := client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}
	if err := r.Client.Delete(ctx, secret, seen); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete Secret %s: %w", secret.Name, err)
	}
	return nil
}
