// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"
)

// good is a bundle nothing is wrong with, wanted is what asked for it.
func good(t *testing.T) Bundle {
	t.Helper()
	return assembled(t, "p_256", "ica", "root")
}

func wanted() Expectation {
	return Expectation{
		CommonName:        "gateway-17.edge.example",
		DeviceIdentifier:  "gateway-17",
		DNSNames:          []string{"gateway-17.edge.example", "gw-17.local"},
		KeyType:           "p_256",
		PredecessorSerial: "0A00000000000000000000000000000000000003",
		MinRemaining:      30 * 24 * time.Hour,
	}
}

// assembled makes a bundle of the key p_256 and fixtures that carry it.
func assembled(t *testing.T, names ...string) Bundle {
	t.Helper()
	bundle, err := Assemble(key(t, "p_256"), pool(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func reasons(findings []Finding) string {
	var out []string
	for _, finding := range findings {
		out = append(out, finding.Reason)
	}
	return strings.Join(out, " ")
}

func TestCheckFindsNothingWrongWithWhatWasAskedFor(t *testing.T) {
	for name, want := range map[string]Expectation{"everything compared": wanted(), "nothing compared": {}} {
		fatal, warnings := Check(good(t), want, testNow)
		if len(fatal) > 0 || len(warnings) > 0 {
			t.Errorf("%s: %v %v", name, fatal, warnings)
		}
	}
}

func TestCheckFatal(t *testing.T) {
	weak := func(kind string) func(t *testing.T) Bundle {
		return func(t *testing.T) Bundle {
			return Bundle{Leaf: cert(t, kind), Intermediates: pool(t, "ica"), Roots: pool(t, "root")}
		}
	}
	tests := map[string]struct {
		bundle func(t *testing.T) Bundle
		want   Expectation
		fatal  string
	}{
		"no leaf": {func(*testing.T) Bundle { return Bundle{} }, Expectation{}, ReasonLeafMissing},
		"key of another certificate": {func(t *testing.T) Bundle {
			b := good(t)
			b.Key = key(t, "p_384")
			return b
		}, Expectation{}, ReasonKeyMismatch},
		"CA as leaf": {func(t *testing.T) Bundle { return assembled(t, "ca-leaf", "ica", "root") }, Expectation{}, ReasonLeafIsCA},
		"expired":    {func(t *testing.T) Bundle { return assembled(t, "expired", "ica", "root") }, Expectation{}, ReasonExpired},
		"not yet valid": {func(t *testing.T) Bundle { return assembled(t, "future", "ica", "root") }, Expectation{},
			ReasonNotYetValid},
		"the predecessor": {good, Expectation{PredecessorSerial: "a00000000000000000000000000000000000004"}, ReasonPredecessorSerial},
		"another device": {func(t *testing.T) Bundle { return assembled(t, "other-device", "ica", "root") }, wanted(),
			ReasonOtherDevice},
		"wrong signature": {func(t *testing.T) Bundle { return assembled(t, "wrong-signer", "ica", "root") }, Expectation{},
			ReasonChainInvalid},
		"signed by what is no CA": {func(t *testing.T) Bundle {
			return Bundle{Leaf: cert(t, "p_256"), Intermediates: pool(t, "p_384")}
		}, Expectation{}, ReasonChainInvalid},
		"RSA of 1024 bits": {weak("rsa_1024"), Expectation{}, ReasonKeyTooWeak},
		"P-224":            {weak("p_224"), Expectation{}, ReasonKeyTooWeak},
		"Ed448":            {weak("ed_448"), Expectation{}, ReasonKeyTooWeak},
		"several at once": {func(t *testing.T) Bundle {
			b := assembled(t, "expired", "ica", "root")
			b.Key = key(t, "p_384")
			b.Intermediates = pool(t, "other-root")
			return b
		}, Expectation{CommonName: "camera"}, "KeyMismatch Expired OtherDevice ChainInvalid"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fatal, _ := Check(test.bundle(t), test.want, testNow)
			if got := reasons(fatal); got != test.fatal {
				t.Errorf("got %q, want %q", got, test.fatal)
			}
			for _, finding := range fatal {
				if !strings.Contains(finding.Message, ": ") || strings.ContainsAny(finding.Message, "\n\x1b") {
					t.Errorf("%s: %q does not say what to do", finding.Reason, finding.Message)
				}
			}
		})
	}
}

func TestCheckJudgesValidityByTheGivenClock(t *testing.T) {
	expired, future := cert(t, "expired"), cert(t, "future")
	tests := map[string]struct {
		now   time.Time
		leaf  string
		fatal string
	}{
		"a second before the end":            {expired.NotAfter.Add(-time.Second), "expired", ""},
		"at the end":                         {expired.NotAfter, "expired", ReasonExpired},
		"five minutes before the start":      {future.NotBefore.Add(-MaxFutureStart), "future", ""},
		"five minutes and a second too soon": {future.NotBefore.Add(-MaxFutureStart - time.Second), "future", ReasonNotYetValid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fatal, _ := Check(assembled(t, test.leaf, "ica", "root"), Expectation{}, test.now)
			if got := reasons(fatal); got != test.fatal {
				t.Errorf("got %q, want %q", got, test.fatal)
			}
		})
	}
}

func TestCheckNeverAcceptsAValidityThatEndsBeforeItBegins(t *testing.T) {
	b := good(t)
	turned := *b.Leaf
	turned.NotBefore, turned.NotAfter = turned.NotAfter, turned.NotBefore.Add(20*365*24*time.Hour)
	b.Leaf = &turned
	fatal, _ := Check(b, Expectation{}, testNow)
	if got := reasons(fatal); !strings.HasPrefix(got, ReasonExpired) {
		t.Errorf("got %q", got)
	}
}

func TestCheckRecognisesTheDevice(t *testing.T) {
	tests := map[string]struct {
		leaf  string
		want  Expectation
		other bool
	}{
		"the requested name":                     {"p_256", Expectation{CommonName: "gateway-17.edge.example"}, false},
		"in another case":                        {"p_256", Expectation{CommonName: " GATEWAY-17.edge.example"}, false},
		"with a domain appended by the profile":  {"p_256", Expectation{CommonName: "gateway-17"}, false},
		"with a domain removed by the profile":   {"p_256", Expectation{CommonName: "gateway-17.edge.example.corp"}, false},
		"by its device identifier":               {"p_256", Expectation{CommonName: "x", DeviceIdentifier: "Gateway-17.edge.example"}, false},
		"by a requested DNS name":                {"p_256", Expectation{CommonName: "x", DNSNames: []string{"gateway-17.edge.example"}}, false},
		"by a DNS name of the certificate":       {"p_256", Expectation{CommonName: "gw-17.local"}, false},
		"no common name in the certificate":      {"nameless", Expectation{CommonName: "camera"}, false},
		"no common name requested":               {"other-device", Expectation{DeviceIdentifier: "gateway-17"}, false},
		"a name that only begins alike":          {"p_256", Expectation{CommonName: "gateway-1"}, true},
		"a name that only ends alike":            {"p_256", Expectation{CommonName: "edge.example"}, true},
		"another device with an empty wish":      {"other-device", Expectation{CommonName: "gateway-17", DNSNames: []string{""}}, true},
		"another device of the domain":           {"other-device", Expectation{CommonName: "gateway-17.edge.example"}, true},
		"another device, whatever its DNS names": {"other-device", Expectation{CommonName: "a", DeviceIdentifier: "b", DNSNames: []string{"c"}}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fatal, _ := Check(assembled(t, test.leaf, "ica", "root"), test.want, testNow)
			if got := reasons(fatal) == ReasonOtherDevice; got != test.other {
				t.Errorf("another device: %v, want %v", got, test.other)
			}
		})
	}
}

