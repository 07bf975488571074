// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// files writes data into a folder and answers with it.
func files(t *testing.T, data map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if err := os.WriteFile(filepath.Join(dir, name), data[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// verifyPair asks OpenSSL whether a kubernetes.io/tls Secret holds a key, the certificate of that key, and a chain that ends at the
// Secret's own root. It answers with the certificate's serial number.
func verifyPair(t *testing.T, s *corev1.Secret) string {
	t.Helper()
	dir := files(t, s.Data)
	verifyChain(t, dir)
	ofKey := output(t, nil, "openssl", "pkey", "-in", dir+"/tls.key", "-pubout")
	ofCertificate := output(t, nil, "openssl", "x509", "-in", dir+"/tls.crt", "-noout", "-pubkey")
	if ofKey != ofCertificate {
		t.Errorf("Secret %s at version %s: the key is not that of the certificate", s.Name, s.ResourceVersion)
	}
	return serial(t, dir+"/tls.crt")
}

// verifyChain asks OpenSSL whether the chain in tls.crt ends at the root in ca.crt.
func verifyChain(t *testing.T, dir string) {
	t.Helper()
	output(t, nil, "openssl", "verify", "-CAfile", dir+"/ca.crt", "-untrusted", dir+"/tls.crt", dir+"/tls.crt")
}

// serial is a certificate's serial number as OpenSSL writes it, which is as the vendor's ledger does.
func serial(t *testing.T, path string) string {
	t.Helper()
	_, number, _ := strings.Cut(strings.TrimSpace(output(t, nil, "openssl", "x509", "-in", path, "-noout", "-serial")), "=")
	return number
}

// transportKey makes an RSA key and a certificate to encrypt to.
func transportKey(t *testing.T) (certificate, key []byte) {
	t.Helper()
	dir := t.TempDir()
	output(t, nil, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=transport",
		"-keyout", dir+"/transport.key", "-out", dir+"/transport.crt")
	return read(t, dir+"/transport.crt"), read(t, dir+"/transport.key")
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
