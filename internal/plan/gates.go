// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// reread is how soon objects are read again that the operator does not watch: Secrets without the watch label, namespaces.
const reread = 5 * time.Minute

// A gate says what a purchase must wait for, if anything.
type gate func(*Snapshot, Plan) (Plan, bool)

func issuerGate(s *Snapshot, _ Plan) (Plan, bool) {
	ref := s.Certificate.Spec.IssuerRef
	name := fmt.Sprintf("%s %s", ref.Kind, ref.Name)
	switch i := s.Issuer; {
	case !i.Found:
		remedy := ": create it, or correct spec.issuerRef"
		if ref.Kind == v1alpha1.KindDeviceIssuer {
			remedy += ", which means a DeviceIssuer of this namespace unless its kind is ClusterDeviceIssuer"
		}
		return Plan{
			Action: ActionWait, Reason: v1alpha1.ReasonIssuerNotFound, Failing: true,
			Message: name + " does not exist or is not served by this operator" + remedy,
		}, true
	case i.Suspended:
		return Plan{Action: ActionWait, Reason: v1alpha1.ReasonSuspended, Message: name + " is suspended; nothing is bought until its spec.suspend is false", AwaitsIssuer: true}, true
	case !i.Known:
		return Plan{Action: ActionWait, Reason: v1alpha1.ReasonIssuerNotReady, Message: name + " is being connected", AwaitsIssuer: true}, true
	case !i.Ready:
		return Plan{
			Action: ActionWait, Reason: v1alpha1.ReasonIssuerNotReady, Failing: true, AwaitsIssuer: true,
			Message: fmt.Sprintf("%s is not ready: %s (%s); it is tried again by itself", name, i.Message, i.Reason),
		}, true
	}
	return Plan{}, false
}

func grantGate(s *Snapshot, _ Plan) (Plan, bool) {
	if s.Issuer.Denied == "" {
		return Plan{}, false
	}
	return Plan{Action: ActionBlock, Reason: v1alpha1.ReasonNotGranted, Message: s.Issuer.Denied, Due: s.Now.Add(reread), Failing: true}, true
}

func problemGate(s *Snapshot, _ Plan) (Plan, bool) {
	if s.Problem == nil {
		return Plan{}, false
	}
	return Plan{Action: ActionBlock, Reason: s.Problem.Reason, Message: s.Problem.Message, Due: s.Now.Add(reread), Failing: true}, true
}

// windowGate lets a scheduled renewal wait that the vendor would refuse as too early.
func windowGate(s *Snapshot, want Plan) (Plan, bool) {
	if want.Action != ActionRenew || want.Reason != v1alpha1.ReasonRenewing || !s.Now.Before(s.WindowOpens) || RetryRequested(s.Certificate) {
		return Plan{}, false
	}
	return Plan{
		Action: ActionWait, Reason: v1alpha1.ReasonTooEarly, Due: s.WindowOpens,
		Message: "the vendor has refused renewals of this profile that early and accepted them later, so this one waits; " +
			"choose spec.renewal.renewBefore within the profile's renewal window",
	}, true
}

// backoffGate holds a purchase back after a failure, until its time, or until something changed that could mend it.
func backoffGate(s *Snapshot, want Plan) (Plan, bool) {
	f := s.Certificate.Status.Failures
	if f == nil || f.NextTime == nil || !s.Now.Before(f.NextTime.Time) || mended(s, f, want) {
		return Plan{}, false
	}
	p := recorded(f)
	p.Due = f.NextTime.Time
	if f.Terminal {
		p.Action = ActionBlock
	}
	return p, true
}

// recorded is the wait that a failure on record stands for.
func recorded(f *v1alpha1.Failures) Plan {
	return Plan{
		Action: ActionWait, Reason: cmp.Or(f.Reason, v1alpha1.ReasonBackingOff), Message: cmp.Or(f.Message, "the last attempt failed"), Failing: true,
	}
}