func TestCheckWarnings(t *testing.T) {
	with := func(change func(*Expectation)) Expectation {
		want := wanted()
		change(&want)
		return want
	}
	tests := map[string]struct {
		pool []string
		want Expectation
		now  time.Time
		warn string
	}{
		"another key type": {[]string{"p_256", "ica", "root"}, with(func(w *Expectation) { w.KeyType = "rsa_2048" }), testNow,
			ReasonKeyTypeDiffers},
		"the key type in capitals": {[]string{"p_256", "ica", "root"}, with(func(w *Expectation) { w.KeyType = "P_256" }), testNow, ""},
		"a rewritten name": {[]string{"p_256", "ica", "root"}, with(func(w *Expectation) { w.CommonName = "gateway-17" }), testNow,
			ReasonSubjectDiffers},
		"missing names": {[]string{"p_256", "ica", "root"}, with(func(w *Expectation) { w.DNSNames = []string{"GW-17.LOCAL", "a", "b"} }), testNow,
			ReasonSANsMissing},
		"a missing chain":     {[]string{"p_256"}, wanted(), testNow, ReasonChainMissing},
		"a missing root":      {[]string{"p_256", "ica"}, wanted(), testNow, ReasonRootUnknown},
		"a self-signed leaf":  {[]string{"self-signed-leaf"}, wanted(), testNow, ""},
		"CAs that have ended": {[]string{"forever", "ica", "root"}, wanted(), time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC), "CAExpired CAExpired ValidityLong"},
		"a short validity":    {[]string{"expired", "ica", "root"}, Expectation{MinRemaining: time.Hour}, time.Date(2020, 12, 31, 23, 0, 0, 0, time.UTC), "CAExpired CAExpired ValidityShort"},
		"an endless validity": {[]string{"forever", "ica", "root"}, Expectation{}, testNow, ReasonValidityLong},
		"everything": {[]string{"expired"}, with(func(w *Expectation) { w.KeyType, w.CommonName, w.DNSNames = "x", "y", []string{"z"} }), testNow,
			"KeyTypeDiffers SubjectDiffers SANsMissing ChainMissing ValidityShort"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, warnings := Check(assembled(t, test.pool...), test.want, test.now)
			if got := reasons(warnings); got != test.warn {
				t.Errorf("got %q, want %q", got, test.warn)
			}
		})
	}
}

