// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/decode"
)

// ownJudge uses the operator's own decoders, so it proves less than OpenSSL does.
type ownJudge struct {
	root, deviceKey, deviceCertificate string
}

func (o ownJudge) name() string {
	return "our own verifier, because there is no openssl on this machine; keystores and other forms of the key are not opened"
}

func (o ownJudge) shows() []string { return nil }

func (o ownJudge) check(_ context.Context, s unpacked) (string, error) {
	chain, err := readCertificates(filepath.Join(s.dir, v1alpha1.KeyCertificate))
	if err != nil {
		return "", err
	}
	if s.has(v1alpha1.KeyChain) {
		further, err := readCertificates(filepath.Join(s.dir, v1alpha1.KeyChain))
		if err != nil {
			return "", err
		}
		chain = append(chain, further...)
	}
	public, err := o.publicKey(s)
	if err != nil {
		return "", err
	}
	if !certs.KeyMatches(public, chain[0]) {
		return "", errors.New("the key is not the certificate's")
	}
	roots, err := readCertificates(o.root)
	if err != nil {
		return "", err
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, intermediate := range chain[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return "", err
	}
	return "key matches, chain verifies", nil
}

// publicKey is the public half of the Secret's key.
func (o ownJudge) publicKey(s unpacked) (crypto.PublicKey, error) {
	if s.has(v1alpha1.KeySealedKey) {
		return o.sealedPublicKey(s)
	}
	key, err := readKey(filepath.Join(s.dir, v1alpha1.KeyPrivateKey))
	if err != nil {
		return nil, err
	}
	return key.Public(), nil
}

// sealedPublicKey opens the sealed key as the device would.
func (o ownJudge) sealedPublicKey(s unpacked) (crypto.PublicKey, error) {
	certificate, err := os.ReadFile(filepath.Join(s.dir, v1alpha1.KeyCertificate))
	if err != nil {
		return nil, err
	}
	sealed, err := os.ReadFile(filepath.Join(s.dir, v1alpha1.KeySealedKey))
	if err != nil {
		return nil, err
	}
	key, err := readKey(o.deviceKey)
	if err != nil {
		return nil, err
	}
	device, err := readCertificates(o.deviceCertificate)
	if err != nil {
		return nil, err
	}
	bundle, err := decode.Decode(decode.Payload{
		Format: decode.FormatCertEncryptedKeyOnly, PEM: string(certificate), PrivateKey: base64.StdEncoding.EncodeToString(sealed),
		DecryptionKey: key, EncryptionCertificate: device[0],
	})
	if err != nil {
		return nil, err
	}
	return bundle.Key.Public(), nil
}

func readKey(name string) (crypto.Signer, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return certs.ParsePrivateKeyPEM(text)
}

func readCertificates(name string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return certs.ParseCertificatesPEM(text)
}
