// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

const passcode = "a-passcode"

func withPasscode(change func(*simulator.Passcode)) func(*simulator.Config) {
	return func(c *simulator.Config) {
		p := simulator.Passcode{Name: "passcode", Passcode: passcode, ProfileID: profileID}
		change(&p)
		c.Passcodes = []simulator.Passcode{p}
	}
}

func TestARequestNeedsExactlyOneKnownCredential(t *testing.T) {
	d := start(t, account(withPasscode(func(*simulator.Passcode) {})))
	body := request("gw").String()
	d.refused(401, "invalid_api_key", "POST", enrollPath, body, "x-api-key", "")
	d.refused(401, "invalid_api_key", "POST", enrollPath, body, "x-api-key", "wrong")
	d.refused(401, "invalid_api_key", "POST", enrollPath, body, "x-api-key", "", "x-passcode", "wrong")
	d.refused(401, "invalid_api_key", "POST", enrollPath, body, "x-api-key", passcode)
	d.refused(400, "invalid_request", "POST", enrollPath, body, "x-passcode", passcode)
	if n := len(d.server.Ledger()); n != 0 {
		t.Errorf("%d certificates were issued", n)
	}
}

func TestAPasscodeEnrollsAndRenewsItsProfileAndNothingElse(t *testing.T) {
	d := start(t, account(withPasscode(func(*simulator.Passcode) {})))
	use := []string{"x-api-key", "", "x-passcode", passcode}
	got := d.must("POST", enrollPath, request("gw").String(), use...)
	var first enrolled
	decode(t, got.body, &first)
	if got.status != 200 {
		t.Fatalf("enroll: %d %s", got.status, got.body)
	}
	renew := enrollPath + "/" + first.CertificateID + "/renew"
	if got := d.must("POST", renew, request("gw").String(), use...); got.status != 200 {
		t.Errorf("renew: %d %s", got.status, got.body)
	}
	d.refused(400, "invalid_input", "POST", renew, request("gw").without("enrollment_profile_id").String(), use...)
	d.refused(403, "access_denied", "POST", enrollPath, request("gw").with("enrollment_profile_id", otherID).without("device_attributes").String(), use...)
	d.refused(403, "access_denied", "GET", enrollPath, "", use...)
	d.refused(403, "access_denied", "PUT", enrollPath+"/"+first.CertificateID+"/revoke", `{"reason":"unspecified"}`, use...)
	d.refused(403, "access_denied", "GET", "/iot/api/v1/enrollment-profile/"+profileID+"/enrollment-specification", "", use...)
	d.refused(403, "access_denied", "GET", "/iot/api/v2/device", "", use...)
}

func TestAPasscodePinsFieldsAndCapsUse(t *testing.T) {
	d := start(t, account(withPasscode(func(p *simulator.Passcode) {
		p.UsageLimit = 2
		p.RegisteredValues = []simulator.RegisteredValue{{CertificateField: "subject.organization_unit", Value: simulator.Values{"Pinned"}}}
	})))
	use := []string{"x-api-key", "", "x-passcode", passcode}
	d.refused(400, "invalid_input", "POST", enrollPath, request("gw").with("certificate_profile_attributes", []object{
		attribute("subject.common_name", "gw"), attribute("subject.organization_unit", "Other"),
	}).String(), use...)
	for _, attributes := range [][]object{
		{attribute("subject.common_name", "gw")},
		{attribute("subject.common_name", "gw"), attribute("subject.organization_unit", "Pinned")},
	} {
		got := d.must("POST", enrollPath, request("gw").with("certificate_profile_attributes", attributes).String(), use...)
		var issued enrolled
		decode(t, got.body, &issued)
		if leaf := certificates(t, issued.PEM)[0]; leaf.Subject.String() != "CN=gw,OU=Pinned" {
			t.Errorf("subject %s", leaf.Subject)
		}
	}
	d.refused(400, "invalid_input", "POST", enrollPath, request("gw").String(), use...)
	d.enroll(request("gw")) // the API key is not capped
}

func TestExpiredCredentialsAreUnknown(t *testing.T) {
	clock := newCalendar()
	end := clock.Now().Add(time.Hour)
	d := start(t, account(clock.use, withPasscode(func(p *simulator.Passcode) { p.Expires = &end }),
		func(c *simulator.Config) { c.APIKeys[0].Expires = &end }))
	d.enroll(request("gw"))
	clock.advance(time.Hour)
	d.refused(401, "invalid_api_key", "POST", enrollPath, request("gw").String())
	d.refused(401, "invalid_api_key", "POST", enrollPath, request("gw").String(), "x-api-key", "", "x-passcode", passcode)
}

