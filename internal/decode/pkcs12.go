// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"crypto"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

const fieldPFX = "PKCS#12 file in private_key"

// MaxPFXIterations is the most key derivation iterations a PKCS#12 file may ask
// for, all its parts together: about a second of CPU. OpenSSL's files ask for
// 6,000, Java's for 30,000.
const MaxPFXIterations = 2_000_000

// repackSalt salts an integrity check that protects nothing, see repackPFX.
const repackSalt = "repacked in memory"

// Content octets of the object identifiers of key bags (RFC 7292, section 4.2).
const (
	oidKeyBag         = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01" // 1.2.840.113549.1.12.10.1.1
	oidShroudedKeyBag = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02" // 1.2.840.113549.1.12.10.1.2
)

// openPFX opens a PKCS#12 file of the legacy (RC2, 3DES, SHA-1) or the modern
// kind (PBES2, AES, SHA-2), in DER or BER. Certificates may stand in any order;
// which one is the leaf is found out by the key.
//
// The parser reads DER only and has no limits, so it is not given the file but a
// copy: see repackPFX.
func openPFX(pfx []byte, password string) (contents, error) {
	parts, err := splitPFX(pfx)
	if err != nil {
		return contents{}, err
	}
	var key any
	var pool []*x509.Certificate
	err = guard(func() error {
		file, err := repackPFX(parts, password)
		if err != nil {
			return err
		}
		var first *x509.Certificate
		key, first, pool, err = pkcs12.DecodeChain(file, password)
		pool = append(pool, first)
		return err
	})
	switch {
	case err != nil && fips140.Enforced():
		return contents{}, fault(fieldPFX, Unsupported, "it cannot be opened while FIPS 140-only mode is enforced, because the format relies on SHA-1: use another private key format")
	case errors.Is(err, pkcs12.ErrDecryption):
		return contents{}, fault(fieldPFX, Locked, "it does not open with its password")
	case err != nil:
		return contents{}, fault(fieldPFX, Malformed, "it cannot be opened with its password: it must hold one private key and at least one certificate, in algorithms of PKCS#12 that are in use")
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

// pfxParts are the parts of a PKCS#12 file in DER, each a ContentInfo.
type pfxParts struct {
	plain     []byte
	encrypted []byte
}

// splitPFX takes a PKCS#12 file apart and limits the work it asks for:
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
//	contents  OCTETS bags, or SEQUENCE { version, SEQUENCE { OID, algorithm, [0] octets } }
//	bags      SEQUENCE OF SEQUENCE { OID, [0] bag, SET attributes? }
func splitPFX(pfx []byte) (pfxParts, error) {
	root, err := parseASN1(pfx)
	if err != nil {
		return pfxParts{}, asn1Fault(fieldPFX, err)
	}
	if len(root.children) < 2 || root.children[0].integers() != 3 || len(root.children[1].children) != 2 {
		return pfxParts{}, fault(fieldPFX, Malformed, "it is not a PKCS#12 file of version 3")
	}
	safe, err := parseOctets(root.children[1].children[1])
	if err != nil {
		return pfxParts{}, err
	}
	var parts pfxParts
	work, keys := root.integers()+safe.integers(), 0
	for _, part := range safe.children {
		if len(part.children) != 2 || !part.children[0].isOID(oidData) {
			parts.encrypted = append(parts.encrypted, joinEncrypted(part).encode()...)
			continue
		}
		bags, err := parseOctets(part.children[1])
		if err != nil {
			return pfxParts{}, err
		}
		found, err := countKeys(bags)
		if err != nil {
			return pfxParts{}, err
		}
		keys += found
		work += bags.integers()
		parts.plain = append(parts.plain, dataPart(bags.encode()).encode()...)
	}
	switch {
	case work > MaxPFXIterations:
		return pfxParts{}, fault(fieldPFX, TooLarge, "it asks for more than %d key derivation iterations", MaxPFXIterations)
	case keys != 1:
		return pfxParts{}, fault(fieldPFX, Malformed, "it holds %d private keys in view: exactly one is needed", keys)
	}
	return parts, nil
}

// countKeys counts the private keys among bags and limits their size.
func countKeys(bags element) (int, error) {
	keys := 0
	for _, bag := range bags.children {
		if len(bag.children) < 2 || !bag.children[0].isOID(oidKeyBag) && !bag.children[0].isOID(oidShroudedKeyBag) {
			continue
		}
		keys++
		if bag.children[1].size > certs.MaxPrivateKeyBytes {
			return 0, fault(fieldPFX, TooLarge, "its private key is longer than %d bytes", certs.MaxPrivateKeyBytes)
		}
	}
	return keys, nil
}

// parseOctets reads the structure inside an OCTET STRING inside [0].
func parseOctets(wrapped element) (element, error) {
	if wrapped.tag != tagContext0Constr || len(wrapped.children) != 1 || wrapped.children[0].tag&^tagConstructed != tagOctetString {
		return element{}, fault(fieldPFX, Malformed, "it is not a PKCS#12 file protected by a password")
	}
	inner, err := parseASN1(wrapped.children[0].octets())
	if err != nil {
		return element{}, asn1Fault(fieldPFX, err)
	}
	return inner, nil
}

// joinEncrypted makes one piece of encrypted octets that BER allows to be in
// several. Whatever has another structure is left for the parser to refuse.
func joinEncrypted(part element) element {
	at := &part
	for _, child := range []int{1, 0, 1, 2} {
		if len(at.children) <= child {
			return part
		}
		at = &at.children[child]
	}
	if at.tag == tagContext0Constr {
		*at = element{tag: tagContext0, content: at.octets()}
	}
	return part
}

// dataPart is a ContentInfo of plain octets.
func dataPart(octets []byte) element {
	return element{tag: tagSequence, children: []element{
		{tag: tagOID, content: []byte(oidData)},
		{tag: tagContext0Constr, children: []element{{tag: tagOctetString, content: octets}}},
	}}
}

// repackPFX makes a PKCS#12 file of the parts of another, for a parser that
// reads DER only and that refuses a second private key before it spends any work
// on it: the one key in view comes first, so that no further key, hidden among
// the encrypted certificates where its iterations cannot be seen, is derived.
//
// Reordering needs another integrity check, PBMAC1 (RFC 9579) with a single
// iteration. The file's own is given up for it: who could forge the file could
// forge the check too, since TLS protected both, and a damaged key or
// certificate shows when they are compared with each other.
func repackPFX(parts pfxParts, password string) ([]byte, error) {
	safe := element{tag: tagSequence, content: append(parts.plain, parts.encrypted...)}.encode()
	derived, err := pbkdf2.Key(sha256.New, password, []byte(repackSalt), 1, sha256.Size)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, derived)
	mac.Write(safe)
	hmacSHA256 := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}}
	kdf, err := asn1.Marshal(struct {
		Salt                  []byte
		Iterations, KeyLength int
		PRF                   pkix.AlgorithmIdentifier
	}{[]byte(repackSalt), 1, sha256.Size, hmacSHA256})
	if err != nil {
		return nil, err
	}
	pbmac1, err := asn1.Marshal(struct{ KDF, MAC pkix.AlgorithmIdentifier }{
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, Parameters: asn1.RawValue{FullBytes: kdf}},
		hmacSHA256,
	})
	if err != nil {
		return nil, err
	}
	type digestInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	type macData struct {
		MAC  digestInfo
		Salt []byte
	}
	return asn1.Marshal(struct {
		Version int
		Safe    asn1.RawValue
		MAC     macData
	}{
		3,
		asn1.RawValue{FullBytes: dataPart(safe).encode()},
		macData{digestInfo{pkix.AlgorithmIdentifier{
			Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}, Parameters: asn1.RawValue{FullBytes: pbmac1},
		}, mac.Sum(nil)}, []byte(repackSalt)},
	})
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
