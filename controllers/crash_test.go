// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// crash is an instant at which a process may end.
type crash struct {
	name  string
	step  step
	after bool
	// asked is whether the vendor got the request; stored whether its answer was stored.
	asked, stored bool
}

func crashes() []crash {
	return []crash{
		{"before the finalizer", stepFinalizer, false, false, false},
		{"after the finalizer", stepFinalizer, true, false, false},
		{"after the rehearsal", stepRehearsal, true, false, false},
		{"before the intent", stepIntent, false, false, false},
		{"after the intent, before the request", stepIntent, true, false, false},
		{"after the answer, before the store", stepStore, false, true, false},
		{"after the store, before the report", stepStore, true, true, true},
		{"before the report", stepReport, false, true, true},
		{"after the report", stepReport, true, true, true},
	}
}

func (w *world) crashAt(c crash) {
	act := w.api.endBefore
	if c.after {
		act = w.api.endAfter
	}
	w.api.on(apiRule{step: c.step, times: 1, act: act})
}

func TestAProcessThatEndsAnywhereLosesOneCertificateAtMostAndSaysWhich(t *testing.T) {
	for _, policy := range []v1alpha1.OrphanPolicy{v1alpha1.OrphansReport, v1alpha1.OrphansRevoke} {
		for _, c := range crashes() {
			t.Run(string(policy)+" "+c.name, func(t *testing.T) {
				g := NewWithT(t)
				w := newWorld(t)
				w.connect(policy)
				w.crashAt(c)
				w.certificate("gateway")
				w.settle()
				w.restart()
				w.pass(10 * time.Minute)

				g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
				g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Current"))
				status := w.get("gateway").Status
				g.Expect(status.Attempt).To(BeNil())
				if !c.asked || c.stored {
					g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}))
					g.Expect(status.Orphans).To(BeEmpty())
					return
				}
				lost := w.vendor.Ledger()[0]
				g.Expect(status.Orphans).To(HaveLen(1))
				g.Expect(status.Orphans[0].CertificateID).To(Equal(lost.CertificateID))
				if policy == v1alpha1.OrphansRevoke {
					g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
					g.Expect(status.Orphans[0].Outcome).To(Equal(v1alpha1.OrphanRevoked))
				} else {
					g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}))
					g.Expect(status.Orphans[0].Outcome).To(Equal(v1alpha1.OrphanReported))
				}
			})
		}
	}
}

func TestAProcessThatEndsDuringARenewalNeverHarmsWhatIsStored(t *testing.T) {
	for _, c := range crashes()[2:] {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway")
			w.settle()
			first := w.get("gateway").Status.CertificateID
			w.crashAt(c)
			w.untilRenewal("gateway")
			g.Expect(w.stored("gateway").Broken).NotTo(HaveOccurred())
			w.restart()
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			w.pass(10 * time.Minute)
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			want := 2
			if c.asked && !c.stored {
				want = 3
			}
			g.Expect(w.issued()).To(Equal(want))
			g.Expect(w.get("gateway").Status.CertificateID).NotTo(Equal(first))
			g.Expect(w.get("gateway").Status.Superseded).To(ContainElement(HaveField("CertificateID", first)))
		})
	}
}

func TestAProcessThatEndsWhileItResolvesIsFollowedByOneThatDoes(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	w.api.on(apiRule{step: stepReport, skip: 1, times: 1, act: w.api.endBefore}) // after the revocation, which one report announces
	w.pass(5 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
	w.restart()
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAProcessThatEndsBeforeItRevokesIsFollowedByOneThatDoes(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	w.api.on(apiRule{step: stepReport, times: 1, act: w.api.endAfter}) // the announcement
	w.pass(5 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}))
	g.Expect(w.get("gateway").Status.Attempt).To(HaveField("CertificateID", w.vendor.Ledger()[0].CertificateID))
	w.restart()
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnAnswerThatIsLostIsResolvedBeforeAnythingElseIsBought(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	g.Expect(w.get("gateway").Status.Attempt).NotTo(BeNil())
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False Resolving"))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("InProgress"))
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = "p_384" })
	w.annotate("gateway", v1alpha1.AnnotationRetryRequestedAt, w.now())
	w.pass(time.Minute) // of a deadline of 5 s, 10 s to store and a minute of inventory lag
	g.Expect(w.posts()).To(Equal(1), "whatever the user does meanwhile")

	w.pass(5 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnAnswerThatWasLostBeforeTheVendorIssuedCostsNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(onNext(simulator.OperationEnroll, 1, simulator.ActionDrop))
	w.certificate("gateway")
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}))
	g.Expect(w.get("gateway").Status.Orphans).To(BeEmpty())
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestACredentialThatCannotSearchReportsTheWindowAndGoesOn(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke, func(c *account.Connection) { c.CanSearch = v1alpha1.CapabilityNo })
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.asked(simulator.OperationSearch, simulator.OperationRevoke)).To(BeZero())
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}))
	orphans := w.get("gateway").Status.Orphans
	g.Expect(orphans).To(HaveLen(1))
	g.Expect(orphans[0].CertificateID).To(BeEmpty())
	g.Expect(orphans[0].CommonName).To(Equal("gateway.example"))
	lost := w.vendor.Ledger()[0]
	g.Expect(lost.IssuedAt).To(BeTemporally(">=", orphans[0].WindowStart.Add(-time.Second)))
	g.Expect(lost.IssuedAt).To(BeTemporally("<=", orphans[0].WindowEnd.Time))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestTheAttemptsIdInTheCertificateIsProofEnough(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansReport)
	issuer := &v1alpha1.DeviceIssuer{}
	issuer.Namespace, issuer.Name = w.namespace, "digicert"
	w.updateIssuer(issuer, func() { issuer.Spec.Orphans.MarkerAttribute = "subject.serial_number" })
	w.buyElsewhere("gateway.example")
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	attempt := w.get("gateway").Status.Attempt.ID
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "REVOKED", "ISSUED"}))
	g.Expect(w.get("gateway").Status.Orphans).To(ContainElement(And(HaveField("AttemptID", attempt), HaveField("Outcome", v1alpha1.OrphanRevoked))))
}

