// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// neighbour is another cluster, with an operator of its own, on the same account.
func (w *world) neighbour() *world {
	w.t.Helper()
	n := &world{
		t: w.t, ctx: w.ctx, client: w.client, clock: w.clock, vendor: w.vendor, vendorURL: w.vendorURL, roots: w.roots,
		events: &recordedEvents{}, telemetry: &recordedTelemetry{}, due: map[types.NamespacedName]time.Time{}, logged: w.logged,
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "neighbour-"}}
	w.must(w.client.Create(w.ctx, namespace))
	n.namespace = namespace.Name
	n.operator = n.newOperator()
	n.connect(v1alpha1.OrphansReport, func(c *account.Connection) { c.Credential.APIToken = otherToken })
	return n
}

// restoreFromBackup takes from objects what a backup does not hold: statuses, finalizers and UIDs. Their Secrets stay.
func (w *world) restoreFromBackup(names ...string) {
	w.t.Helper()
	for _, name := range names {
		old := w.get(name)
		w.forceDelete(name)
		w.must(w.client.Create(w.ctx, &v1alpha1.DeviceCertificate{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Annotations: old.Annotations, Labels: old.Labels}, Spec: old.Spec,
		}))
	}
	issuer := &v1alpha1.DeviceIssuer{}
	w.must(w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: "digicert"}, issuer))
	base := issuer.DeepCopy()
	issuer.Status = v1alpha1.IssuerStatus{}
	w.must(w.client.Status().Patch(w.ctx, issuer, client.MergeFrom(base)))
}

func TestTwoClustersOfOneYAMLNeverRevokeEachOthersCertificates(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	n := w.neighbour()
	renewing := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke
		c.Spec.Revocation.GracePeriod = &metav1.Duration{}
	}
	for _, cluster := range []*world{w, n} {
		cluster.certificate("gateway", renewing)
		cluster.settle()
	}
	// Both lose an answer, and both renew.
	for _, cluster := range []*world{w, n} {
		w.fault(lost(simulator.OperationEnroll))
		cluster.certificate("lost")
		cluster.settle()
		cluster.pass(10 * time.Minute)
		cluster.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.now())
		cluster.pass(time.Minute)
	}
	for _, cluster := range []*world{w, n} {
		cluster.sweep()
		cluster.sweep()
	}
	inUse := map[string]bool{}
	for _, cluster := range []*world{w, n} {
		for _, name := range []string{"gateway", "lost"} {
			g.Expect(cluster.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"))
			inUse[cluster.stored(name).CertificateID] = true
		}
		g.Expect(cluster.get("gateway").Status.Superseded).To(BeEmpty(), "its own predecessor is revoked")
	}
	var revoked int
	for _, e := range w.vendor.Ledger() {
		if e.Status != "REVOKED" {
			continue
		}
		revoked++
		g.Expect(inUse).NotTo(HaveKey(e.CertificateID))
		g.Expect(e.CommonName).To(Equal("gateway.example"))
		if e.Credential != ours {
			w.release(e.CertificateID) // by the neighbour, whose predecessor it is
		}
	}
	g.Expect(revoked).To(Equal(2), "one predecessor of each cluster, and nothing else")
	g.Expect(w.get("gateway").Status.Orphans).To(ConsistOf(And(
		HaveField("CertificateID", n.stored("gateway").CertificateID), HaveField("Outcome", v1alpha1.OrphanReported))))
	g.Expect(w.get("lost").Status.Orphans).NotTo(BeEmpty())
}

func TestARestoredClusterBuysNothingAndSweepsOnce(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		w.certificate(name)
	}
	w.settle()
	w.annotate("a", v1alpha1.AnnotationRenewRequestedAt, w.now()) // its predecessor is known to the status alone
	w.clock.Step(time.Second)
	w.annotate("a", v1alpha1.AnnotationRenewRequestedAt, w.now())
	w.settle()
	bought := w.posts()
	predecessor := w.get("a").Status.Superseded[0].CertificateID

	w.restoreFromBackup(names...)
	w.restart()
	w.sweep()
	w.pass(48 * time.Hour)
	g.Expect(w.posts()).To(Equal(bought))
	for _, name := range names {
		g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"))
	}
	g.Expect(w.get("a").Status.Orphans).To(ConsistOf(And(HaveField("CertificateID", predecessor), HaveField("Outcome", v1alpha1.OrphanReported))))
	g.Expect(w.get("b").Status.Orphans).To(BeEmpty())
	g.Expect(w.asked(simulator.OperationRevoke)).To(BeZero())
}

func TestALostCertificateThatAnotherObjectFearsIsReportedByItsOwnAsWell(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	same := "same.example"
	named := func(c *v1alpha1.DeviceCertificate) { c.Spec.CertificateAttributes[0].Value = &same }
	w.fault(lost(simulator.OperationEnroll))
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("one", named)
	w.settle()
	w.advance(time.Minute)
	w.certificate("two", named)
	w.settle()
	w.pass(time.Hour)
	bothLost := []any{HaveField("CertificateID", w.vendor.Ledger()[0].CertificateID), HaveField("CertificateID", w.vendor.Ledger()[1].CertificateID)}
	g.Expect(w.get("one").Status.Orphans).To(ContainElements(bothLost...))
	g.Expect(w.get("two").Status.Orphans).To(ContainElements(bothLost...))
}
