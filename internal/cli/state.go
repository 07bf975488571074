// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// state is a DeviceCertificate in one word.
type state string

// The states, from the worst to the best.
const (
	stateExpired        state = "Expired"
	stateFailed         state = "Failed"
	stateRenewalFailing state = "RenewalFailing"
	stateIssuing        state = "Issuing"
	stateUnseen         state = "Unseen"
	stateTerminating    state = "Terminating"
	stateSuspended      state = "Suspended"
	stateRenewing       state = "Renewing"
	stateReady          state = "Ready"
)

// states are all of them, in that order.
var states = []state{
	stateExpired, stateFailed, stateRenewalFailing, stateIssuing, stateUnseen, stateTerminating, stateSuspended, stateRenewing, stateReady,
}

func (s state) tone() tone {
	switch s {
	case stateReady:
		return good
	case stateExpired, stateFailed, stateRenewalFailing:
		return bad
	default:
		return busy
	}
}

// words is the state for people.
func (s state) words() string {
	switch s {
	case stateRenewalFailing:
		return "failing to renew"
	case stateUnseen:
		return "not seen by the operator"
	default:
		return strings.ToLower(string(s))
	}
}

// stateOf reads the conditions. What the clock shows by itself, an end of validity that the operator has not noted yet, wins.
func stateOf(c *v1alpha1.DeviceCertificate, now time.Time) state {
	has := func(kind string) bool { return apimeta.IsStatusConditionTrue(c.Status.Conditions, kind) }
	ready := condition(c.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case c.DeletionTimestamp != nil:
		return stateTerminating
	case ready.Reason == v1alpha1.ReasonExpired, c.Status.NotAfter != nil && !now.Before(c.Status.NotAfter.Time):
		return stateExpired
	case has(v1alpha1.ConditionStalled):
		return stateFailed
	case has(v1alpha1.ConditionRenewalFailing):
		return stateRenewalFailing
	case has(v1alpha1.ConditionSuspended):
		return stateSuspended
	case ready.Type == "", c.Status.ObservedGeneration < 0:
		return stateUnseen
	case has(v1alpha1.ConditionIssuing) && ready.Status == metav1.ConditionTrue:
		return stateRenewing
	case ready.Status == metav1.ConditionTrue:
		return stateReady
	default:
		return stateIssuing
	}
}

