// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	rootLifetime    = 30 * 365 * 24 * time.Hour
	issuingLifetime = 15 * 365 * 24 * time.Hour
	// authorityBackdate lets leaves be backdated without preceding their issuer.
	authorityBackdate = 48 * time.Hour
)

// signer is a certificate with its key.
type signer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// authority is the two-level CA that issues to devices.
type authority struct {
	root, issuing signer
}

// chain is what follows a leaf: the issuing CA, then the root.
func (a authority) chain() []*x509.Certificate {
	return []*x509.Certificate{a.issuing.certificate, a.root.certificate}
}

// span is when the certificates of an authority are valid.
type span struct {
	notBefore, rootNotAfter, issuingNotAfter time.Time
}

// deviceSpan follows the simulator's clock, as its certificates do.
func deviceSpan(now time.Time) span {
	return span{notBefore: now.Add(-authorityBackdate), rootNotAfter: now.Add(rootLifetime), issuingNotAfter: now.Add(issuingLifetime)}
}

// transportSpan is valid whatever clock the simulator or its client uses: the calendar that tests move is not the one TLS
// is checked by.
func transportSpan() span {
	begin, end := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	return span{notBefore: begin, rootNotAfter: end, issuingNotAfter: end}
}

func newAuthority(name string, valid span) (authority, error) {
	root, err := newCA(name+" Root CA", elliptic.P384(), nil, valid.notBefore, valid.rootNotAfter)
	if err != nil {
		return authority{}, err
	}
	issuing, err := newCA(name+" Issuing CA", elliptic.P256(), &root, valid.notBefore, valid.issuingNotAfter)
	return authority{root: root, issuing: issuing}, err
}

// newCA makes a CA certificate, self-signed without a parent.
func newCA(name string, curve elliptic.Curve, parent *signer, notBefore, notAfter time.Time) (signer, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return signer{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Simulator"}, CommonName: name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        parent != nil,
	}
	if parent == nil {
		template.MaxPathLen = -1
		parent = &signer{certificate: template, key: key}
	}
	certificate, err := parent.sign(template, key.Public())
	return signer{certificate: certificate, key: key}, err
}

// sign issues the template. Serial number and subject key identifier are filled in.
func (s signer) sign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	if template.SubjectKeyId, err = keyIdentifier(public); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.certificate, public, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// newSerial returns a positive number of 20 octets, the length seen at the vendor. Its first hex digit may be 0, which
// shows who compares serial numbers as text.
func newSerial() (*big.Int, error) {
	octets := make([]byte, 20)
	if _, err := rand.Read(octets); err != nil {
		return nil, err
	}
	octets[0] &= 0x7f
	octets[0] |= 0x01
	return new(big.Int).SetBytes(octets), nil
}

// serialText is the vendor's spelling: upper-case hex in whole octets.
func serialText(serial *big.Int) string { return fmt.Sprintf("%X", serial.Bytes()) }

// keyIdentifier is the first method of RFC 5280, section 4.2.1.2.
func keyIdentifier(public crypto.PublicKey) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	bits, err := subjectPublicKeyBits(spki)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(bits)
	return sum[:], nil
}

// storedAuthority reads the named authority from the ledger, or creates and stores it.
func storedAuthority(l *ledger, name string, valid span) (authority, error) {
	text, err := l.material("authority/"+name, func() ([]byte, error) {
		a, err := newAuthority(name, valid)
		if err != nil {
			return nil, err
		}
		root, err := a.root.encode()
		if err != nil {
			return nil, err
		}
		issuing, err := a.issuing.encode()
		return append(root, issuing...), err
	})
	if err != nil {
		return authority{}, fmt.Errorf("certificate authority %s: %w", name, err)
	}
	root, rest, err := decodeSigner(text)
	if err != nil {
		return authority{}, fmt.Errorf("certificate authority %s: %w", name, err)
	}
	issuing, _, err := decodeSigner(rest)
	if err != nil {
		return authority{}, fmt.Errorf("certificate authority %s: %w", name, err)
	}
	return authority{root: root, issuing: issuing}, nil
}

// encode writes certificate and PKCS#8 key as PEM.
func (s signer) encode() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	text.WriteString(certificatePEM(s.certificate))
	text.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return text.Bytes(), nil
}

// decodeSigner reads what encode wrote and returns the text that follows.
func decodeSigner(text []byte) (signer, []byte, error) {
	certificateBlock, rest := pem.Decode(text)
	keyBlock, rest := pem.Decode(rest)
	if certificateBlock == nil || keyBlock == nil {
		return signer{}, nil, errors.New("the stored certificate or key is damaged; remove the ledger file to start afresh")
	}
	certificate, err := x509.ParseCertificate(certificateBlock.Bytes)
	if err != nil {
		return signer{}, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return signer{}, nil, err
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return signer{}, nil, fmt.Errorf("the stored key is of type %T and cannot sign", key)
	}
	return signer{certificate: certificate, key: private}, rest, nil
}

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
