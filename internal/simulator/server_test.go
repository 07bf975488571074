// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestUnknownPathsAndVerbsAreRefusedLoudly(t *testing.T) {
	d := start(t, account())
	const id = "00000000-0000-0000-0000-000000000000"
	for _, path := range []string{"/", "/iot/api/v1/certificate/" + id, "/iot/api/v1/certificates", "/iot/api/v1//certificate", "/iot/api/v1/x/../certificate", "/devicetrustmanager/api/v4/device"} {
		d.refused(404, "resource_not_found", "GET", path, "")
	}
	for path, verbs := range map[string][]string{
		"/iot/api/v1/certificate":                   {"PUT", "DELETE", "PATCH"},
		"/iot/api/v1/certificate/" + id + "/renew":  {"GET", "DELETE"},
		"/iot/api/v1/certificate/" + id + "/revoke": {"POST", "GET"},
		"/iot/api/v2/device":                        {"POST"},
		"/iot/api/v2/device/" + id:                  {"PUT", "DELETE"},
	} {
		for _, verb := range verbs {
			d.refused(405, "method_not_allowed", verb, path, "")
		}
	}
}

func TestTheRequestLogTellsWhoAskedWhat(t *testing.T) {
	d := start(t, account())
	issued := d.must("POST", enrollPath, request("gw").with("private_key_format", "pkcs_12").with("pkcs12_password", "Abc12345").String(),
		"X-DC-TransactionId", "t-1", "User-Agent", "test/1")
	d.must("GET", enrollPath+"?common_name=gw", "", "x-api-key", "wrong")
	var answered enrolled
	decode(t, issued.body, &answered)
	eventually(t, "both requests are done", func() bool {
		r := d.server.Requests()
		return len(r) == 2 && r[0].Done && r[1].Done
	})
	requests := d.server.Requests()
	first := requests[0]
	first.Time, first.HeaderNames, first.Body = requests[1].Time, nil, ""
	want := simulator.Request{
		Sequence: 1, Time: requests[1].Time, Operation: "enroll", Method: "POST", Path: enrollPath, Credential: "key", ProfileID: profileID,
		CommonName: "gw", CertificateID: answered.CertificateID, Status: 200, Done: true, TransactionID: "t-1", UserAgent: "test/1",
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first request (-want +got):\n%s", diff)
	}
	if names := strings.Join(requests[0].HeaderNames, " "); !strings.Contains(names, "Content-Type") || !strings.Contains(names, "X-Api-Key") {
		t.Errorf("header names %s", names)
	}
	if body := requests[0].Body; !strings.Contains(body, `"pkcs12_password":"***"`) || !strings.Contains(body, `"key_type":"p_256"`) {
		t.Errorf("body %s", body)
	}
	if r := requests[1]; r.Status != 401 || r.Credential != "" || r.Operation != "search" || r.Query != "common_name=gw" {
		t.Errorf("second request %+v", r)
	}
}

func TestTheRequestLogNamesTheCredentialThatWasDenied(t *testing.T) {
	d := start(t, account(func(c *simulator.Config) { c.APIKeys[0].Deny = []simulator.Operation{"search"} }))
	d.refused(403, "access_denied", "GET", enrollPath, "")
	if r := d.server.Requests()[0]; r.Credential != "key" || r.Status != 403 {
		t.Errorf("request %+v", r)
	}
}

