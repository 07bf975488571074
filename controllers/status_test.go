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

// forgedAttempt is an attempt that was never made.
func (w *world) forgedAttempt(edit func(*v1alpha1.Attempt)) *v1alpha1.Attempt {
	a := &v1alpha1.Attempt{
		ID: "00000000-0000-0000-0000-00000000dead", Kind: v1alpha1.AttemptEnroll, Generation: 1,
		IssuerKind: v1alpha1.KindDeviceIssuer, IssuerName: "digicert", IssuerUID: w.connection.UID, Host: w.connection.Host,
		ProfileID: profileLong, CommonName: "gateway.example", SecretName: "gateway", IssuanceHash: "v1:forged",
		StartedAt: metav1.NewTime(w.clock.Now()),
	}
	edit(a)
	return a
}

func TestAForgedStatusBuysNothingTwiceAndIsMended(t *testing.T) {
	future := metav1.NewTime(time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC))
	for name, forge := range map[string]func(*v1alpha1.DeviceCertificateStatus){
		"it is empty":            func(s *v1alpha1.DeviceCertificateStatus) { *s = v1alpha1.DeviceCertificateStatus{} },
		"another certificate":    func(s *v1alpha1.DeviceCertificateStatus) { s.CertificateID, s.SerialNumber = "forged", "00FF" },
		"a renewal that is due":  func(s *v1alpha1.DeviceCertificateStatus) { s.RenewalTime = &metav1.Time{Time: time.Unix(1e9, 0)} },
		"an end that has passed": func(s *v1alpha1.DeviceCertificateStatus) { s.NotAfter = &metav1.Time{Time: time.Unix(1e9, 0)} },
		"another hash":           func(s *v1alpha1.DeviceCertificateStatus) { s.IssuanceHash = "v1:forged" },
		"another Secret":         func(s *v1alpha1.DeviceCertificateStatus) { s.SecretName, s.SecretResourceVersion = "other", "1" },
		"a back-off of centuries": func(s *v1alpha1.DeviceCertificateStatus) {
			s.Failures = &v1alpha1.Failures{Count: 1 << 30, NextTime: &future}
		},
		"a generation that is yet to come": func(s *v1alpha1.DeviceCertificateStatus) { s.ObservedGeneration = 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway")
			w.settle()
			honest := w.get("gateway").Status
			w.editStatus("gateway", forge)
			w.settle()
			w.restart()
			w.pass(time.Hour)
			g.Expect(w.posts()).To(Equal(1))
			status := w.get("gateway").Status
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(status.CertificateID).To(Equal(honest.CertificateID))
			g.Expect(status.NotAfter).To(Equal(honest.NotAfter))
			g.Expect(status.RenewalTime).To(Equal(honest.RenewalTime))
			g.Expect(status.IssuanceHash).To(Equal(honest.IssuanceHash))
			g.Expect(status.SecretName).To(Equal("gateway"))
			g.Expect(status.ObservedGeneration).To(BeEquivalentTo(1))

			w.untilRenewal("gateway")
			g.Expect(w.posts()).To(Equal(2), "nor does it suppress the renewal")
		})
	}
}

func TestAForgedBackOffDoesNotSuppressTheFirstCertificate(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(answering(simulator.OperationEnroll, 1, 400))
	w.certificate("gateway")
	w.settle()
	w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) {
		s.Failures.NextTime = &metav1.Time{Time: w.clock.Now().Add(1000 * time.Hour)}
	})
	w.pass(9 * time.Hour)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAForgedAttemptRevokesNothingOfOthers(t *testing.T) {
	for name, forge := range map[string]func(w *world, a *v1alpha1.Attempt, foreign string){
		"under our name":  func(*world, *v1alpha1.Attempt, string) {},
		"under theirs":    func(_ *world, a *v1alpha1.Attempt, _ string) { a.CommonName = "victim.example" },
		"of another host": func(_ *world, a *v1alpha1.Attempt, _ string) { a.Host = "elsewhere.example" },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			foreign := w.buyElsewhere("victim.example")
			w.certificate("victim", func(c *v1alpha1.DeviceCertificate) {})
			w.certificate("gateway")
			w.settle()
			w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) {
				s.Attempt = w.forgedAttempt(func(a *v1alpha1.Attempt) { forge(w, a, foreign) })
			})
			w.restart()
			w.pass(10 * time.Minute)
			g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
			g.Expect(w.get("gateway").Status.Attempt).To(BeNil())
			g.Expect(w.posts()).To(Equal(3))
			for _, name := range []string{"victim", "gateway"} {
				g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"))
			}
		})
	}
}

func TestAForgedRequestForApprovalIsEndedByItsAnnotation(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) {
		s.Attempt = w.forgedAttempt(func(a *v1alpha1.Attempt) { a.RequestID = "forged" })
	})
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), "what is stored is still valid")
	w.annotate("gateway", v1alpha1.AnnotationAbandonAttempt, "00000000-0000-0000-0000-00000000dead")
	w.pass(time.Minute)
	g.Expect(w.get("gateway").Status.Attempt).To(BeNil())
	g.Expect(w.posts()).To(Equal(1))
}

func TestAManyTimesToggledRequestDoesNotBuyManyTimes(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.pass(time.Minute)
	at := w.now()
	for range 20 {
		w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, at)
		w.settle()
		w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { delete(c.Annotations, v1alpha1.AnnotationRenewRequestedAt) })
		w.settle()
	}
	g.Expect(w.posts()).To(Equal(2))
}

func TestABadEditThatIsRevertedCostsNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	before := digests(w.secret("gateway"))
	w.fault(answering(simulator.OperationEnroll, -1, 400))
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = "nonsense" })
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False OutOfDate"))
	g.Expect(digests(w.secret("gateway"))).To(Equal(before), "the old pair stays")
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = "" })
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(digests(w.secret("gateway"))).To(Equal(before))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Current"))
}

func TestASecretThatIsDeletedAgainAndAgainIsNotBoughtWithoutEnd(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	for range 60 {
		if w.hasSecret("gateway") {
			w.deleteSecret("gateway")
		}
		w.pass(5 * time.Second)
	}
	g.Expect(w.posts()).To(BeNumerically("<", 15), "of 60 deletions in five minutes")
	for _, e := range w.vendor.Ledger() {
		w.release(e.CertificateID) // more than the ten that a status lists
	}
}

func TestAClockThatJumpsBackChangesNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.clock.SetTime(w.clock.Now().Add(-30 * 24 * time.Hour))
	w.wakeAll()
	w.settle()
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False NotYetValid"))
	w.clock.SetTime(w.clock.Now().Add(30 * 24 * time.Hour))
	w.wakeAll()
	w.settle()
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}