func TestAnAPIKeyCanLackPermissions(t *testing.T) {
	d := start(t, account(func(c *simulator.Config) {
		c.APIKeys[0].Deny = []simulator.Operation{"search", "revoke", "specification", "device"}
	}))
	issued := d.enroll(request("gw"))
	d.refused(403, "access_denied", "GET", enrollPath, "")
	d.refused(403, "access_denied", "PUT", enrollPath+"/"+issued.CertificateID+"/revoke", `{"reason":"unspecified"}`)
	d.refused(403, "access_denied", "GET", "/iot/api/v1/enrollment-profile/"+profileID+"/enrollment-specification", "")
	d.refused(403, "access_denied", "GET", "/iot/api/v2/device", "")
}

func TestAnAPIKeyCanBeRateLimited(t *testing.T) {
	clock := newCalendar()
	d := start(t, account(clock.use, func(c *simulator.Config) { c.APIKeys[0].RequestsPerSecond = 2 }))
	d.enroll(request("gw"))
	d.enroll(request("gw"))
	got := d.must("POST", enrollPath, request("gw").String())
	if got.status != 429 || got.header.Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
	}
	clock.advance(time.Second)
	d.enroll(request("gw"))
}

func TestClientCertificatesCountOnTheirListenerOnly(t *testing.T) {
	d := start(t, account(func(c *simulator.Config) {
		c.ClientCertificates = []simulator.ClientCertificate{
			{Name: "account", Generate: true},
			{Name: "profile", Generate: true, ProfileID: profileID},
			{Name: "no-search", Generate: true, Deny: []simulator.Operation{"search"}},
		}
	}))
	body := request("gw").String()
	status := func(name, base, method, path, body string) int {
		t.Helper()
		certificate, ok := d.server.ClientCertificate(name)
		if !ok {
			t.Fatalf("no client certificate %s", name)
		}
		got, err := d.doWith(d.newClient([]tls.Certificate{certificate}), base, method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		return got.status
	}
	for _, test := range []struct {
		name, base, method, path, body string
		want                           int
	}{
		{"account", d.running.ClientAuthURL, "POST", enrollPath, body, 200},
		{"account", d.running.ClientAuthURL, "GET", enrollPath, "", 200},
		{"account", d.running.URL, "POST", enrollPath, body, 401},
		{"profile", d.running.ClientAuthURL, "POST", enrollPath, body, 200},
		{"profile", d.running.ClientAuthURL, "GET", enrollPath, "", 403},
		{"profile", d.running.ClientAuthURL, "POST", enrollPath, object{
			"enrollment_profile_id": otherID, "certificate_profile_attributes": []object{attribute("subject.common_name", "gw")},
			"server_side_key_gen": true, "private_key_format": "pem",
		}.String(), 403},
		{"no-search", d.running.ClientAuthURL, "GET", enrollPath, "", 403},
	} {
		if got := status(test.name, test.base, test.method, test.path, test.body); got != test.want {
			t.Errorf("%s %s %s at %s: %d, want %d", test.name, test.method, test.path, test.base, got, test.want)
		}
	}
	certificate, _ := d.server.ClientCertificate("account")
	got, err := d.doWith(d.newClient([]tls.Certificate{certificate}), d.running.ClientAuthURL, "GET", enrollPath, "", "x-api-key", apiKey)
	if err != nil || got.status != 400 {
		t.Errorf("certificate and API key together: %d, %v", got.status, err)
	}
	got, err = d.doWith(d.client, d.running.ClientAuthURL, "GET", enrollPath, "")
	if err != nil || got.status != 401 {
		t.Errorf("no certificate: %d, %v", got.status, err)
	}
}

func TestAClientCertificateFromElsewhereIsKnownByItsContent(t *testing.T) {
	folder := t.TempDir()
	openssl(t, folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mine", "-keyout", "k.pem", "-out", "c.pem")
	openssl(t, folder, "req", "-x509", "-key", "k.pem", "-subj", "/CN=mine", "-out", "same-name.pem")
	write(t, folder, "sim.yaml", []byte("profiles: [{id: "+profileID+"}]\nclientCertificates: [{name: mine, certificateFile: c.pem}]\n"))
	config, err := simulator.LoadConfig(filepath.Join(folder, "sim.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, config)
	for file, want := range map[string]int{"c.pem": http.StatusOK, "same-name.pem": http.StatusUnauthorized} {
		certificate, err := tls.LoadX509KeyPair(filepath.Join(folder, file), filepath.Join(folder, "k.pem"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.doWith(d.newClient([]tls.Certificate{certificate}), d.running.ClientAuthURL, "GET", enrollPath, "")
		if err != nil || got.status != want {
			t.Errorf("%s: %d, %v; want %d", file, got.status, err, want)
		}
	}
	if err := os.Remove(filepath.Join(folder, "c.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.New(config); err == nil {
		t.Error("a missing certificate file goes unnoticed")
	}
}
