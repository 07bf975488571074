// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// sweep lets time go by until the inventory of every profile has been swept once more.
func (w *world) sweep() []v1alpha1.Sweep {
	w.t.Helper()
	const enough = 50
	before := map[string]*metav1.Time{}
	for _, s := range w.issuerStatus().Sweeps {
		before[s.ProfileID] = s.LastTime
	}
	for range enough {
		result, err := (&SweepReconciler{Certificates: w.operator}).reconcile(w.ctx, w.issuer)
		w.must(err)
		w.settle()
		sweeps, waiting := w.issuerStatus().Sweeps, 0
		for _, s := range sweeps {
			if s.LastTime.Equal(before[s.ProfileID]) {
				waiting++
			}
		}
		if len(sweeps) > 0 && waiting == 0 {
			return sweeps
		}
		w.clock.Step(max(result.RequeueAfter, time.Second))
	}
	w.t.Fatalf("the inventory was not swept: %+v", w.issuerStatus().Sweeps)
	return nil
}

// survey lets the sweep's controller look at the issuer once.
func (w *world) survey() {
	w.t.Helper()
	_, err := (&SweepReconciler{Certificates: w.operator}).reconcile(w.ctx, w.issuer)
	w.must(err)
	w.settle()
}

func (w *world) issuerStatus() v1alpha1.IssuerStatus {
	w.t.Helper()
	issuer := &v1alpha1.DeviceIssuer{}
	w.must(w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: "digicert"}, issuer))
	return issuer.Status
}

// forceDelete deletes an object as somebody in a hurry does: its finalizer goes by hand, and the operator sees nothing of it.
func (w *world) forceDelete(name string) {
	w.t.Helper()
	c := w.get(name)
	base := c.DeepCopy()
	c.Finalizers = nil
	w.must(w.client.Patch(w.ctx, c, client.MergeFrom(base)))
	w.must(w.client.Delete(w.ctx, c))
}

func TestWhatAForcedDeletionLostIsReportedByTheSweep(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	lost := w.vendor.Ledger()[0]
	w.forceDelete("gateway")
	w.certificate("gateway")
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.get("gateway").Status.Orphans).To(BeEmpty())

	w.sweep()
	orphans := w.get("gateway").Status.Orphans
	g.Expect(orphans).To(HaveLen(1))
	g.Expect(orphans[0].CertificateID).To(Equal(lost.CertificateID))
	g.Expect(orphans[0].SerialNumber).To(Equal(lost.SerialNumber))
	g.Expect(orphans[0].Outcome).To(Equal(v1alpha1.OrphanReported))
	g.Expect(orphans[0].Message).To(ContainSubstring("acknowledge"))
	g.Expect(w.events.reasons).To(ContainElement(v1alpha1.ReasonOrphan))
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), "an orphan does not touch the certificate in use")
	count := w.issuerStatus().Orphans
	g.Expect(count).To(HaveField("Reported", BeEquivalentTo(1)))
	g.Expect(count.Oldest.Time).To(BeTemporally("==", orphans[0].WindowStart.Time))

	w.sweep()
	g.Expect(w.get("gateway").Status.Orphans).To(Equal(orphans), "it is listed once")
}

func TestAnAcknowledgedOrphanIsNotListedAgain(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	foreign := w.buyElsewhere("gateway.example")
	w.certificate("gateway")
	w.settle()
	w.sweep()
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(HaveField("CertificateID", foreign)))
	w.annotate("gateway", v1alpha1.AnnotationAcknowledgeOrphan, foreign)
	w.settle()
	g.Expect(w.get("gateway").Status.Orphans).To(BeEmpty())
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Annotations = nil })
	w.settle()
	w.restart()
	w.sweep()
	g.Expect(w.get("gateway").Status.Orphans).To(BeEmpty())
	g.Expect(w.issuerStatus().Orphans).To(BeNil())
}

func TestAnOrphanThatSomebodyRevokedSettlesItself(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.buyElsewhere("gateway.example")
	w.certificate("gateway")
	w.settle()
	w.sweep()
	w.must(w.vendor.RevokeSerial(w.vendor.Ledger()[0].SerialNumber, "unspecified"))
	w.sweep()
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(HaveField("Outcome", v1alpha1.OrphanRevoked)))
	g.Expect(w.issuerStatus().Orphans).To(Equal(&v1alpha1.OrphanCount{Revoked: 1}))
	w.release(w.vendor.Ledger()[0].CertificateID)
}

