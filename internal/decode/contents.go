// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"unicode"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

// MaxFieldBytes is the most text one field of an answer may have.
const MaxFieldBytes = 1 << 20

// contents collects what the field private_key turned out to hold.
type contents struct {
	key          crypto.Signer
	certificates []*x509.Certificate
}

// add takes over what another file of the same answer holds. The same key may
// come twice, a second key may not: nobody could tell which one is meant.
func (c *contents) add(field string, more contents) error {
	c.certificates = append(c.certificates, more.certificates...)
	if more.key == nil {
		return nil
	}
	if c.key != nil && !sameKey(c.key, more.key) {
		return fault(field, Inconsistent, "it holds more than one private key")
	}
	c.key = more.key
	return nil
}

func sameKey(a, b crypto.Signer) bool {
	public, ok := a.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(b.Public())
}

// decodeBase64 reads standard base64. Line breaks and other white space are
// ignored, and padding may be missing: neither changes the meaning. The URL
// alphabet is refused, because the vendor does not use it.
func decodeBase64(field, text string) ([]byte, error) {
	if len(text) > MaxFieldBytes {
		return nil, fault(field, TooLarge, "it is longer than %d bytes", MaxFieldBytes)
	}
	compact := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	compact = strings.TrimSuffix(strings.TrimSuffix(compact, "="), "=")
	out, err := base64.RawStdEncoding.Strict().DecodeString(compact)
	if err != nil {
		return nil, fault(field, Malformed, "it is not standard base64")
	}
	return out, nil
}

func isPEM(file []byte) bool {
	return bytes.Contains(file, []byte("-----BEGIN "))
}

// readFile classifies one file by what it holds: PEM blocks, or one key or one
// certificate in DER. A file that is none of these yields nothing; field says
// where it was found.
func readFile(field string, file []byte) (contents, error) {
	if isPEM(file) {
		return readPEM(field, file)
	}
	if cert, err := certs.ParseCertificate(file); err == nil {
		return contents{certificates: []*x509.Certificate{cert}}, nil
	}
	if key, err := certs.ParsePrivateKey(file); err == nil {
		return contents{key: key}, nil
	}
	return contents{}, nil
}

// readPEM takes keys and certificates out of a PEM file. Public kinds of blocks
// that are of no use here, such as a CSR, are passed over; a private key that
// cannot be read is an error.
func readPEM(field string, file []byte) (contents, error) {
	blocks, err := certs.DecodePEM(file)
	if err != nil {
		return contents{}, &Error{Field: field, Reason: Malformed, Err: err}
	}
	var found contents
	for _, block := range blocks {
		var more contents
		switch {
		case block.Type == "CERTIFICATE":
			cert, err := certs.ParseCertificate(block.Bytes)
			if err != nil {
				return contents{}, &Error{Field: field, Reason: Malformed, Err: err}
			}
			more.certificates = []*x509.Certificate{cert}
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			if more.key, err = certs.ParsePrivateKeyBlock(block); err != nil {
				return contents{}, &Error{Field: field, Reason: Malformed, Err: err}
			}
		}
		if err := found.add(field, more); err != nil {
			return contents{}, err
		}
	}
	return found, nil
}

// errParser stands for a panic of another project's parser.
var errParser = errors.New("the parser gave up on it")

// guard runs the parser of another project and turns a panic into an error. The
// panic's own text is dropped, since it may quote what was parsed.
func guard(parse func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errParser
		}
	}()
	return parse()
}
