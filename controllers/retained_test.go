// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

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

func TestARenewalOfARetainedCertificateRecordsWhatItReplacedEvenIfItsReportIsLost(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	named := func(secret string) func(*v1alpha1.DeviceCertificate) {
		return func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = secret }
	}
	w.certificate("gateway", named("retained"))
	w.settle()
	retained := w.get("gateway").Status.CertificateID
	w.delete("gateway")
	w.settle()
	w.certificate("gateway", named("own"))
	w.settle()
	own := w.get("gateway").Status.CertificateID
	w.edit("gateway", named("retained"))
	w.settle()
	g.Expect(w.get("gateway").Status.CertificateID).To(Equal(retained))

	w.crashAt(crash{step: stepStore, after: true})
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.clock.Now().Add(time.Minute).UTC().Format(time.RFC3339))
	w.settle()
	w.restart()
	w.pass(10 * time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.get("gateway").Status.Superseded).To(ConsistOf(HaveField("CertificateID", retained), HaveField("CertificateID", own)))
}

func TestWhatALostAndBrokenRenewalReplacedStaysOnRecord(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	retained := w.get("gateway").Status.SerialNumber
	w.delete("gateway")
	w.certificate("gateway") // knows what it took over from the Secret alone
	w.settle()

	w.crashAt(crash{step: stepStore, after: true})
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.clock.Now().Add(time.Minute).UTC().Format(time.RFC3339))
	w.settle()
	w.editSecret("gateway", func(s *corev1.Secret) { s.Data[corev1.TLSPrivateKeyKey] = []byte("broken") })
	w.restart()
	w.pass(10 * time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.get("gateway").Status.Superseded).To(ContainElement(HaveField("SerialNumber", retained)))
}
