// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
)

// maxCredentialBytes bounds tokens and passcodes; the vendor's are below 200 bytes.
// It keeps a Secret of a megabyte from becoming a header.
const maxCredentialBytes = 8 << 10

// Credential is one way to authenticate; exactly one field is set. It shows itself
// as its kind, never as its contents.
type Credential struct {
	// APIToken is the token of a user or service user, sent as x-api-key.
	APIToken string

	// Passcode is an enrollment passcode, sent as x-passcode. It belongs to one
	// profile and is good for Enroll and Renew only.
	Passcode string

	// ClientCertificate authenticates by TLS, at the vendor's clientauth host. No
	// authentication header is sent beside it.
	ClientCertificate *tls.Certificate
}

// String names the kind of credential.
func (c Credential) String() string {
	switch {
	case c.APIToken != "":
		return "API token (redacted)"
	case c.Passcode != "":
		return "enrollment passcode (redacted)"
	case c.ClientCertificate != nil:
		return "client certificate (redacted)"
	}
	return "no credential"
}

// GoString names the kind of credential.
func (c Credential) GoString() string { return c.String() }

// Format names the kind of credential, whatever the verb.
func (c Credential) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, c.String()) }

// LogValue names the kind of credential.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText names the kind of credential, for encoding/json and its like.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c Credential) validate() error {
	given := 0
	for _, set := range []bool{c.APIToken != "", c.Passcode != "", c.ClientCertificate != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		return fmt.Errorf("exactly one of API token, passcode and client certificate must be given, got %d", given)
	}
	if certificate := c.ClientCertificate; certificate != nil && (len(certificate.Certificate) == 0 || certificate.PrivateKey == nil) {
		return errors.New("client certificate must hold a certificate and its private key")
	}
	if value := c.APIToken + c.Passcode; len(value) > maxCredentialBytes {
		return fmt.Errorf("credential is %d bytes long, at most %d are accepted", len(value), maxCredentialBytes)
	} else if !isToken(value) {
		return errors.New("credential contains a space, line break or non-ASCII character: store the bare value, without a newline at its end")
	}
	return nil
}

// authenticate adds the one authentication header; a client certificate needs none.
func (c Credential) authenticate(header http.Header) {
	switch {
	case c.APIToken != "":
		header.Set("X-Api-Key", c.APIToken)
	case c.Passcode != "":
		header.Set("X-Passcode", c.Passcode)
	}
}

func (c Credential) secrets() []string { return []string{c.APIToken, c.Passcode} }

// isToken reports whether value has nothing but visible ASCII characters.
func isToken(value string) bool {
	for _, char := range []byte(value) {
		if char <= ' ' || char > '~' {
			return false
		}
	}
	return true
}

// isHeaderValue reports whether value has nothing but printable ASCII characters.
func isHeaderValue(value string) bool {
	for _, char := range []byte(value) {
		if char < ' ' || char > '~' {
			return false
		}
	}
	return true
}