func TestARevocationByAnotherIsNoticed(t *testing.T) {
	for policy, want := range map[v1alpha1.OnRevoked]struct {
		ready, kstatus string
		bought         int
	}{
		v1alpha1.OnRevokedHold:     {"False Revoked", "Failed", 1},
		v1alpha1.OnRevokedReenroll: {"True Stored", "Current", 2},
	} {
		t.Run(string(policy), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Renewal.OnRevoked = policy })
			w.settle()
			first := w.vendor.Ledger()[0]
			w.must(w.vendor.RevokeSerial(first.SerialNumber, "key_compromise"))
			w.release(first.CertificateID)
			w.sweep()
			w.pass(time.Hour)
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal(want.ready), w.message("gateway", v1alpha1.ConditionReady))
			g.Expect(w.kstatus("gateway")).To(BeEquivalentTo(want.kstatus))
			g.Expect(w.issued()).To(Equal(want.bought))
			g.Expect(w.events.reasons).To(ContainElement(v1alpha1.ReasonRevoked))
			if policy == v1alpha1.OnRevokedHold {
				g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True Revoked"))
				g.Expect(w.shows("gateway", v1alpha1.ConditionReconciling)).To(BeEmpty())
			} else {
				g.Expect(w.get("gateway").Status.Revoked).To(BeNil())
				w.evidence.released = nil // it is revoked, and no Secret holds it any more
			}
		})
	}
}

func TestUnderHoldNothingIsBoughtUntilAPersonAsks(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.must(w.vendor.RevokeSerial(w.vendor.Ledger()[0].SerialNumber, "key_compromise"))
	w.sweep()
	w.deleteSecret("gateway")
	w.restart()
	w.untilRenewal("gateway")
	g.Expect(w.posts()).To(Equal(1), "neither for a lost Secret nor for a renewal that is due")
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False Revoked"))
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.now())
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.asked(simulator.OperationRenew)).To(BeZero(), "a revoked certificate is not renewed")
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
}

func TestALateCommitIsFoundByTheSweep(t *testing.T) {
	for name, marker := range map[string]string{"by its name": "", "by its mark": "subject.serial_number"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			issuer := &v1alpha1.DeviceIssuer{}
			issuer.Namespace, issuer.Name = w.namespace, "digicert"
			w.updateIssuer(issuer, func() { issuer.Spec.Orphans.MarkerAttribute = marker })
			w.must(w.vendor.SetSwitches(simulator.Switches{InventoryLag: simulator.Duration(time.Hour)})) // of which the issuer knows a minute
			w.fault(lost(simulator.OperationEnroll))
			w.certificate("gateway")
			w.settle()
			attempt := w.get("gateway").Status.Attempt.ID
			w.pass(10 * time.Minute)
			status := w.get("gateway").Status
			g.Expect(status.Orphans).To(BeEmpty())
			g.Expect(status.ClosedAttempts).To(ConsistOf(HaveField("ID", attempt)))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))

			w.pass(2 * time.Hour)
			w.sweep()
			orphans := w.get("gateway").Status.Orphans
			g.Expect(orphans).To(HaveLen(1))
			g.Expect(orphans[0].AttemptID).To(Equal(attempt))
			g.Expect(orphans[0].CertificateID).To(Equal(w.vendor.Ledger()[0].CertificateID))
			if marker == "" {
				g.Expect(orphans[0].Outcome).To(Equal(v1alpha1.OrphanReported))
				g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}))
				return
			}
			g.Expect(orphans[0].Outcome).To(Equal(v1alpha1.OrphanRevoked))
			g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
			g.Expect(w.get("gateway").Status.ClosedAttempts).To(BeEmpty())
		})
	}
}

