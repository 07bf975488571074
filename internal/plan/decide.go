// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

const (
	// FinalizeBound is how long a deletion waits for the vendor, to resolve an open attempt or to revoke, before it says what is left
	// and goes on.
	FinalizeBound = 15 * time.Minute
	// clockTolerance is how far a certificate's notBefore may lie in the future: the vendor's clock is not ours.
	clockTolerance = 5 * time.Minute
)

// A check looks at one question. It answers with a plan, or passes the question on to the next check.
type check func(*Snapshot) (Plan, bool)

// Decide answers with the plan of the first check that has one. The order is the design: what is open is closed before anything
// new, what a person must settle comes before what money could buy, and what is free never waits for what costs.
func Decide(s *Snapshot) Plan {
	for _, c := range []check{
		inFlight,    // one goroutine per object
		deletion,    // a deleted object buys nothing
		openAttempt, // at most one unresolved attempt
		foreign,     // somebody else's Secret is never touched
		suspended,   // a person said stop
		purchase,    // missing, broken, out of date, expired or due
		render,      // free: the same key, shown differently
		revocation,  // what was replaced, after its grace
	} {
		if p, ok := c(s); ok {
			return p
		}
	}
	return idle(s)
}

func inFlight(s *Snapshot) (Plan, bool) {
	if !s.InFlight {
		return Plan{}, false
	}
	return Plan{Action: ActionWait, Reason: v1alpha1.ReasonIssuing, Message: "a request to the vendor is under way"}, true
}

func deletion(s *Snapshot) (Plan, bool) {
	deleted := s.Certificate.DeletionTimestamp
	if deleted == nil {
		return Plan{}, false
	}
	if !slices.Contains(s.Certificate.Finalizers, v1alpha1.Finalizer) {
		return Plan{Action: ActionNone, Reason: v1alpha1.ReasonTerminating, Message: "being deleted"}, true
	}
	attempt := s.Certificate.Status.Attempt
	if attempt != nil && attempt.RequestID == "" && FinalizePatience(s) {
		p := resolve(s)
		p.Due = earliest(p.Due, deleted.Add(FinalizeBound))
		return p, true
	}
	return Plan{Action: ActionFinalize, Reason: v1alpha1.ReasonTerminating, Message: "being deleted"}, true
}

// FinalizePatience tells whether a deletion still waits for the vendor.
func FinalizePatience(s *Snapshot) bool {
	return s.Now.Before(s.Certificate.DeletionTimestamp.Add(FinalizeBound))
}

func openAttempt(s *Snapshot) (Plan, bool) {
	attempt := s.Certificate.Status.Attempt
	switch {
	case attempt == nil:
		return Plan{}, false
	case attempt.RequestID != "" && !abandoned(s, attempt):
		return Plan{
			Action: ActionBlock, Reason: v1alpha1.ReasonPendingApproval,
			Message: fmt.Sprintf("the vendor holds request %s for approval, and hands out no key afterwards that this operator could fetch: "+
				"let profile %s approve by itself, or decline the request at the vendor; then annotate this object with %s=%s",
				attempt.RequestID, attempt.ProfileID, v1alpha1.AnnotationAbandonAttempt, attempt.ID),
			Due: validityEnd(s), Failing: true,
		}, true
	default:
		p := resolve(s)
		p.Due = earliest(p.Due, validityEnd(s))
		return p, true
	}
}

// abandoned tells whether the user gave up the attempt.
func abandoned(s *Snapshot, attempt *v1alpha1.Attempt) bool {
	return s.Certificate.Annotations[v1alpha1.AnnotationAbandonAttempt] == attempt.ID
}

