// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// untilRenewal lets time pass until the renewal is due. The operator looks at its objects every six hours at least; most of that is skipped.
func (w *world) untilRenewal(name string) {
	w.t.Helper()
	w.advance(w.get(name).Status.RenewalTime.Sub(w.clock.Now()) - time.Minute)
	w.pass(time.Minute)
}

// windowOf makes the long-lived profile refuse renewals that come earlier than this before the end.
func windowOf(before time.Duration) func(*simulator.Config) {
	return func(c *simulator.Config) {
		c.Profiles[0].Renewal = simulator.Renewal{RenewValidCert: "in_specific_window", RenewBeforeExpirationWindow: simulator.Duration(before)}
	}
}

func TestARenewalIsOneWriteAndLosesNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	first := w.get("gateway").Status
	g.Expect(first.RenewalTime.Time).To(BeTemporally(">", w.clock.Now()))
	g.Expect(first.RenewalTime.Time).To(BeTemporally("<", first.NotAfter.Time))

	w.advance(first.RenewalTime.Sub(w.clock.Now()) - time.Minute)
	g.Expect(w.issued()).To(Equal(1), "a minute early")
	var ready []string
	w.api.on(apiRule{step: stepReport, act: func(c apiCall) error { return w.afterwards(c, &ready) }})
	w.api.on(apiRule{step: stepIntent, act: func(c apiCall) error { return w.afterwards(c, &ready) }})
	stores := w.api.count(stepStore)
	w.pass(2 * time.Minute)

	g.Expect(w.api.count(stepStore)-stores).To(Equal(1), "one write")
	g.Expect(ready).NotTo(BeEmpty())
	g.Expect(ready).To(HaveEach("True Stored"), "Ready must not be False for a moment")
	second := w.get("gateway").Status
	g.Expect(second.CertificateID).NotTo(Equal(first.CertificateID))
	g.Expect(second.RenewalTime.Time).To(BeTemporally(">", first.RenewalTime.Time))
	g.Expect(second.Superseded).To(HaveLen(1))
	g.Expect(second.Superseded[0].CertificateID).To(Equal(first.CertificateID))
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "ISSUED"}), "the predecessor stays valid")
	g.Expect(w.vendor.Ledger()[1].PredecessorID).To(Equal(first.CertificateID), "by renewing, not by enrolling")
	g.Expect(w.events.reasons).To(Equal([]string{"Issued", "Renewed"}))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Current"))
}

// afterwards notes what Ready says once a write is done.
func (w *world) afterwards(c apiCall, ready *[]string) error {
	err := c.forward()
	*ready = append(*ready, w.shows(c.name, v1alpha1.ConditionReady))
	return err
}

func TestCertificatesAreRenewedAgainAndAgain(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	w.settle()
	w.pass(time.Hour)
	// Ten minutes of life, of which a third and up to a tenth of that is left at each renewal.
	g.Expect(w.issued()).To(And(BeNumerically(">=", 9), BeNumerically("<=", 11)))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(len(w.get("gateway").Status.Superseded)).To(BeNumerically("<=", 2), "expired predecessors are dropped")
}

func TestARequestedRenewalHappensExactlyOnce(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Renewal.Policy = v1alpha1.RenewalDisabled })
	w.settle()
	w.pass(time.Hour)
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.now())
	w.settle()
	g.Expect(w.issued()).To(Equal(2))
	g.Expect(w.get("gateway").Status.LastHandledRenewRequest).NotTo(BeEmpty())

	w.advance(time.Hour)
	w.restart()
	g.Expect(w.issued()).To(Equal(2), "after a restart")
	w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) { *s = v1alpha1.DeviceCertificateStatus{} })
	w.release(w.vendor.Ledger()[0].CertificateID) // the only record of the predecessor was the status
	w.settle()
	w.restart()
	g.Expect(w.issued()).To(Equal(2), "after the status was lost")
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))

	w.pass(time.Hour)
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.now())
	w.settle()
	g.Expect(w.issued()).To(Equal(3), "a new request is a new renewal")
}

func TestARenewalRequestOlderThanTheCertificateIsNotCarriedOut(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	yesterday := w.clock.Now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Annotations = map[string]string{v1alpha1.AnnotationRenewRequestedAt: yesterday}
	})
	w.settle()
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.clock.Now().Add(-23*time.Hour).UTC().Format(time.RFC3339))
	w.settle()
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, "yes please")
	w.settle()
	g.Expect(w.issued()).To(Equal(1))
}

func TestADisabledRenewalLetsTheCertificateExpireAndSaysSo(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.EnrollmentProfileID, c.Spec.Renewal.Policy = profileShort, v1alpha1.RenewalDisabled
	})
	w.settle()
	g.Expect(w.get("gateway").Status.RenewalTime).To(BeNil())
	w.pass(11 * time.Minute)
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False Expired"))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Failed"))

	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Renewal.Policy = v1alpha1.RenewalAutomatic })
	w.settle()
	w.pass(time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
}