func TestAmongSeveralCandidatesNoneIsRevoked(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	foreign := w.buyElsewhere("gateway.example")
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
	orphans := w.get("gateway").Status.Orphans
	g.Expect(orphans).To(ConsistOf(HaveField("CertificateID", foreign), HaveField("CertificateID", w.vendor.Ledger()[1].CertificateID)))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestWhatAnotherCertificateHoldsIsNoCandidate(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	same := "same.example"
	named := func(c *v1alpha1.DeviceCertificate) { c.Spec.CertificateAttributes[0].Value = &same }
	w.certificate("holder", named)
	w.settle()
	w.editStatus("holder", func(s *v1alpha1.DeviceCertificateStatus) { *s = v1alpha1.DeviceCertificateStatus{} })
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway", named)
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "REVOKED", "ISSUED"}))
	g.Expect(w.shows("holder", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.stored("holder").CertificateID).To(Equal(w.vendor.Ledger()[0].CertificateID))
}

func TestTwoObjectsOfOneNameThatBothLoseTheirAnswerRevokeNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.certificate("proof") // or the second would wait until the first has proven the profile
	w.settle()
	same := "same.example"
	named := func(c *v1alpha1.DeviceCertificate) { c.Spec.CertificateAttributes[0].Value = &same }
	w.fault(lost(simulator.OperationEnroll))
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("a", named)
	w.certificate("b", named)
	w.settle()
	g.Expect(w.posts()).To(Equal(3))
	w.pass(15 * time.Minute)
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
	g.Expect(len(w.get("a").Status.Orphans) + len(w.get("b").Status.Orphans)).To(BeNumerically(">=", 2))
	for _, name := range []string{"a", "b"} {
		g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"))
	}
}

func TestAnInventoryThatCannotBeSearchedNowIsSearchedLater(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.fault(lost(simulator.OperationEnroll))
	w.fault(answering(simulator.OperationSearch, 3, 503))
	w.certificate("gateway")
	w.settle()
	w.pass(20 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestARevocationThatFailsIsRepeatedAndOneThatIsRefusedIsOnRecord(t *testing.T) {
	for name, c := range map[string]struct {
		code    int
		outcome v1alpha1.OrphanOutcome
	}{"unavailable": {503, v1alpha1.OrphanRevoked}, "refused": {400, v1alpha1.OrphanRevokeFailed}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.connect(v1alpha1.OrphansRevoke)
			w.fault(lost(simulator.OperationEnroll))
			w.fault(answering(simulator.OperationRevoke, 1, c.code))
			w.certificate("gateway")
			w.settle()
			w.pass(20 * time.Minute)
			g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(HaveField("Outcome", c.outcome)))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
		})
	}
}

func TestAnAcknowledgedOrphanLeavesTheRecord(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	w.pass(10 * time.Minute)
	orphan := w.get("gateway").Status.Orphans[0].CertificateID
	w.annotate("gateway", v1alpha1.AnnotationAcknowledgeOrphan, "something else")
	w.settle()
	g.Expect(w.get("gateway").Status.Orphans).To(HaveLen(1))
	w.annotate("gateway", v1alpha1.AnnotationAcknowledgeOrphan, orphan)
	w.settle()
	g.Expect(w.get("gateway").Status.Orphans).To(BeEmpty())
	w.release(orphan)
}

func TestAnIssuerThatIsGoneDoesNotHoldAnAttemptForEver(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	issuer := &v1alpha1.DeviceIssuer{}
	issuer.Namespace, issuer.Name = w.namespace, "digicert"
	w.must(w.client.Delete(w.ctx, issuer))
	w.accounts.Remove(w.issuer)
	w.pass(20 * time.Minute)
	g.Expect(w.get("gateway").Status.Attempt).To(BeNil())
	g.Expect(w.get("gateway").Status.Orphans).To(HaveLen(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False IssuerNotFound"))
}

func TestAProcessThatSleptWithTheAnswerInHandDoesNotStoreWhatIsBeingRevoked(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	w.api.on(apiRule{step: stepReport, skip: 1, times: 1, act: w.api.endBefore}) // after the revocation, which one report announces
	w.pass(5 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
	open := w.get("gateway").Status.Attempt
	g.Expect(open).NotTo(BeNil())

	sleeper := &purchase{scope: &scope{cert: w.get("gateway"), base: w.get("gateway")}, r: w.newOperator(), attempt: open}
	sleeper.layout.Name = "gateway"
	_, err := sleeper.retarget(w.ctx, facts{}, time.Hour)
	g.Expect(err).To(MatchError(errOvertaken))
}
