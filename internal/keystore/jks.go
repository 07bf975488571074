// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"bytes"
	"crypto/x509"
	"errors"
	"time"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

const certificateType = "X509"

// JKS writes the key, the leaf and the intermediates of a bundle as a Java key
// store with one entry called alias, protected by the same password as the
// store. now is the entry's date of creation.
//
// Java looks aliases of this format up in lower case, so alias is written in
// lower case; it stays findable in any spelling. JKS fails without a key or a
// leaf, with an empty alias, and with a password that is empty or not ASCII,
// because Java and others disagree on how the rest is encoded.
func JKS(b certs.Bundle, password, alias string, now time.Time) ([]byte, error) {
	switch {
	case b.Key == nil || b.Leaf == nil:
		return nil, errNoKey
	case alias == "":
		return nil, errors.New("the alias of the Java key store entry is empty")
	}
	key, err := certs.EncodePrivateKeyDER(b.Key, certs.PKCS8)
	if err != nil {
		return nil, err
	}
	entry := jks.PrivateKeyEntry{CreationTime: now, PrivateKey: key}
	for _, cert := range b.Chain() {
		entry.CertificateChain = append(entry.CertificateChain, jks.Certificate{Type: certificateType, Content: cert.Raw})
	}
	return encodeJKS(password, func(store jks.KeyStore) error {
		return store.SetPrivateKeyEntry(alias, entry, []byte(password))
	})
}

// JKSTrustStore writes CA certificates as a Java trust store. Entries are named
// after their fingerprints. now is their date of creation. It fails without
// certificates and with passwords that JKS refuses.
func JKSTrustStore(roots []*x509.Certificate, password string, now time.Time) ([]byte, error) {
	if len(roots) == 0 {
		return nil, errNoRoot
	}
	return encodeJKS(password, func(store jks.KeyStore) error {
		for _, root := range roots {
			entry := jks.TrustedCertificateEntry{CreationTime: now, Certificate: jks.Certificate{Type: certificateType, Content: root.Raw}}
			if err := store.SetTrustedCertificateEntry(rootAlias(root), entry); err != nil {
				return err
			}
		}
		return nil
	})
}

func encodeJKS(password string, fill func(jks.KeyStore) error) ([]byte, error) {
	if password == "" {
		return nil, errNoPassword
	}
	for _, r := range password {
		if r < ' ' || r > '~' {
			return nil, errors.New("the password of a Java key store must be printable ASCII")
		}
	}
	return guarded("JKS", func() ([]byte, error) {
		// The library lower-cases aliases unless told otherwise.
		store := jks.New(jks.WithOrderedAliases())
		if err := fill(store); err != nil {
			return nil, err
		}
		var out bytes.Buffer
		err := store.Store(&out, []byte(password))
		return out.Bytes(), err
	})
}