func TestFindingsQuoteNothingThatForgesLines(t *testing.T) {
	b := assembled(t, "hostile-names", "ica", "root")
	fatal, warnings := Check(b, Expectation{CommonName: "x\n\x1b[2J" + strings.Repeat("y", 1000), KeyType: "z\n", DNSNames: []string{"\u202e"}}, testNow)
	if len(fatal) != 1 || len(warnings) != 3 {
		t.Fatalf("%v %v", fatal, warnings)
	}
	for _, finding := range append(fatal, warnings...) {
		if strings.ContainsAny(finding.Message, "\n\x1b\u202e") || len(finding.Message) > 500 {
			t.Errorf("%s: %q", finding.Reason, finding.Message)
		}
	}
}

func TestCheckLooksAtASealedBundleWithoutItsKey(t *testing.T) {
	b := good(t)
	b.Key = nil
	if fatal, warnings := Check(b, wanted(), testNow); len(fatal)+len(warnings) > 0 {
		t.Errorf("%v %v", fatal, warnings)
	}
}

func TestVerifyChain(t *testing.T) {
	for name, b := range map[string]Bundle{
		"complete":   good(t),
		"leaf alone": {Leaf: cert(t, "p_256")},
		"no root":    {Leaf: cert(t, "p_256"), Intermediates: pool(t, "ica")},
	} {
		if err := VerifyChain(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range hostileChains(t) {
		if err := VerifyChain(b); (err == nil) != strings.HasPrefix(name, "accepted") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string]Bundle{
		"nothing":        {},
		"a gap":          {Leaf: cert(t, "p_256"), Roots: pool(t, "root")},
		"wrong root":     {Leaf: cert(t, "p_256"), Intermediates: pool(t, "ica"), Roots: pool(t, "other-root")},
		"wrong order":    {Leaf: cert(t, "p_256"), Intermediates: pool(t, "root", "ica")},
		"issuer no CA":   {Leaf: cert(t, "p_256"), Intermediates: pool(t, "p_384")},
		"same name only": {Leaf: cert(t, "p_256"), Intermediates: pool(t, "ica-rekeyed"), Roots: pool(t, "root")},
	} {
		if err := VerifyChain(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// hostileChains are chains of two that are odd in one way each. What only a path for names or a purpose would mind is accepted: none is built.
func hostileChains(t *testing.T) map[string]Bundle {
	t.Helper()
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(name string, ca bool, parent *x509.Certificate, edit func(*x509.Certificate)) *x509.Certificate {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: testNow, NotAfter: testNow.Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
		}
		if ca {
			template.KeyUsage = x509.KeyUsageCertSign
		}
		edit(template)
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, signer.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}
	chains := map[string]Bundle{}
	for name, edit := range map[string]struct{ leaf, ca func(*x509.Certificate) }{
		"accepted: a critical unknown extension": {leaf: func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknown} }},
		"accepted: names its CA excludes":        {leaf: func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} }, ca: func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"example"} }},
		"a SHA-1 signature":                      {leaf: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }},
	} {
		nothing := func(*x509.Certificate) {}
		if edit.leaf == nil {
			edit.leaf = nothing
		}
		if edit.ca == nil {
			edit.ca = nothing
		}
		ca := signed("ca", true, nil, edit.ca)
		chains[name] = Bundle{Leaf: signed("leaf", false, ca, edit.leaf), Roots: []*x509.Certificate{ca}}
	}
	return chains
}
