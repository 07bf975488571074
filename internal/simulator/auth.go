// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// Request headers that carry credentials.
const (
	headerAPIKey   = "X-Api-Key"
	headerPasscode = "X-Passcode"
)

// credential is who asks.
type credential struct {
	name      string
	profileID string // empty: the whole account
	deny      []Operation
	expires   *time.Time
	passcode  *Passcode     // nil for API keys and client certificates
	limiter   *rate.Limiter // nil without a rate limit
}

// may checks the operation and the rate, not yet the profile: that is known only after the body is read.
func (c credential) may(operation Operation, now time.Time) error {
	if c.limiter != nil && !c.limiter.AllowN(now, 1) {
		return &refusal{status: http.StatusTooManyRequests, code: codeLimitExceeded, message: "too many requests with this credential", retryAfter: "1"}
	}
	if c.profileID != "" && operation != OperationEnroll && operation != OperationRenew {
		return denied("credential %s is bound to an enrollment profile and may only enroll and renew", c.name)
	}
	if slices.Contains(c.deny, operation) {
		return denied("credential %s lacks the permission for %s", c.name, operation)
	}
	return nil
}

// credentials are all credentials of the account by digest of their secret.
type credentials struct {
	apiKeys      map[[32]byte]credential
	passcodes    map[[32]byte]credential
	certificates map[[32]byte]credential
}

// newCredentials registers the configured credentials. generated returns the certificate the simulator issues for a client
// certificate of that name.
func newCredentials(c Config, generated func(name string) (*x509.Certificate, error)) (credentials, error) {
	known := credentials{
		apiKeys:      map[[32]byte]credential{},
		passcodes:    map[[32]byte]credential{},
		certificates: map[[32]byte]credential{},
	}
	for _, k := range c.APIKeys {
		accepted := credential{name: k.Name, deny: k.Deny, expires: k.Expires}
		if k.RequestsPerSecond > 0 {
			accepted.limiter = rate.NewLimiter(rate.Limit(k.RequestsPerSecond), max(k.RequestsPerSecond, 1))
		}
		known.apiKeys[sha256.Sum256([]byte(k.Key))] = accepted
	}
	for _, p := range c.Passcodes {
		known.passcodes[sha256.Sum256([]byte(p.Passcode))] = credential{name: p.Name, profileID: p.ProfileID, expires: p.Expires, passcode: &p}
	}
	for _, cc := range c.ClientCertificates {
		certificate, err := clientCertificate(cc, generated)
		if err != nil {
			return credentials{}, fmt.Errorf("client certificate %s: %w", cc.Name, err)
		}
		known.certificates[sha256.Sum256(certificate.Raw)] = credential{
			name: cc.Name, profileID: cc.ProfileID, deny: cc.Deny, expires: &certificate.NotAfter,
		}
	}
	return known, nil
}

func clientCertificate(cc ClientCertificate, generated func(string) (*x509.Certificate, error)) (*x509.Certificate, error) {
	if cc.Generate {
		return generated(cc.Name)
	}
	text := []byte(cc.Certificate)
	if cc.CertificateFile != "" {
		var err error
		if text, err = os.ReadFile(cc.CertificateFile); err != nil {
			return nil, err
		}
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM certificate found")
	}
	return x509.ParseCertificate(block.Bytes)
}

// authenticate finds the credential of a request. Client certificates count only where the TLS handshake asked for one.
func (c credentials) authenticate(r *http.Request, now time.Time) (credential, error) {
	key, passcode := r.Header.Values(headerAPIKey), r.Header.Values(headerPasscode)
	certificate := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	if len(key)+len(passcode) > 1 || certificate && len(key)+len(passcode) > 0 {
		return credential{}, invalidRequest("send exactly one of x-api-key, x-passcode and a client certificate, once")
	}
	found, ok := credential{}, false
	switch {
	case len(key) == 1:
		found, ok = lookUp(c.apiKeys, []byte(key[0]))
	case len(passcode) == 1:
		found, ok = lookUp(c.passcodes, []byte(passcode[0]))
	case certificate:
		found, ok = lookUp(c.certificates, r.TLS.PeerCertificates[0].Raw)
	}
	if !ok {
		return credential{}, refuse(http.StatusUnauthorized, codeInvalidAPIKey, "the credential is missing or unknown")
	}
	if found.expires != nil && !now.Before(*found.expires) {
		return credential{}, refuse(http.StatusUnauthorized, codeInvalidAPIKey, "the credential %s has expired", found.name)
	}
	return found, nil
}

func lookUp(known map[[32]byte]credential, secret []byte) (credential, bool) {
	digest := sha256.Sum256(secret)
	for candidate, c := range known {
		if subtle.ConstantTimeCompare(candidate[:], digest[:]) == 1 {
			return c, true
		}
	}
	return credential{}, false
}
