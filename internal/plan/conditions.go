// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// ConditionTypes are the condition types Conditions may answer with; those it leaves out are to be removed.
var ConditionTypes = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionIssuing,
	v1alpha1.ConditionRenewalFailing, v1alpha1.ConditionSecretInSync, v1alpha1.ConditionSuspended, v1alpha1.ConditionRevocationFailing,
	v1alpha1.ConditionRevocationRequested,
}

// Conditions are what a user shall see: Ready speaks of the Secret as it is now, the others of what the operator does about it.
// Reconciling and Stalled appear only while Ready is False, and never together: kstatus would otherwise call a valid certificate
// that is being renewed in progress, or failed.
func Conditions(s *Snapshot, p Plan) []metav1.Condition {
	c := collector{generation: s.Certificate.Generation}
	ready, reason, message := readiness(s, p)
	if ready {
		c.add(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
		c.addIf(p.Failing, v1alpha1.ConditionRenewalFailing, p)
		if f := s.Certificate.Status.Failures; !p.Failing && f != nil && f.Count > 0 && p.CallsVendor() {
			// The next try is under way and has not succeeded yet.
			c.addIf(true, v1alpha1.ConditionRenewalFailing, recorded(f))
		}
	} else {
		c.add(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
		c.addIf(works(p), v1alpha1.ConditionReconciling, p)
		c.addIf(p.Action == ActionBlock, v1alpha1.ConditionStalled, p)
	}
	c.addIf(p.Buys() || p.Action == ActionResolve || p.Action == ActionWait, v1alpha1.ConditionIssuing, p)
	if s.Secret.State == SecretOurs {
		status, reason, message := secretInSync(s, p)
		c.add(v1alpha1.ConditionSecretInSync, status, reason, message)
	}
	if s.Certificate.Spec.Suspend || s.Issuer.Suspended {
		c.add(v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended, suspendedMessage(s))
	}
	if reason, message := revocationFailing(s); reason != "" {
		c.add(v1alpha1.ConditionRevocationFailing, metav1.ConditionTrue, reason, message)
	}
	if request, ok := RevokeRequested(s.Certificate); ok {
		status, reason, message := revocationRequested(s, request.Serial)
		c.add(v1alpha1.ConditionRevocationRequested, status, reason, message)
	}
	return c.conditions
}

// readiness says whether a valid certificate that answers the spec is in the Secret now, and why not.
func readiness(s *Snapshot, p Plan) (ready bool, reason, message string) {
	stored := s.Secret
	switch {
	case stored.State != SecretOurs || stored.Broken != "":
		return false, p.Reason, p.Message
	case revokedOrphan(s, stored):
		return false, v1alpha1.ReasonRevoked, p.Message
	case revokedAtVendor(s, stored):
		return false, v1alpha1.ReasonRevoked, "the certificate in the Secret is revoked: " + p.Message
	case !s.Now.Before(stored.NotAfter):
		return false, v1alpha1.ReasonExpired, "the certificate in the Secret has expired: " + p.Message
	case s.Now.Before(stored.NotBefore.Add(-clockTolerance)):
		return false, v1alpha1.ReasonNotYetValid, "the certificate in the Secret is not valid yet: check the clocks of the cluster's nodes"
	case outOfDate(s, stored):
		return false, v1alpha1.ReasonOutOfDate, "the spec asks for another certificate than the one stored: " + p.Message
	}
	return true, v1alpha1.ReasonStored, "key and certificate " + stored.Serial + " are in Secret " + stored.Name
}

// works tells whether the operator goes on by itself.
func works(p Plan) bool {
	switch p.Action {
	case ActionEnroll, ActionRenew, ActionRender, ActionResolve, ActionWait:
		return true
	default:
		return false
	}
}

func secretInSync(s *Snapshot, p Plan) (metav1.ConditionStatus, string, string) {
	if s.Secret.InSync && s.Secret.Broken == "" {
		return metav1.ConditionTrue, v1alpha1.ReasonInSync, "the Secret holds what the spec asks for"
	}
	return metav1.ConditionFalse, p.Reason, p.Message
}

func suspendedMessage(s *Snapshot) string {
	if s.Certificate.Spec.Suspend {
		return "spec.suspend is true: nothing is bought, renewed or rendered"
	}
	return "the issuer's spec.suspend is true: nothing is bought"
}

// collector builds conditions of one generation.
type collector struct {
	generation int64
	conditions []metav1.Condition
}

func (c *collector) add(kind string, status metav1.ConditionStatus, reason, message string) {
	c.conditions = append(c.conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: c.generation,
	})
}

func (c *collector) addIf(present bool, kind string, p Plan) {
	if present {
		c.add(kind, metav1.ConditionTrue, p.Reason, p.Message)
	}
}
