// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"time"

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
		return Plan{
			Action: ActionWait, Reason: v1alpha1.ReasonIssuerNotFound, Failing: true,
			Message: name + " does not exist or is not served by this operator: create it, or correct spec.issuerRef",
		}, true
	case i.Suspended:
		return Plan{Action: ActionWait, Reason: v1alpha1.ReasonSuspended, Message: name + " is suspended; nothing is bought until its spec.suspend is false"}, true
	case !i.Known:
		return Plan{Action: ActionWait, Reason: v1alpha1.ReasonIssuerNotReady, Message: name + " is being connected"}, true
	case !i.Ready:
		return Plan{
			Action: ActionWait, Reason: v1alpha1.ReasonIssuerNotReady, Failing: true,
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

// backoffGate holds a purchase back after a failure, until its time, or until something changed that could mend it.
func backoffGate(s *Snapshot, want Plan) (Plan, bool) {
	f := s.Certificate.Status.Failures
	if f == nil || f.NextTime == nil || !s.Now.Before(f.NextTime.Time) || mended(s, f, want) {
		return Plan{}, false
	}
	p := Plan{Action: ActionWait, Reason: f.Reason, Message: f.Message, Due: boundedWait(s.Now, f.NextTime.Time), Failing: true}
	if f.Terminal {
		p.Action = ActionBlock
	}
	return p, true
}

// longestWait bounds a stored back-off: a status that says otherwise is a mistake or a forgery.
const longestWait = 8 * time.Hour

func boundedWait(now, until time.Time) time.Time {
	return earliest(until, now.Add(longestWait))
}

// mended tells whether the cause of the last failure may be gone: the spec, the issuer or its credential changed, the user asks for
// a retry, or a refused renewal has become an enrollment. A failure that cost a certificate is not tried again for a change of the
// spec that buys the same.
func mended(s *Snapshot, f *v1alpha1.Failures, want Plan) bool {
	changed := f.Generation != s.Certificate.Generation
	if f.Reason == v1alpha1.ReasonUnverified {
		changed = f.IssuanceHash != s.IssuanceHash
	}
	return changed ||
		f.IssuerVersion != s.Issuer.Version ||
		RetryRequested(s.Certificate) ||
		f.Kind == v1alpha1.AttemptRenew && want.Action == ActionEnroll ||
		f.NextTime.After(s.Now.Add(longestWait))
}

// RetryRequested tells whether the user asks for a retry that was not made yet. A value that is not a time asks for nothing.
func RetryRequested(c *v1alpha1.DeviceCertificate) bool {
	v := c.Annotations[v1alpha1.AnnotationRetryRequestedAt]
	_, err := time.Parse(time.RFC3339, v)
	return err == nil && v != c.Status.LastHandledRetryRequest
}
