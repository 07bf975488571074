// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"net/http"
	"slices"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

func watchRows() []row {
	return []row{
		{id: "W1", name: "the cache does not show the intent", run: frozenAfterIntent},
		{id: "W2", name: "the cache does not show the stored Secret", run: frozenAfterStore},
		{id: "W3", name: "a restart against lists from before the purchase", run: timeTravel},
		{id: "W4", name: "a restart against lists in which the object was just being deleted", run: timeTravelOverDeletion},
		{id: "W6", name: "events in between are lost", run: swallowed},
	}
}

func frozenAfterIntent(w *world) {
	w.begin()
	w.proxy().Add(apiproxy.Fault{Match: intended(), Stage: apiproxy.AfterCommit, Do: func() { w.proxy().Freeze("devicecertificates") }})
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.awaitQuiet()
	w.proxy().Reset()
	w.wantBought(1)
}

func frozenAfterStore(w *world) {
	w.begin()
	w.proxy().Add(apiproxy.Fault{Match: stored(), Stage: apiproxy.AfterCommit, Do: func() { w.proxy().Freeze("secrets") }})
	w.certificate(gateway)
	w.before = w.awaitReady(gateway)
	w.wantBought(1)
	w.requestRenewal(gateway)
	replaced(w)
	w.awaitQuiet()
	w.proxy().Reset()
	w.wantBought(2)
}

func timeTravel(w *world) {
	w.begin()
	w.certificate(gateway)
	created := w.find(gateway).ResourceVersion
	w.awaitReady(gateway)
	w.awaitQuiet()
	w.killManager()

	w.serveOld(created)
	eventually(w.T, "the old object ends in a conflict", func(context.Context) (bool, error) {
		return slices.ContainsFunc(w.proxies[1].History(), func(e apiproxy.Exchange) bool { return e.Code == http.StatusConflict }), nil
	})
	w.awaitQuiet()
	w.wantBought(1)
	w.proxies[1].Reset()
	w.awaitReady(gateway)
}

// serveOld starts a manager whose lists are of that version.
func (w *world) serveOld(version string) {
	w.Helper()
	proxy, kubeconfig := w.addProxy()
	proxy.ServeOld("devicecertificates", version)
	proxy.ServeOld("secrets", version)
	w.launchManager(kubeconfig).awaitLog(w.T, "Starting workers", controllerCount)
}

func timeTravelOverDeletion(w *world) {
	policies := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnDelete = v1alpha1.RevocationRevoke
		c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete
	}
	w.beginIssued(policies)
	deleteCertificate(w)
	eventually(w.T, "the certificate is gone", func(context.Context) (bool, error) { return w.find(gateway) == nil, nil })
	certificates, _ := w.versions.of(gateway)
	deleting := certificates[slices.IndexFunc(certificates, func(c *v1alpha1.DeviceCertificate) bool { return c.DeletionTimestamp != nil })]
	w.certificate(gateway, policies)
	w.before = w.awaitReady(gateway)
	w.awaitQuiet()
	w.killManager()

	w.serveOld(deleting.ResourceVersion)
	w.awaitQuiet()
	w.wantIntact()
	if c := w.find(gateway); c == nil || c.DeletionTimestamp != nil {
		w.Error("the new object was finalised for the old one")
	}
	w.proxies[1].Reset()
	w.awaitReady(gateway)
	w.wantIntact()
	for _, e := range w.ledger() {
		if e.SerialNumber == w.before && e.Status == statusRevoked {
			w.Error("the new object's certificate was revoked for the old one")
		}
	}
	w.wantBought(1)
}

func swallowed(w *world) {
	w.beginIssued()
	w.proxy().Swallow("devicecertificates", func(e apiproxy.Event) bool { return e.Type == "MODIFIED" })
	addLabel(w)
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Labels = nil })
	w.proxy().Reset()
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	w.wantIntact()
}