// resolve answers with Resolve as soon as the outcome can be known: at once when the Secret carries the attempt, the answer came but
// cannot be stored, or the user gave it up; else when no other process can still be storing it.
func resolve(s *Snapshot) Plan {
	attempt := s.Certificate.Status.Attempt
	p := Plan{
		Action: ActionResolve, Reason: v1alpha1.ReasonResolving, Failing: true,
		Message: "the answer to the last request was lost; the operator finds out what became of it before it asks again",
	}
	if attempt.Failure != "" {
		p.Message += ": " + attempt.Failure
	}
	switch {
	case attempt.CertificateID != "", attempt.CertificateFingerprint != "", // the answer is known, and it is not to be stored
		attempt.SecretName == s.Secret.Name && s.Secret.AttemptID == attempt.ID,
		attempt.SecretName == s.Previous.Name && s.Previous.AttemptID == attempt.ID,
		abandoned(s, attempt),
		!s.Now.Before(s.SettlesAt):
		return p
	}
	p.Action, p.Due = ActionWait, s.SettlesAt
	return p
}

func foreign(s *Snapshot) (Plan, bool) {
	if s.Secret.State != SecretForeign {
		return Plan{}, false
	}
	return Plan{
		Action: ActionBlock, Reason: v1alpha1.ReasonSecretConflict,
		Message: fmt.Sprintf("Secret %s belongs to %s and is left alone: choose another spec.secret.name, delete that Secret, or let its owner annotate it with %s=%s",
			s.Secret.Name, s.Secret.Owner, v1alpha1.AnnotationAdoptableBy, s.Certificate.Name),
		Due: s.Now.Add(reread),
	}, true
}

func suspended(s *Snapshot) (Plan, bool) {
	if !s.Certificate.Spec.Suspend {
		return Plan{}, false
	}
	return Plan{Action: ActionNone, Reason: v1alpha1.ReasonSuspended, Message: "spec.suspend is true: nothing is bought, renewed or rendered", Due: validityEnd(s)}, true
}

// purchase answers when a certificate must be bought: with the purchase, or with what it waits for.
func purchase(s *Snapshot) (Plan, bool) {
	want, needed := need(s)
	if !needed {
		return Plan{}, false
	}
	if !want.Buys() {
		return meanwhile(s, want), true
	}
	for _, g := range []gate{issuerGate, grantGate, problemGate, replacementGate, windowGate, backoffGate} {
		if p, blocked := g(s, want); blocked {
			p.Due = earliest(p.Due, validityEnd(s))
			return meanwhile(s, p), true
		}
	}
	want.Due = validityEnd(s) // it may have to wait for its turn
	return want, true
}

// meanwhile answers with what can be done while a purchase waits: the pair that is there is shown as the spec asks now, as a purchase
// that need not wait does in its one write, and what was replaced is revoked.
func meanwhile(s *Snapshot, wait Plan) Plan {
	if p, ok := render(s); ok && p.Action == ActionRender && held(s).Usable() {
		p.Due = wait.Due
		return p
	}
	if p, ok := revocation(s); ok {
		p.Due = earliest(wait.Due, p.Due)
		return p
	}
	return wait
}

// need says what must be bought and why, before any gate.
func need(s *Snapshot) (Plan, bool) {
	enroll := func(reason, message string) (Plan, bool) {
		return Plan{Action: ActionEnroll, Reason: reason, Message: message}, true
	}
	source := held(s)
	if p, revoked := needAfterRevocation(s, source); revoked {
		return p, true
	}
	switch {
	case source.State == SecretAbsent && s.Certificate.Status.CertificateID == "":
		return enroll(v1alpha1.ReasonIssuing, "the first certificate is being issued")
	case source.State == SecretAbsent:
		return enroll(v1alpha1.ReasonSecretMissing, "the Secret is gone and its private key with it; a new certificate is being issued")
	case source.Broken != "":
		return enroll(v1alpha1.ReasonSecretBroken, "the Secret cannot be used: "+source.Broken+"; a new certificate is being issued")
	case revokedOrphan(s, source):
		return enroll(v1alpha1.ReasonRevoked, "the stored certificate was revoked when its attempt was given up; a new certificate is being issued")
	case revokeWanted(s, source):
		return enroll(v1alpha1.ReasonRevoked, "the stored certificate is to be revoked, as "+v1alpha1.AnnotationRevokeRequested+" asks; a new one is issued first")
	case outOfDate(s, source):
		return enroll(v1alpha1.ReasonOutOfDate, "the spec asks for another certificate than the one stored; a new certificate is being issued")
	}
	return needRenewal(s, source)
}