func TestARestartKeepsAuthoritiesCertificatesDevicesAndClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	config := account(func(c *simulator.Config) {
		c.LedgerPath = path
		c.ClientCertificates = []simulator.ClientCertificate{{Name: "client", Generate: true}}
	})
	open := func() *simulator.Server {
		t.Helper()
		server, err := simulator.New(config)
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	first := start(t, config)
	issued := first.enroll(request("gw"))
	if err := first.server.RevokeSerial(issued.CertificateID, "key_compromise"); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.New(config); err == nil || !strings.Contains(err.Error(), "another simulator") {
		t.Errorf("a second simulator on the same ledger: %v", err)
	}
	before := []string{first.server.RootCertificate(), first.server.TLSCertificate(), issued.PEM}
	clientBefore, _ := first.server.ClientCertificate("client")
	ledgerBefore := first.server.Ledger()
	if err := first.running.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.server.Close(); err != nil {
		t.Fatal(err)
	}

	second := open()
	t.Cleanup(func() { _ = second.Close() })
	clientAfter, _ := second.ClientCertificate("client")
	after := []string{second.RootCertificate(), second.TLSCertificate(), second.Ledger()[0].PEM + strings.Join(second.Ledger()[0].Chain, "")}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("certificates (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(ledgerBefore, second.Ledger()); diff != "" {
		t.Errorf("ledger (-before +after):\n%s", diff)
	}
	if string(clientBefore.Certificate[0]) != string(clientAfter.Certificate[0]) {
		t.Error("the client certificate changed")
	}
}

func TestConcurrentEnrollsAreAllInTheLedgerOnceWithOneDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	d := start(t, account(func(c *simulator.Config) { c.LedgerPath = path }))
	const count = 40
	ids := make(chan string, count)
	for range count {
		go func() {
			got, err := d.do("POST", enrollPath, request("gw").String())
			if err != nil || got.status != 200 {
				t.Errorf("%d, %v", got.status, err)
			}
			var issued enrolled
			decode(t, got.body, &issued)
			ids <- issued.CertificateID
		}()
	}
	seen := map[string]bool{}
	for range count {
		seen[<-ids] = true
	}
	devices, sequences := map[string]bool{}, map[uint64]bool{}
	for _, e := range d.server.Ledger() {
		if !seen[e.CertificateID] {
			t.Errorf("certificate %s was not answered", e.CertificateID)
		}
		devices[e.DeviceID], sequences[e.Sequence] = true, true
	}
	if len(seen) != count || len(sequences) != count || len(devices) != 1 {
		t.Errorf("%d answered, %d in the ledger, %d devices", len(seen), len(sequences), len(devices))
	}
	want := simulator.Summary{Issued: count, Live: count}
	eventually(t, "every answer is noted", func() bool { return d.server.Summary().ByCommonName["gw"] == want })
}

func TestTheHandlerServesAHTTPTestServerToo(t *testing.T) {
	server, err := simulator.New(account())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	web := httptest.NewTLSServer(server.Handler())
	t.Cleanup(web.Close)
	response, err := web.Client().Get(web.URL + enrollPath)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestAListenerThatCannotListenIsAnError(t *testing.T) {
	d := start(t, account())
	taken := strings.TrimPrefix(d.running.URL, "https://")
	if _, err := d.server.Start(simulator.Addresses{API: "127.0.0.1:0", Admin: taken}); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("error %v", err)
	}
}

func TestNothingIsLeftRunningAfterClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server, err := simulator.New(account(func(c *simulator.Config) { c.KeyPool = map[string]int{"p_521": 10_000} }))
	if err != nil {
		t.Fatal(err)
	}
	running, err := server.Start(simulator.Addresses{API: "127.0.0.1:0", ClientAuth: "127.0.0.1:0", Admin: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := running.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

func TestACertificateThatCannotBeCommittedIsNotAnswered(t *testing.T) {
	d := start(t, account(func(c *simulator.Config) { c.LedgerPath = filepath.Join(t.TempDir(), "ledger.db") }))
	d.enroll(request("gw"))
	eventually(t, "the answer is noted", func() bool { return d.server.Summary().Total.Unanswered == 0 })
	if err := d.server.Close(); err != nil { // the disk is gone, so to say
		t.Fatal(err)
	}
	for range 2 {
		d.refused(500, "internal_error", "POST", enrollPath, request("gw").String())
	}
	if n := len(d.server.Ledger()); n != 1 {
		t.Errorf("%d certificates", n)
	}
	d.refused(500, "internal_error", "PUT", enrollPath+"/"+d.server.Ledger()[0].CertificateID+"/revoke", `{"reason":"unspecified"}`)
}
