// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestACertificateIsRevokedOnDeletionOnlyWhereThePolicySaysSo(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("kept")
	w.certificate("revoked", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnDelete, c.Spec.Revocation.Reason = v1alpha1.RevocationRevoke, "privilege_withdrawn"
	})
	for _, name := range []string{"kept", "revoked"} {
		w.awaitReady(name)
		w.must(env.admin.Delete(w.ctx, w.get(name)))
		w.awaitGone(&v1alpha1.DeviceCertificate{ObjectMeta: w.meta(name)})
	}
	w.wantStatus("kept", issued)
	w.wantStatus("revoked", revoked)
	if got := w.vendor.ledger(commonName("revoked"))[0].RevocationReason; got != "privilege_withdrawn" {
		t.Errorf("revoked for %q", got)
	}
}

func TestAReplacedCertificateIsRevokedAfterItsGrace(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnSupersede, c.Spec.Revocation.GracePeriod = v1alpha1.RevocationRevoke, &metav1.Duration{Duration: 3 * time.Second}
	})
	first := w.awaitReady("gateway")
	w.requestRenewal("gateway")
	second := w.await("gateway", "renewed", patience, renewed(first.Status.SerialNumber))
	w.awaitRevoked(commonName("gateway"), first.Status.SerialNumber)
	w.wantStatus("gateway", revoked, issued)
	predecessor := w.vendor.ledger(commonName("gateway"))[0]
	if grace := predecessor.RevokedAt.Sub(w.vendor.ledger(commonName("gateway"))[1].IssuedAt); grace < 2*time.Second {
		t.Errorf("revoked %s after its successor was issued: its grace is 3s", grace)
	}
	if now := w.get("gateway"); !ready(now) || now.Status.SerialNumber != second.Status.SerialNumber {
		t.Errorf("serial %s, Ready %+v", now.Status.SerialNumber, condition(now.Status.Conditions, v1alpha1.ConditionReady))
	}
}

func TestARequestedRevocationReplacesFirst(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	first := w.awaitReady("gateway")
	w.annotate("gateway", v1alpha1.AnnotationRevokeRequested, first.Status.SerialNumber+"/key_compromise")
	w.await("gateway", "replaced", patience, renewed(first.Status.SerialNumber))
	w.awaitRevoked(commonName("gateway"), first.Status.SerialNumber)
	w.wantStatus("gateway", revoked, issued)
	if entries := w.vendor.ledger(commonName("gateway")); entries[0].RevocationReason != "key_compromise" || entries[0].RevokedAt.Before(entries[1].IssuedAt) {
		t.Errorf("revoked for %q at %s, successor issued at %s", entries[0].RevocationReason, entries[0].RevokedAt, entries[1].IssuedAt)
	}
	verifyPair(t, w.secret("gateway"))
}

func TestADeletionEndsAlsoWhileTheVendorIsDown(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	w.awaitReady("gateway")
	w.vendor.ask(http.MethodPost, "/switches", map[string]string{"mode": "drop"}, nil)
	w.must(env.admin.Delete(w.ctx, w.get("gateway")))
	w.awaitGone(&v1alpha1.DeviceCertificate{ObjectMeta: w.meta("gateway")})
	w.wantStatus("gateway", issued)
}

func TestASecretDeletedWhileItsRenewalIsUnderWayIsStoredAnew(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	first := w.awaitReady("gateway")
	id := w.vendor.misbehave(holdAfterCommit(simulator.OperationRenew, commonName("gateway")))
	w.requestRenewal("gateway")
	w.vendor.awaitEntry(commonName("gateway"), 1)
	w.must(env.admin.Delete(w.ctx, w.secret("gateway")))
	w.vendor.forgive(id)
	w.await("gateway", "renewed", patience, renewed(first.Status.SerialNumber))
	verifyPair(t, w.secret("gateway"))
	w.wantBought(commonName("gateway"), 2)
}

// awaitRevoked waits until the vendor lists the certificate as revoked.
func (w *world) awaitRevoked(commonName, serial string) {
	w.Helper()
	eventually(w.T, patience, serial+" is revoked", func(context.Context) (bool, error) {
		for _, e := range w.vendor.ledger(commonName) {
			if e.SerialNumber == serial && e.Status == revoked {
				return true, nil
			}
		}
		return false, nil
	})
}

// wantStatus compares the states of the certificates bought under a name, oldest first.
func (w *world) wantStatus(name string, want ...string) {
	w.Helper()
	var got []string
	for _, e := range w.vendor.ledger(commonName(name)) {
		got = append(got, e.Status)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("states of %s at the vendor (-want +got):\n%s", name, diff)
	}
}
