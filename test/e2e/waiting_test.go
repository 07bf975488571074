// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// Certificates that wait for their issuer go on when it is there, without being touched.

func TestACertificateThatWaitsForAnIssuerIsBoughtWhenTheIssuerIsCreated(t *testing.T) {
	w := newWorld(t)
	w.startManager()
	w.certificate("gateway")
	w.await("gateway", "waiting for its issuer", patience, waitsFor("create it, or correct spec.issuerRef"))
	w.connect()
	w.awaitReady("gateway")
	w.wantBought("", 1)
}

func TestACertificateThatWaitsForItsIssuersTokenIsBoughtWhenTheTokenIsThere(t *testing.T) {
	w := newWorld(t)
	w.issuer()
	w.startManager()
	w.certificate("gateway")
	w.await("gateway", "waiting for the token", patience, waitsFor("does not exist"))
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(goodToken)})
	w.awaitReady("gateway") // the token carries no watch label, so it is looked for every half minute
	w.wantBought("", 1)
}

func TestACertificateThatWaitsForItsVendorIsBoughtWhenTheVendorIsBack(t *testing.T) {
	w := newWorld(t)
	w.vendor.ask(http.MethodPost, "/switches", map[string]string{"mode": "unavailable"}, nil)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	w.await("gateway", "waiting for the vendor", patience, waitsFor("503"))
	w.vendor.ask(http.MethodPost, "/switches", map[string]string{"mode": "up"}, nil)
	w.awaitReady("gateway")
	w.wantBought("", 1)
}

func TestAnOpenAttemptIsResolvedInTimeAlsoWhenItsIssuerIsConnectedLate(t *testing.T) {
	w := newWorld(t)
	w.connect(func(i *v1alpha1.DeviceIssuer) { i.Spec.Orphans.Policy = v1alpha1.OrphansRevoke })
	manager := w.startManager()
	cn := commonName("gateway")
	id := w.vendor.misbehave(holdAfterCommit(simulator.OperationEnroll, cn))
	w.certificate("gateway")
	w.vendor.awaitEntry(cn, 0)
	manager.kill()
	w.vendor.forgive(id)

	proxy := startAPIProxy(t)
	credential := proxy.hold(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/secrets/"+issuerName) })
	w.launchManager(proxy.kubeconfig)
	credential.await(t)
	w.await("gateway", "being resolved", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionReconciling).Reason == v1alpha1.ReasonResolving
	})
	close(credential.opened)
	w.await("gateway", "resolved and issued", resolvePatience, renewed(""))
	if live := w.live(cn); len(live) != 1 {
		t.Errorf("live at the vendor: %s", describe(live))
	}
	w.wantBought(cn, 2)
}

func TestADeletedIssuerLeavesItsCertificatesReadyAndDeletable(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	w.awaitReady("gateway")
	i := &v1alpha1.DeviceIssuer{ObjectMeta: w.meta(issuerName)}
	w.must(env.admin.Delete(w.ctx, i))
	w.awaitGone(i)
	w.annotate("gateway", "example.com/touched", "yes")
	if c := w.awaitReady("gateway"); !ready(c) {
		t.Errorf("Ready %+v", condition(c.Status.Conditions, v1alpha1.ConditionReady))
	}
	verifyPair(t, w.secret("gateway"))
	c := w.get("gateway")
	w.must(client.IgnoreNotFound(env.admin.Delete(w.ctx, c)))
	w.awaitGone(c)
}

// waitsFor tells whether a certificate is not ready, goes on by itself, and says those words.
func waitsFor(words string) func(*v1alpha1.DeviceCertificate) bool {
	return func(c *v1alpha1.DeviceCertificate) bool {
		reconciling := condition(c.Status.Conditions, v1alpha1.ConditionReconciling)
		return !ready(c) && reconciling.Status == "True" && strings.Contains(reconciling.Message, words)
	}
}
