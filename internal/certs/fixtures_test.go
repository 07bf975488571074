// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The fixtures were made by OpenSSL, see hack/fixtures/make.sh.
const fixtureDir = "../decode/testdata/fixtures"

// testNow lies within the validity of all fixtures that are meant to be valid.
var testNow = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtureDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// pool reads the certificates of several PEM fixtures, named without .pem.
func pool(t testing.TB, names ...string) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, name := range names {
		certificates, err := ParseCertificatesPEM(fixture(t, name+".pem"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, certificates...)
	}
	return out
}

func cert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	return pool(t, name)[0]
}

func key(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	signer, err := ParsePrivateKeyPEM(fixture(t, kind+".pkcs8.pem"))
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return signer
}

// wantError fails unless err says all of the parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}