// condition is the condition of that type, or an empty one.
func condition(list []metav1.Condition, kind string) metav1.Condition {
	if c := apimeta.FindStatusCondition(list, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// concern is the condition that tells what is the matter; an empty one when nothing is.
func concern(c *v1alpha1.DeviceCertificate) metav1.Condition {
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionRenewalFailing, v1alpha1.ConditionReconciling} {
		if found := condition(c.Status.Conditions, kind); found.Status == metav1.ConditionTrue {
			return found
		}
	}
	if ready := condition(c.Status.Conditions, v1alpha1.ConditionReady); ready.Status == metav1.ConditionFalse {
		return ready
	}
	for _, kind := range []string{v1alpha1.ConditionIssuing, v1alpha1.ConditionSuspended} {
		if found := condition(c.Status.Conditions, kind); found.Status == metav1.ConditionTrue {
			return found
		}
	}
	return metav1.Condition{}
}

// awaitsPerson are the reasons for which nothing happens until somebody acts.
var awaitsPerson = []string{
	v1alpha1.ReasonNotGranted, v1alpha1.ReasonSecretConflict, v1alpha1.ReasonSecretRefused, v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonRefused,
	v1alpha1.ReasonUnverified, v1alpha1.ReasonPendingApproval, v1alpha1.ReasonProfileBlocked, v1alpha1.ReasonCredentialMissing,
	v1alpha1.ReasonSuspended, v1alpha1.ReasonIssuerNotFound,
}

// blocked says why nothing happens to the object until somebody acts; empty when the operator goes on by itself.
func blocked(c *v1alpha1.DeviceCertificate) string {
	suspended := condition(c.Status.Conditions, v1alpha1.ConditionSuspended)
	if suspended.Status == metav1.ConditionTrue {
		return suspended.Message
	}
	matter := concern(c)
	if matter.Type == v1alpha1.ConditionStalled || matter.Type == v1alpha1.ConditionRenewalFailing && slices.Contains(awaitsPerson, matter.Reason) {
		return matter.Message
	}
	return ""
}

// pending is a renewal that was asked for and that the operator has not carried out yet.
func pending(c *v1alpha1.DeviceCertificate) (time.Time, bool) {
	value := c.Annotations[v1alpha1.AnnotationRenewRequestedAt]
	at, err := time.Parse(time.RFC3339, value)
	return at, err == nil && value != c.Status.LastHandledRenewRequest
}

// next says what happens next, and when; most urgent first.
func next(c *v1alpha1.DeviceCertificate, now time.Time) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	plugin := func(verb string) string {
		return fmt.Sprintf("kubectl devicecert %s %s -n %s", verb, c.Name, c.Namespace)
	}
	attempt, failures := c.Status.Attempt, c.Status.Failures
	switch {
	case c.DeletionTimestamp != nil:
		if attempt != nil {
			say("the operator finds out what became of the open attempt first; a deletion waits for the vendor for a quarter of an hour at most")
		}
		say("the operator carries out spec.secret.deletionPolicy and spec.revocation.onDelete, and lets the object go")
		return lines
	case stateOf(c, now) == stateUnseen:
		say("nothing, until an operator that serves its issuer looks at it: `kubectl devicecert doctor` tells whether one is there")
		return lines
	case attempt != nil && attempt.RequestID != "":
		say("nothing, until somebody approves or declines request %s at the vendor; then: %s", clean(attempt.RequestID), plugin("abandon"))
	case attempt != nil:
		say("the answer to the request of %s is awaited; if it was lost, the operator finds out what became of it before it asks again", when(attempt.StartedAt.Time, now))
	case suspended(c):
		say("nothing is bought, until spec.suspend is false again")
	case failures != nil && failures.NextTime != nil && failures.NextTime.After(now):
		say("it is tried again by itself on %s; at once by: %s", when(failures.NextTime.Time, now), plugin("retry"))
	case concern(c).Reason == v1alpha1.ReasonIssuerNotFound:
		say("it goes on by itself once there is %s %s", c.Spec.IssuerRef.Kind, c.Spec.IssuerRef.Name)
	case concern(c).Reason == v1alpha1.ReasonIssuerNotReady:
		say("it goes on by itself once %s %s is ready", c.Spec.IssuerRef.Kind, c.Spec.IssuerRef.Name)
	case blocked(c) != "":
		say("nothing by itself: act on the message above; the operator notices within minutes, or at once by: %s", plugin("retry"))
	}
	switch at, asked := pending(c); {
	case !asked || attempt != nil:
	case c.Status.NotBefore != nil && at.Before(c.Status.NotBefore.Time):
		say("the renewal that was asked for on %s is not made, as the certificate is newer: %s", when(at, now), plugin("renew"))
	default:
		say("a renewal was asked for on %s and has not been carried out", when(at, now))
	}
	if renewal := c.Status.RenewalTime; renewal != nil && renewal.After(now) && !suspended(c) {
		say("it is renewed by itself on %s", when(renewal.Time, now))
	} else if renewal != nil && attempt == nil && !suspended(c) {
		say("its renewal is due since %s", when(renewal.Time, now))
	}
	if c.Spec.Renewal.Policy == v1alpha1.RenewalDisabled && c.Status.NotAfter != nil {
		say("it is not renewed by itself, as spec.renewal.policy is Disabled; renew it by: %s", plugin("renew"))
	}
	return append(lines, revocations(c, now)...)
}

// revocations are the predecessors that will be revoked by themselves.
func revocations(c *v1alpha1.DeviceCertificate, now time.Time) []string {
	if c.Spec.Revocation.OnSupersede != v1alpha1.RevocationRevoke || c.Spec.Revocation.GracePeriod == nil {
		return nil
	}
	var lines []string
	for _, p := range c.Status.Superseded {
		if at := p.SupersededAt.Add(c.Spec.Revocation.GracePeriod.Duration); p.RevocationFailure == "" && at.After(now) {
			lines = append(lines, fmt.Sprintf("predecessor %s is revoked on %s", clean(p.SerialNumber), when(at, now)))
		}
	}
	return lines
}

func suspended(c *v1alpha1.DeviceCertificate) bool {
	return apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionSuspended)
}
