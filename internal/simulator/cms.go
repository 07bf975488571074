// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
)

// Object identifiers of RFC 5652 and RFC 3565.
var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEnvelopedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}
	oidRSAEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidAES256CBC     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     envelopedData `asn1:"explicit,tag:0"`
}

type envelopedData struct {
	Version              int
	RecipientInfos       []recipientInfo `asn1:"set"`
	EncryptedContentInfo encryptedContentInfo
}

type recipientInfo struct {
	Version                int
	IssuerAndSerialNumber  issuerAndSerialNumber
	KeyEncryptionAlgorithm pkix.AlgorithmIdentifier
	EncryptedKey           []byte
}

type issuerAndSerialNumber struct {
	Issuer       asn1.RawValue
	SerialNumber *big.Int
}

type encryptedContentInfo struct {
	ContentType                asn1.ObjectIdentifier
	ContentEncryptionAlgorithm pkix.AlgorithmIdentifier
	EncryptedContent           []byte `asn1:"implicit,tag:0"`
}

// envelop encrypts content for the recipient as DER EnvelopedData: RSA PKCS#1 v1.5 key transport and AES-256-CBC, the only
// shape the vendor's documented command, openssl smime, opens. Written here rather than taken from a library, so that a
// mistake of the library our decoder uses cannot cancel itself out.
func envelop(content []byte, recipient *x509.Certificate) ([]byte, error) {
	public, ok := recipient.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, invalidInput("encryption_certificate must carry an RSA key, not %s", recipient.PublicKeyAlgorithm)
	}
	contentKey := make([]byte, 32)
	iv := make([]byte, aes.BlockSize)
	for _, random := range [][]byte{contentKey, iv} {
		if _, err := rand.Read(random); err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(contentKey)
	if err != nil {
		return nil, err
	}
	encrypted := padBlock(content)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(encrypted, encrypted)
	encryptedKey, err := rsa.EncryptPKCS1v15(rand.Reader, public, contentKey)
	if err != nil {
		return nil, err
	}
	parameters, err := asn1.Marshal(iv)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(contentInfo{ContentType: oidEnvelopedData, Content: envelopedData{
		RecipientInfos: []recipientInfo{{
			IssuerAndSerialNumber:  issuerAndSerialNumber{Issuer: asn1.RawValue{FullBytes: recipient.RawIssuer}, SerialNumber: recipient.SerialNumber},
			KeyEncryptionAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidRSAEncryption, Parameters: asn1.NullRawValue},
			EncryptedKey:           encryptedKey,
		}},
		EncryptedContentInfo: encryptedContentInfo{
			ContentType:                oidData,
			ContentEncryptionAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidAES256CBC, Parameters: asn1.RawValue{FullBytes: parameters}},
			EncryptedContent:           encrypted,
		},
	}})
}

// padBlock copies content and fills the last block as RFC 5652, section 6.3 says.
func padBlock(content []byte) []byte {
	missing := aes.BlockSize - len(content)%aes.BlockSize
	padded := make([]byte, 0, len(content)+missing)
	padded = append(padded, content...)
	for range missing {
		padded = append(padded, byte(missing))
	}
	return padded
}

// parseRecipient reads the request's encryption_certificate.
func parseRecipient(text string) (*x509.Certificate, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, invalidInput("encryption_certificate must be exactly one PEM certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, invalidInput("encryption_certificate cannot be read as a certificate")
	}
	if _, ok := certificate.PublicKey.(*rsa.PublicKey); !ok {
		return nil, invalidInput("encryption_certificate must carry an RSA key, not %s", certificate.PublicKeyAlgorithm)
	}
	return certificate, nil
}

// Sizes and octets of the indefinite-length encoding (X.690, section 8.1.3.6).
const (
	berSegment      = 1000
	berIndefinite   = 0x80
	tagOctetString  = 0x04
	tagContext0     = 0x80
	tagConstructed  = 0x20
	tagSequence     = 0x30
	tagContext0Cons = tagContext0 | tagConstructed
)

// indefinite re-encodes DER EnvelopedData the way Java's streaming encoders write it: sequences and explicit tags of
// indefinite length, the encrypted content in segments, sets left as they are.
func indefinite(der []byte) ([]byte, error) {
	var ber []byte
	for len(der) > 0 {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(der, &element)
		if err != nil {
			return nil, err
		}
		switch element.FullBytes[0] {
		case tagSequence, tagContext0Cons:
			inner, err := indefinite(element.Bytes)
			if err != nil {
				return nil, err
			}
			ber = append(ber, element.FullBytes[0], berIndefinite)
			ber = append(append(ber, inner...), 0, 0)
		case tagContext0:
			ber = append(append(append(ber, tagContext0Cons, berIndefinite), segments(element.Bytes)...), 0, 0)
		default:
			ber = append(ber, element.FullBytes...)
		}
		der = rest
	}
	return ber, nil
}

// segments cuts octets into octet strings with lengths of two octets.
func segments(octets []byte) []byte {
	var ber []byte
	for len(octets) > 0 {
		n := min(berSegment, len(octets))
		ber = append(ber, tagOctetString, 0x82, byte(n>>8), byte(n))
		ber = append(ber, octets[:n]...)
		octets = octets[n:]
	}
	return ber
}