func TestASuspendedCertificateIsNotRenewedUntilItIsResumed(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	w.settle()
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true })
	w.pass(9 * time.Minute)
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionSuspended)).To(Equal("True Suspended"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), "suspended, and still valid")
	w.pass(2 * time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False Expired"))

	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = false })
	w.pass(time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
}

func TestASuspendedIssuerSellsNothingButStillRenders(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	w.settle()
	w.suspendIssuer(true)
	w.certificate("other")
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Labels = map[string]string{"team": "edge"} })
	w.pass(9 * time.Minute)
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.secret("gateway").Labels).To(HaveKeyWithValue("team", "edge"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionSuspended)).To(Equal("True Suspended"))
	g.Expect(w.shows("other", v1alpha1.ConditionReady)).To(Equal("False Suspended"))
	g.Expect(w.kstatus("other")).To(BeEquivalentTo("InProgress"))

	w.suspendIssuer(false)
	w.wakeAll() // the watch on issuers
	w.settle()
	g.Expect(w.shows("other", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionSuspended)).To(BeEmpty())
}

// suspendIssuer sets spec.suspend of the issuer, and tells the account as the issuer controller would.
func (w *world) suspendIssuer(suspend bool) {
	w.t.Helper()
	issuer := &v1alpha1.DeviceIssuer{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "digicert"}}
	w.updateIssuer(issuer, func() { issuer.Spec.Suspend = suspend })
	w.connection.Suspended, w.connection.Generation = suspend, issuer.Generation
	w.must(w.accounts.Update(w.issuer, w.connection))
}

func TestARenewalThatIsRefusedAsTooEarlyIsRepeatedUntilItIsNot(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, windowOf(90*24*time.Hour))
	w.certificate("gateway") // renews 120 days before the end, earlier than the profile lets it
	w.settle()
	w.untilRenewal("gateway")
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionRenewalFailing)).To(Equal("True RefusedByVendor"))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Current"))

	asked := w.posts()
	w.pass(7 * time.Hour)
	g.Expect(w.posts()).To(Equal(asked+1), "every six hours")
	w.clock.Step(w.get("gateway").Status.NotAfter.Sub(w.clock.Now()) - 90*24*time.Hour)
	w.wakeAll()
	w.pass(7 * time.Hour)
	g.Expect(w.issued()).To(Equal(2))
	g.Expect(w.vendor.Ledger()[1].Kind).To(Equal("renew"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionRenewalFailing)).To(BeEmpty())
}

func TestARenewalThatIsRefusedToTheEndBecomesAnEnrollInTheLastSixth(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, func(c *simulator.Config) { c.Profiles[0].Renewal = simulator.Renewal{RenewValidCert: "dont_allow"} })
	w.certificate("gateway")
	w.settle()
	w.untilRenewal("gateway")
	status := w.get("gateway").Status
	lastSixth := status.NotAfter.Add(-status.NotAfter.Sub(status.NotBefore.Time) / 6)
	w.clock.Step(lastSixth.Sub(w.clock.Now()) - 24*time.Hour)
	w.wakeAll()
	w.pass(12 * time.Hour)
	g.Expect(w.issued()).To(Equal(1), "half a day before the last sixth")
	w.pass(48 * time.Hour)
	g.Expect(w.issued()).To(Equal(2))
	g.Expect(w.vendor.Ledger()[1].Kind).To(Equal("enroll"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.get("gateway").Status.Superseded).To(HaveLen(1))
}

func TestALostRenewalThatMayNotBeRepeatedBecomesAnEnroll(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	switches := w.vendor.Switches()
	switches.RefuseSecondRenew = true
	w.must(w.vendor.SetSwitches(switches))
	w.certificate("gateway")
	w.settle()
	w.fault(lost(simulator.OperationRenew))
	w.untilRenewal("gateway")
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	w.pass(time.Hour)

	kinds := []string{}
	for _, e := range w.vendor.Ledger() {
		kinds = append(kinds, e.Kind)
	}
	g.Expect(kinds).To(Equal([]string{"enroll", "renew", "enroll"}))
	c := w.get("gateway")
	g.Expect(c.Status.CertificateID).To(Equal(w.vendor.Ledger()[2].CertificateID))
	g.Expect(c.Status.Orphans).To(HaveLen(1), "the lost renewal is reported")
	g.Expect(c.Status.Orphans[0].CertificateID).To(Equal(w.vendor.Ledger()[1].CertificateID))
	g.Expect(c.Status.Superseded).To(HaveLen(1))
}

func TestAnOutageLongerThanTheRenewalWindowEndsWithARenewal(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	w.settle()
	w.clock.Step(20 * time.Minute) // the operator was down, and the certificate has expired
	w.restart()
	w.pass(time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	g.Expect(w.live()).To(Equal(1))
}
