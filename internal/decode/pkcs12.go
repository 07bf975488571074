// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"crypto"
	"crypto/fips140"
	"crypto/x509"
	"errors"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

const fieldPFX = "PKCS#12 file in private_key"

// MaxPFXIterations is the most key derivation iterations a PKCS#12 file may ask
// for, all its parts together: about a second of CPU. OpenSSL's files ask for
// 6,000, Java's for 30,000.
const MaxPFXIterations = 2_000_000

// Content octets of the object identifiers of key bags (RFC 7292, section 4.2).
const (
	oidKeyBag         = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01" // 1.2.840.113549.1.12.10.1.1
	oidShroudedKeyBag = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02" // 1.2.840.113549.1.12.10.1.2
)

// openPFX opens a PKCS#12 file of the legacy (RC2, 3DES, SHA-1) or the modern
// kind (PBES2, AES, SHA-2). Certificates may stand in any order; which one is the
// leaf is found out by the key.
func openPFX(pfx []byte, password string) (contents, error) {
	if err := checkPFX(pfx); err != nil {
		return contents{}, err
	}
	var key any
	var pool []*x509.Certificate
	err := guard(func() error {
		var first *x509.Certificate
		var err error
		key, first, pool, err = pkcs12.DecodeChain(pfx, password)
		pool = append(pool, first)
		return err
	})
	switch {
	case err != nil && fips140.Enforced():
		return contents{}, fault(fieldPFX, Unsupported, "it cannot be opened while FIPS 140-only mode is enforced, because the format relies on SHA-1: use another private key format")
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return contents{}, fault(fieldPFX, Locked, "it does not open with its password")
	case err != nil:
		return contents{}, fault(fieldPFX, Malformed, "it cannot be opened: it must hold one private key and at least one certificate, in algorithms of PKCS#12 that are in use")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return contents{}, fault(fieldPFX, Unsupported, "its private key is of an unsupported kind")
	}
	return checkedContents(signer, pool)
}

// checkedContents applies the limits of package certs to what another parser
// has read.
func checkedContents(key crypto.Signer, pool []*x509.Certificate) (contents, error) {
	out := contents{key: key}
	for _, cert := range pool {
		checked, err := certs.ParseCertificate(cert.Raw)
		if err != nil {
			return contents{}, &Error{Field: fieldPFX, Reason: Malformed, Err: err}
		}
		out.certificates = append(out.certificates, checked)
	}
	return out, nil
}

// checkPFX limits the work a PKCS#12 file asks for before any of it is done,
// because the parser that opens it has no limits:
//
//   - Every integer in view is a version, a key length or a number of
//     iterations. Together they must not exceed MaxPFXIterations.
//   - Exactly one private key must be in view, and not be larger than a private
//     key may be. All common software puts it outside of the encrypted
//     certificates, encrypted by itself.
//
// The outer structure is (RFC 7292, section 4):
//
//	PFX       SEQUENCE { version, SEQUENCE { OID data, [0] { OCTETS safe } }, mac? }
//	safe      SEQUENCE OF SEQUENCE { OID, [0] contents }
//	contents  OCTETS bags, or an encrypted SEQUENCE
//	bags      SEQUENCE OF SEQUENCE { OID, [0] bag, SET attributes? }
func checkPFX(pfx []byte) error {
	root, err := parsePFXPart(pfx)
	if err != nil {
		return err
	}
	if len(root.children) < 2 || len(root.children[1].children) != 2 {
		return fault(fieldPFX, Malformed, "it is not a PKCS#12 file")
	}
	work := root.integers()
	safe, err := parseOctets(root.children[1].children[1])
	if err != nil {
		return err
	}
	work += safe.integers()
	keys := 0
	for _, part := range safe.children {
		if len(part.children) != 2 || !part.children[0].isOID(oidData) {
			continue
		}
		bags, err := parseOctets(part.children[1])
		if err != nil {
			return err
		}
		work += bags.integers()
		for _, bag := range bags.children {
			if len(bag.children) < 2 || !bag.children[0].isOID(oidKeyBag) && !bag.children[0].isOID(oidShroudedKeyBag) {
				continue
			}
			keys++
			if bag.children[1].size > certs.MaxPrivateKeyBytes {
				return fault(fieldPFX, TooLarge, "its private key is longer than %d bytes", certs.MaxPrivateKeyBytes)
			}
		}
	}
	switch {
	case work > MaxPFXIterations:
		return fault(fieldPFX, TooLarge, "it asks for more than %d key derivation iterations", MaxPFXIterations)
	case keys != 1:
		return fault(fieldPFX, Malformed, "it holds %d private keys in view: exactly one is needed", keys)
	}
	return nil
}

// parsePFXPart reads one ASN.1 structure of a PKCS#12 file.
func parsePFXPart(part []byte) (element, error) {
	root, err := parseASN1(part)
	switch {
	case err != nil:
		return element{}, asn1Fault(fieldPFX, err)
	case root.indefinite:
		return element{}, fault(fieldPFX, Unsupported, "it is encoded in BER with indefinite lengths, which is not supported")
	}
	return root, nil
}

// parseOctets reads the structure inside an OCTET STRING inside [0].
func parseOctets(wrapped element) (element, error) {
	if wrapped.tag != tagContext0Constr || len(wrapped.children) != 1 || wrapped.children[0].tag != tagOctetString {
		return element{}, fault(fieldPFX, Malformed, "it is not a PKCS#12 file protected by a password")
	}
	return parsePFXPart(wrapped.children[0].content)
}

// integers adds up all integers of a tree. Negative ones and those beyond the
// limit count as more than the limit, so that the sum cannot be made small.
func (e element) integers() int {
	const tooMany = MaxPFXIterations + 1
	if e.tag == tagInteger {
		value := 0
		for i, octet := range e.content {
			if i == 0 && octet >= 0x80 || value > MaxPFXIterations>>8 {
				return tooMany
			}
			value = value<<8 | int(octet)
		}
		return value
	}
	sum := 0
	for _, child := range e.children {
		sum = min(sum+child.integers(), tooMany)
	}
	return sum
}
