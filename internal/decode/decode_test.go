// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

var kinds = []string{"rsa_2048", "rsa_3072", "rsa_4096", "p_256", "p_384", "p_521", "ed_25519"}

func TestDecodePEMInEverySyntax(t *testing.T) {
	for _, kind := range kinds {
		for _, syntax := range []string{"pkcs8", "traditional", "parameters"} {
			if strings.HasPrefix(kind, "rsa") && syntax == "parameters" || kind == "ed_25519" && syntax != "pkcs8" {
				continue
			}
			t.Run(kind+" "+syntax, func(t *testing.T) {
				key := string(fixture(t, kind+"."+syntax+".pem"))
				wantBundle(t, Payload{Format: FormatPEM, PEM: string(fixture(t, kind+".chain.pem")), PrivateKey: key}, kind, 1, 1)
			})
		}
	}
}

func TestDecodeDERInEverySyntax(t *testing.T) {
	for _, kind := range kinds {
		for _, syntax := range []string{"pkcs8", "traditional"} {
			if kind == "ed_25519" && syntax != "pkcs8" {
				continue
			}
			t.Run(kind+" "+syntax, func(t *testing.T) {
				key := base64Of(fixture(t, kind+"."+syntax+".der"))
				wantBundle(t, Payload{Format: FormatDER, PEM: string(fixture(t, kind+".chain.pem")), PrivateKey: key}, kind, 1, 1)
			})
		}
	}
}

func TestDecodeAcceptsHarmlessVariants(t *testing.T) {
	chain, key := string(fixture(t, "p_256.chain.pem")), string(fixture(t, "p_256.pkcs8.pem"))
	leaf, der := string(fixture(t, "p_256.pem")), fixture(t, "p_256.pkcs8.der")
	wrapped := strings.Join(strings.SplitAfter(base64Of(der), "A"), "\r\n\t ")
	tests := map[string]struct {
		payload              Payload
		intermediates, roots int
	}{
		"CRLF":                         {Payload{Format: FormatPEM, PEM: string(fixture(t, "p_256.chain.crlf.pem")), PrivateKey: string(fixture(t, "p_256.pkcs8.crlf.pem"))}, 1, 1},
		"no final newlines":            {Payload{Format: FormatPEM, PEM: strings.TrimSpace(chain), PrivateKey: strings.TrimSpace(key)}, 1, 1},
		"a leaf without its chain":     {Payload{Format: FormatPEM, PEM: leaf, PrivateKey: key}, 0, 0},
		"a leaf in base64 DER":         {Payload{Format: FormatPEM, PEM: base64Of(fixture(t, "p_256.der")), PrivateKey: key}, 0, 0},
		"a key in base64 DER":          {Payload{Format: FormatPEM, PEM: chain, PrivateKey: base64Of(der)}, 1, 1},
		"a key in PEM for der":         {Payload{Format: FormatDER, PEM: chain, PrivateKey: key}, 1, 1},
		"a key in base64 PEM for der":  {Payload{Format: FormatDER, PEM: chain, PrivateKey: base64Of([]byte(key))}, 1, 1},
		"wrapped base64":               {Payload{Format: FormatDER, PEM: chain, PrivateKey: wrapped}, 1, 1},
		"base64 without padding":       {Payload{Format: FormatDER, PEM: chain, PrivateKey: strings.TrimRight(base64Of(der), "=")}, 1, 1},
		"certificates beside the key":  {Payload{Format: FormatPEM, PEM: "", PrivateKey: key + chain}, 1, 1},
		"the key twice":                {Payload{Format: FormatPEM, PEM: chain, PrivateKey: key + key}, 1, 1},
		"a CSR beside the key":         {Payload{Format: FormatPEM, PEM: chain, PrivateKey: string(fixture(t, "csr.pem")) + key}, 1, 1},
		"the chain in another order":   {Payload{Format: FormatPEM, PEM: string(fixture(t, "root.pem")) + leaf + string(fixture(t, "ica.pem")) + leaf, PrivateKey: key}, 1, 1},
		"text before the certificates": {Payload{Format: FormatPEM, PEM: string(fixture(t, "p_256.text.pem")), PrivateKey: key}, 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { wantBundle(t, test.payload, "p_256", test.intermediates, test.roots) })
	}
}

