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

func TestWhatARetainedSecretHoldsIsNoCandidate(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	same := "same.example"
	named := func(c *v1alpha1.DeviceCertificate) { c.Spec.CertificateAttributes[0].Value = &same }
	w.certificate("old", named)
	w.settle()
	w.delete("old")
	g.Expect(w.hasSecret("old")).To(BeTrue())
	w.fault(onNext(simulator.OperationEnroll, 1, simulator.ActionDrop)) // nothing is issued
	w.certificate("new", named)
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
	g.Expect(w.shows("new", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnObjectThatTookARetainedSecretOverDeletesItAsItsPolicySays(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.delete("gateway")
	g.Expect(w.hasSecret("gateway")).To(BeTrue())
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete })
	w.settle()
	g.Expect(w.posts()).To(Equal(1), "taking over buys nothing")
	w.delete("gateway")
	g.Expect(w.hasSecret("gateway")).To(BeFalse())
	w.release(w.vendor.Ledger()[0].CertificateID)
}
