// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

// pieces are certificates, in their order, and keys.
type pieces struct {
	certificates []*x509.Certificate
	keys         []crypto.Signer
}

func (p *pieces) add(more pieces) {
	p.certificates = append(p.certificates, more.certificates...)
	p.keys = append(p.keys, more.keys...)
}

// piecesOf takes a file apart, whatever its format is. The password opens keystores.
func piecesOf(content []byte, password string) (pieces, error) {
	const magicJKS = "\xfe\xed\xfe\xed"
	switch {
	case bytes.Contains(content, []byte("-----BEGIN ")):
		return piecesOfPEM(content)
	case bytes.HasPrefix(content, []byte(magicJKS)):
		return piecesOfJKS(content, password)
	}
	if cert, err := certs.ParseCertificate(content); err == nil {
		return pieces{certificates: []*x509.Certificate{cert}}, nil
	}
	if key, err := certs.ParsePrivateKey(content); err == nil {
		return pieces{keys: []crypto.Signer{key}}, nil
	}
	found, err := piecesOfPKCS12(content, password)
	if err != nil && password == "" {
		return pieces{}, errors.New("it is neither PEM, nor a certificate or key in DER, nor a JKS file; for a PKCS#12 file name --password-file")
	}
	return found, err
}

func piecesOfPEM(content []byte) (pieces, error) {
	blocks, err := certs.DecodePEM(content)
	if err != nil {
		return pieces{}, err
	}
	var found pieces
	for _, block := range blocks {
		if err := found.addBlock(block); err != nil {
			return pieces{}, err
		}
	}
	return found, nil
}

func (p *pieces) addBlock(block *pem.Block) error {
	if block.Type == "CERTIFICATE" {
		cert, err := certs.ParseCertificate(block.Bytes)
		if err == nil {
			p.certificates = append(p.certificates, cert)
		}
		return err
	}
	key, err := certs.ParsePrivateKeyBlock(block)
	if err == nil && key != nil {
		p.keys = append(p.keys, key)
	}
	return err
}

// errKeystore leaves the libraries' words out: they might quote what they read.
var errKeystore = errors.New("the keystore does not open: the password is another, or the file is damaged")

func piecesOfPKCS12(content []byte, password string) (pieces, error) {
	if key, cert, chain, err := pkcs12.DecodeChain(content, password); err == nil {
		signer, ok := key.(crypto.Signer)
		if !ok {
			return pieces{}, errors.New("the keystore holds a key of an unknown kind")
		}
		return pieces{certificates: append([]*x509.Certificate{cert}, chain...), keys: []crypto.Signer{signer}}, nil
	}
	trusted, err := pkcs12.DecodeTrustStore(content, password)
	if err != nil {
		return pieces{}, errKeystore
	}
	return pieces{certificates: trusted}, nil
}

func piecesOfJKS(content []byte, password string) (pieces, error) {
	store := jks.New(jks.WithOrderedAliases())
	if err := store.Load(bytes.NewReader(content), []byte(password)); err != nil {
		return pieces{}, errKeystore
	}
	var found pieces
	for _, alias := range store.Aliases() {
		var chain []jks.Certificate
		if store.IsPrivateKeyEntry(alias) {
			entry, err := store.GetPrivateKeyEntry(alias, []byte(password))
			if err != nil {
				return pieces{}, errKeystore
			}
			key, err := certs.ParsePrivateKey(entry.PrivateKey)
			if err != nil {
				return pieces{}, err
			}
			found.keys, chain = append(found.keys, key), entry.CertificateChain
		} else {
			entry, err := store.GetTrustedCertificateEntry(alias)
			if err != nil {
				return pieces{}, errKeystore
			}
			chain = []jks.Certificate{entry.Certificate}
		}
		for _, c := range chain {
			cert, err := certs.ParseCertificate(c.Content)
			if err != nil {
				return pieces{}, err
			}
			found.certificates = append(found.certificates, cert)
		}
	}
	return found, nil
}
