// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package keystore writes a certs.Bundle as PKCS#12 and JKS key stores and trust
// stores, for software that cannot read PEM.
//
// Neither format is deterministic: salts are random, so the same input gives
// other bytes each time. To find out whether a stored key store is still right,
// compare a digest of its inputs, not the file.
//
// Both formats rely on SHA-1 somewhere. While FIPS 140-only mode is enforced
// (GODEBUG=fips140=only) every function fails with ErrFIPS.
package keystore

import (
	"crypto/fips140"
	"crypto/x509"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

// Profile chooses the algorithms of a PKCS#12 file. The key derivation of all of
// them is quick, so the protection is as good as the password, no better.
type Profile string

const (
	// Modern2023 is AES-256 with PBKDF2 and HMAC-SHA-256, read by OpenSSL 1.1.1,
	// Java 12, Windows Server 2019 and later. It is the default.
	Modern2023 Profile = "Modern2023"
	// Modern2026 replaces the integrity check of Modern2023 by PBMAC1, read by
	// OpenSSL 3.4, Java 26 and later.
	Modern2026 Profile = "Modern2026"
	// LegacyDES is 3DES with SHA-1, for software older than Modern2023 needs.
	LegacyDES Profile = "LegacyDES"
	// LegacyRC2 is 40-bit RC2 for certificates and 3DES for the key, for
	// software of the nineties. OpenSSL 3 reads it only with -legacy.
	LegacyRC2 Profile = "LegacyRC2"
)

// ErrFIPS says that key stores cannot be written while FIPS 140-only mode is
// enforced.
var ErrFIPS = errors.New("key stores cannot be written while FIPS 140-only mode is enforced, because PKCS#12 and JKS rely on SHA-1: leave them out, or run with fips140=on")

var (
	errNoKey      = errors.New("a key store needs a private key with its certificate: a sealed key cannot be put into one")
	errNoRoot     = errors.New("a trust store needs at least one CA certificate: the vendor sent no root")
	errNoPassword = errors.New("the key store password is empty")
)

// PKCS12 writes the key, the leaf and the intermediates of a bundle as a PKCS#12
// file, without the root, as in tls.crt. The key entry has no name of its own;
// Java calls it "1". An empty profile means Modern2023.
//
// It fails without a key or a leaf, with an empty password, with a password that
// has characters outside of Unicode's basic plane, which the format cannot
// express, and with an unknown profile.
func PKCS12(b certs.Bundle, password string, profile Profile) ([]byte, error) {
	if b.Key == nil || b.Leaf == nil {
		return nil, errNoKey
	}
	return encodePKCS12(password, profile, func(encoder *pkcs12.Encoder) ([]byte, error) {
		return encoder.Encode(b.Key, b.Leaf, b.Intermediates, password)
	})
}

// PKCS12TrustStore writes CA certificates as a PKCS#12 file that Java takes for a
// trust store. Entries are named after their fingerprints, because Java drops
// entries of equal names. It fails as PKCS12 does, and without certificates.
func PKCS12TrustStore(roots []*x509.Certificate, password string, profile Profile) ([]byte, error) {
	if len(roots) == 0 {
		return nil, errNoRoot
	}
	var entries []pkcs12.TrustStoreEntry
	for _, root := range roots {
		entries = append(entries, pkcs12.TrustStoreEntry{Cert: root, FriendlyName: rootAlias(root)})
	}
	return encodePKCS12(password, profile, func(encoder *pkcs12.Encoder) ([]byte, error) {
		return encoder.EncodeTrustStoreEntries(entries, password)
	})
}

func encodePKCS12(password string, profile Profile, encode func(*pkcs12.Encoder) ([]byte, error)) ([]byte, error) {
	if password == "" {
		return nil, errNoPassword
	}
	var encoder *pkcs12.Encoder
	switch profile {
	case Modern2023, "":
		encoder = pkcs12.Modern2023
	case Modern2026:
		encoder = pkcs12.Modern2026
	case LegacyDES:
		encoder = pkcs12.LegacyDES
	case LegacyRC2:
		encoder = pkcs12.LegacyRC2
	default:
		return nil, fmt.Errorf("unknown PKCS#12 profile %q: use %s, %s, %s or %s", profile, Modern2023, Modern2026, LegacyDES, LegacyRC2)
	}
	return guarded("PKCS#12", func() ([]byte, error) { return encode(encoder) })
}

// rootAlias names a trusted certificate: the same certificate always has the
// same name, and two never share one.
func rootAlias(root *x509.Certificate) string {
	return "ca-" + certs.FingerprintSHA256(root)[:16]
}

// guarded runs an encoder of another project. Its panics, which is how some
// report algorithms that are forbidden, become errors. The encoder's own words
// are left out of every error, since they may quote key or password.
func guarded(format string, encode func() ([]byte, error)) (out []byte, err error) {
	if fips140.Enforced() {
		return nil, ErrFIPS
	}
	failed := fmt.Errorf("the %s file cannot be written: check that the password has only common characters", format)
	defer func() {
		if recover() != nil {
			out, err = nil, failed
		}
	}()
	if out, err = encode(); err != nil {
		return nil, failed
	}
	return out, nil
}
