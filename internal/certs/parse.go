// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Limits of what is parsed. They are far above what a device certificate needs
// and far below what would hurt.
const (
	// MaxPEMBytes is the most PEM text read at once.
	MaxPEMBytes = 1 << 20
	// MaxPEMBlocks is the most blocks read from one PEM text.
	MaxPEMBlocks = 256
	// MaxPEMText is the most explanatory text allowed before each block.
	MaxPEMText = 16 << 10
	// MaxCertificateBytes is the most DER one certificate may have.
	MaxCertificateBytes = 64 << 10
	// MaxPrivateKeyBytes is the most DER one private key may have.
	MaxPrivateKeyBytes = 16 << 10
	// MaxRSABits is the longest RSA modulus looked at: longer ones cost
	// seconds of CPU per operation.
	MaxRSABits = 8192
)

const (
	blockCertificate  = "CERTIFICATE"
	blockPKCS8        = "PRIVATE KEY"
	blockPKCS1        = "RSA PRIVATE KEY"
	blockSEC1         = "EC PRIVATE KEY"
	blockECParameters = "EC PARAMETERS"
	blockEncrypted    = "ENCRYPTED PRIVATE KEY"
)

var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}

// DecodePEM splits text into its PEM blocks. CRLF line ends and up to
// MaxPEMText bytes of explanatory text before each block are accepted. A
// damaged block, anything but white space after the last block, a block with
// headers and a text without any block are errors: nothing is skipped silently.
func DecodePEM(text []byte) ([]*pem.Block, error) {
	if len(text) > MaxPEMBytes {
		return nil, fmt.Errorf("PEM text is longer than %d bytes", MaxPEMBytes)
	}
	var blocks []*pem.Block
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("no complete PEM block in the text after block %d", len(blocks))
		}
		if len(blocks) == MaxPEMBlocks {
			return nil, fmt.Errorf("more than %d PEM blocks", MaxPEMBlocks)
		}
		if err := checkArmour(block, text[:len(text)-len(rest)]); err != nil {
			return nil, err
		}
		blocks = append(blocks, block)
		text = rest
	}
	if len(blocks) == 0 {
		return nil, errors.New("no PEM block found")
	}
	return blocks, nil
}

// checkArmour looks at the text one block was read from, which pem.Decode is
// lenient about: it skips blocks it cannot read.
func checkArmour(block *pem.Block, consumed []byte) error {
	before := bytes.Index(consumed, []byte("-----BEGIN "))
	switch {
	case bytes.Count(consumed, []byte("-----BEGIN ")) != 1:
		return errors.New("a damaged PEM block comes before a complete one")
	case before > MaxPEMText:
		return fmt.Errorf("more than %d bytes of text before a PEM block", MaxPEMText)
	case strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return errors.New("the PEM private key is encrypted: an unencrypted one is needed")
	case len(block.Headers) > 0:
		return errors.New("a PEM block has headers, which are not allowed here")
	}
	return nil
}

// ParseCertificatesPEM reads a PEM text that holds certificates and nothing
// else, in the order they stand there. Any other kind of block is refused, so
// that a private key pasted by accident never passes as public. See DecodePEM
// and ParseCertificate for what else is refused.
func ParseCertificatesPEM(text []byte) ([]*x509.Certificate, error) {
	blocks, err := DecodePEM(text)
	if err != nil {
		return nil, err
	}
	out := make([]*x509.Certificate, 0, len(blocks))
	for _, block := range blocks {
		if block.Type != blockCertificate {
			return nil, fmt.Errorf("PEM block %q where only certificates are expected", printable(block.Type, 40))
		}
		cert, err := ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	return out, nil
}

// ParseCertificate reads one DER certificate without anything after it. It
// refuses certificates longer than MaxCertificateBytes and RSA keys longer than
// MaxRSABits.
func ParseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > MaxCertificateBytes {
		return nil, fmt.Errorf("certificate is longer than %d bytes", MaxCertificateBytes)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate cannot be parsed: %s", printable(err.Error(), 200))
	}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > MaxRSABits {
		return nil, fmt.Errorf("certificate has an RSA key of more than %d bits", MaxRSABits)
	}
	return cert, nil
}

// ParsePrivateKey reads one unencrypted DER private key without anything after
// it: PKCS#8 first, then PKCS#1 (RSA), then SEC1 (EC), because the vendor does
// not document which syntax it uses. RSA, ECDSA and Ed25519 keys are known. RSA
// keys longer than MaxRSABits are refused before any arithmetic is done on them.
func ParsePrivateKey(der []byte) (crypto.Signer, error) {
	if len(der) > MaxPrivateKeyBytes {
		return nil, fmt.Errorf("private key is longer than %d bytes", MaxPrivateKeyBytes)
	}
	// The parsers below overlook what follows the key.
	if rest, err := asn1.Unmarshal(der, new(asn1.RawValue)); err != nil || len(rest) > 0 {
		return nil, errors.New("private key is not one ASN.1 structure from its first to its last byte")
	}
	if rsaModulusBits(der) > MaxRSABits {
		return nil, fmt.Errorf("RSA private key has more than %d bits", MaxRSABits)
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, errors.New("private key cannot sign: an RSA, EC or Ed25519 key is needed")
		}
		return signer, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	// The parsers' own errors are left out: they describe three failed guesses,
	// and one of them might quote key material some day.
	return nil, errors.New("private key is neither PKCS#8, PKCS#1 nor SEC1, or is of an unsupported or invalid kind")
}

// rsaModulusBits finds the length of an RSA modulus without validating the key.
// It is 0 for everything that does not look like an RSA key.
func rsaModulusBits(der []byte) int {
	var pkcs8 struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	if _, err := asn1.Unmarshal(der, &pkcs8); err == nil {
		if !pkcs8.Algorithm.Algorithm.Equal(oidRSA) {
			return 0
		}
		der = pkcs8.PrivateKey
	}
	var pkcs1 struct {
		Version int
		N       *big.Int
	}
	if _, err := asn1.Unmarshal(der, &pkcs1); err != nil {
		return 0
	}
	return pkcs1.N.BitLen()
}

// ParsePrivateKeyPEM reads a PEM text that holds exactly one unencrypted
// private key: PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY, the latter
// optionally after EC PARAMETERS, as OpenSSL writes it. Everything else is
// refused. See ParsePrivateKey and DecodePEM for the limits.
func ParsePrivateKeyPEM(text []byte) (crypto.Signer, error) {
	blocks, err := DecodePEM(text)
	if err != nil {
		return nil, err
	}
	var found crypto.Signer
	for _, block := range blocks {
		key, err := ParsePrivateKeyBlock(block)
		switch {
		case err != nil:
			return nil, err
		case key != nil && found != nil:
			return nil, errors.New("more than one private key")
		case key != nil:
			found = key
		}
	}
	if found == nil {
		return nil, errors.New("no private key found")
	}
	return found, nil
}

// ParsePrivateKeyBlock reads the private key of one PEM block. EC PARAMETERS
// yields nil without an error: the key that follows repeats the curve.
func ParsePrivateKeyBlock(block *pem.Block) (crypto.Signer, error) {
	switch block.Type {
	case blockECParameters:
		return nil, nil
	case blockPKCS8, blockPKCS1, blockSEC1:
		return ParsePrivateKey(block.Bytes)
	case blockEncrypted:
		return nil, errors.New("the PEM private key is encrypted: an unencrypted one is needed")
	default:
		return nil, fmt.Errorf("PEM block %q where a private key is expected", printable(block.Type, 40))
	}
}