func TestDecodeRefuses(t *testing.T) {
	chain, key := string(fixture(t, "p_256.chain.pem")), string(fixture(t, "p_256.pkcs8.pem"))
	der := fixture(t, "p_256.pkcs8.der")
	urlSafe := strings.NewReplacer("+", "-", "/", "_").Replace(base64Of(der))
	if urlSafe == base64Of(der) {
		urlSafe = "_" + urlSafe[1:]
	}
	tests := map[string]struct {
		payload Payload
		reason  Reason
		want    string
	}{
		"an unknown format":            {Payload{Format: "jks", PEM: chain, PrivateKey: key}, Unsupported, `unknown format "jks"`},
		"no format":                    {Payload{PEM: chain, PrivateKey: key}, Unsupported, `unknown format ""`},
		"no private key":               {Payload{Format: FormatPEM, PEM: chain}, Missing, "private_key: it is empty"},
		"a blank private key":          {Payload{Format: FormatDER, PEM: chain, PrivateKey: " \r\n"}, Missing, "private_key: it is empty"},
		"no certificate":               {Payload{Format: FormatPEM, PrivateKey: key}, Missing, "neither pem nor private_key"},
		"a blank pem":                  {Payload{Format: FormatPEM, PEM: "\n", PrivateKey: key}, Missing, "neither pem nor private_key"},
		"a key of another certificate": {Payload{Format: FormatPEM, PEM: chain, PrivateKey: string(fixture(t, "p_384.pkcs8.pem"))}, Inconsistent, "belongs to none"},
		"two keys":                     {Payload{Format: FormatPEM, PEM: chain, PrivateKey: string(fixture(t, "two-keys.pem"))}, Inconsistent, "more than one private key"},
		"an encrypted key":             {Payload{Format: FormatPEM, PEM: chain, PrivateKey: string(fixture(t, "encrypted.pkcs8.pem"))}, Malformed, "encrypted"},
		"an encrypted traditional key": {Payload{Format: FormatPEM, PEM: chain, PrivateKey: string(fixture(t, "encrypted.traditional.pem"))}, Malformed, "encrypted"},
		"a DSA key":                    {Payload{Format: FormatPEM, PEM: chain, PrivateKey: string(fixture(t, "dsa.pkcs8.pem"))}, Malformed, "unsupported"},
		"an Ed448 key":                 {Payload{Format: FormatPEM, PEM: chain, PrivateKey: string(fixture(t, "ed_448.pkcs8.pem"))}, Malformed, "unsupported"},
		"an OpenSSH key":               {Payload{Format: FormatPEM, PEM: chain, PrivateKey: "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"}, Malformed, "OPENSSH"},
		"a key cut short":              {Payload{Format: FormatPEM, PEM: chain, PrivateKey: key[:len(key)-30]}, Malformed, "no complete PEM block"},
		"text after the key":           {Payload{Format: FormatPEM, PEM: chain, PrivateKey: key + "x"}, Malformed, "after block 1"},
		"HTML for a key":               {Payload{Format: FormatPEM, PEM: chain, PrivateKey: "<html>"}, Malformed, "not standard base64"},
		"a key in the field pem":       {Payload{Format: FormatPEM, PEM: chain + key, PrivateKey: key}, Malformed, `"PRIVATE KEY" where only certificates`},
		"a public key for a key":       {Payload{Format: FormatPEM, PEM: chain, PrivateKey: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, Missing, "no RSA, EC or Ed25519 private key"},
		"only a certificate for a key": {Payload{Format: FormatDER, PEM: chain, PrivateKey: base64Of(fixture(t, "p_256.der"))}, Missing, "no RSA, EC or Ed25519 private key"},
		"rubbish for a key":            {Payload{Format: FormatDER, PEM: chain, PrivateKey: "AAAA"}, Missing, "no RSA, EC or Ed25519 private key"},
		"data after the DER key":       {Payload{Format: FormatDER, PEM: chain, PrivateKey: base64Of(append(bytes.Clone(der), 0))}, Missing, "no RSA, EC or Ed25519 private key"},
		"base64 for URLs":              {Payload{Format: FormatDER, PEM: chain, PrivateKey: urlSafe}, Malformed, "not standard base64"},
		"base64 with a tail":           {Payload{Format: FormatDER, PEM: chain, PrivateKey: "MIG==="}, Malformed, "not standard base64"},
		"base64 with stray bits":       {Payload{Format: FormatDER, PEM: chain, PrivateKey: "MIF="}, Malformed, "not standard base64"},
		"too much base64":              {Payload{Format: FormatDER, PEM: chain, PrivateKey: strings.Repeat("A", MaxFieldBytes+1)}, TooLarge, "longer than 1048576"},
		"too much PEM for a key":       {Payload{Format: FormatPEM, PEM: chain, PrivateKey: strings.Repeat("\n", MaxFieldBytes) + key}, Malformed, "longer than 1048576"},
		"too much PEM":                 {Payload{Format: FormatPEM, PEM: strings.Repeat("\n", MaxFieldBytes) + chain, PrivateKey: key}, Malformed, "longer than 1048576"},
		"too many certificates":        {Payload{Format: FormatPEM, PEM: string(fixture(t, "p_256.pem")) + string(fixture(t, "long-chain.pem")), PrivateKey: key}, Inconsistent, "more than 10 certificates"},
		"a chain in a loop":            {Payload{Format: FormatPEM, PEM: string(fixture(t, "loop-leaf.pem")) + string(fixture(t, "loop-a.pem")) + string(fixture(t, "loop-b.pem")), PrivateKey: key}, Inconsistent, "loop"},
		"an unrelated certificate":     {Payload{Format: FormatPEM, PEM: chain + string(fixture(t, "other-root.pem")), PrivateKey: key}, Inconsistent, "do not belong"},
		"two leaves of the key":        {Payload{Format: FormatPEM, PEM: chain + string(fixture(t, "same-key-leaf.pem")), PrivateKey: key}, Inconsistent, "could be the leaf"},
		"HTML for a certificate":       {Payload{Format: FormatPEM, PEM: "<html>", PrivateKey: key}, Malformed, "pem: it is not standard base64"},
		"rubbish for a certificate":    {Payload{Format: FormatPEM, PEM: "AAAA", PrivateKey: key}, Malformed, "pem: certificate cannot be parsed"},
		"a damaged certificate":        {Payload{Format: FormatPEM, PEM: strings.Replace(chain, "MII", "!!!", 1), PrivateKey: key}, Malformed, "damaged PEM block"},
		"a damaged certificate by key": {Payload{Format: FormatPEM, PEM: chain, PrivateKey: key + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, Malformed, "cannot be parsed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bundle, err := Decode(test.payload)
			wantFault(t, err, test.reason, test.want)
			if bundle.Key != nil || bundle.Leaf != nil {
				t.Error("a bundle comes with the error")
			}
			wantNoSecret(t, err.Error())
		})
	}
}

// wantNoSecret fails if text holds a piece of the private key of p_256.
func wantNoSecret(t *testing.T, text string) {
	t.Helper()
	der := fixture(t, "p_256.pkcs8.der")
	encoded := base64Of(der)
	for i := 40; i+8 <= len(der); i += 4 {
		window := der[i : i+8]
		for _, secret := range []string{string(window), fmt.Sprintf("%x", window), strings.Trim(fmt.Sprint(window), "[]")} {
			if strings.Contains(text, secret) {
				t.Fatal("key material is shown")
			}
		}
	}
	for i := 40; i+12 <= len(encoded); i += 4 {
		if strings.Contains(text, encoded[i:i+12]) {
			t.Fatal("key material in base64 is shown")
		}
	}
	if strings.Contains(text, password) {
		t.Fatal("the password is shown")
	}
}

func TestPayloadNeverShowsItsContents(t *testing.T) {
	payload := enveloped(t, FormatCertEncrypted, "key.pem")
	payload.Password, payload.PrivateKey = password, string(fixture(t, "p_256.pkcs8.pem"))
	payload.DecryptionKey = keyOf(t, "p_256.pkcs8.pem")
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&shown, verb, payload)
		fmt.Fprintf(&shown, verb, &payload)
		fmt.Fprintf(&shown, verb, []Payload{payload})
	}
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("m", "payload", payload, "pointer", &payload)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("m", "list", []Payload{payload})
	if err := json.NewEncoder(&shown).Encode(map[string]any{"a": payload}); err != nil {
		t.Fatal(err)
	}
	wantNoSecret(t, shown.String())
	if !strings.Contains(shown.String(), "cert_encrypted") {
		t.Error("the format is not shown")
	}
}

