// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package decode turns the key material of a vendor's answer into a
// certs.Bundle: PEM, DER, PKCS#12, and CMS envelopes around a ZIP archive or a
// bare key. The wire facts are described in docs/vendor-api.md, sections 5 and 6.
//
// The vendor documents little about the inside of these formats, so decoding is
// tolerant where a second reading is harmless (key syntax, line ends, wrapped
// base64, names in archives, an answer in PEM where DER was asked for) and
// strict where it is not: one key, one leaf that carries its public key, no
// trailing data, and a limit on everything that costs memory or time. Parsers of
// other projects run behind recover.
//
// Everything here is pure, and every failure is an *Error that says what the
// answer lacked without quoting what it held.
package decode

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

// Format is the way a private key was asked for, in the vendor's words
// (private_key_format).
type Format string

// The formats the vendor knows.
const (
	FormatPEM                  Format = "pem"
	FormatDER                  Format = "der"
	FormatPKCS12               Format = "pkcs_12"
	FormatCertEncrypted        Format = "cert_encrypted"
	FormatCertEncryptedKeyOnly Format = "cert_encrypted_key_only"
)

// Names of the answer's fields, as they stand in errors.
const (
	fieldPEM        = "pem"
	fieldPrivateKey = "private_key"
)

// Payload is the key material of one answer and what is needed to open it. It
// shows nothing of it when formatted, logged or encoded as JSON.
type Payload struct {
	// Format is the private_key_format of the request.
	Format Format
	// PEM is the answer's field pem: leaf first, then its issuers. It may be
	// empty for pkcs_12 and cert_encrypted, which bring certificates along.
	PEM string
	// PrivateKey is the answer's field private_key.
	PrivateKey string
	// Password opens pkcs_12: the pkcs12_password of the request.
	Password string
	// DecryptionKey opens the two cert_encrypted formats: the RSA private key
	// of EncryptionCertificate. Seal does not use it.
	DecryptionKey crypto.PrivateKey
	// EncryptionCertificate is the encryption_certificate of the request. Seal
	// does not use it.
	EncryptionCertificate *x509.Certificate
}

// String keeps fmt away from the contents.
func (p Payload) String() string { return fmt.Sprintf("vendor payload of format %q", string(p.Format)) }

// GoString keeps %#v away from the contents.
func (p Payload) GoString() string { return p.String() }

// LogValue keeps structured logs away from the contents.
func (p Payload) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalJSON keeps JSON, and YAML made from it, away from the contents.
func (p Payload) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", p.String()), nil }

// Sealed is an answer whose key stays encrypted for the device.
type Sealed struct {
	// Payload is the CMS message, byte for byte as the vendor sent it, after
	// base64.
	Payload []byte
	// Bundle holds the certificates of the answer's field pem; its Key is nil.
	// It is empty if the answer had none.
	Bundle certs.Bundle
	// LeafKnown tells whether Bundle holds a leaf. If not, the leaf has to be
	// fetched from the vendor's inventory.
	LeafKnown bool
}

// Decode opens a payload and returns its key with the certificates around it,
// from the field pem and from the opened key material together. The key matches
// the leaf. Whether the certificate is the one that was asked for is a question
// for certs.Check. Every error is an *Error.
func Decode(p Payload) (certs.Bundle, error) {
	found, err := openPrivateKey(p)
	if err != nil {
		return certs.Bundle{}, err
	}
	if found.key == nil {
		return certs.Bundle{}, fault(fieldPrivateKey, Missing, "it holds no RSA, EC or Ed25519 private key that can be read: check the key type and the key generation option of the enrollment profile")
	}
	pool, err := certificatesOf(p.PEM)
	if err != nil {
		return certs.Bundle{}, err
	}
	pool = append(pool, found.certificates...)
	if len(pool) == 0 {
		return certs.Bundle{}, fault(fieldPEM, Missing, "neither pem nor private_key holds a certificate")
	}
	bundle, err := certs.Assemble(found.key, pool)
	if err != nil {
		return certs.Bundle{}, &Error{Field: "certificates", Reason: Inconsistent, Err: err}
	}
	return bundle, nil
}

