// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestEnrollAnswersWithExactlyTheFieldsSeenAtTheVendor(t *testing.T) {
	d := start(t, account())
	got := d.must(http.MethodPost, enrollPath, request("gw").String())
	var fields map[string]string
	decode(t, got.body, &fields)
	names := []string{}
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"certificate_id", "certificate_request_id", "pem", "private_key", "result", "status"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if fields["status"] != "AUTO_APPROVED" || fields["result"] != "SUCCESS" {
		t.Errorf("status %q, result %q", fields["status"], fields["result"])
	}
	if media := got.header.Get("Content-Type"); media != "application/json" {
		t.Errorf("Content-Type %q", media)
	}
}

func TestEnrollWorksWithATrailingSlash(t *testing.T) {
	d := start(t, account())
	if got := d.must(http.MethodPost, enrollPath+"/", request("gw").String()); got.status != http.StatusOK {
		t.Errorf("status %d: %s", got.status, got.body)
	}
}

func TestOpenSSLVerifiesTheChainAndMatchesTheKeyForEveryKeyType(t *testing.T) {
	d := start(t, account())
	for _, keyType := range []string{"rsa_2048", "rsa_3072", "rsa_4096", "p_256", "p_384", "p_521", "ed_25519"} {
		t.Run(keyType, func(t *testing.T) {
			folder := t.TempDir()
			got := d.enroll(request("gw").with("key_type", keyType))
			write(t, folder, "all.pem", []byte(got.PEM))
			write(t, folder, "key.pem", []byte(got.PrivateKey))
			write(t, folder, "root.pem", []byte(d.server.RootCertificate()))
			openssl(t, folder, "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "root.pem", "-untrusted", "all.pem", "all.pem")
			wantSamePublicKey(t, folder, "all.pem", "key.pem")
			text := openssl(t, folder, "x509", "-in", "all.pem", "-noout", "-text")
			if want := opensslKeyType(keyType); !strings.Contains(text, want) {
				t.Errorf("key type: no %q in\n%s", want, text)
			}
		})
	}
}

func opensslKeyType(keyType string) string {
	return map[string]string{
		"rsa_2048": "Public-Key: (2048 bit)", "rsa_3072": "Public-Key: (3072 bit)", "rsa_4096": "Public-Key: (4096 bit)",
		"p_256": "NIST CURVE: P-256", "p_384": "NIST CURVE: P-384", "p_521": "NIST CURVE: P-521", "ed_25519": "ED25519",
	}[keyType]
}

// wantSamePublicKey lets OpenSSL compare a certificate file and a key file.
func wantSamePublicKey(t *testing.T, folder, certificate, key string, keyArguments ...string) {
	t.Helper()
	ofCertificate := openssl(t, folder, "x509", "-in", certificate, "-noout", "-pubkey")
	ofKey := openssl(t, folder, append([]string{"pkey", "-in", key, "-pubout"}, keyArguments...)...)
	if ofCertificate != ofKey {
		t.Error("the private key does not belong to the certificate")
	}
}

func TestPEMListsLeafThenIssuingCAThenRoot(t *testing.T) {
	d := start(t, account())
	got := certificates(t, d.enroll(request("gw")).PEM)
	var names []string
	for _, c := range got {
		names = append(names, c.Subject.CommonName)
	}
	want := []string{"gw", "Simulated Device Issuing CA", "Simulated Device Root CA"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
	leaf := got[0]
	if leaf.IsCA || !leaf.BasicConstraintsValid || len(leaf.SubjectKeyId) == 0 || string(leaf.AuthorityKeyId) != string(got[1].SubjectKeyId) {
		t.Error("the leaf's basic constraints or key identifiers are not as they should be")
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}) {
		t.Errorf("extended key usage %v", leaf.ExtKeyUsage)
	}
}

func TestTheChainCanBeLeftOutByRequestAndTheRootBySwitch(t *testing.T) {
	d := start(t, account())
	if got := certificates(t, d.enroll(request("gw").with("include_certificate_chain", false)).PEM); len(got) != 1 {
		t.Errorf("%d certificates without the chain", len(got))
	}
	d.setSwitches(func(s *simulator.Switches) { s.RootExcluded = true })
	if got := certificates(t, d.enroll(request("gw")).PEM); len(got) != 2 {
		t.Errorf("%d certificates without the root", len(got))
	}
}

func TestThePrivateKeySyntaxIsHonouredInEitherSpelling(t *testing.T) {
	d := start(t, account())
	for _, test := range []struct{ keyType, syntax, header string }{
		{"rsa_2048", "", "-----BEGIN PRIVATE KEY-----"},
		{"rsa_2048", "pkcs_1", "-----BEGIN RSA PRIVATE KEY-----"},
		{"p_256", "PKCS1", "-----BEGIN EC PRIVATE KEY-----"},
		{"p_256", "PKCS_8", "-----BEGIN PRIVATE KEY-----"},
		{"ed_25519", "pkcs8", "-----BEGIN PRIVATE KEY-----"},
	} {
		got := d.enroll(request("gw").with("key_type", test.keyType).with("private_key_syntax", test.syntax))
		if !strings.HasPrefix(got.PrivateKey, test.header+"\n") {
			t.Errorf("%s in %q begins with %.30q", test.keyType, test.syntax, got.PrivateKey)
		}
	}
	d.refused(400, "invalid_input", "POST", enrollPath, request("gw").with("key_type", "ed_25519").with("private_key_syntax", "pkcs1").String())
	d.refused(400, "invalid_input", "POST", enrollPath, request("gw").with("private_key_syntax", "pkcs11").String())
}

func TestOpenSSLReadsADERKeyInBothSyntaxes(t *testing.T) {
	d := start(t, account())
	for _, syntax := range []string{"pkcs_8", "pkcs_1"} {
		for _, keyType := range []string{"rsa_2048", "p_384"} {
			folder := t.TempDir()
			got := d.enroll(request("gw").with("key_type", keyType).with("private_key_format", "der").with("private_key_syntax", syntax))
			write(t, folder, "all.pem", []byte(got.PEM))
			write(t, folder, "key.der", unbase64(t, got.PrivateKey))
			wantSamePublicKey(t, folder, "all.pem", "key.der", "-inform", "DER")
		}
	}
}

func unbase64(t *testing.T, text string) []byte {
	t.Helper()
	binary, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func TestOpenSSLOpensAPFXWithKeyLeafAndChain(t *testing.T) {
	for name, test := range map[string]struct {
		legacy bool
		cipher string
		flags  []string
	}{
		"modern": {legacy: false, cipher: "PBES2, PBKDF2, AES-256-CBC"},
		"legacy": {legacy: true, cipher: "pbeWithSHA1And3-KeyTripleDES-CBC", flags: []string{"-legacy"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, account())
			d.setSwitches(func(s *simulator.Switches) { s.LegacyPFX = test.legacy })
			folder := t.TempDir()
			got := d.enroll(request("gw").with("private_key_format", "pkcs_12").with("pkcs12_password", "Abc12345"))
			write(t, folder, "all.pem", []byte(got.PEM))
			write(t, folder, "key.p12", unbase64(t, got.PrivateKey))
			open := append([]string{"pkcs12", "-in", "key.p12", "-passin", "pass:Abc12345"}, test.flags...)
			write(t, folder, "key.pem", []byte(openssl(t, folder, append(open, "-nocerts", "-nodes")...)))
			wantSamePublicKey(t, folder, "all.pem", "key.pem")
			if inside := certificates(t, openssl(t, folder, append(open, "-nokeys")...)); len(inside) != 3 {
				t.Errorf("%d certificates in the PFX, want 3", len(inside))
			}
			if info := opensslInfo(t, folder, append(open, "-info", "-noout")...); !strings.Contains(info, test.cipher) {
				t.Errorf("ciphers: no %q in %s", test.cipher, info)
			}
		})
	}
}

func TestOpenSSLDecryptsTheArchiveWithCertificateKeyAndChain(t *testing.T) {
	for name, ber := range map[string]bool{"DER": false, "BER": true} {
		t.Run(name, func(t *testing.T) {
			d := start(t, account())
			d.setSwitches(func(s *simulator.Switches) { s.BERCMS = ber })
			folder := recipient(t)
			got := d.enroll(request("gw").with("private_key_format", "cert_encrypted").with("encryption_certificate", read(t, folder, "to.pem")))
			members := unzip(t, decrypt(t, folder, got.PrivateKey))
			if diff := cmp.Diff([]string{"certificate.pem", "private_key.pem", "chain.pem"}, names(members)); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
			for _, m := range members {
				write(t, folder, m.name, m.content)
			}
			wantSamePublicKey(t, folder, "certificate.pem", "private_key.pem")
			write(t, folder, "root.pem", []byte(d.server.RootCertificate()))
			openssl(t, folder, "verify", "-CAfile", "root.pem", "-untrusted", "chain.pem", "certificate.pem")
		})
	}
}

func TestTheMembersOfTheArchiveFollowTheSwitch(t *testing.T) {
	d := start(t, account())
	d.setSwitches(func(s *simulator.Switches) {
		s.ZIP = simulator.ZIPNames{Certificate: "gw.crt", PrivateKey: "gw.key", Extras: true}
	})
	folder := recipient(t)
	got := d.enroll(request("gw").with("private_key_format", "cert_encrypted").with("include_certificate_chain", false).
		with("encryption_certificate", read(t, folder, "to.pem")))
	members := unzip(t, decrypt(t, folder, got.PrivateKey))
	if diff := cmp.Diff([]string{"issued/", "README.txt", "gw.crt", "gw.key"}, names(members)); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestOpenSSLDecryptsTheKeyAlone(t *testing.T) {
	for name, ber := range map[string]bool{"DER": false, "BER": true} {
		t.Run(name, func(t *testing.T) {
			d := start(t, account())
			d.setSwitches(func(s *simulator.Switches) { s.BERCMS = ber })
			folder := recipient(t)
			got := d.enroll(request("gw").with("key_type", "rsa_4096").with("private_key_format", "cert_encrypted_key_only").
				with("encryption_certificate", read(t, folder, "to.pem")))
			write(t, folder, "all.pem", []byte(got.PEM))
			write(t, folder, "key.pem", decrypt(t, folder, got.PrivateKey))
			wantSamePublicKey(t, folder, "all.pem", "key.pem")
			if indefinite := unbase64(t, got.PrivateKey)[1] == 0x80; indefinite != ber {
				t.Errorf("indefinite length: %v, want %v", indefinite, ber)
			}
			if shape := opensslInfo(t, folder, "cms", "-cmsout", "-print", "-inform", "DER", "-in", "in.p7m"); !strings.Contains(shape, "aes-256-cbc") || !strings.Contains(shape, "rsaEncryption") {
				t.Errorf("not RSA key transport with AES-256-CBC: %s", shape)
			}
		})
	}
}

func TestPEMCanBeAbsentWhereThePrivateKeyHoldsTheCertificates(t *testing.T) {
	d := start(t, account())
	d.setSwitches(func(s *simulator.Switches) { s.PEMAbsent = true })
	if got := d.enroll(request("gw").with("private_key_format", "pkcs_12").with("pkcs12_password", "Abc12345")); got.PEM != "" {
		t.Error("pem is present with pkcs_12")
	}
	if got := d.enroll(request("gw")); got.PEM == "" {
		t.Error("pem is absent with format pem, where it holds the only certificate")
	}
}

func TestAttributesArriveInTheCertificateAndTheLedger(t *testing.T) {
	d := start(t, account())
	body := request("gw").with("certificate_profile_attributes", []object{
		attribute("subject.common_name", "gw"),
		attribute("subject.organization_unit", []string{"Edge", "Attempt 7"}),
		attribute("subject.country", "CH"),
		attribute("san.dns_name", []string{"a.example", "b.example"}),
		attribute("san.ip_address", "192.0.2.7"),
	})
	leaf := certificates(t, d.enroll(body).PEM)[0]
	got := []string{leaf.Subject.String(), strings.Join(leaf.DNSNames, " "), leaf.IPAddresses[0].String()}
	if diff := cmp.Diff([]string{"CN=gw,OU=Edge+OU=Attempt 7,C=CH", "a.example b.example", "192.0.2.7"}, got); diff != "" {
		t.Errorf("leaf (-want +got):\n%s", diff)
	}
	entry := d.server.Ledger()[0]
	want := simulator.Attribute{ID: "subject.organization_unit", Value: simulator.Values{"Edge", "Attempt 7"}}
	if diff := cmp.Diff(want, entry.CertificateAttributes[1]); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	if entry.DeviceIdentifier != "device-of-gw" || entry.Kind != "enroll" || entry.Credential != "key" {
		t.Errorf("ledger entry %+v", entry)
	}
	eventually(t, "the answer is noted", func() bool { return d.server.Ledger()[0].Answered })
}

func TestOpenSSLShowsEveryAttributeWhereItBelongs(t *testing.T) {
	where := map[string]struct{ value, want string }{
		"subject.common_name":       {"gw", "CN=gw"},
		"subject.organization_name": {"Example", "O=Example"},
		"subject.organization_unit": {"Edge", "OU=Edge"},
		"subject.country":           {"CH", "C=CH"},
		"subject.state":             {"Bern", "ST=Bern"},
		"subject.locality":          {"Thun", "L=Thun"},
		"subject.serial_number":     {"S-1", "serialNumber=S-1"},
		"subject.user_id":           {"u-1", "UID=u-1"},
		"san.dns_name":              {"gw.example", "DNS:gw.example"},
		"san.ip_address":            {"2001:db8::1", "IP Address:2001:DB8:0:0:0:0:0:1"},
		"san.email":                 {"gw@example.org", "email:gw@example.org"},
		"san.uri":                   {"urn:dev:gw", "URI:urn:dev:gw"},
		"signature_algorithm":       {"match_issuer", "ecdsa-with-SHA256"},
	}
	var fields []simulator.Field
	var attributes []object
	for id, a := range where {
		fields = append(fields, simulator.Field{ID: id})
		attributes = append(attributes, attribute(id, a.value))
	}
	d := start(t, account(profile(func(p *simulator.Profile) { p.CertificateFields = append(fields, simulator.Field{ID: "no.such_place"}) })))
	folder := t.TempDir()
	write(t, folder, "c.pem", []byte(d.enroll(request("gw").with("certificate_profile_attributes", attributes)).PEM))
	text := openssl(t, folder, "x509", "-in", "c.pem", "-noout", "-text", "-nameopt", "sep_comma_plus")
	for id, a := range where {
		if !strings.Contains(text, a.want) {
			t.Errorf("%s: no %q in\n%s", id, a.want, text)
		}
	}
	for id, bad := range map[string]string{"no.such_place": "x", "san.uri": "gw", "san.dns_name": "gäteway", "signature_algorithm": "md5WithRSA"} {
		d.refused(400, "invalid_input", "POST", enrollPath, request("gw").with("certificate_profile_attributes", []object{attribute(id, bad)}).String())
	}
}

func TestValidityFollowsTheProfileAndIsBackdated(t *testing.T) {
	clock := newCalendar()
	backdate := simulator.Duration(10 * time.Second)
	d := start(t, account(clock.use, profile(func(p *simulator.Profile) {
		p.Validity, p.Backdate = simulator.Duration(90*time.Second), &backdate
	})))
	leaf := certificates(t, d.enroll(request("gw")).PEM)[0]
	if before, after := clock.Now().Sub(leaf.NotBefore), leaf.NotAfter.Sub(clock.Now()); before != 10*time.Second || after != 90*time.Second {
		t.Errorf("valid from %v ago for %v more", before, after)
	}
}

func TestProfilesFixKeyTypesAndRewriteSubjects(t *testing.T) {
	d := start(t, account(profile(func(p *simulator.Profile) {
		p.FixedKeyType = "p_384"
		p.SubjectRewrite = simulator.SubjectRewrite{AppendOrganization: "Example", CommonName: "rewritten"}
	})))
	leaf := certificates(t, d.enroll(request("gw").with("key_type", "rsa_2048")).PEM)[0]
	if leaf.PublicKeyAlgorithm != x509.ECDSA || leaf.Subject.String() != "CN=rewritten,O=Example" {
		t.Errorf("key %v, subject %s", leaf.PublicKeyAlgorithm, leaf.Subject)
	}
}

func TestDefaultsFixedAndMandatoryFieldsOfTheProfile(t *testing.T) {
	d := start(t, account(profile(func(p *simulator.Profile) {
		p.KeyTypes = []string{"p_521", "p_256"}
		p.CertificateFields = []simulator.Field{
			{ID: "subject.common_name", Mandatory: true},
			{ID: "subject.organization_name", Fixed: simulator.Values{"Example"}},
			{ID: "subject.country", Default: simulator.Values{"DE"}, Mandatory: true},
		}
	})))
	leaf := certificates(t, d.enroll(request("gw").without("key_type")).PEM)[0]
	if leaf.Subject.String() != "CN=gw,O=Example,C=DE" || leaf.PublicKey == nil {
		t.Errorf("subject %s", leaf.Subject)
	}
	sameAsFixed := request("gw").with("certificate_profile_attributes", []object{
		attribute("subject.common_name", "gw"), attribute("subject.organization_name", "Example"),
	})
	d.enroll(sameAsFixed)
	for name, attributes := range map[string][]object{
		"the mandatory field is missing": {attribute("subject.country", "CH")},
		"the fixed field is changed":     {attribute("subject.common_name", "gw"), attribute("subject.organization_name", "Other")},
		"the field is not in the list":   {attribute("subject.common_name", "gw"), attribute("subject.locality", "Bern")},
		"an empty value is no value":     {attribute("subject.common_name", "")},
		"the id appears twice":           {attribute("subject.common_name", "a"), attribute("subject.common_name", "b")},
		"two values for a single one":    {attribute("subject.common_name", []string{"a", "b"})},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{t: t, server: d.server, running: d.running, client: d.client}
			d.refused(400, "invalid_input", "POST", enrollPath, request("gw").with("certificate_profile_attributes", attributes).String())
		})
	}
}

