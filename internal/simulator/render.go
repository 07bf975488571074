// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// Private key formats of a request.
const (
	formatPEM             = "pem"
	formatDER             = "der"
	formatPKCS12          = "pkcs_12"
	formatEncrypted       = "cert_encrypted"
	formatEncryptedKey    = "cert_encrypted_key_only"
	syntaxPKCS1           = "pkcs1"
	syntaxPKCS8           = "pkcs8"
	pemTypePKCS8          = "PRIVATE KEY"
	pemTypePKCS1          = "RSA PRIVATE KEY"
	pemTypeSEC1           = "EC PRIVATE KEY"
	defaultZIPCertificate = "certificate.pem"
	defaultZIPPrivateKey  = "private_key.pem"
	defaultZIPChain       = "chain.pem"
)

func privateKeyFormats() []string {
	return []string{formatPEM, formatDER, formatPKCS12, formatEncrypted, formatEncryptedKey}
}

// issued is a certificate with everything its answer may contain.
type issued struct {
	leaf  *x509.Certificate
	chain []*x509.Certificate // issuing CA, then root
	key   crypto.Signer
}

// pemText is the answer's pem: the leaf first, then the chain upwards.
func (i issued) pemText() string {
	var text strings.Builder
	for _, c := range append([]*x509.Certificate{i.leaf}, i.chain...) {
		text.WriteString(certificatePEM(c))
	}
	return text.String()
}

// renderKey is the answer's private_key. The chain goes into pkcs_12 and cert_encrypted too, unless it was left out.
func renderKey(i issued, request issueRequest, switches Switches) (string, error) {
	block, err := keyBlock(i.key, request.PrivateKeySyntax)
	if err != nil {
		return "", err
	}
	var binary []byte
	switch request.PrivateKeyFormat {
	case formatPEM:
		return string(pem.EncodeToMemory(block)), nil
	case formatDER:
		binary = block.Bytes
	case formatPKCS12:
		encoder := pkcs12.Modern2023
		if switches.LegacyPFX {
			encoder = pkcs12.LegacyDES
		}
		binary, err = encoder.Encode(i.key, i.leaf, i.chain, request.PKCS12Password)
	case formatEncrypted:
		binary, err = archive(i, block, switches.ZIP)
		if err == nil {
			binary, err = seal(binary, request, switches)
		}
	case formatEncryptedKey:
		binary, err = seal(pem.EncodeToMemory(block), request, switches)
	default:
		err = fmt.Errorf("unknown private_key_format %q", request.PrivateKeyFormat)
	}
	if err != nil {
		return "", fmt.Errorf("render the private key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(binary), nil
}

// keyBlock encodes the key in the requested syntax; the vendor's default is unknown, ours is PKCS#8.
func keyBlock(key crypto.Signer, syntax string) (*pem.Block, error) {
	if canonicalSyntax(syntax) == syntaxPKCS1 {
		switch k := key.(type) {
		case *rsa.PrivateKey:
			return &pem.Block{Type: pemTypePKCS1, Bytes: x509.MarshalPKCS1PrivateKey(k)}, nil
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(k)
			return &pem.Block{Type: pemTypeSEC1, Bytes: der}, err
		}
		return nil, invalidInput("private_key_syntax %s does not exist for this key type", syntax)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &pem.Block{Type: pemTypePKCS8, Bytes: der}, err
}

// canonicalSyntax folds the spellings pkcs_1, PKCS1, pkcs_8, ... into two. Others come back as they are.
func canonicalSyntax(syntax string) string {
	folded := strings.ReplaceAll(strings.ToLower(syntax), "_", "")
	if folded == syntaxPKCS1 || folded == syntaxPKCS8 {
		return folded
	}
	return syntax
}

// seal encrypts content for the request's encryption certificate.
func seal(content []byte, request issueRequest, switches Switches) ([]byte, error) {
	recipient, err := parseRecipient(request.EncryptionCertificate)
	if err != nil {
		return nil, err
	}
	der, err := envelop(content, recipient)
	if err != nil || !switches.BERCMS {
		return der, err
	}
	return indefinite(der)
}

// archive builds the ZIP inside cert_encrypted. The vendor's member names are unknown, therefore ours can be changed.
func archive(i issued, key *pem.Block, names ZIPNames) ([]byte, error) {
	var chain strings.Builder
	for _, c := range i.chain {
		chain.WriteString(certificatePEM(c))
	}
	type member struct{ name, content string }
	members := []member{
		{orDefault(names.Certificate, defaultZIPCertificate), certificatePEM(i.leaf)},
		{orDefault(names.PrivateKey, defaultZIPPrivateKey), string(pem.EncodeToMemory(key))},
	}
	if chain.Len() > 0 {
		members = append(members, member{orDefault(names.Chain, defaultZIPChain), chain.String()})
	}
	if names.Extras {
		members = slices.Insert(members, 0, member{"issued/", ""}, member{"README.txt", "This file has nothing to do with the certificate.\n"})
	}
	var text bytes.Buffer
	writer := zip.NewWriter(&text)
	for _, m := range members {
		file, err := writer.Create(m.name)
		if err != nil {
			return nil, err
		}
		if m.content == "" {
			continue // a folder has no content
		}
		if _, err := file.Write([]byte(m.content)); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