// openPrivateKey finds out what the field private_key holds.
func openPrivateKey(p Payload) (contents, error) {
	if strings.TrimSpace(p.PrivateKey) == "" {
		return contents{}, fault(fieldPrivateKey, Missing, "it is empty: check that the enrollment profile generates keys on the server")
	}
	switch p.Format {
	case FormatPEM, FormatDER:
		return openPlainKey(p.PrivateKey)
	case FormatPKCS12:
		pfx, err := decodeBase64(fieldPrivateKey, p.PrivateKey)
		if err != nil {
			return contents{}, err
		}
		return openPFX(pfx, p.Password)
	case FormatCertEncrypted, FormatCertEncryptedKeyOnly:
		message, err := decodeBase64(fieldPrivateKey, p.PrivateKey)
		if err != nil {
			return contents{}, err
		}
		plain, err := openEnvelope(message, p.DecryptionKey, p.EncryptionCertificate)
		if err != nil {
			return contents{}, err
		}
		return openFile(plain)
	default:
		return contents{}, fault("private_key_format", Unsupported, "unknown format %q", string(p.Format))
	}
}

// openPlainKey reads an unencrypted key, as PEM text or as base64 of DER. The
// vendor returns the former for pem and the latter for der, but both are
// recognised for either.
func openPlainKey(text string) (contents, error) {
	if isPEM([]byte(text)) {
		return readFile(fieldPrivateKey, []byte(text))
	}
	der, err := decodeBase64(fieldPrivateKey, text)
	if err != nil {
		return contents{}, err
	}
	return readFile(fieldPrivateKey, der)
}

// certificatesOf reads the field pem, which may be empty.
func certificatesOf(text string) ([]*x509.Certificate, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if !isPEM([]byte(text)) {
		der, err := decodeBase64(fieldPEM, text)
		if err != nil {
			return nil, err
		}
		cert, err := certs.ParseCertificate(der)
		if err != nil {
			return nil, &Error{Field: fieldPEM, Reason: Malformed, Err: err}
		}
		return []*x509.Certificate{cert}, nil
	}
	pool, err := certs.ParseCertificatesPEM([]byte(text))
	if err != nil {
		return nil, &Error{Field: fieldPEM, Reason: Malformed, Err: err}
	}
	return pool, nil
}

// Seal checks a payload of one of the two cert_encrypted formats as far as that
// is possible without its key: base64, and a CMS EnvelopedData that is complete
// and addressed to somebody. It never decrypts. Every error is an *Error.
func Seal(p Payload) (Sealed, error) {
	if p.Format != FormatCertEncrypted && p.Format != FormatCertEncryptedKeyOnly {
		return Sealed{}, fault("private_key_format", Unsupported, "format %q cannot be sealed: use %s or %s", string(p.Format), FormatCertEncrypted, FormatCertEncryptedKeyOnly)
	}
	if strings.TrimSpace(p.PrivateKey) == "" {
		return Sealed{}, fault(fieldPrivateKey, Missing, "it is empty: check that the enrollment profile generates keys on the server")
	}
	message, err := decodeBase64(fieldPrivateKey, p.PrivateKey)
	if err != nil {
		return Sealed{}, err
	}
	if err := checkEnvelope(message); err != nil {
		return Sealed{}, err
	}
	pool, err := certificatesOf(p.PEM)
	if err != nil {
		return Sealed{}, err
	}
	if len(pool) == 0 {
		return Sealed{Payload: message}, nil
	}
	bundle, err := certs.Assemble(nil, pool)
	if err != nil {
		return Sealed{}, &Error{Field: "certificates", Reason: Inconsistent, Err: err}
	}
	return Sealed{Payload: message, Bundle: bundle, LeafKnown: true}, nil
}
