// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/renewal"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	// shownSkew is how far the clocks must be apart to be worth telling, skewNoise how much they may move without a write.
	shownSkew = time.Minute
	skewNoise = 5 * time.Second
	// maxBlockedProfiles are shown.
	maxBlockedProfiles = 50
)

// reportIssuer writes the issuer's status, once and only if it changed. What is reserved of the budget is fenced by the version that was
// observed, so that no two processes reserve the same, and counts once it is written.
func (r *IssuerReconciler) reportIssuer(ctx context.Context, o issuerObject, found observed, due renewal.Forecast, again bool) error {
	base, ok := o.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%s %s cannot be copied", o.kind, o.GetName())
	}
	id := o.issuer().ID
	remarks := r.publishProfiles(ctx, o)
	r.describeIssuer(o, found, r.Accounts.State(id), r.Accounts.Blocked(id))
	o.showUnpublished(remarks, r.Clock.Now())
	patch := client.MergeFrom(base)
	reserved, reserving := r.Accounts.Reserve(id)
	if reserving {
		o.status.Budget = budgetOf(reserved)
		patch = client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})
	}
	changed := !equality.Semantic.DeepEqual(issuerOf(base).status, o.status)
	if now := r.Clock.Now(); changed && due.Certificates > 0 || again && worthTelling(o.status.Forecast, due, now) {
		o.status.Forecast = forecastOf(due, now)
	} else if !changed {
		return nil
	}
	if err := r.Client.Status().Patch(ctx, o.Object, patch); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("report the status of %s: %w", id, err))
	}
	if reserving {
		r.Accounts.Reserved(id, reserved)
	}
	return nil
}

// describeIssuer computes the whole status from what was found and what the account knows.
func (r *IssuerReconciler) describeIssuer(o issuerObject, found observed, state account.State, blocked []v1alpha1.BlockedProfile) {
	status := o.status
	status.ObservedGeneration = o.GetGeneration()
	status.Capabilities = capabilities(found, r.lastProbe(o.issuer().ID), state)
	status.CredentialVersion = ""
	if found.Credential != (trustmanager.Credential{}) {
		status.CredentialVersion = found.CredentialVersion
	}
	status.CredentialExpiresAt = nil
	if !found.expiresAt.IsZero() {
		status.CredentialExpiresAt = timeOf(found.expiresAt)
	}
	status.ClockSkewSeconds = skewSeconds(status.ClockSkewSeconds, state)
	status.BlockedProfiles = blocked[:min(len(blocked), maxBlockedProfiles)]
	setIssuerConditions(o, issuerConditions(found, state, status.Capabilities), r.Clock.Now())
}

// capabilities are what the credential was seen to be able to do.
func capabilities(found observed, tried probe, state account.State) *v1alpha1.Capabilities {
	known := &v1alpha1.Capabilities{
		Enroll: state.CanEnroll, Renew: v1alpha1.CapabilityUnknown, Search: v1alpha1.CapabilityUnknown,
		Revoke: v1alpha1.CapabilityUnknown, Specification: cmp.Or(state.CanSpecify, v1alpha1.CapabilityUnknown),
	}
	if found.Credential.Passcode != "" {
		known.Search, known.Revoke, known.Specification = v1alpha1.CapabilityNo, v1alpha1.CapabilityNo, v1alpha1.CapabilityNo
	}
	if tried.version == found.Version() && tried.accepted {
		known.Search = tried.search
	} else if found.accepted && tried.version == "" {
		known.Search = found.search
	}
	return known
}

// skewSeconds tells a clock skew that is worth telling. The header it is taken from has whole seconds, and travels.
func skewSeconds(before *int64, state account.State) *int64 {
	if !state.SkewKnown {
		return before
	}
	if state.Skew.Abs() <= shownSkew {
		return nil
	}
	if before != nil && (state.Skew-time.Duration(*before)*time.Second).Abs() <= skewNoise {
		return before
	}
	seconds := int64(state.Skew / time.Second)
	return &seconds
}

// issuerConditions are the conditions of an issuer. One that is not returned is to be absent.
func issuerConditions(found observed, state account.State, can *v1alpha1.Capabilities) []metav1.Condition {
	var conditions []metav1.Condition
	add := func(kind string, status metav1.ConditionStatus, reason, message string) {
		conditions = append(conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
	}
	if state.Suspended {
		add(v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended, "nothing is bought until spec.suspend is false")
	}
	if state.BudgetExceeded {
		add(v1alpha1.ConditionBudgetExceeded, metav1.ConditionTrue, v1alpha1.ReasonBudgetExceeded,
			"spec.limits.issuancesPerDay is used up, or kept for renewals that fall due today: certificates wait for the next day in UTC; raise the limit if that is too late")
	}
	if state.Reason == v1alpha1.ReasonCredentialRefused && found.source != "" {
		state.Message += ". It is read from " + found.source
	}
	switch {
	case state.Reason == v1alpha1.ReasonUnreachable || state.Reason == v1alpha1.ReasonProbing:
		add(v1alpha1.ConditionReady, metav1.ConditionFalse, state.Reason, state.Message)
		add(v1alpha1.ConditionReconciling, metav1.ConditionTrue, state.Reason, "the vendor is tried again by itself")
	case state.Reason != "":
		add(v1alpha1.ConditionReady, metav1.ConditionFalse, state.Reason, state.Message)
		add(v1alpha1.ConditionStalled, metav1.ConditionTrue, state.Reason, state.Message)
	case found.Credential.Passcode != "" && can.Enroll != v1alpha1.CapabilityYes:
		add(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonUnverified, "a passcode can only be tried by buying; the first issuance will tell whether it is accepted")
	case found.Credential.Passcode != "":
		add(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonConnected, "the vendor accepts the passcode; lost answers can only be reported, nothing can be revoked, and a revocation by somebody else goes unnoticed")
	case can.Search == v1alpha1.CapabilityNo:
		add(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonConnected, "the vendor accepts the credential, which may not search the inventory: lost answers can only be reported, and a revocation by somebody else goes unnoticed")
	default:
		add(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonConnected, "the vendor accepts the credential")
	}
	return conditions
}

// setIssuerConditions replaces the conditions this controller owns.
func setIssuerConditions(o issuerObject, wanted []metav1.Condition, now time.Time) {
	for _, owned := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionSuspended, v1alpha1.ConditionBudgetExceeded} {
		if apimeta.FindStatusCondition(wanted, owned) == nil {
			apimeta.RemoveStatusCondition(&o.status.Conditions, owned)
		}
	}
	for _, c := range wanted {
		c.ObservedGeneration = o.GetGeneration()
		c.LastTransitionTime = *timeOf(now)
		c.Message = truncate(c.Message)
		apimeta.SetStatusCondition(&o.status.Conditions, c)
	}
}