// needRenewal says whether the stored certificate must be renewed now, and whether by renewing or, where that is refused for good,
// by enrolling.
func needRenewal(s *Snapshot, source Secret) (Plan, bool) {
	p := Plan{Action: ActionRenew, Reason: v1alpha1.ReasonRenewing, Message: "the certificate is being renewed"}
	expired := !s.Now.Before(source.NotAfter)
	due, automatic := RenewalTime(s.Certificate, source)
	switch {
	case renewRequested(s.Certificate, source):
		p.Reason = v1alpha1.ReasonRenewRequested
		p.Message = "the certificate is being renewed, as " + v1alpha1.AnnotationRenewRequestedAt + " asks"
	case automatic && !s.Now.Before(due):
	case expired:
		return Plan{
			Action: ActionBlock, Reason: v1alpha1.ReasonExpired, Due: time.Time{},
			Message: "the certificate has expired and spec.renewal.policy is Disabled: annotate this object with " +
				v1alpha1.AnnotationRenewRequestedAt + " or set the policy to Automatic",
		}, true
	default:
		return Plan{}, false
	}
	if expired {
		p.Reason = v1alpha1.ReasonExpired
	}
	if renewalHopeless(s, source) {
		p.Action = ActionEnroll
		p.Message += "; it cannot be renewed any more, so a new one is enrolled"
	}
	return p, true
}

// renewalHopeless tells whether to enroll instead of renewing: nothing proves that the certificate is ours to renew, the vendor refuses and little time is
// left, or it refuses to renew a certificate whose renewal was lost, which may have happened already.
func renewalHopeless(s *Snapshot, source Secret) bool {
	if source.Unproven || source.CertificateID == "" && source.Serial == "" {
		return true
	}
	f := s.Certificate.Status.Failures
	if f == nil || f.Reason != v1alpha1.ReasonRefused {
		return false
	}
	lost := f.LostRenewalOf != "" && f.LostRenewalOf == source.CertificateID
	return lost || !s.Now.Before(renewal.LastResort(source.Lifetime()))
}

// RenewalTime is when the certificate in the Secret is due for renewal. It answers false when the policy is Disabled or nothing
// usable is stored.
func RenewalTime(c *v1alpha1.DeviceCertificate, stored Secret) (time.Time, bool) {
	if c.Spec.Renewal.Policy == v1alpha1.RenewalDisabled || !stored.Usable() {
		return time.Time{}, false
	}
	var w renewal.Wish
	if b := c.Spec.Renewal.RenewBefore; b != nil {
		w.Before = b.Duration
	}
	if p := c.Spec.Renewal.RenewBeforePercentage; p != nil {
		w.Percent = *p
	}
	return renewal.Time(stored.Lifetime(), w, string(c.UID)), true
}

// renewRequested tells whether the user asks for a renewal that has not happened yet. The Secret remembers what was handled, so a
// restored backup does not repeat it.
func renewRequested(c *v1alpha1.DeviceCertificate, stored Secret) bool {
	v := c.Annotations[v1alpha1.AnnotationRenewRequestedAt]
	at, err := time.Parse(time.RFC3339, v)
	if err != nil || !isTime(v) || v == stored.HandledRenewRequest || v == c.Status.LastHandledRenewRequest {
		return false
	}
	return at.After(stored.IssuedAt)
}

