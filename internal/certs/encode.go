// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Encoding is the syntax a private key is written in.
type Encoding string

const (
	// PKCS8 is the common syntax of all key kinds, PRIVATE KEY in PEM. It is
	// the default.
	PKCS8 Encoding = "PKCS8"
	// Traditional is PKCS#1 for RSA (RSA PRIVATE KEY) and SEC1 for EC (EC
	// PRIVATE KEY). Ed25519 has no traditional syntax and stays PKCS#8.
	Traditional Encoding = "Traditional"
)

// EncodeCertificatesPEM writes certificates one after the other, in order.
func EncodeCertificatesPEM(certificates []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certificates {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

// EncodePrivateKeyPEM writes a private key as one PEM block. The same key and
// encoding give the same bytes. An empty encoding means PKCS8.
func EncodePrivateKeyPEM(key crypto.Signer, encoding Encoding) ([]byte, error) {
	blockType, der, err := encodePrivateKey(key, encoding)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), nil
}

// EncodePrivateKeyDER is EncodePrivateKeyPEM without the armour.
func EncodePrivateKeyDER(key crypto.Signer, encoding Encoding) ([]byte, error) {
	_, der, err := encodePrivateKey(key, encoding)
	return der, err
}

func encodePrivateKey(key crypto.Signer, encoding Encoding) (blockType string, der []byte, err error) {
	switch encoding {
	case Traditional:
		switch key := key.(type) {
		case *rsa.PrivateKey:
			return blockPKCS1, x509.MarshalPKCS1PrivateKey(key), nil
		case *ecdsa.PrivateKey:
			der, err = x509.MarshalECPrivateKey(key)
			return blockSEC1, der, describeEncodeError(err)
		}
	case PKCS8, "":
	default:
		return "", nil, fmt.Errorf("unknown key encoding %q: use %s or %s", encoding, PKCS8, Traditional)
	}
	der, err = x509.MarshalPKCS8PrivateKey(key)
	return blockPKCS8, der, describeEncodeError(err)
}

// describeEncodeError replaces an encoder's error, so that no key material in
// it can reach a log.
func describeEncodeError(err error) error {
	if err == nil {
		return nil
	}
	return errors.New("private key cannot be encoded: it is of an unsupported kind")
}
