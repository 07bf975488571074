// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestSerialAndFingerprintAreWhatOpenSSLPrints(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(fixture(t, "openssl.tsv"))), "\n")
	if len(lines) < 30 {
		t.Fatalf("only %d certificates to compare", len(lines))
	}
	for _, line := range lines {
		fields := strings.Split(line, "\t")
		certificates, err := ParseCertificatesPEM(fixture(t, fields[0]+".pem"))
		if fields[0] == "mixed" {
			wantError(t, err, "PRIVATE KEY")
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", fields[0], err)
		}
		if got := SerialString(certificates[0]); got != fields[1] {
			t.Errorf("%s: serial %s, OpenSSL says %s", fields[0], got, fields[1])
		}
		if got := FingerprintSHA256(certificates[0]); got != fields[2] {
			t.Errorf("%s: fingerprint %s, OpenSSL says %s", fields[0], got, fields[2])
		}
	}
}

func TestSerialStringPadsToOctets(t *testing.T) {
	for serial, want := range map[int64]string{0: "00", 1: "01", 0xab: "AB", 0xabc: "0ABC"} {
		if got := SerialString(&x509.Certificate{SerialNumber: big.NewInt(serial)}); got != want {
			t.Errorf("%d is written %s, want %s", serial, got, want)
		}
	}
}

func TestSameSerial(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"0A01", "0a01", true},
		{"A01", "0A01", true},
		{"0a:01", "A01", true},
		{"00", "0", true},
		{strings.Repeat("0", 500) + "1", "1", true},
		{strings.Repeat("f", 128), strings.Repeat("F", 128), true},
		{"0A01", "0A02", false},
		{"0A01", "0A010", false},
		{"", "", false},
		{":", ":", false},
		{"", "0", false},
		{"xyz", "xyz", false},
		{"-1", "-1", false},
		{"+1", "1", false},
		{"1_0", "10", false},
		{"0x10", "10", false},
		{" 10", "10", false},
		{strings.Repeat("f", 129), strings.Repeat("f", 129), false},
	} {
		if got := SameSerial(test.a, test.b); got != test.want {
			t.Errorf("SameSerial(%q, %q) = %v", test.a, test.b, got)
		}
		if got := SameSerial(test.b, test.a); got != test.want {
			t.Errorf("SameSerial(%q, %q) = %v", test.b, test.a, got)
		}
	}
}

func TestKeyTypeUsesTheVendorsWords(t *testing.T) {
	for _, kind := range []string{"rsa_1024", "rsa_2048", "rsa_3072", "rsa_4096", "p_224", "p_256", "p_384", "p_521", "ed_25519"} {
		if got := KeyType(cert(t, kind).PublicKey); got != kind {
			t.Errorf("%s is called %s", kind, got)
		}
	}
	for name, public := range map[string]crypto.PublicKey{"Ed448": cert(t, "ed_448").PublicKey, "nothing": nil, "text": "rsa_2048"} {
		if got := KeyType(public); got != "unknown" {
			t.Errorf("%s is called %s", name, got)
		}
	}
}

func TestDNSNamesAreSortedLowerCaseAndDistinct(t *testing.T) {
	if got, want := DNSNames(cert(t, "hostile-names")), []string{"b.example", "upper.example"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := DNSNames(cert(t, "root")); len(got) != 0 {
		t.Errorf("a certificate without names has %q", got)
	}
	forged := &x509.Certificate{DNSNames: []string{"a\nREADY=true"}}
	if got := DNSNames(forged); strings.ContainsFunc(got[0], unicode.IsControl) {
		t.Errorf("control characters pass: %q", got)
	}
}

func TestSANDigestDependsOnTheSetOfNamesOnly(t *testing.T) {
	same := [][]string{{"a.example", "b.example"}, {"b.example", "a.example"}, {"B.EXAMPLE", "a.example", "a.example"}}
	for _, names := range same {
		if SANDigest(names) != SANDigest(same[0]) {
			t.Errorf("%q has another digest", names)
		}
	}
	for _, names := range [][]string{nil, {"a.example"}, {"a.exampleb.example"}, {"a.example", "b.example", "c.example"}} {
		if SANDigest(names) == SANDigest(same[0]) {
			t.Errorf("%q has the same digest", names)
		}
	}
	// printf 'gateway-17.edge.example\ngw-17.local' | sha256sum
	const want = "2d876333d7e028739e627f1216212d492987c8abb99b406e05626e439dd3ad4e"
	if got := SANDigest(cert(t, "p_256").DNSNames); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSubjectIsSafeToShow(t *testing.T) {
	if got, want := Subject(cert(t, "p_256")), "CN=gateway-17.edge.example,O=Example"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, subject := range map[string]string{
		"a fixture":     Subject(cert(t, "hostile-names")),
		"every control": Subject(&x509.Certificate{Subject: pkix.Name{CommonName: "a\x00\n\r\x1b[31m\u202e\u2028\u200b\ufeff" + string([]byte{0xff, 0xfe})}}),
	} {
		for _, r := range subject {
			if !unicode.IsPrint(r) && r != unicode.ReplacementChar {
				t.Errorf("%s: %q holds %U", name, subject, r)
			}
		}
	}
	long := Subject(&x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("ü", 5000)}})
	if len(long) > MaxSubjectBytes || !strings.HasSuffix(long, "ü...") {
		t.Errorf("%d bytes, ending in %q", len(long), long[len(long)-8:])
	}
}

func TestWeakKeysAreNamed(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	for want, public := range map[string]crypto.PublicKey{
		"":           &rsa.PublicKey{N: n, E: 65537},
		"exponent 1": &rsa.PublicKey{N: n, E: 1},
		"exponent 4": &rsa.PublicKey{N: n, E: 4},
		"2047 bits":  &rsa.PublicKey{N: new(big.Int).Rsh(n, 1), E: 65537},
		"224 bits":   &ecdsa.PublicKey{Curve: elliptic.P224()},
		"judged":     nil,
	} {
		if got := weakKey(&x509.Certificate{PublicKey: public}); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}
