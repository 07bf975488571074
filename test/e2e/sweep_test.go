// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
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
	label := func() {
		w.editIssuer(func(i *v1alpha1.DeviceIssuer) {
			metav1.SetMetaDataLabel(&i.ObjectMeta, "example.com/looked-at", strconv.FormatInt(time.Now().UnixNano(), 10))
		})
	}
	label()
	w.awaitIssuer(issuerName, "with a calendar of sweeps", func(i *v1alpha1.DeviceIssuer) bool { return len(i.Status.Sweeps) > 0 })
	_, err := live.EditStatus(w.ctx, env.admin, w.key(issuerName), func(i *v1alpha1.DeviceIssuer) {
		i.Status.Sweeps[0].NextTime = metav1.NewTime(time.Now().Add(-time.Minute))
	})
	w.must(err)
	label()
	w.awaitIssuer(issuerName, "done with a sweep", func(i *v1alpha1.DeviceIssuer) bool {
		return i.Status.Sweeps[0].LastTime != nil && i.Status.Sweeps[0].NextTime.After(time.Now())
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
		c.awaitIssuer(issuerName, "counting it", func(i *v1alpha1.DeviceIssuer) bool { return i.Status.Orphans != nil && i.Status.Orphans.Reported == 1 })
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
