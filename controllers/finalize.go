// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// finalize carries out the deletion policies and lets the object go: first what the vendor must be told, then the Secret, last the
// finalizer, so that a crash in between repeats what was not done. It is tried again until it works; a vendor that stays down holds the
// object no longer than plan.FinalizeBound.
func (r *DeviceCertificateReconciler) finalize(ctx context.Context, s *scope) {
	ctx, cancel := context.WithTimeout(ctx, resolveBound)
	defer cancel()
	if err := r.letGo(ctx, s); err != nil {
		s.log().Info("the object cannot be let go yet", "error", err.Error())
		r.memory.stumbled(s.cert.UID, r.Clock.Now())
	}
}

func (r *DeviceCertificateReconciler) letGo(ctx context.Context, s *scope) error {
	live := &v1alpha1.DeviceCertificate{}
	err := r.Reader.Get(ctx, s.key(), live)
	if apierrors.IsNotFound(err) || err == nil && live.UID != s.cert.UID {
		r.memory.forget(s.cert.UID) // long gone: what bears its name by now is another's
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the object: %w", err)
	}
	if s.cert.Spec.Revocation.OnDelete == v1alpha1.RevocationRevoke {
		if err := r.revokeAll(ctx, s); err != nil && plan.FinalizePatience(&s.snapshot) {
			return err
		}
	}
	if s.cert.Spec.Secret.DeletionPolicy == v1alpha1.DeletionDelete {
		if err := r.deleteSecret(ctx, s, s.layout.Name); err != nil {
			return err
		}
	}
	r.tellLeftovers(s)
	if controllerutil.RemoveFinalizer(s.cert, v1alpha1.Finalizer) {
		err := r.Client.Patch(ctx, s.cert, client.MergeFromWithOptions(s.base, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove the finalizer: %w", err)
		}
	}
	r.memory.forget(s.cert.UID)
	return nil
}

// revokeAll revokes the stored certificate, which the private key beside it proves to be ours, and its predecessors.
func (r *DeviceCertificateReconciler) revokeAll(ctx context.Context, s *scope) error {
	var ours []v1alpha1.SupersededCertificate
	if held := predecessor(s); held != nil && s.secret.State == plan.SecretOurs && s.secret.Broken == "" {
		ours = append(ours, v1alpha1.SupersededCertificate{IssuedCertificate: *held})
	}
	var errs []error
	for _, p := range append(ours, s.cert.Status.Superseded...) {
		if !s.snapshot.Now.Before(p.NotAfter.Time) || p.RevocationFailure != "" {
			continue
		}
		refused, err := r.revokePredecessor(ctx, s.cert, &p)
		if err != nil {
			errs = append(errs, err)
		}
		if err != nil && !plan.FinalizePatience(&s.snapshot) {
			refused = "the vendor did not answer: " + err.Error()
		}
		if refused != "" {
			r.event(s.cert, corev1.EventTypeWarning, "RevocationFailed", "Finalize", "serial "+p.SerialNumber+" was left valid at the vendor: "+refused)
			s.log().Info("deleted with a certificate left valid at the vendor", "serial", p.SerialNumber, "reason", refused)
		}
	}
	return errors.Join(errs...)
}

// tellLeftovers says once more what is left behind at the vendor, because the status that says it goes too.
func (r *DeviceCertificateReconciler) tellLeftovers(s *scope) {
	if attempt := s.cert.Status.Attempt; attempt != nil {
		r.event(s.cert, corev1.EventTypeWarning, v1alpha1.ReasonOrphan, "Finalize",
			fmt.Sprintf("deleted with attempt %s unresolved: search the vendor's inventory for %s", attempt.ID, describePurchase(attempt)))
	}
	for _, o := range s.cert.Status.Orphans {
		if o.Outcome != v1alpha1.OrphanRevoked {
			s.log().Info("deleted with an orphan left at the vendor", "certificateID", o.CertificateID, "serial", o.SerialNumber, "profile", o.ProfileID, "commonName", o.CommonName)
		}
	}
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
