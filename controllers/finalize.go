// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// hold sets the finalizer, unless it is there.
func (r *DeviceCertificateReconciler) hold(ctx context.Context, s *scope) error {
	if controllerutil.ContainsFinalizer(s.cert, v1alpha1.Finalizer) {
		return nil
	}
	held := s.base.DeepCopy() // the status that is about to be written stays as it is
	controllerutil.AddFinalizer(held, v1alpha1.Finalizer)
	if err := r.Client.Patch(ctx, held, client.MergeFromWithOptions(s.base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("set the finalizer: %w", err)
	}
	r.memory.wrote(held.UID, held.ResourceVersion, s.snapshot.Now)
	s.cert.Finalizers, s.cert.ResourceVersion, s.base = held.Finalizers, held.ResourceVersion, held
	return nil
}

// lostFinalizer tells whether the object has something to let go of one day, and lacks the finalizer: an uninstall, or a restore of a
// backup, took it off.
func (s *scope) lostFinalizer() bool {
	return s.cert.DeletionTimestamp.IsZero() && !controllerutil.ContainsFinalizer(s.cert, v1alpha1.Finalizer) &&
		(s.secret.Usable() || s.cert.Status.Attempt != nil)
}

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
	if live.ResourceVersion != s.cert.ResourceVersion {
		return errors.New("it has changed since it was looked at, and a revocation is not decided from an old view")
	}
	left, err := r.revokeAll(ctx, s)
	if err != nil && plan.FinalizePatience(&s.snapshot) {
		return err
	}
	if s.cert.Spec.Secret.DeletionPolicy == v1alpha1.DeletionDelete {
		if err := r.deleteSecret(ctx, s, s.layout.Name); err != nil {
			return err
		}
	}
	r.tellLeftovers(s, left)
	if controllerutil.RemoveFinalizer(s.cert, v1alpha1.Finalizer) {
		err := r.Client.Patch(ctx, s.cert, client.MergeFromWithOptions(s.base, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove the finalizer: %w", err)
		}
	}
	r.memory.forget(s.cert.UID)
	return nil
}

// leftover is a certificate that should be revoked and stays valid at the vendor, and why.
type leftover struct{ serial, why string }

// toRevoke are the certificates that a deletion revokes: under onDelete the stored one, which the private key beside it proves to be ours, and its
// predecessors; otherwise the predecessors whose time has come. Nobody will revoke the others, so they are left over.
func toRevoke(s *scope) (revoke []v1alpha1.SupersededCertificate, left []leftover) {
	all := s.cert.Spec.Revocation.OnDelete == v1alpha1.RevocationRevoke
	if held := predecessor(s); all && held != nil && s.secret.State == plan.SecretOurs && s.secret.Broken == "" && s.snapshot.Now.Before(held.NotAfter.Time) {
		revoke = append(revoke, v1alpha1.SupersededCertificate{IssuedCertificate: *held})
	}
	due, _ := plan.DueRevocations(&s.snapshot)
	for _, p := range s.cert.Status.Superseded {
		isDue := slices.ContainsFunc(due, func(d v1alpha1.SupersededCertificate) bool { return d.SerialNumber == p.SerialNumber })
		switch {
		case !s.snapshot.Now.Before(p.NotAfter.Time):
		case isDue, all && p.RevocationFailure == "":
			revoke = append(revoke, p)
		case p.RevocationFailure != "":
			left = append(left, leftover{p.SerialNumber, p.RevocationFailure})
		case s.cert.Spec.Revocation.OnSupersede == v1alpha1.RevocationRevoke:
			left = append(left, leftover{p.SerialNumber, "its grace period had not passed; revoke it at the vendor when nobody uses it any more"})
		}
	}
	return revoke, left
}

// revokeAll revokes what a deletion has to, and answers what is left over. An error is to be repeated while there is patience.
func (r *DeviceCertificateReconciler) revokeAll(ctx context.Context, s *scope) ([]leftover, error) {
	revoke, left := toRevoke(s)
	var errs []error
	for i := range revoke {
		refused, err := r.revokePredecessor(ctx, s.cert, &revoke[i])
		if err != nil {
			errs, refused = append(errs, err), "the vendor did not answer: "+err.Error()
		}
		if refused != "" {
			left = append(left, leftover{revoke[i].SerialNumber, refused})
		}
	}
	return left, errors.Join(errs...)
}

// tellLeftovers says once more what is left behind at the vendor, because the status that says it goes too.
func (r *DeviceCertificateReconciler) tellLeftovers(s *scope, left []leftover) {
	for _, l := range left {
		s.log().Info("deleted with a certificate left valid at the vendor", "serial", l.serial, "reason", l.why)
		r.event(s.cert, corev1.EventTypeWarning, v1alpha1.ReasonRevocationFailed, "Finalize", "serial "+l.serial+" was left valid at the vendor: "+l.why)
	}
	if attempt := s.cert.Status.Attempt; attempt != nil {
		s.log().Info("deleted with an attempt unresolved", "attempt", attempt.ID, "profile", attempt.ProfileID, "commonName", attempt.CommonName, "startedAt", attempt.StartedAt)
		r.event(s.cert, corev1.EventTypeWarning, v1alpha1.ReasonOrphan, "Finalize",
			fmt.Sprintf("deleted with attempt %s unresolved: search the vendor's inventory for %s", attempt.ID, describePurchase(attempt)))
	}
	var ids []string
	for _, o := range s.cert.Status.Orphans {
		if o.Outcome != v1alpha1.OrphanRevoked {
			ids = append(ids, cmp.Or(o.CertificateID, "of attempt "+o.AttemptID))
			logOrphan(s.log().WithValues("deleted", true), o)
		}
	}
	if len(ids) > 0 {
		r.event(s.cert, corev1.EventTypeWarning, v1alpha1.ReasonOrphan, "Finalize", "deleted with orphans left at the vendor: "+strings.Join(ids, ", "))
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
