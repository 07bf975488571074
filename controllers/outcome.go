// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/renewal"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// unprepared ends a purchase before its intent: nothing was bought, nothing is open. What a person must mend is put on record; what only
// a newer look or a moment's patience mends is not.
func (r *DeviceCertificateReconciler) unprepared(ctx context.Context, s *scope, err error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		r.memory.distrust(s.cert.UID)
		r.memory.stumbled(s.cert.UID, r.Clock.Now())
		return
	}
	var refusal apierrors.APIStatus
	if !errors.As(err, &refusal) || !refusedByAPI(err) || apierrors.IsNotFound(err) {
		s.log().Error(err, "preparing a purchase failed and is repeated")
		r.memory.stumbled(s.cert.UID, r.Clock.Now())
		return
	}
	s.failed(r, failure{reason: v1alpha1.ReasonSecretRefused, terminal: true, message: "nothing was bought, because the API server would not take the Secret: " +
		refusal.Status().Message + "; correct RBAC, quota, policy or spec.secret"})
	r.conclude(ctx, s, "", func(status *v1alpha1.DeviceCertificateStatus) {
		s.recordFailure(status)
		s.handleRetry(status) // a recorded intent does so itself
	})
}

// handleRetry remembers that the user's wish to try again was followed.
func (s *scope) handleRetry(status *v1alpha1.DeviceCertificateStatus) {
	if plan.RetryRequested(s.cert) {
		status.LastHandledRetryRequest = s.cert.Annotations[v1alpha1.AnnotationRetryRequestedAt]
	}
}

// failure is a failed attempt as it goes on record.
type failure struct {
	reason, message string
	terminal        bool
	kind            v1alpha1.AttemptKind
	issuanceHash    string
	lostRenewalOf   string
}

// failed prepares the record of a failure: how often, why, and when the next try may start.
func (s *scope) failed(r *DeviceCertificateReconciler, f failure) {
	now := r.Clock.Now()
	record := v1alpha1.Failures{Count: 1}
	if earlier := s.cert.Status.Failures; earlier != nil {
		record.Count = min(earlier.Count, 1<<30) + 1
		record.LostRenewalOf = earlier.LostRenewalOf
	}
	if f.lostRenewalOf != "" {
		record.LostRenewalOf = f.lostRenewalOf
	}
	next := renewal.Backoff(now, renewal.Failure{Count: record.Count, Terminal: f.terminal, NotAfter: s.secret.NotAfter}, string(s.cert.UID))
	if f.reason == v1alpha1.ReasonRefused {
		next = r.whenOpen(s, f.kind, next, now)
	}
	record.LastTime, record.NextTime = timeOf(now), timeOf(next)
	record.Reason, record.Message, record.Terminal = f.reason, truncate(f.message), f.terminal
	record.Kind, record.IssuanceHash = f.kind, f.issuanceHash
	record.Generation, record.IssuerVersion = s.cert.Generation, s.account.Version
	s.failure = &record
	r.Telemetry.Failed(s.accountOf(), f.reason)
}

// recordFailure puts the prepared failure on record.
func (s *scope) recordFailure(status *v1alpha1.DeviceCertificateStatus) {
	status.Failures = s.failure
}

// notIssued closes an attempt that the vendor never got or definitely refused. Who must act decides how it goes on: the user's own
// refusal is on record with the object, while an issuer that is down or throttled is the account's matter and holds all its objects.
func (p *purchase) notIssued(ctx context.Context, refusal *trustmanager.Error) {
	switch refusal.Actor {
	case trustmanager.User:
		p.learnWindow(false)
		p.failed(p.r, failure{reason: v1alpha1.ReasonRefused, terminal: true, kind: p.attempt.Kind, issuanceHash: p.attempt.IssuanceHash,
			message: "the vendor refused the request, and nothing was bought (" + refusal.Error() + "): correct the spec or the enrollment profile; it is tried again by itself now and then" + p.profileHint()})
		p.r.Accounts.SpecificationDoubted(p.issuer.ID, p.attempt.ProfileID)
	case trustmanager.Nobody:
		p.failed(p.r, failure{reason: v1alpha1.ReasonBackingOff, kind: p.attempt.Kind, issuanceHash: p.attempt.IssuanceHash,
			message: "the vendor could not be reached, and nothing was bought (" + refusal.Error() + ")"})
		p.r.memory.missed(p.cert.UID, p.failure.LastTime.Time)
	case trustmanager.Issuer:
		p.failed(p.r, failure{reason: v1alpha1.ReasonCredentialRefused, kind: p.attempt.Kind, issuanceHash: p.attempt.IssuanceHash,
			message: "the vendor refused the issuer's credential or connection, and nothing was bought (" + refusal.Error() + ")"})
	default: // the account pauses for as long as the vendor says; the object is not to blame
		p.failure = p.cert.Status.Failures
	}
	p.log.Info("nothing was bought", "attempt", p.attempt.ID, "error", refusal.Error())
	reported := p.r.conclude(ctx, p.scope, p.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) {
		status.Attempt = nil
		p.recordFailure(status)
	})
	if refusal.Actor == trustmanager.Time {
		p.r.memory.stumbled(p.cert.UID, p.r.Clock.Now())
	}
	if reported && p.failure != nil && p.failure.Terminal {
		p.r.event(p.cert, corev1.EventTypeWarning, p.failure.Reason, string(p.attempt.Kind), p.failure.Message)
	}
}

