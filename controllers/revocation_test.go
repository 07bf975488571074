// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func revokedOnDelete(c *v1alpha1.DeviceCertificate) {
	c.Spec.Revocation.OnDelete = v1alpha1.RevocationRevoke
	c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete
}

func TestADeletedCertificateIsRevokedIfThatIsAskedFor(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", revokedOnDelete)
	w.settle()
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
	g.Expect(w.hasSecret("gateway")).To(BeFalse())
}

func TestARevocationOnDeletionIsRepeatedAfterACrash(t *testing.T) {
	for name, at := range map[string]step{"before the Secret is deleted": stepDelete, "before the finalizer goes": stepFinalizer} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway", revokedOnDelete)
			w.settle()
			w.api.on(apiRule{step: at, times: 1, act: w.api.endBefore})
			w.delete("gateway")
			g.Expect(w.exists("gateway")).To(BeTrue())
			w.restart()
			w.pass(time.Minute)
			g.Expect(w.exists("gateway")).To(BeFalse())
			g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
		})
	}
}

func TestARevocationOnDeletionDoesNotWaitForEver(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", revokedOnDelete)
	w.settle()
	w.must(w.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeTrue())
	w.pass(30 * time.Minute)
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.events.reasons).To(ContainElement("RevocationFailed"))
	w.release(w.vendor.Ledger()[0].CertificateID)
}

func TestAPredecessorIsRevokedAfterItsGracePeriod(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke
		c.Spec.Revocation.GracePeriod = &metav1.Duration{Duration: time.Hour}
	})
	w.settle()
	w.untilRenewal("gateway")
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}))
	w.pass(50 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}))
	w.pass(20 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAForgedPredecessorIsNotRevoked(t *testing.T) {
	for name, fingerprint := range map[string]string{
		"without a fingerprint": "", "with that of a certificate somebody made with the victim's serial number": strings.Repeat("0a", 32),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			foreign := w.buyElsewhere("victim.example")
			w.certificate("gateway", supersededRevoked(0))
			w.settle()
			victim := w.vendor.Ledger()[0]
			w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) {
				forged := v1alpha1.SupersededCertificate{SupersededAt: metav1.NewTime(w.clock.Now().Add(-time.Hour))}
				forged.IssuedCertificate = *s.Issued
				forged.CertificateID, forged.SerialNumber, forged.NotAfter = foreign, victim.SerialNumber, metav1.NewTime(victim.NotAfter)
				forged.FingerprintSHA256 = fingerprint
				s.Superseded = append(s.Superseded, forged)
			})
			w.pass(time.Hour)
			g.Expect(w.vendor.Ledger()[0].Status).To(Equal("ISSUED"))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
		})
	}
}

func supersededRevoked(grace time.Duration) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnSupersede, c.Spec.Revocation.GracePeriod = v1alpha1.RevocationRevoke, &metav1.Duration{Duration: grace}
	}
}

func TestADeletionTellsWhatItLeavesValid(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", supersededRevoked(time.Hour))
	w.settle()
	w.untilRenewal("gateway")
	first := w.vendor.Ledger()[0]
	w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) {
		at := metav1.NewTime(w.clock.Now())
		s.Orphans = []v1alpha1.Orphan{{AttemptID: "lost", CertificateID: "orphan-1", ProfileID: profileLong, WindowStart: at, WindowEnd: at, Outcome: v1alpha1.OrphanReported}}
	})
	w.settle()
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}), "a device may still use what is within its grace")
	g.Expect(w.events.notes).To(ContainElement(And(ContainSubstring(first.SerialNumber), ContainSubstring("grace period"))))
	g.Expect(w.events.notes).To(ContainElement(ContainSubstring("orphan-1")))
	g.Expect(processLog.since(w.logged)).To(And(ContainSubstring(first.SerialNumber), ContainSubstring("orphan-1")))
	w.release(first.CertificateID)
}

func TestADeletionRevokesPredecessorsWhoseTimeHasCome(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", supersededRevoked(time.Hour))
	w.settle()
	w.untilRenewal("gateway")
	w.clock.Step(2 * time.Hour)
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
}

func TestACredentialThatCannotRevokeSaysSoAndHoldsNothingUp(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansReport, func(c *account.Connection) { c.CanSearch, c.CanRevoke = v1alpha1.CapabilityNo, v1alpha1.CapabilityNo })
	w.certificate("gateway", supersededRevoked(0), revokedOnDelete)
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionRevocationFailing)).To(Equal("True CannotRevoke"))
	w.untilRenewal("gateway")
	g.Expect(w.shows("gateway", v1alpha1.ConditionRevocationFailing)).To(Equal("True RevocationFailed"))
	g.Expect(w.message("gateway", v1alpha1.ConditionRevocationFailing)).To(ContainSubstring(w.vendor.Ledger()[0].SerialNumber))
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.asked(simulator.OperationSearch, simulator.OperationRevoke)).To(BeZero())
	for _, e := range w.vendor.Ledger() {
		g.Expect(w.events.notes).To(ContainElement(ContainSubstring("serial " + e.SerialNumber + " was left valid")))
		w.release(e.CertificateID)
	}
}

