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
	g := NewWithT(t)
	w := newWorld(t)
	foreign := w.buyElsewhere("victim.example")
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke
		c.Spec.Revocation.GracePeriod = &metav1.Duration{}
	})
	w.settle()
	victim := w.vendor.Ledger()[0]
	w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) {
		forged := v1alpha1.SupersededCertificate{SupersededAt: metav1.NewTime(w.clock.Now().Add(-time.Hour))}
		forged.CertificateID, forged.SerialNumber, forged.NotAfter = foreign, victim.SerialNumber, metav1.NewTime(victim.NotAfter)
		s.Superseded = append(s.Superseded, forged)
	})
	w.pass(time.Hour)
	g.Expect(w.vendor.Ledger()[0].Status).To(Equal("ISSUED"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}
