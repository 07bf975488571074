// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

func TestEnrollStoresKeyAndCertificateTogether(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()

	c := w.get("gateway")
	g.Expect(apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue(), "conditions: %+v", c.Status.Conditions)
	g.Expect(c.Status.Attempt).To(BeNil())
	stored := tlssecret.Read(w.secret("gateway"))
	g.Expect(stored.Broken).NotTo(HaveOccurred())
	g.Expect(w.vendor.Ledger()).To(HaveLen(1))
	g.Expect(stored.CertificateID).To(Equal(w.vendor.Ledger()[0].CertificateID))
	g.Expect(w.events.reasons).To(Equal([]string{"Issued"}))
}
