// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// unusable are the answers of a vendor that must never be stored.
func unusable() map[string]simulator.Fault {
	garbled := onNext(simulator.OperationEnroll, -1, simulator.ActionAlterAnswer)
	garbled.Set = map[string]any{"private_key": "-----BEGIN NOTHING-----"}
	return map[string]simulator.Fault{
		"the key of another certificate":   onNext(simulator.OperationEnroll, -1, simulator.ActionWrongKey),
		"a CA certificate":                 onNext(simulator.OperationEnroll, -1, simulator.ActionLeafIsCA),
		"a certificate that has expired":   onNext(simulator.OperationEnroll, -1, simulator.ActionLeafExpired),
		"a certificate that begins later":  onNext(simulator.OperationEnroll, -1, simulator.ActionLeafNotYetValid),
		"a certificate for another device": onNext(simulator.OperationEnroll, -1, simulator.ActionOtherCommonName),
		"a key that is garbage":            garbled,
		"a key that is no base64":          onNext(simulator.OperationEnroll, -1, simulator.ActionBadBase64),
		"the chain of another authority":   onNext(simulator.OperationEnroll, -1, simulator.ActionChainUnrelated),
	}
}

func TestAnUnusableAnswerCostsOneCertificateAndNoMoreOfTheProfile(t *testing.T) {
	for name, fault := range unusable() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.connect(v1alpha1.OrphansReport)
			w.fault(fault)
			der := func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.Format = v1alpha1.FormatDER }
			w.certificate("first", der)
			w.certificate("second", der)
			w.settle()
			w.pass(10 * time.Minute)
			g.Expect(w.hasSecret("first")).To(BeFalse())
			g.Expect(w.hasSecret("second")).To(BeFalse())
			g.Expect(w.posts()).To(Equal(1), "one canary")
			g.Expect(w.live()).To(BeZero())
			g.Expect(w.asked(simulator.OperationRevoke)).To(Equal(1), "revoked by its id, whatever the policy")
			g.Expect(w.accounts.Blocked(w.issuer)).To(ConsistOf(And(
				HaveField("ProfileID", profileLong), HaveField("Format", v1alpha1.FormatDER), HaveField("Message", Not(BeEmpty())))))
			reasons := []string{w.shows("first", v1alpha1.ConditionStalled), w.shows("second", v1alpha1.ConditionStalled)}
			g.Expect(reasons).To(ConsistOf("True Unverified", "True ProfileBlocked"))
			g.Expect(w.kstatus("first")).To(BeEquivalentTo("Failed"))

			asked := w.posts()
			w.pass(7 * time.Hour)
			g.Expect(w.posts()).To(Equal(asked), "not even when a refusal would be repeated")
			w.certificate("pem")
			w.vendor.ResetFaults()
			w.settle()
			g.Expect(w.shows("pem", v1alpha1.ConditionReady)).To(Equal("True Stored"), "another format is not concerned")

			w.annotate("second", v1alpha1.AnnotationRetryRequestedAt, w.now())
			w.settle()
			w.annotate("first", v1alpha1.AnnotationRetryRequestedAt, w.now())
			w.settle()
			w.pass(time.Minute)
			for _, name := range []string{"first", "second"} {
				g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"), name)
			}
			g.Expect(w.accounts.Blocked(w.issuer)).To(BeEmpty())
		})
	}
}

func TestARetryAgainstAVendorThatIsStillWrongCostsOneMoreAndNoMore(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(onNext(simulator.OperationEnroll, -1, simulator.ActionWrongKey))
	w.certificate("gateway")
	w.settle()
	w.annotate("gateway", v1alpha1.AnnotationRetryRequestedAt, w.now())
	w.settle()
	w.pass(time.Hour)
	g.Expect(w.posts()).To(Equal(2))
	g.Expect(w.live()).To(BeZero())
}

func TestARenewalThatReturnsTheOldCertificateLeavesItInPlace(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	first := w.get("gateway").Status.CertificateID
	before := digests(w.secret("gateway"))
	w.fault(onNext(simulator.OperationRenew, -1, simulator.ActionSameCertificate))
	w.untilRenewal("gateway")
	w.pass(time.Hour)
	g.Expect(digests(w.secret("gateway"))).To(Equal(before))
	g.Expect(w.get("gateway").Status.CertificateID).To(Equal(first))
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}), "what is in use must not be revoked, although its id was in the answer")
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionRenewalFailing)).To(HavePrefix("True"))
}

func TestARenewalThatIsUnusableLeavesTheOldCertificateInPlace(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	before := digests(w.secret("gateway"))
	w.fault(onNext(simulator.OperationRenew, -1, simulator.ActionWrongKey))
	w.untilRenewal("gateway")
	w.pass(time.Hour)
	g.Expect(digests(w.secret("gateway"))).To(Equal(before))
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "REVOKED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnAnswerThatNamesSomebodyElsesCertificateRevokesNothingOfTheirs(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	foreign := w.buyElsewhere("victim.example")
	f := onNext(simulator.OperationEnroll, 1, simulator.ActionAlterAnswer)
	f.Set = map[string]any{"certificate_id": foreign, "private_key": "garbage"}
	w.fault(f)
	w.certificate("gateway")
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.vendor.Ledger()[0].Status).To(Equal("ISSUED"))
}

func TestSmallDifferencesInTheAnswerDoNotMatter(t *testing.T) {
	for _, action := range []simulator.Action{simulator.ActionCRLF, simulator.ActionChainReversed, simulator.ActionChainMissing} {
		t.Run(string(action), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.fault(onNext(simulator.OperationEnroll, 1, action))
			w.certificate("gateway")
			w.settle()
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
			g.Expect(w.posts()).To(Equal(1))
		})
	}
}

func TestARequestThatWaitsForApprovalIsMadeOnce(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	manual := func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileManual }
	w.certificate("gateway", manual)
	w.certificate("other", manual)
	w.pass(time.Minute)
	attempt := w.get("gateway").Status.Attempt
	if attempt == nil {
		attempt = w.get("other").Status.Attempt
	}
	g.Expect(attempt.RequestID).NotTo(BeEmpty())
	names := map[bool][2]string{true: {"gateway", "other"}, false: {"other", "gateway"}}[w.get("gateway").Status.Attempt != nil]
	pending, waiting := names[0], names[1]
	g.Expect(w.shows(pending, v1alpha1.ConditionStalled)).To(Equal("True PendingApproval"))
	g.Expect(w.shows(waiting, v1alpha1.ConditionStalled)).To(Equal("True ProfileBlocked"))
	g.Expect(w.kstatus(pending)).To(BeEquivalentTo("Failed"))
	w.annotate(pending, v1alpha1.AnnotationRetryRequestedAt, w.now())
	w.pass(24 * time.Hour)
	w.restart()
	g.Expect(w.posts()).To(Equal(1), "never asked for again")
	g.Expect(w.get(pending).Status.Attempt.ID).To(Equal(attempt.ID))

	switches := w.vendor.Switches()
	switches.Approval = "auto"
	w.must(w.vendor.SetSwitches(switches))
	w.annotate(pending, v1alpha1.AnnotationAbandonAttempt, attempt.ID)
	w.settle()
	w.annotate(pending, v1alpha1.AnnotationRetryRequestedAt, w.clock.Now().Add(time.Second).UTC().Format(time.RFC3339))
	w.pass(time.Minute)
	g.Expect(w.shows(pending, v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message(pending, v1alpha1.ConditionReady))
	g.Expect(w.get(pending).Status.Orphans).To(HaveLen(1), "what may still be approved is on record")
}
