// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

func TestParsePrivateKeyKnowsEverySyntax(t *testing.T) {
	for kind, names := range map[string][]string{
		"rsa_2048": {"rsa_2048.pkcs8", "rsa_2048.traditional"},
		"rsa_3072": {"rsa_3072.pkcs8", "rsa_3072.traditional"},
		"rsa_4096": {"rsa_4096.pkcs8", "rsa_4096.traditional"},
		"p_256":    {"p_256.pkcs8", "p_256.traditional"},
		"p_384":    {"p_384.pkcs8", "p_384.traditional"},
		"p_521":    {"p_521.pkcs8", "p_521.traditional"},
		"ed_25519": {"ed_25519.pkcs8"},
	} {
		for _, name := range names {
			fromDER, err := ParsePrivateKey(fixture(t, name+".der"))
			if err != nil {
				t.Fatalf("%s.der: %v", name, err)
			}
			fromPEM, err := ParsePrivateKeyPEM(fixture(t, name+".pem"))
			if err != nil {
				t.Fatalf("%s.pem: %v", name, err)
			}
			leaf := cert(t, kind)
			if !KeyMatches(fromDER.Public(), leaf) || !KeyMatches(fromPEM.Public(), leaf) {
				t.Errorf("%s is not the key of the certificate", name)
			}
			if got := KeyType(fromDER.Public()); got != kind {
				t.Errorf("%s is called %s", name, got)
			}
		}
	}
}