func TestRequestsThatTheContractForbidsAreRefusedAndCostNothing(t *testing.T) {
	d := start(t, account(func(c *simulator.Config) {
		c.Profiles[1].Methods = []string{"PORTAL"}
		c.Profiles[1].KeyGenerationOption = "client_side"
	}, profile(func(p *simulator.Profile) { p.KeyTypes = []string{"p_256"} })))
	ecFolder := t.TempDir()
	openssl(t, ecFolder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ec", "-keyout", "k.pem", "-out", "to.pem")
	good := request("gw")
	for name, body := range map[string]object{
		"unknown profile":                   good.with("enrollment_profile_id", "IOT_99999999-9999-9999-9999-999999999999"),
		"profile without the API method":    good.with("enrollment_profile_id", otherID),
		"no server-side key generation":     good.without("server_side_key_gen"),
		"server-side key generation off":    good.with("server_side_key_gen", false),
		"a CSR":                             good.with("csr", "-----BEGIN CERTIFICATE REQUEST-----"),
		"no format":                         good.without("private_key_format"),
		"unknown format":                    good.with("private_key_format", "jks"),
		"key type not allowed":              good.with("key_type", "rsa_2048"),
		"PKCS#12 without a password":        good.with("private_key_format", "pkcs_12"),
		"PKCS#12 password of 5 characters":  good.with("private_key_format", "pkcs_12").with("pkcs12_password", "Abc12"),
		"PKCS#12 password of 21 characters": good.with("private_key_format", "pkcs_12").with("pkcs12_password", "Abcdefghij0123456789x"),
		"PKCS#12 password with a dash":      good.with("private_key_format", "pkcs_12").with("pkcs12_password", "Abc-12345"),
		"no encryption certificate":         good.with("private_key_format", "cert_encrypted"),
		"an EC encryption certificate":      good.with("private_key_format", "cert_encrypted_key_only").with("encryption_certificate", read(t, ecFolder, "to.pem")),
		"an option that does not exist":     good.with("certificate_profile_attributes", []object{attribute("subject.common_name", "gw"), attribute("subject.country", "US")}),
		"an IP address that is none":        good.with("certificate_profile_attributes", []object{attribute("subject.common_name", "gw"), attribute("san.ip_address", "gw")}),
		"a file as the answer":              good.with("response_with_certificate_chain", true),
		"a device identifier too long":      good.with("device_attributes", []object{attribute("DEVICE_IDENTIFIER", strings.Repeat("x", 256))}),
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{t: t, server: d.server, running: d.running, client: d.client}
			d.refused(400, "invalid_input", "POST", enrollPath, body.String())
		})
	}
	if n := len(d.server.Ledger()); n != 0 {
		t.Errorf("%d certificates were issued", n)
	}
}