func TestErrorsTellTheFieldAndUnwrap(t *testing.T) {
	err := fault("private_key", Locked, "it %s", "does not open")
	if err.Error() != "private_key: it does not open" || err.Unwrap().Error() != "it does not open" {
		t.Errorf("%v, %v", err, err.Unwrap())
	}
}

func TestSealKeepsTheMessageByteForByte(t *testing.T) {
	for _, name := range []string{"zip.plain", "zip.plain.ber", "key.pem", "key.aes128", "key.des3", "two-recipients", "oaep", "ec", "keyid"} {
		for _, format := range []Format{FormatCertEncrypted, FormatCertEncryptedKeyOnly} {
			t.Run(name+" "+string(format), func(t *testing.T) {
				payload := Payload{Format: format, PEM: string(fixture(t, "p_256.chain.pem")), PrivateKey: base64Of(fixture(t, name+".p7m"))}
				sealed, err := Seal(payload)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(sealed.Payload, fixture(t, name+".p7m")) {
					t.Error("the message changed")
				}
				if !sealed.LeafKnown || !sealed.Bundle.Leaf.Equal(leafOf(t, "p_256")) || sealed.Bundle.Key != nil {
					t.Error("the leaf is not known")
				}
			})
		}
	}
}

func TestSealDoesWithoutCertificates(t *testing.T) {
	sealed, err := Seal(Payload{Format: FormatCertEncrypted, PrivateKey: base64Of(fixture(t, "zip.plain.p7m"))})
	if err != nil {
		t.Fatal(err)
	}
	if sealed.LeafKnown || sealed.Bundle.Leaf != nil || len(sealed.Payload) == 0 {
		t.Errorf("leaf known: %v", sealed.LeafKnown)
	}
}