// keepOpen leaves the attempt to be resolved: a certificate may have been issued.
func (p *purchase) keepOpen(ctx context.Context, message string) {
	p.r.Telemetry.Lost(p.accountOf(), v1alpha1.ReasonResolving)
	p.log.Info("the answer was lost; the attempt stays open until its outcome is known", "attempt", p.attempt.ID, "error", message)
	p.r.conclude(ctx, p.scope, p.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) {
		status.Attempt.Failure = truncate(message)
	})
}

// discard leaves an attempt to be resolved whose answer came and cannot be kept. What the answer showed of the certificate is proof that
// it is ours to revoke, once the inventory has confirmed it.
func (p *purchase) discard(ctx context.Context, certificateID, reason, message string) {
	p.r.Telemetry.Lost(p.accountOf(), reason)
	reported := p.r.conclude(ctx, p.scope, p.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) {
		status.Attempt.Failure, status.Attempt.FailureReason = truncate(message), reason
		p.identifyAnswer(status.Attempt, certificateID)
	})
	if reported {
		return
	}
	// Nobody else will: the attempt was resolved without this certificate, or cannot be put on record.
	attempt := p.attempt.DeepCopy()
	p.identifyAnswer(attempt, certificateID)
	ctx, cancel := context.WithTimeout(ctx, resolveBound)
	defer cancel()
	q := &resolution{scope: p.scope, r: p.r, attempt: attempt}
	if err := q.settle(ctx); err != nil {
		p.log.Error(err, "a certificate whose key was not stored could not be revoked: revoke it at the vendor", "certificateID", certificateID)
	}
	q.tell()
}

// identifyAnswer notes in the attempt which certificate was answered.
func (p *purchase) identifyAnswer(attempt *v1alpha1.Attempt, certificateID string) {
	attempt.CertificateID = certificateID
	if p.received != nil && describable(p.received) == nil {
		attempt.CertificateSerial, attempt.CertificateFingerprint = certs.SerialString(p.received), certs.FingerprintSHA256(p.received)
	}
}

// pendingApproval records that the vendor waits for a person.
func (p *purchase) pendingApproval(ctx context.Context, issued *trustmanager.Issued) {
	requestID := bounded(issued.RequestID, maxID)
	if requestID == "" {
		requestID = "unknown" // never empty: the attempt must not be taken for a lost answer
	}
	if p.r.conclude(ctx, p.scope, p.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) { status.Attempt.RequestID = requestID }) {
		p.r.event(p.cert, corev1.EventTypeWarning, v1alpha1.ReasonPendingApproval, string(p.attempt.Kind), "the vendor holds request "+requestID+" for approval")
	}
}

// succeeded reports what is stored and closes the attempt.
func (p *purchase) succeeded(ctx context.Context, stored facts, warnings []certs.Finding) {
	replaced, issued := predecessor(p.scope), identify(stored)
	issued.FingerprintSHA256 = stored.fingerprint // sealed or not, it came from the vendor
	stored.incomplete = append(stored.incomplete, p.incomplete...)
	p.secret = stored
	var remarks []string
	for _, w := range warnings {
		remarks = append(remarks, w.Message)
	}
	reported := p.r.conclude(ctx, p.scope, p.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) {
		closeAsStored(status, replaced, issued, stored, p.r.Clock.Now())
		p.setOrRemove(v1alpha1.ConditionDiffersFromRequest, v1alpha1.ReasonStored, remarks)
	})
	p.r.memory.remember(p.cert, stored, p.r.Clock.Now())
	p.log.Info("certificate stored", "attempt", p.attempt.ID, "serial", stored.Serial, "secret", stored.Name)
	if reported {
		verb := "Issued"
		if p.attempt.Kind == v1alpha1.AttemptRenew {
			verb = "Renewed"
		}
		p.r.event(p.cert, corev1.EventTypeNormal, verb, string(p.attempt.Kind),
			"serial "+stored.Serial+" for "+describePurchase(p.attempt)+" is in Secret "+stored.Name)
	}
}