func TestParsePrivateKeyPEMAcceptsWhatOpenSSLWrites(t *testing.T) {
	for _, name := range []string{"p_256.parameters.pem", "p_384.parameters.pem", "p_521.parameters.pem", "p_256.pkcs8.crlf.pem"} {
		if _, err := ParsePrivateKeyPEM(fixture(t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	withText := append([]byte("Bag Attributes\n    localKeyID: 01\n"), fixture(t, "p_256.pkcs8.pem")...)
	if _, err := ParsePrivateKeyPEM(withText); err != nil {
		t.Errorf("with text before it: %v", err)
	}
}

func TestParsePrivateKeyPEMRefuses(t *testing.T) {
	plain := string(fixture(t, "p_256.pkcs8.pem"))
	tests := map[string]struct{ text, want string }{
		"nothing":                       {"", "no PEM block"},
		"white space":                   {" \r\n", "no PEM block"},
		"text without PEM":              {"hello", "no complete PEM block"},
		"an encrypted PKCS#8 key":       {string(fixture(t, "encrypted.pkcs8.pem")), "encrypted"},
		"an encrypted traditional key":  {string(fixture(t, "encrypted.traditional.pem")), "encrypted"},
		"two keys":                      {string(fixture(t, "two-keys.pem")), "more than one private key"},
		"a certificate beside it":       {string(fixture(t, "mixed.pem")), `"CERTIFICATE" where a private key is expected`},
		"a CSR":                         {string(fixture(t, "csr.pem")), "CERTIFICATE REQUEST"},
		"parameters without a key":      {"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", "no private key"},
		"a DSA key":                     {string(fixture(t, "dsa.pkcs8.pem")), "unsupported"},
		"an Ed448 key":                  {string(fixture(t, "ed_448.pkcs8.pem")), "unsupported"},
		"an X25519 key":                 {string(fixture(t, "x_25519.pkcs8.pem")), "cannot sign"},
		"text after it":                 {plain + "trailing", "no complete PEM block in the text after block 1"},
		"a second block cut short":      {plain + plain[:80], "no complete PEM block"},
		"a damaged block before it":     {plain[:80] + "\n" + plain, "damaged PEM block"},
		"PEM headers":                   {strings.Replace(plain, "KEY-----\n", "KEY-----\nComment: hello\n\n", 1), "headers"},
		"rubbish in the block":          {"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "neither PKCS#8"},
		"an unknown type with controls": {"-----BEGIN A\x1b[2J-----\nAAAA\n-----END A\x1b[2J-----\n", `"A�[2J"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			signer, err := ParsePrivateKeyPEM([]byte(test.text))
			wantError(t, err, test.want)
			if signer != nil {
				t.Error("a key comes with the error")
			}
			if strings.Contains(err.Error(), "MIG") {
				t.Errorf("the error quotes the input: %v", err)
			}
		})
	}
}

func TestParsePrivateKeyRefusesTrailingData(t *testing.T) {
	for _, name := range []string{"p_256.pkcs8", "p_256.traditional", "rsa_2048.pkcs8", "rsa_2048.traditional", "ed_25519.pkcs8"} {
		_, err := ParsePrivateKey(append(fixture(t, name+".der"), 0))
		wantError(t, err, "one ASN.1 structure")
	}
}

// longRSA has the structure of an RSA key with a modulus of bits bits, and
// numbers that are worthless.
func longRSA(t *testing.T, bits uint) []byte {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	der, err := asn1.Marshal(struct {
		Version                int
		N, E, D, P, Q, A, B, C *big.Int
	}{0, n, big.NewInt(65537), big.NewInt(3), big.NewInt(3), big.NewInt(3), big.NewInt(1), big.NewInt(1), big.NewInt(1)})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParsePrivateKeyRefusesLongRSAKeysUnseen(t *testing.T) {
	pkcs1 := longRSA(t, MaxRSABits+1)
	pkcs8, err := asn1.Marshal(struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}, pkcs1})
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"PKCS#1": pkcs1, "PKCS#8": pkcs8} {
		_, err := ParsePrivateKey(der)
		if err == nil || !strings.Contains(err.Error(), "more than 8192 bits") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = ParsePrivateKey(longRSA(t, MaxRSABits))
	wantError(t, err, "neither PKCS#8")
	_, err = ParsePrivateKey(make([]byte, MaxPrivateKeyBytes+1))
	wantError(t, err, "longer than 16384 bytes")
}

func TestParseCertificatesPEMAcceptsHarmlessVariants(t *testing.T) {
	for name, count := range map[string]int{
		"p_256.pem": 1, "p_256.chain.pem": 3, "p_256.chain.crlf.pem": 3, "p_256.text.pem": 1,
	} {
		certificates, err := ParseCertificatesPEM(fixture(t, name))
		if err != nil || len(certificates) != count {
			t.Errorf("%s: %d certificates, want %d: %v", name, len(certificates), count, err)
		}
	}
	unended := bytes.TrimSuffix(fixture(t, "p_256.pem"), []byte("\n"))
	if _, err := ParseCertificatesPEM(unended); err != nil {
		t.Errorf("without a final newline: %v", err)
	}
}

func TestParseCertificatesPEMRefuses(t *testing.T) {
	leaf := string(fixture(t, "p_256.pem"))
	block, _ := pem.Decode([]byte(leaf))
	large := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: make([]byte, MaxCertificateBytes+1)})
	trailing := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(block.Bytes, 0)})
	tests := map[string]struct{ text, want string }{
		"nothing":                     {"", "no PEM block"},
		"a private key beside them":   {string(fixture(t, "mixed.pem")), `"PRIVATE KEY" where only certificates are expected`},
		"a trusted certificate":       {string(fixture(t, "p_256.trusted.pem")), "TRUSTED CERTIFICATE"},
		"a CSR":                       {string(fixture(t, "csr.pem")), "CERTIFICATE REQUEST"},
		"headers":                     {strings.Replace(leaf, "CATE-----\n", "CATE-----\nA: b\n\n", 1), "headers"},
		"text after the last":         {leaf + "x", "no complete PEM block in the text after block 1"},
		"a damaged one in the middle": {leaf + strings.Replace(leaf, "MII", "!!!", 1) + leaf, "damaged PEM block"},
		"a lot of text":               {strings.Repeat("x", MaxPEMText) + "\n" + leaf, "more than 16384 bytes of text"},
		"too much text":               {strings.Repeat("\n", MaxPEMBytes) + leaf, "longer than 1048576 bytes"},
		"too many":                    {strings.Repeat(leaf, MaxPEMBlocks+1), "more than 256 PEM blocks"},
		"no certificate in the block": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be parsed"},
		"a large certificate":         {string(large), "longer than 65536 bytes"},
		"data after the certificate":  {string(trailing), "cannot be parsed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			certificates, err := ParseCertificatesPEM([]byte(test.text))
			wantError(t, err, test.want)
			if certificates != nil {
				t.Error("certificates come with the error")
			}
		})
	}
}

func TestParseCertificateRefusesLongRSAKeys(t *testing.T) {
	// The public key of a real certificate is replaced by a longer one. The
	// signature is wrong then, but parsing does not look at it.
	var outer struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	unmarshal(t, fixtureDER(t, "rsa_2048"), &outer)
	var tbs struct {
		Version                                         asn1.RawValue `asn1:"explicit,tag:0"`
		Serial, Algorithm, Issuer, Validity, Subject, K asn1.RawValue
		Extensions                                      asn1.RawValue `asn1:"optional,explicit,tag:3"`
	}
	unmarshal(t, outer.TBS.FullBytes, &tbs)
	public, err := asn1.Marshal(struct{ N, E *big.Int }{new(big.Int).Lsh(big.NewInt(1), MaxRSABits), big.NewInt(3)})
	if err != nil {
		t.Fatal(err)
	}
	info, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}, asn1.BitString{Bytes: public, BitLength: 8 * len(public)}})
	if err != nil {
		t.Fatal(err)
	}
	tbs.K = asn1.RawValue{FullBytes: info}
	tbs.Extensions = asn1.RawValue{}
	inner, err := asn1.Marshal(tbs)
	if err != nil {
		t.Fatal(err)
	}
	outer.TBS = asn1.RawValue{FullBytes: inner}
	der, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		t.Fatalf("the forged certificate is not well formed: %v", err)
	}
	_, err = ParseCertificate(der)
	wantError(t, err, "RSA key of more than 8192 bits")
}

func fixtureDER(t *testing.T, name string) []byte {
	t.Helper()
	return cert(t, name).Raw
}

func unmarshal(t *testing.T, der []byte, out any) {
	t.Helper()
	if _, err := asn1.Unmarshal(der, out); err != nil {
		t.Fatal(err)
	}
}
