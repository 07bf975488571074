// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// admin sends one request to the admin API.
func (d *desk) admin(method, path, body string) answer {
	d.t.Helper()
	got, err := d.doWith(d.client, d.running.AdminURL, method, path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	return got
}

func TestFaultsAreScriptedOverTheAdminAPI(t *testing.T) {
	d := start(t, account())
	got := d.admin("POST", "/faults", `{"match":{"operation":"enroll","commonName":"gw","times":2},"action":"respond","response":{"status":429,"retryAfter":"3"}}`)
	if got.status != 201 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	var created struct{ ID string }
	decode(t, got.body, &created)
	if answer := d.must("POST", enrollPath, request("gw").String()); answer.status != 429 || answer.header.Get("Retry-After") != "3" {
		t.Errorf("status %d", answer.status)
	}
	var faults []simulator.Fault
	decode(t, d.admin("GET", "/faults", "").body, &faults)
	if len(faults) != 1 || faults[0].Hits != 1 || faults[0].ID != created.ID {
		t.Errorf("faults %+v", faults)
	}
	if got := d.admin("DELETE", "/faults/"+created.ID, ""); got.status != 204 {
		t.Errorf("delete: %d", got.status)
	}
	if got := d.admin("DELETE", "/faults/"+created.ID, ""); got.status != 404 {
		t.Errorf("second delete: %d", got.status)
	}
	d.enroll(request("gw"))
	for _, path := range []string{"DELETE /faults", "POST /reset-faults"} {
		d.admin("POST", "/faults", `{"action":"drop"}`)
		verb, path, _ := strings.Cut(path, " ")
		if got := d.admin(verb, path, ""); got.status != 204 || len(d.server.Faults()) != 0 {
			t.Errorf("%s %s: %d, %d faults left", verb, path, got.status, len(d.server.Faults()))
		}
	}
}

func TestTheAdminAPIRefusesWhatItDoesNotKnow(t *testing.T) {
	d := start(t, account())
	for path, body := range map[string]string{
		"/faults":   `{"action":"drop","probability":0.5}`,
		"/switches": `{"legacyPfx2":true}`,
	} {
		if got := d.admin("POST", path, body); got.status != 400 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := d.admin("POST", "/faults", `{"action":"explode"}`); got.status != 400 || !strings.Contains(string(got.body), "explode") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := d.admin("POST", "/switches", `{"mode":"asleep"}`); got.status != 400 {
		t.Errorf("unknown mode: %d", got.status)
	}
	if got := d.admin("GET", "/unknown", ""); got.status != 404 {
		t.Errorf("unknown path: %d", got.status)
	}
}

func TestSwitchesNotNamedStayAsTheyAre(t *testing.T) {
	d := start(t, account())
	d.admin("POST", "/switches", `{"berCMS":true,"inventoryLag":"1m"}`)
	d.admin("POST", "/switches", `{"mode":"unavailable","zip":{"privateKey":"k"}}`)
	var got simulator.Switches
	decode(t, d.admin("GET", "/switches", "").body, &got)
	want := simulator.Switches{BERCMS: true, InventoryLag: 60_000_000_000, Mode: "unavailable", ZIP: simulator.ZIPNames{PrivateKey: "k"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("switches (-want +got):\n%s", diff)
	}
}

func TestLedgerSummaryAndRequestsOverTheAdminAPI(t *testing.T) {
	d := start(t, account())
	d.enroll(request("a"))
	d.enroll(request("b"))
	d.enroll(request("b"))
	serial := d.server.Ledger()[0].SerialNumber
	if got := d.admin("POST", "/revoke?serial="+serial+"&reason=key_compromise", ""); got.status != 204 {
		t.Errorf("revoke: %d %s", got.status, got.body)
	}
	if got := d.admin("POST", "/revoke?serial=00", ""); got.status != 404 {
		t.Errorf("revoke of nothing: %d", got.status)
	}
	if got := d.admin("POST", "/revoke?serial="+serial, ""); got.status != 400 {
		t.Errorf("second revoke: %d", got.status)
	}
	eventually(t, "every answer is noted", func() bool { return d.server.Summary().Total.Unanswered == 0 })
	var summaries simulator.Summaries
	decode(t, d.admin("GET", "/ledger/summary", "").body, &summaries)
	want := simulator.Summaries{
		Total:        simulator.Summary{Issued: 3, Revoked: 1, Live: 2},
		ByCommonName: map[string]simulator.Summary{"a": {Issued: 1, Revoked: 1}, "b": {Issued: 2, Live: 2}},
		ByProfile:    map[string]simulator.Summary{profileID: {Issued: 3, Revoked: 1, Live: 2}},
	}
	if diff := cmp.Diff(want, summaries); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	var ledger struct {
		Count   int
		Entries []simulator.Entry
	}
	decode(t, d.admin("GET", "/ledger?commonName=b&status=ISSUED&profileID="+profileID, "").body, &ledger)
	if ledger.Count != 2 || ledger.Entries[0].CommonName != "b" {
		t.Errorf("ledger %+v", ledger)
	}
	var log struct {
		Count    int
		Requests []simulator.Request
	}
	decode(t, d.admin("GET", "/requests?operation=enroll&commonName=a", "").body, &log)
	if log.Count != 1 || log.Requests[0].Credential != "key" {
		t.Errorf("requests %+v", log)
	}
	d.admin("DELETE", "/requests", "")
	if n := len(d.server.Requests()); n != 0 {
		t.Errorf("%d requests after the reset", n)
	}
}

func TestTheAdminAPIHandsOutTheCertificatesToTrust(t *testing.T) {
	d := start(t, account())
	for path, want := range map[string]string{"/ca": d.server.TLSCertificate(), "/root": d.server.RootCertificate()} {
		if got := d.admin("GET", path, ""); string(got.body) != want {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	if got := d.admin("GET", "/healthz", ""); got.status != 200 {
		t.Errorf("healthz: %d", got.status)
	}
}
