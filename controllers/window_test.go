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

func TestTheVendorsWindowIsLearnedFromTheFirstOfAFleet(t *testing.T) {
	g := NewWithT(t)
	// Certificates of ten minutes want to be renewed more than three minutes before their end.
	const window = 130 * time.Second
	w := newWorld(t, func(c *simulator.Config) {
		c.Profiles[1].Renewal = simulator.Renewal{RenewValidCert: "in_specific_window", RenewBeforeExpirationWindow: simulator.Duration(window)}
	})
	short := func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort }
	w.certificate("first", short)
	w.settle()
	w.advance(2 * time.Minute)
	w.certificate("second", short)
	w.settle()
	w.untilRenewal("first")
	g.Expect(w.shows("first", v1alpha1.ConditionRenewalFailing)).To(Equal("True RefusedByVendor"))
	w.pass(w.get("first").Status.NotAfter.Sub(w.clock.Now()) - window + 20*time.Second)
	g.Expect(w.issued()).To(Equal(3), "the first is renewed")

	asked := w.asked(simulator.OperationRenew)
	w.pass(w.get("second").Status.RenewalTime.Sub(w.clock.Now()) + time.Second)
	g.Expect(w.shows("second", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("second", v1alpha1.ConditionIssuing)).To(Equal("True TooEarly"))
	g.Expect(w.kstatus("second")).To(BeEquivalentTo("Current"))
	w.pass(w.get("second").Status.NotAfter.Sub(w.clock.Now()) - window + 20*time.Second)
	g.Expect(w.issued()).To(Equal(4), "the second is renewed")
	// Between the last refusal and the first acceptance it may be tried.
	g.Expect(w.asked(simulator.OperationRenew)).To(BeNumerically("<=", asked+2))
}