func TestUnknownAndMisspeltFieldsAreNamed(t *testing.T) {
	d := start(t, account())
	for field, body := range map[string]string{
		"enrollmentProfileId": request("gw").with("enrollmentProfileId", profileID).String(),
		"Key_Type":            request("gw").without("key_type").with("Key_Type", "p_256").String(),
		"Value":               request("gw").with("device_attributes", []object{{"id": "DEVICE_IDENTIFIER", "Value": "x"}}).String(),
	} {
		if message := d.refused(400, "invalid_request", "POST", enrollPath, body); !strings.Contains(message, field) {
			t.Errorf("message %q does not name %s", message, field)
		}
	}
	if d.enroll(request("gw").with("response_with_certificate", false)).PEM == "" {
		t.Error("asking for no file is refused")
	}
}

func TestBodiesThatAreNotOneJSONObjectAreRefused(t *testing.T) {
	d := start(t, account())
	for _, body := range []string{"{", "[]", "null trailing", request("gw").String() + "{}", `{"key_type":7}`} {
		d.refused(400, "invalid_request", "POST", enrollPath, body)
	}
	d.refused(400, "invalid_request", "POST", enrollPath, strings.Repeat(" ", 1<<20+1))
	d.refused(415, "unsupported_media_type", "POST", enrollPath, request("gw").String(), "Content-Type", "text/plain")
	d.refused(406, "not_acceptable", "POST", enrollPath, request("gw").String(), "Accept", "application/zip, application/json;q=0")
	if got := d.must("POST", enrollPath, request("gw").String(), "Accept", "application/json"); got.status != 200 {
		t.Errorf("Accept: application/json gets %d", got.status)
	}
}

