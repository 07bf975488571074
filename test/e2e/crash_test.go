// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// crash kills a manager while one of its writes is on its way, so that the write never happens.
type crash struct {
	// write is the request that is lost; nth counts those that match.
	write func(*http.Request) bool
	nth   int
	renew bool
	// states are those of the certificates bought in the end, oldest first.
	states []string
}

func TestAManagerKilledBeforeAnyOfItsWritesLeavesNothingBehind(t *testing.T) {
	for name, c := range map[string]crash{
		"first certificate, before the rehearsal": {write: rehearsalOf("gateway"), nth: 1, states: []string{issued}},
		"first certificate, before the intent":    {write: statusOf("gateway"), nth: 1, states: []string{issued}},
		"first certificate, before the store":     {write: storeOf("gateway"), nth: 1, states: []string{revoked, issued}},
		"first certificate, before the report":    {write: statusOf("gateway"), nth: 2, states: []string{issued}},
		"renewal, before the intent":              {write: statusOf("gateway"), nth: 1, renew: true, states: []string{issued, issued}},
		"renewal, before the store":               {write: storeOf("gateway"), nth: 1, renew: true, states: []string{issued, revoked, issued}},
		"renewal, before the report":              {write: statusOf("gateway"), nth: 2, renew: true, states: []string{issued, issued}},
	} {
		t.Run(name, func(t *testing.T) { testCrash(t, c) })
	}
}

func testCrash(t *testing.T, c crash) {
	w := newWorld(t)
	w.connect(func(i *v1alpha1.DeviceIssuer) { i.Spec.Orphans.Policy = v1alpha1.OrphansRevoke })
	proxy := startAPIProxy(t)
	manager := w.launchManager(proxy.kubeconfig)
	manager.awaitLog(t, "Starting workers", controllerCount)
	w.awaitReason(issuerName, v1alpha1.ReasonConnected)
	first := ""
	if c.renew {
		w.certificate("gateway")
		first = w.await("gateway", "issued", patience, renewed("")).Status.SerialNumber
	}
	seen := 0
	write := proxy.hold(func(r *http.Request) bool {
		if c.write(r) {
			seen++
		}
		return seen == c.nth
	})
	if c.renew {
		w.requestRenewal("gateway")
	} else {
		w.certificate("gateway")
	}
	write.await(t)
	manager.kill()
	w.startManager()
	end := w.await("gateway", "issued and reported", resolvePatience, renewed(first))
	if number := verifyPair(t, w.secret("gateway")); number != end.Status.SerialNumber {
		t.Errorf("Secret holds %s, status says %s", number, end.Status.SerialNumber)
	}
	var states []string
	for _, e := range w.vendor.ledger("") {
		states = append(states, e.Status)
	}
	if diff := cmp.Diff(c.states, states); diff != "" {
		t.Errorf("certificates at the vendor (-want +got):\n%s", diff)
	}
}

// rehearsalOf matches the dry run of writing that Secret.
func rehearsalOf(name string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return patches(r, "/secrets/"+name) && r.URL.Query().Get("dryRun") != ""
	}
}

// storeOf matches writing that Secret.
func storeOf(name string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return patches(r, "/secrets/"+name) && r.URL.Query().Get("dryRun") == ""
	}
}

// statusOf matches writing the status of that DeviceCertificate: of a purchase the first one is the intent, the second the report.
func statusOf(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return patches(r, "/devicecertificates/"+name+"/status") }
}

func patches(r *http.Request, path string) bool {
	return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, path)
}
