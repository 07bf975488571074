// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestRenewByIDAndBySerialNumberIssuesASuccessorWithANewKey(t *testing.T) {
	d := start(t, account())
	first := d.enroll(request("gw"))
	serial := d.server.Ledger()[0].SerialNumber
	for _, named := range []string{first.CertificateID, serial, strings.ToLower(serial), "0" + strings.TrimLeft(serial, "0")} {
		second := d.renew(named, request("gw"))
		if second.CertificateID == first.CertificateID || second.CertificateRequestID == first.CertificateRequestID ||
			second.PrivateKey == first.PrivateKey || second.PEM == first.PEM {
			t.Errorf("renew of %s repeats something of its predecessor", named)
		}
	}
	ledger := d.server.Ledger()
	if len(ledger) != 5 {
		t.Fatalf("%d certificates", len(ledger))
	}
	for _, e := range ledger[1:] {
		if e.Kind != "renew" || e.PredecessorID != first.CertificateID {
			t.Errorf("kind %s, predecessor %s", e.Kind, e.PredecessorID)
		}
	}
	if ledger[0].Status != "ISSUED" {
		t.Errorf("the predecessor is %s", ledger[0].Status)
	}
}

func TestPUTRenewsByIDOnly(t *testing.T) {
	d := start(t, account())
	first := d.enroll(request("gw"))
	if got := d.must("PUT", enrollPath+"/"+first.CertificateID+"/renew", request("gw").String()); got.status != 200 {
		t.Errorf("PUT by id: %d", got.status)
	}
	d.refused(405, "method_not_allowed", "PUT", enrollPath+"/"+d.server.Ledger()[0].SerialNumber+"/renew", request("gw").String())
}

func TestRenewOfWhatDoesNotExist(t *testing.T) {
	d := start(t, account())
	d.refused(404, "entity_not_found", "POST", enrollPath+"/00000000-0000-0000-0000-000000000000/renew", request("gw").String())
	d.refused(404, "entity_not_found", "POST", enrollPath+"/0123ABCD/renew", request("gw").String())
	d.refused(400, "invalid_input", "POST", enrollPath+"/gateway/renew", request("gw").String())
}

func TestRenewInheritsWhatTheRequestLeavesOutUnlessStrict(t *testing.T) {
	d := start(t, account())
	first := d.enroll(request("gw").with("certificate_profile_attributes", []object{
		attribute("subject.common_name", "gw"), attribute("subject.country", "CH"),
	}))
	bare := object{"server_side_key_gen": true, "private_key_format": "pem"}
	leaf := certificates(t, d.renew(first.CertificateID, bare).PEM)[0]
	if leaf.Subject.String() != "CN=gw,C=CH" {
		t.Errorf("subject %s", leaf.Subject)
	}
	changed := bare.with("certificate_profile_attributes", []object{attribute("subject.country", "DE")})
	if leaf := certificates(t, d.renew(first.CertificateID, changed).PEM)[0]; leaf.Subject.String() != "CN=gw,C=DE" {
		t.Errorf("subject %s", leaf.Subject)
	}
	d.setSwitches(func(s *simulator.Switches) { s.StrictRenew = true })
	path := enrollPath + "/" + first.CertificateID + "/renew"
	if message := d.refused(400, "invalid_input", "POST", path, bare.String()); !strings.Contains(message, "enrollment_profile_id") {
		t.Errorf("message %q", message)
	}
	d.refused(400, "invalid_input", "POST", path, bare.with("enrollment_profile_id", profileID).String())
}

func TestRenewUnderAnotherProfileIsRefused(t *testing.T) {
	d := start(t, account())
	first := d.enroll(request("gw"))
	d.refused(400, "invalid_input", "POST", enrollPath+"/"+first.CertificateID+"/renew", request("gw").with("enrollment_profile_id", otherID).String())
}

func TestTheRenewalWindowOfTheProfile(t *testing.T) {
	hour := simulator.Duration(time.Hour)
	no := false
	for name, test := range map[string]struct {
		renewal simulator.Renewal
		after   time.Duration // since issuing; the certificate lives 10 h
		revoked bool
		want    int
	}{
		"anytime, at once":                {simulator.Renewal{}, 0, false, 200},
		"before the window":               {simulator.Renewal{RenewValidCert: "in_specific_window", RenewBeforeExpirationWindow: hour}, 8 * time.Hour, false, 400},
		"inside the window":               {simulator.Renewal{RenewValidCert: "in_specific_window", RenewBeforeExpirationWindow: hour}, 9 * time.Hour, false, 200},
		"valid ones never":                {simulator.Renewal{RenewValidCert: "dont_allow"}, 0, false, 400},
		"expired, by default":             {simulator.Renewal{}, 11 * time.Hour, false, 400},
		"expired, anytime":                {simulator.Renewal{RenewExpiredCert: "anytime"}, 99 * time.Hour, false, 200},
		"expired, inside the window":      {simulator.Renewal{RenewExpiredCert: "in_specific_window", RenewAfterExpirationWindow: 2 * hour}, 11 * time.Hour, false, 200},
		"expired, after the window":       {simulator.Renewal{RenewExpiredCert: "in_specific_window", RenewAfterExpirationWindow: 2 * hour}, 13 * time.Hour, false, 400},
		"revoked, by default":             {simulator.Renewal{}, 0, true, 200},
		"revoked, where it is not wanted": {simulator.Renewal{RenewRevokedCert: &no}, 0, true, 400},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newCalendar()
			d := start(t, account(clock.use, profile(func(p *simulator.Profile) { p.Validity, p.Renewal = 10*hour, test.renewal })))
			first := d.enroll(request("gw"))
			if test.revoked {
				if err := d.server.RevokeSerial(first.CertificateID, "unspecified"); err != nil {
					t.Fatal(err)
				}
			}
			clock.advance(test.after)
			if got := d.must("POST", enrollPath+"/"+first.CertificateID+"/renew", request("gw").String()); got.status != test.want {
				t.Errorf("status %d, want %d: %s", got.status, test.want, got.body)
			}
		})
	}
}

func TestASecondRenewIsRefusedByProfileOrSwitch(t *testing.T) {
	for name, config := range map[string]simulator.Config{
		"profile": account(profile(func(p *simulator.Profile) { p.Renewal.RefuseSecondRenew = true })),
		"switch":  account(func(c *simulator.Config) { c.Switches.RefuseSecondRenew = true }),
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, config)
			first := d.enroll(request("gw"))
			second := d.renew(first.CertificateID, request("gw"))
			d.refused(400, "invalid_input", "POST", enrollPath+"/"+first.CertificateID+"/renew", request("gw").String())
			d.renew(second.CertificateID, request("gw"))
		})
	}
}