func TestSealRefuses(t *testing.T) {
	good := base64Of(fixture(t, "zip.plain.p7m"))
	message := fixture(t, "zip.plain.p7m")
	tests := map[string]struct {
		payload Payload
		reason  Reason
		want    string
	}{
		"a format that is not encrypted": {Payload{Format: FormatPEM, PrivateKey: good}, Unsupported, `format "pem" cannot be sealed`},
		"PKCS#12":                        {Payload{Format: FormatPKCS12, PrivateKey: good}, Unsupported, "cannot be sealed"},
		"nothing":                        {Payload{Format: FormatCertEncrypted}, Missing, "private_key: it is empty"},
		"a key in the clear":             {Payload{Format: FormatCertEncrypted, PrivateKey: string(fixture(t, "p_256.pkcs8.pem"))}, Malformed, "not standard base64"},
		"a DER key in the clear":         {Payload{Format: FormatCertEncryptedKeyOnly, PrivateKey: base64Of(fixture(t, "p_256.pkcs8.der"))}, Malformed, "not a CMS message"},
		"a ZIP archive in the clear":     {Payload{Format: FormatCertEncrypted, PrivateKey: base64Of([]byte("PK\x03\x04rest"))}, Malformed, "not well-formed ASN.1"},
		"a message cut short":            {Payload{Format: FormatCertEncrypted, PrivateKey: base64Of(message[:len(message)-1])}, Malformed, "not well-formed ASN.1"},
		"data after the message":         {Payload{Format: FormatCertEncrypted, PrivateKey: base64Of(append(bytes.Clone(message), 0))}, Malformed, "something follows its end"},
		"a signed message":               {Payload{Format: FormatCertEncrypted, PrivateKey: base64Of(fixture(t, "signed.p7m"))}, Unsupported, "another kind"},
		"plain data":                     {Payload{Format: FormatCertEncrypted, PrivateKey: base64Of(fixture(t, "data.p7m"))}, Unsupported, "another kind"},
		"authenticated encryption":       {Payload{Format: FormatCertEncrypted, PrivateKey: base64Of(fixture(t, "gcm.p7m"))}, Unsupported, "AuthEnvelopedData"},
		"a damaged pem":                  {Payload{Format: FormatCertEncrypted, PrivateKey: good, PEM: "<html>"}, Malformed, "pem:"},
		"a key in pem":                   {Payload{Format: FormatCertEncrypted, PrivateKey: good, PEM: string(fixture(t, "mixed.pem"))}, Malformed, "only certificates"},
		"two leaves in pem":              {Payload{Format: FormatCertEncrypted, PrivateKey: good, PEM: string(fixture(t, "p_256.pem")) + string(fixture(t, "p_384.pem"))}, Inconsistent, "could be the leaf"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sealed, err := Seal(test.payload)
			wantFault(t, err, test.reason, test.want)
			if sealed.Payload != nil {
				t.Error("a message comes with the error")
			}
			wantNoSecret(t, err.Error())
		})
	}
}

func TestGuardTurnsPanicsIntoErrors(t *testing.T) {
	err := guard(func() error { panic("secret") })
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	if err := guard(func() error { return nil }); err != nil {
		t.Errorf("got %v without a panic", err)
	}
}

// pemOf armours DER that OpenSSL would not.
func pemOf(blockType string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}))
}

func TestDecodeRefusesCertificatesBeyondTheirLimit(t *testing.T) {
	large := pemOf("CERTIFICATE", make([]byte, certs.MaxCertificateBytes+1))
	_, err := Decode(Payload{Format: FormatPEM, PEM: large, PrivateKey: string(fixture(t, "p_256.pkcs8.pem"))})
	wantFault(t, err, Malformed, "longer than 65536 bytes")
	key := pemOf("PRIVATE KEY", make([]byte, certs.MaxPrivateKeyBytes+1))
	_, err = Decode(Payload{Format: FormatPEM, PEM: string(fixture(t, "p_256.pem")), PrivateKey: key})
	wantFault(t, err, Malformed, "longer than 16384 bytes")
}
