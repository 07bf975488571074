// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// neighbour is another namespace on the same account. An operator that serves it sees nothing of this one, as if it were in another cluster.
func (w *world) neighbour() *world {
	w.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	w.must(env.admin.Create(w.ctx, namespace))
	n := *w
	n.namespace = namespace.Name
	return &n
}

// sweepNow makes the sweep due that would come some time within a day. A label has the issuer looked at at once.
func (w *world) sweepNow() {
	w.Helper()
	issuer := &v1alpha1.DeviceIssuer{ObjectMeta: w.meta(issuerName)}
	label := func() {
		w.must(env.admin.Get(w.ctx, client.ObjectKeyFromObject(issuer), issuer))
		base := issuer.DeepCopy()
		metav1.SetMetaDataLabel(&issuer.ObjectMeta, "example.com/looked-at", strconv.FormatInt(time.Now().UnixNano(), 10))
		w.must(env.admin.Patch(w.ctx, issuer, client.MergeFrom(base)))
	}
	label()
	eventually(w.T, patience, "the calendar of the sweeps is made", func(ctx context.Context) (bool, error) {
		err := env.admin.Get(ctx, client.ObjectKeyFromObject(issuer), issuer)
		return err == nil && len(issuer.Status.Sweeps) > 0, err
	})
	base := issuer.DeepCopy()
	due := time.Now().Add(-time.Minute)
	issuer.Status.Sweeps[0].NextTime = metav1.NewTime(due)
	w.must(env.admin.Status().Patch(w.ctx, issuer, client.MergeFrom(base)))
	label()
	eventually(w.T, patience, "the inventory is swept", func(ctx context.Context) (bool, error) {
		err := env.admin.Get(ctx, client.ObjectKeyFromObject(issuer), issuer)
		return err == nil && issuer.Status.Sweeps[0].LastTime != nil && issuer.Status.Sweeps[0].NextTime.After(time.Now()), err
	})
}

func TestTwoOperatorsOfOneYAMLOnOneAccountRevokeNothingOfEachOther(t *testing.T) {
	w := newWorld(t)
	clusters := []*world{w, w.neighbour()}
	for _, c := range clusters {
		c.connect()
		c.startManager()
		c.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Revocation.OnSupersede, c.Spec.Revocation.GracePeriod = v1alpha1.RevocationRevoke, &metav1.Duration{}
		})
		c.awaitReady("gateway")
	}
	for i, c := range clusters {
		c.sweepNow()
		theirs := clusters[1-i].get("gateway").Status.CertificateID
		c.await("gateway", "told of the other's certificate", patience, func(d *v1alpha1.DeviceCertificate) bool {
			return ready(d) && len(d.Status.Orphans) == 1 && d.Status.Orphans[0].CertificateID == theirs && d.Status.Orphans[0].Outcome == v1alpha1.OrphanReported
		})
		issuer := &v1alpha1.DeviceIssuer{ObjectMeta: c.meta(issuerName)}
		eventually(t, patience, "the issuer counts it", func(ctx context.Context) (bool, error) {
			err := env.admin.Get(ctx, client.ObjectKeyFromObject(issuer), issuer)
			return err == nil && issuer.Status.Orphans != nil && issuer.Status.Orphans.Reported == 1, err
		})
	}
	w.wantStatus("gateway", issued, issued)

	// Each renews and revokes what is its own.
	for _, c := range clusters {
		before := c.get("gateway").Status.SerialNumber
		c.requestRenewal("gateway")
		c.await("gateway", "renewed", patience, renewed(before))
		c.awaitRevoked(commonName("gateway"), before)
	}
	inUse := []string{clusters[0].get("gateway").Status.CertificateID, clusters[1].get("gateway").Status.CertificateID}
	live := w.live(commonName("gateway"))
	if len(live) != 2 || !slices.ContainsFunc(live, func(e simulator.Entry) bool { return e.CertificateID == inUse[0] }) || !slices.ContainsFunc(live, func(e simulator.Entry) bool { return e.CertificateID == inUse[1] }) {
		t.Errorf("in use are %v, and valid at the vendor %s", inUse, describe(live))
	}

	// Somebody revokes one of them.
	serial := clusters[0].get("gateway").Status.SerialNumber
	w.vendor.ask(http.MethodPost, "/revoke?reason=key_compromise&serial="+serial, nil, nil)
	w.sweepNow()
	held := w.await("gateway", "held", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonRevoked
	})
	if got := condition(held.Status.Conditions, v1alpha1.ConditionReady).Reason; got != v1alpha1.ReasonRevoked || kstatus(t, held) != status.FailedStatus {
		t.Errorf("Ready says %s, and kstatus %s", got, kstatus(t, held))
	}
	w.wantBought(commonName("gateway"), 4)
}
