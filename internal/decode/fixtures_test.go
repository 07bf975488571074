// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

// password opens every PKCS#12 fixture. The fixtures were made by OpenSSL, see
// hack/fixtures/make.sh.
const password = "Abc12345"

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "fixtures", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func base64Of(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func leafOf(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	certificates, err := certs.ParseCertificatesPEM(fixture(t, name+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	return certificates[0]
}

func keyOf(t testing.TB, name string) crypto.Signer {
	t.Helper()
	key, err := certs.ParsePrivateKeyPEM(fixture(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pfx is the payload of a PKCS#12 fixture, without the field pem.
func pfx(t testing.TB, name string) Payload {
	t.Helper()
	return Payload{Format: FormatPKCS12, PrivateKey: base64Of(fixture(t, name+".pfx")), Password: password}
}

// enveloped is the payload of a CMS fixture, without the field pem.
func enveloped(t testing.TB, format Format, name string) Payload {
	t.Helper()
	return Payload{
		Format:                format,
		PrivateKey:            base64Of(fixture(t, name+".p7m")),
		DecryptionKey:         keyOf(t, "transport.key.pem"),
		EncryptionCertificate: leafOf(t, "transport"),
	}
}

// wantBundle fails unless a payload decodes to the key and leaf called kind,
// with as many issuers.
func wantBundle(t *testing.T, p Payload, kind string, intermediates, roots int) {
	t.Helper()
	bundle, err := Decode(p)
	if err != nil {
		t.Fatal(err)
	}
	if !bundle.Leaf.Equal(leafOf(t, kind)) || !certs.KeyMatches(bundle.Key.Public(), bundle.Leaf) {
		t.Errorf("leaf %s with another key, want %s", certs.SerialString(bundle.Leaf), kind)
	}
	if len(bundle.Intermediates) != intermediates || len(bundle.Roots) != roots {
		t.Errorf("%d intermediates and %d roots, want %d and %d", len(bundle.Intermediates), len(bundle.Roots), intermediates, roots)
	}
	if err := certs.VerifyChain(bundle); err != nil {
		t.Error(err)
	}
}

// wantFault fails unless err is an *Error of the given reason that says part.
func wantFault(t *testing.T, err error, reason Reason, part string) {
	t.Helper()
	var fault *Error
	if !errors.As(err, &fault) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if fault.Reason != reason || !strings.Contains(fault.Error(), part) {
		t.Errorf("got %s: %v\nwant %s: ...%s...", fault.Reason, fault, reason, part)
	}
	if fault.Field == "" || errors.Unwrap(fault) == nil {
		t.Error("the error names no field or wraps nothing")
	}
}