func TestARefusedRevocationIsTriedAgainWhenAPersonAsks(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", supersededRevoked(0))
	w.settle()
	w.fault(answering(simulator.OperationRevoke, 2, 403))
	w.untilRenewal("gateway")
	w.pass(24 * time.Hour)
	g.Expect(w.asked(simulator.OperationRevoke)).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionRevocationFailing)).To(Equal("True RevocationFailed"))
	for _, want := range []string{"ISSUED", "REVOKED"} {
		w.clock.Step(time.Second)
		w.annotate("gateway", v1alpha1.AnnotationRetryRequestedAt, w.now())
		w.pass(time.Hour)
		g.Expect(w.statuses()).To(Equal([]string{want, "ISSUED"}))
	}
	g.Expect(w.asked(simulator.OperationRevoke)).To(Equal(3), "once for each time it is asked for")
	g.Expect(w.shows("gateway", v1alpha1.ConditionRevocationFailing)).To(BeEmpty())
}

func TestARequestedRevocationReplacesFirstWhereverTheProcessEnds(t *testing.T) {
	for name, at := range map[string]struct {
		step step
		skip int
	}{"before the successor is stored": {stepStore, 0}, "before it is reported": {stepReport, 0}, "after the revocation": {stepReport, 1}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.connect(v1alpha1.OrphansRevoke)
			w.certificate("gateway")
			w.settle()
			first := w.vendor.Ledger()[0]
			w.api.on(apiRule{step: at.step, skip: at.skip, times: 1, act: w.api.endBefore})
			w.annotate("gateway", v1alpha1.AnnotationRevokeRequested, first.SerialNumber+"/key_compromise")
			w.settle()
			g.Expect(w.stored("gateway").Broken).NotTo(HaveOccurred())
			g.Expect(w.api.hasEnded()).To(BeTrue())
			w.restart()
			w.pass(time.Hour)
			revoked := w.vendor.Ledger()[0]
			g.Expect(revoked.Status).To(Equal("REVOKED"))
			g.Expect(revoked.RevocationReason).To(Equal("key_compromise"))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(w.stored("gateway").CertificateID).NotTo(Equal(first.CertificateID))
			g.Expect(w.get("gateway").Status.Superseded).To(BeEmpty())
			g.Expect(w.shows("gateway", v1alpha1.ConditionRevocationRequested)).To(Equal("True Revoked"))
			w.pass(24 * time.Hour)
			g.Expect(w.live()).To(Equal(1))
		})
	}
}

func TestAWishToRevokeWhatNobodyKnowsIsAnswered(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.certificate("gateway")
	w.settle()
	w.annotate("gateway", v1alpha1.AnnotationRevokeRequested, "ABCDEF/key_compromise")
	w.pass(time.Hour)
	g.Expect(w.shows("gateway", v1alpha1.ConditionRevocationRequested)).To(Equal("False UnknownSerial"))
	g.Expect(w.message("gateway", v1alpha1.ConditionRevocationRequested)).To(ContainSubstring(`"ABCDEF"`))
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
}

func TestWhatSomebodyRevokedAlreadyIsDone(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", supersededRevoked(time.Hour))
	w.settle()
	w.untilRenewal("gateway")
	w.must(w.vendor.RevokeSerial(w.vendor.Ledger()[0].SerialNumber, "unspecified"))
	w.pass(2 * time.Hour)
	g.Expect(w.get("gateway").Status.Superseded).To(BeEmpty())
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
	g.Expect(w.shows("gateway", v1alpha1.ConditionRevocationFailing)).To(BeEmpty())
}

func TestAnInventoryThatIsDownForHoursKeepsTheAttemptOpen(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(lost(simulator.OperationEnroll))
	down := answering(simulator.OperationSearch, -1, 500)
	id, err := w.vendor.AddFault(down)
	w.must(err)
	w.certificate("gateway")
	w.settle()
	w.pass(6 * time.Hour)
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.get("gateway").Status.Attempt).NotTo(BeNil())
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(HavePrefix("False"))
	w.vendor.RemoveFault(id)
	w.pass(time.Hour)
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(HaveField("CertificateID", w.vendor.Ledger()[0].CertificateID)))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAPredecessorIsRevokedAlsoWhenItsIssuerIsConnectedAfterTheStart(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", supersededRevoked(0))
	w.settle()
	w.api.on(apiRule{step: stepReport, times: 1, act: w.api.endAfter}) // replaced, and nothing revoked yet
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = "p_384" })
	w.settle()
	w.operator = w.newOperator()
	w.due = make(map[types.NamespacedName]time.Time)
	w.wakeAll()
	w.settle()
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}))
	w.must(w.accounts.Update(w.issuer, w.connection))
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
}
