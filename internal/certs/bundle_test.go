// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

// secrets returns what must never be seen of a key: windows of its DER, as
// text of several kinds.
func secrets(t *testing.T, kind string) []string {
	t.Helper()
	der := fixture(t, kind+".pkcs8.der")
	var out []string
	for i := 20; i+12 < len(der); i += 12 {
		window := der[i : i+12]
		out = append(out, string(window), fmt.Sprintf("%x", window), fmt.Sprintf("%d", window), strings.Trim(fmt.Sprint(window), "[]"))
	}
	return out
}

func TestBundleNeverShowsItsKey(t *testing.T) {
	for _, kind := range []string{"ed_25519", "p_256"} {
		bundle := Bundle{Key: key(t, kind), Leaf: cert(t, kind)}
		var shown bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			fmt.Fprintf(&shown, verb, bundle)
			fmt.Fprintf(&shown, verb, &bundle)
			fmt.Fprintf(&shown, verb, struct{ B Bundle }{bundle})
			fmt.Fprintf(&shown, verb, []Bundle{bundle})
		}
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("m", "bundle", bundle, "pointer", &bundle)
		slog.New(slog.NewTextHandler(&shown, nil)).Info("m", "bundle", bundle, "list", []Bundle{bundle})
		if err := json.NewEncoder(&shown).Encode(map[string]any{"a": bundle, "b": &bundle}); err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets(t, kind) {
			if strings.Contains(shown.String(), secret) {
				t.Fatalf("%s: key material is shown", kind)
			}
		}
		if !strings.Contains(shown.String(), "serial 0A0000") {
			t.Error("the serial number, which identifies the bundle, is not shown")
		}
	}
}

func TestBundleWithoutALeafCanBeShown(t *testing.T) {
	if got := fmt.Sprint(Bundle{}); got != "certificate bundle without a leaf" {
		t.Errorf("got %q", got)
	}
	if chain := (Bundle{}).Chain(); chain != nil {
		t.Errorf("chain of nothing: %v", chain)
	}
}

func TestChainDoesNotShareItsMemory(t *testing.T) {
	bundle := Bundle{Leaf: cert(t, "p_256"), Intermediates: pool(t, "ica", "root")[:1]}
	_ = append(bundle.Chain(), cert(t, "other-root"))
	if again := bundle.Chain(); len(again) != 2 || !again[1].Equal(cert(t, "ica")) {
		t.Error("appending to the chain changed the bundle")
	}
}

func TestPrivateKeysAreEncodedAsOpenSSLDoes(t *testing.T) {
	for _, kind := range []string{"rsa_2048", "rsa_3072", "rsa_4096", "p_256", "p_384", "p_521", "ed_25519"} {
		traditional := kind + ".traditional"
		if kind == "ed_25519" {
			traditional = kind + ".pkcs8"
		}
		for encoding, name := range map[Encoding]string{"": kind + ".pkcs8", PKCS8: kind + ".pkcs8", Traditional: traditional} {
			text, err := EncodePrivateKeyPEM(key(t, kind), encoding)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(text, fixture(t, name+".pem")) {
				t.Errorf("%s as %q is not what OpenSSL wrote to %s.pem", kind, encoding, name)
			}
			der, err := EncodePrivateKeyDER(key(t, kind), encoding)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(der, fixture(t, name+".der")) {
				t.Errorf("%s as %q is not what OpenSSL wrote to %s.der", kind, encoding, name)
			}
		}
	}
}

func TestEncodePrivateKeyRefusesWhatItDoesNotKnow(t *testing.T) {
	_, err := EncodePrivateKeyPEM(key(t, "p_256"), "pkcs8")
	wantError(t, err, `unknown key encoding "pkcs8"`, "PKCS8", "Traditional")
	_, err = EncodePrivateKeyPEM(nil, PKCS8)
	wantError(t, err, "cannot be encoded")
	_, err = EncodePrivateKeyDER(nil, Traditional)
	wantError(t, err, "cannot be encoded")
}

func TestCertificatesAreEncodedInOrder(t *testing.T) {
	if got := EncodeCertificatesPEM(pool(t, "p_256", "ica", "root")); !bytes.Equal(got, fixture(t, "p_256.chain.pem")) {
		t.Error("not what OpenSSL wrote")
	}
	if got := EncodeCertificatesPEM(nil); len(got) != 0 {
		t.Errorf("nothing is encoded as %q", got)
	}
}

func FuzzParsedPEMIsEncodedBackToTheSame(f *testing.F) {
	for _, name := range []string{"p_256.chain.pem", "p_256.chain.crlf.pem", "p_256.text.pem", "mixed.pem", "p_256.trusted.pem"} {
		f.Add(fixture(f, name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		limit.Parser.Hold(t, len(text), func() { parseAndEncodeBack(t, text) })
	})
}

func parseAndEncodeBack(t *testing.T, text []byte) {
	parsed, err := ParseCertificatesPEM(text)
	if err != nil {
		return
	}
	again, err := ParseCertificatesPEM(EncodeCertificatesPEM(parsed))
	if err != nil || len(again) != len(parsed) {
		t.Errorf("%d certificates became %d: %v", len(parsed), len(again), err)
		return
	}
	for i := range parsed {
		if !parsed[i].Equal(again[i]) {
			t.Errorf("certificate %d changed", i)
		}
		Subject(parsed[i])
		DNSNames(parsed[i])
		KeyType(parsed[i].PublicKey)
	}
	if bundle, err := Assemble(nil, parsed); err == nil {
		Check(bundle, Expectation{CommonName: "a", DNSNames: []string{"b"}, PredecessorSerial: "0"}, testNow)
	}
}

func FuzzParsePrivateKeyNeverPanics(f *testing.F) {
	for _, kind := range []string{"rsa_2048", "p_256", "ed_25519"} {
		f.Add(fixture(f, kind+".pkcs8.der"))
	}
	f.Add(fixture(f, "p_256.traditional.der"))
	f.Add(fixture(f, "rsa_2048.traditional.der"))
	f.Fuzz(func(t *testing.T, der []byte) {
		var signer crypto.Signer
		var err error
		limit.Parser.Hold(t, len(der), func() { signer, err = ParsePrivateKey(der) })
		if err != nil || signer == nil {
			return
		}
		text, err := EncodePrivateKeyPEM(signer, PKCS8)
		if err != nil {
			t.Fatalf("a key that was parsed cannot be encoded: %v", err)
		}
		again, err := ParsePrivateKeyPEM(text)
		if err != nil {
			t.Fatal(err)
		}
		if !again.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(signer.Public()) {
			t.Error("the key changed")
		}
	})
}