func render(s *Snapshot) (Plan, bool) {
	// What an adopted or stripped pair was bought for is written down as soon as it is known, and not before.
	known := s.IssuanceHash != "" || s.Certificate.Status.IssuanceHash != ""
	if held(s).IssuanceHash == "" && !known {
		return Plan{}, false
	}
	if s.Secret.State == SecretOurs && s.Secret.Broken == "" && s.Secret.InSync && s.Secret.IssuanceHash != "" && !respelt(s, s.Secret) {
		return Plan{}, false
	}
	if s.Secret.Contested != "" {
		return Plan{Action: ActionBlock, Reason: v1alpha1.ReasonSecretContested, Message: s.Secret.Contested, Due: earliest(lookAgain(s), s.Secret.ContestedUntil)}, true
	}
	if s.Secret.Refused != "" {
		return Plan{Action: ActionBlock, Reason: v1alpha1.ReasonSecretRefused, Message: s.Secret.Refused, Due: earliest(lookAgain(s), s.Now.Add(reread))}, true
	}
	return Plan{Action: ActionRender, Reason: v1alpha1.ReasonRendering, Message: "the Secret is being brought in line with the spec", Due: lookAgain(s)}, true
}

func idle(s *Snapshot) Plan {
	return Plan{Action: ActionNone, Reason: v1alpha1.ReasonStored, Message: "key and certificate are stored and valid", Due: lookAgain(s)}
}

// held is the Secret that holds this object's pair: the one the spec names, or the one it named before.
func held(s *Snapshot) Secret {
	if !s.Secret.Usable() && s.Previous.Usable() && s.Previous.State == SecretOurs {
		return s.Previous
	}
	return s.Secret
}

// revokedOrphan tells whether the stored certificate is one that was revoked as an orphan while a slow process still stored it.
func revokedOrphan(s *Snapshot, stored Secret) bool {
	return slices.ContainsFunc(s.Certificate.Status.Orphans, func(o v1alpha1.Orphan) bool {
		same := o.CertificateID != "" && o.CertificateID == stored.CertificateID || certs.SameSerial(o.SerialNumber, stored.Serial)
		return same && o.Outcome == v1alpha1.OrphanRevoked
	})
}

// revokeWanted tells whether the user wants the stored certificate revoked, and so replaced first.
func revokeWanted(s *Snapshot, stored Secret) bool {
	request, ok := RevokeRequested(s.Certificate)
	return ok && certs.SameSerial(request.Serial, stored.Serial)
}

// answers tells whether the stored certificate is what the spec asks for: the same under ids or, whatever the profile makes of the names
// today, the very request it was bought with.
func answers(s *Snapshot, stored Secret) bool {
	return stored.IssuanceHash == s.IssuanceHash || stored.IssuanceHash == s.RequestHash || stored.RequestHash != "" && stored.RequestHash == s.RequestHash
}

// respelt tells whether the spec asks for what is stored in other words, which are to be noted: nobody then has to ask for their meaning again.
func respelt(s *Snapshot, stored Secret) bool {
	return stored.IssuanceHash == s.IssuanceHash && s.RequestHash != s.IssuanceHash && stored.RequestHash != s.RequestHash
}

// outOfDate tells whether the spec asks for another certificate. A hash of another version says nothing and never issues.
func outOfDate(s *Snapshot, stored Secret) bool {
	return s.IssuanceHash != "" && !answers(s, stored) && sameHashVersion(stored.IssuanceHash, s.IssuanceHash)
}

// lookAgain is the next instant at which time alone changes what is to be done.
func lookAgain(s *Snapshot) time.Time {
	_, next := DueRevocations(s)
	next = earliest(next, validityEnd(s))
	if due, ok := RenewalTime(s.Certificate, held(s)); ok {
		next = earliest(next, due)
	}
	return next
}

// validityEnd is when the stored certificate begins or ends to be valid; zero when neither lies ahead.
func validityEnd(s *Snapshot) time.Time {
	stored := held(s)
	switch {
	case stored.Broken != "" || stored.NotAfter.IsZero() || !s.Now.Before(stored.NotAfter):
		return time.Time{}
	case s.Now.Before(stored.NotBefore.Add(-clockTolerance)):
		return stored.NotBefore.Add(-clockTolerance)
	default:
		return stored.NotAfter
	}
}

// earliest is the earlier of two instants, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
