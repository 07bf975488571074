// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"

	"github.com/smallstep/pkcs7"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

const fieldEnvelope = "CMS message in private_key"

// MaxRecipients is the most recipients an envelope may be addressed to. The
// vendor addresses one.
const MaxRecipients = 16

// Content octets of object identifiers.
const (
	oidData              = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01" // 1.2.840.113549.1.7.1
	oidEnvelopedData     = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" // 1.2.840.113549.1.7.3
	oidEncryptedData     = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06" // 1.2.840.113549.1.7.6
	oidAuthEnvelopedData = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17"
)

// openEnvelope decrypts a CMS EnvelopedData, DER or BER, addressed to
// certificate by issuer and serial number with RSA key transport, as the
// vendor's documented `openssl smime -decrypt` demands.
func openEnvelope(message []byte, key crypto.PrivateKey, certificate *x509.Certificate) ([]byte, error) {
	rsaKey, ok := key.(*rsa.PrivateKey)
	switch {
	case certificate == nil:
		return nil, fault(fieldEnvelope, Missing, "the encryption certificate to open it with is missing")
	case !ok || rsaKey == nil:
		return nil, fault(fieldEnvelope, Missing, "an RSA decryption key to open it with is missing")
	case rsaKey.N.BitLen() > certs.MaxRSABits:
		return nil, fault(fieldEnvelope, TooLarge, "the decryption key has more than %d bits", certs.MaxRSABits)
	case !certs.KeyMatches(rsaKey.Public(), certificate):
		return nil, fault(fieldEnvelope, Locked, "the decryption key does not belong to the encryption certificate")
	}
	if err := checkEnvelope(message); err != nil {
		return nil, err
	}
	var plain []byte
	err := guard(func() error {
		envelope, err := pkcs7.Parse(message)
		if err != nil {
			return err
		}
		plain, err = envelope.Decrypt(certificate, rsaKey)
		return err
	})
	if err != nil {
		return nil, fault(fieldEnvelope, Locked, "it does not open with the decryption key: it must be addressed to the encryption certificate, with RSA key transport and AES-CBC")
	}
	return plain, nil
}

// checkEnvelope looks at the structure of a CMS message without decrypting it:
// one EnvelopedData from the first to the last byte, with recipients and with
// encrypted content (RFC 5652, sections 3 and 6.1).
//
//	ContentInfo    SEQUENCE { OID envelopedData, [0] { EnvelopedData } }
//	EnvelopedData  SEQUENCE { version, [0] originator?, SET recipients,
//	                          EncryptedContentInfo, [1] attributes? }
//	EncryptedContentInfo  SEQUENCE { OID, algorithm, [0] octets }
func checkEnvelope(message []byte) error {
	root, err := parseASN1(message)
	switch {
	case err != nil:
		return asn1Fault(fieldEnvelope, err)
	case root.tag != tagSequence || len(root.children) != 2 || root.children[0].tag != tagOID:
		return fault(fieldEnvelope, Malformed, "it is not a CMS message")
	case root.children[0].isOID(oidAuthEnvelopedData):
		return fault(fieldEnvelope, Unsupported, "it uses authenticated encryption (AuthEnvelopedData), which is not supported")
	case !root.children[0].isOID(oidEnvelopedData):
		return fault(fieldEnvelope, Unsupported, "it is a CMS message of another kind than EnvelopedData")
	}
	if root.children[1].tag != tagContext0Constr || len(root.children[1].children) != 1 {
		return fault(fieldEnvelope, Malformed, "it is not a CMS message")
	}
	return checkEnvelopedData(root.children[1].children[0])
}

func checkEnvelopedData(enveloped element) error {
	fields := enveloped.children
	if enveloped.tag != tagSequence || len(fields) < 3 || fields[0].tag != tagInteger {
		return fault(fieldEnvelope, Malformed, "its EnvelopedData is incomplete")
	}
	fields = fields[1:]
	if fields[0].tag == tagContext0Constr {
		fields = fields[1:]
	}
	if len(fields) < 2 || fields[0].tag != tagSet || fields[1].tag != tagSequence {
		return fault(fieldEnvelope, Malformed, "its EnvelopedData is incomplete")
	}
	switch recipients := len(fields[0].children); {
	case recipients == 0:
		return fault(fieldEnvelope, Malformed, "it is addressed to nobody")
	case recipients > MaxRecipients:
		return fault(fieldEnvelope, TooLarge, "it is addressed to more than %d recipients", MaxRecipients)
	}
	return checkEncryptedContent(fields[1].children)
}

// checkEncryptedContent also makes sure that content in pieces is a plain list of
// octet strings: the parser that joins them skips everything else silently.
func checkEncryptedContent(fields []element) error {
	if len(fields) != 3 || fields[0].tag != tagOID || fields[1].tag != tagSequence {
		return fault(fieldEnvelope, Malformed, "its encrypted content is incomplete")
	}
	octets := fields[2]
	pieces := octets.size
	if octets.tag == tagContext0Constr {
		pieces = 0
		for _, piece := range octets.children {
			if piece.tag != tagOctetString {
				return fault(fieldEnvelope, Malformed, "its encrypted content is not made of octet strings")
			}
			pieces += piece.size
		}
	} else if octets.tag != tagContext0 {
		return fault(fieldEnvelope, Malformed, "its encrypted content is incomplete")
	}
	if pieces == 0 {
		return fault(fieldEnvelope, Malformed, "its encrypted content is empty")
	}
	return nil
}