func TestAProfileWithManualApprovalAnswersPendingWithoutACertificate(t *testing.T) {
	d := start(t, account(profile(func(p *simulator.Profile) { p.Approval = "manual" })))
	got := d.must(http.MethodPost, enrollPath, request("gw").String())
	var fields map[string]any
	decode(t, got.body, &fields)
	if got.status != 200 || fields["status"] != "PENDING" || fields["certificate_request_id"] == "" || len(fields) != 3 {
		t.Errorf("status %d, body %s", got.status, got.body)
	}
	if n := len(d.server.Ledger()); n != 0 {
		t.Errorf("%d certificates were issued", n)
	}
	d.setSwitches(func(s *simulator.Switches) { s.Approval = "auto" })
	if d.enroll(request("gw")).PEM == "" {
		t.Error("the switch does not override the profile")
	}
}

func TestADeviceWithALiveCertificateIsRefusedWhereTheProfileRejectsDuplicates(t *testing.T) {
	d := start(t, account(profile(func(p *simulator.Profile) { p.DuplicateDevice = "reject" })))
	first := d.enroll(request("gw"))
	d.refused(400, "invalid_input", "POST", enrollPath, request("gw").String())
	d.renew(first.CertificateID, request("gw"))
	for _, e := range d.server.Ledger() {
		if err := d.server.RevokeSerial(e.SerialNumber, "unspecified"); err != nil {
			t.Fatal(err)
		}
	}
	d.enroll(request("gw"))
}