func TestALostCertificateWhoseNameWasReplacedIsFoundBySweeping(t *testing.T) {
	rename := func(c *simulator.Config) {
		c.Profiles[0].SubjectRewrite.CommonName = "device"
		c.Profiles[0].CertificateFields = append(c.Profiles[0].CertificateFields, simulator.Field{ID: "subject.common_name"})
		c.Profiles[0].CertificateFields = c.Profiles[0].CertificateFields[1:]
	}
	names := []string{"gateway.example"}
	g := NewWithT(t)
	w := newWorld(t, rename)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: attributeDNSName, Values: names})
	})
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.get("gateway").Status.Orphans).To(BeEmpty(), "the search goes by the name")
	lost := w.vendor.Ledger()[0]
	w.buyElsewhere("other.example") // at the same time, from the same profile, under the same name
	w.sweep()
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(HaveField("CertificateID", lost.CertificateID)))
	w.release(lost.CertificateID)
}

func TestARestartAsksTheVendorNothingWhileTheSweepIsYoung(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.sweep()
	asked := len(w.vendor.Requests())
	w.restart()
	for range 23 {
		w.survey()
		w.pass(time.Hour)
	}
	g.Expect(len(w.vendor.Requests())).To(Equal(asked))
	w.sweep()
	g.Expect(len(w.vendor.Requests())).To(BeNumerically(">", asked))
}

func TestACredentialThatCannotSearchSweepsNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansReport, func(c *account.Connection) {
		c.CanSearch, c.CanRevoke = v1alpha1.CapabilityNo, v1alpha1.CapabilityNo
	})
	w.certificate("gateway")
	w.settle()
	for range 30 {
		w.survey()
		w.pass(time.Hour)
	}
	g.Expect(w.issuerStatus().Sweeps).To(BeEmpty())
	g.Expect(w.asked(simulator.OperationSearch)).To(BeZero())
}

func TestAnInventoryThatCannotBeReadIsSweptLater(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	foreign := w.buyElsewhere("gateway.example")
	w.certificate("gateway")
	w.settle()
	w.fault(answering(simulator.OperationSearch, 3, 500))
	w.survey()
	w.clock.Step(time.Hour)
	w.survey()
	failed := w.issuerStatus().Sweeps[0]
	g.Expect(failed.Failures).To(BeEquivalentTo(1))
	g.Expect(failed.LastTime).To(BeNil())
	g.Expect(failed.Message).To(ContainSubstring("is repeated"))
	ended := w.sweep()[0]
	g.Expect(ended.Failures).To(BeZero())
	g.Expect(ended.Message).To(BeEmpty())
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(HaveField("CertificateID", foreign)))
}

func TestASweepThatEndsInTheMiddleIsFollowedByOneThatGoesOn(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	issuer := &v1alpha1.DeviceIssuer{}
	issuer.Namespace, issuer.Name = w.namespace, "digicert"
	w.updateIssuer(issuer, func() { issuer.Spec.Orphans.MarkerAttribute = "subject.serial_number" })
	w.must(w.vendor.SetSwitches(simulator.Switches{InventoryLag: simulator.Duration(time.Hour)}))
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	w.pass(2 * time.Hour)
	w.survey()
	w.clock.Step(time.Hour)
	w.api.on(apiRule{step: stepReport, times: 1, act: w.api.endBefore}) // after the revocation, before it is on record
	func() {
		defer func() { g.Expect(recover()).NotTo(BeNil()) }()
		w.survey()
	}()
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
	w.restart()
	w.sweep()
	g.Expect(w.asked(simulator.OperationRevoke)).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnAnswerThatCouldNotBeConfirmedIsRevokedByTheSweep(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.must(w.vendor.SetSwitches(simulator.Switches{InventoryLag: simulator.Duration(time.Hour)})) // of which the issuer knows a minute
	w.fault(onNext(simulator.OperationEnroll, 1, simulator.ActionOtherCommonName))
	w.certificate("gateway")
	w.settle()
	w.pass(30 * time.Minute)
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(HaveField("Outcome", v1alpha1.OrphanReported)))
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
	w.pass(2 * time.Hour)
	w.sweep()
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(And(
		HaveField("CertificateID", w.vendor.Ledger()[0].CertificateID), HaveField("Outcome", v1alpha1.OrphanRevoked))))
	g.Expect(w.vendor.Ledger()[0].Status).To(Equal("REVOKED"))
	g.Expect(w.get("gateway").Status.ClosedAttempts).To(BeEmpty())
}