// Unscheduled tells whether a purchase of this reason is neither the first nor a renewal that was due: something took the certificate
// away, or asks for another.
func Unscheduled(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSecretMissing, v1alpha1.ReasonSecretBroken, v1alpha1.ReasonOutOfDate, v1alpha1.ReasonRevoked,
		v1alpha1.ReasonRenewRequested:
		return true
	default:
		return false
	}
}

const (
	// replacementMemory ends a row of unscheduled purchases.
	replacementMemory = 24 * time.Hour
	// freeReplacements of a row wait for nothing; each further one waits twice as long as the one before, from a minute to six hours.
	freeReplacements     = 2
	firstReplacementWait = time.Minute
	maxReplacementWait   = 6 * time.Hour
)

// replacementGate slows unscheduled purchases down. Whoever deletes the Secret in a loop, or two who fight over the spec, get a dozen
// certificates a day instead of one a second.
func replacementGate(s *Snapshot, want Plan) (Plan, bool) {
	row := s.Certificate.Status.Replacements
	if row == nil || row.Count < freeReplacements || !Unscheduled(want.Reason) || RetryRequested(s.Certificate) {
		return Plan{}, false
	}
	wait := min(firstReplacementWait<<min(row.Count-freeReplacements, 16), maxReplacementWait)
	until := row.LastTime.Add(wait)
	if !s.Now.Before(until) || until.Sub(s.Now) > maxReplacementWait {
		return Plan{}, false
	}
	return Plan{
		Action: ActionWait, Reason: v1alpha1.ReasonTooManyReplacements, Due: until, Failing: true,
		Message: fmt.Sprintf("%s; %d certificates were bought in a row for such reasons, so the next one waits a while: find out who changes the Secret or the spec or asks for renewals, or annotate this object with %s",
			want.Message, row.Count, v1alpha1.AnnotationRetryRequestedAt),
	}, true
}

// CountReplacement adds an unscheduled purchase to the row.
func CountReplacement(row *v1alpha1.Replacements, now metav1.Time) *v1alpha1.Replacements {
	next := v1alpha1.Replacements{Count: 1, LastTime: now}
	if row != nil && now.Sub(row.LastTime.Time) < replacementMemory {
		next.Count = min(row.Count, 1<<30) + 1
	}
	return &next
}

// longestWait bounds a stored back-off: a status that says otherwise is a mistake or a forgery, or was written by a clock that was set
// back since, and holds nothing back.
const longestWait = 8 * time.Hour

// mended tells whether the cause of the last failure may be gone: the spec, the issuer or its credential changed, the vendor was found
// again, the user asks for a retry, or a refused renewal has become an enrollment. A failure that cost a certificate is not tried again for a change of the
// spec that buys the same.
func mended(s *Snapshot, f *v1alpha1.Failures, want Plan) bool {
	changed := f.Generation != s.Certificate.Generation
	if f.Reason == v1alpha1.ReasonUnverified {
		changed = f.IssuanceHash != s.IssuanceHash
	}
	return changed || s.Recovered ||
		f.IssuerVersion != s.Issuer.Version ||
		RetryRequested(s.Certificate) ||
		f.Kind == v1alpha1.AttemptRenew && want.Action == ActionEnroll ||
		f.NextTime.After(s.Now.Add(longestWait))
}

// isTime tells whether an annotation is a time as people and tools write it.
func isTime(v string) bool {
	const longest = 40 // with nanoseconds and a zone; fractions without end also parse
	_, err := time.Parse(time.RFC3339, v)
	return err == nil && len(v) <= longest
}

// RetryRequested tells whether the user asks for a retry that was not made yet. A value that is not a time asks for nothing.
func RetryRequested(c *v1alpha1.DeviceCertificate) bool {
	v := c.Annotations[v1alpha1.AnnotationRetryRequestedAt]
	return isTime(v) && v != c.Status.LastHandledRetryRequest
}