func TestTheUsageLimitOfAProfileCountsEnrollsAndRenewsAlsoWhenTheyCompete(t *testing.T) {
	d := start(t, account(profile(func(p *simulator.Profile) { p.UsageLimit = 5 })))
	first := d.enroll(request("gw"))
	statuses := make(chan int, 20)
	for i := range cap(statuses) {
		go func() {
			path := enrollPath
			if i%2 == 0 {
				path += "/" + first.CertificateID + "/renew"
			}
			got, err := d.do("POST", path, request("gw").String())
			if err != nil {
				t.Error(err)
			}
			statuses <- got.status
		}()
	}
	granted := 0
	for range cap(statuses) {
		if <-statuses == 200 {
			granted++
		}
	}
	if granted != 4 || len(d.server.Ledger()) != 5 {
		t.Errorf("%d more granted, %d in the ledger, want 4 and 5", granted, len(d.server.Ledger()))
	}
}

func TestNoPrivateKeyPasswordOrTokenReachesLedgerOrRequestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	d := start(t, account(func(c *simulator.Config) { c.LedgerPath = path }))
	pfx := d.enroll(request("gw").with("private_key_format", "pkcs_12").with("pkcs12_password", "Secret7Secret7"))
	key := d.enroll(request("gw"))
	ledger, err := json.Marshal(d.server.Ledger())
	if err != nil {
		t.Fatal(err)
	}
	requests, err := json.Marshal(d.server.Requests())
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keyBody := strings.Split(key.PrivateKey, "\n")[1]
	for _, secret := range []string{"Secret7Secret7", apiKey, pfx.PrivateKey[:40], keyBody} {
		for where, text := range map[string]string{"ledger": string(ledger), "request log": string(requests), "ledger file": string(file)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s contains %q", where, secret)
			}
		}
	}
}

func TestKeysGeneratedAheadAreHandedOutOnceEach(t *testing.T) {
	d := start(t, account(func(c *simulator.Config) { c.KeyPool = map[string]int{"p_256": 3} }))
	seen := map[string]bool{}
	for range 6 {
		seen[d.enroll(request("gw")).PrivateKey] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d different keys of 6", len(seen))
	}
}
