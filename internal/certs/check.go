// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reasons of findings, in the order Check reports them.
const (
	// ReasonLeafMissing and those that follow are fatal: the certificate must not be stored.
	ReasonLeafMissing       = "LeafMissing"
	ReasonKeyMismatch       = "KeyMismatch"
	ReasonLeafIsCA          = "LeafIsCA"
	ReasonExpired           = "Expired"
	ReasonNotYetValid       = "NotYetValid"
	ReasonPredecessorSerial = "PredecessorSerial"
	ReasonOtherDevice       = "OtherDevice"
	ReasonChainInvalid      = "ChainInvalid"
	ReasonKeyTooWeak        = "KeyTooWeak"

	// ReasonKeyTypeDiffers and those that follow are warnings: the certificate is usable but not what was asked for.
	ReasonKeyTypeDiffers = "KeyTypeDiffers"
	ReasonSubjectDiffers = "SubjectDiffers"
	ReasonSANsMissing    = "SANsMissing"
	ReasonChainMissing   = "ChainMissing"
	ReasonRootUnknown    = "RootUnknown"
	ReasonCAExpired      = "CAExpired"
	ReasonValidityShort  = "ValidityShort"
	ReasonValidityLong   = "ValidityLong"
)

const (
	// MaxFutureStart is how far in the future a certificate may begin: clocks
	// of operator and vendor differ by less.
	MaxFutureStart = 5 * time.Minute
	// MinRSABits is the shortest RSA modulus stored.
	MinRSABits = 2048
	// longLifetime is beyond any deliberate lifetime: certificates that end in
	// the year 9999 mean "never".
	longLifetime = 100 * 366 * 24 * time.Hour
	// maxShown bounds names taken from certificates in messages.
	maxShown = 100
)

// Expectation is what an attempt asked for. Zero fields are not compared.
type Expectation struct {
	// CommonName is the subject common name that was requested.
	CommonName string
	// DeviceIdentifier is the vendor's name of the device, which profiles may
	// use as the common name.
	DeviceIdentifier string
	// DNSNames are the DNS names that were requested.
	DNSNames []string
	// KeyType is the key type that was requested, in the vendor's words.
	KeyType string
	// PredecessorSerial is the serial number, in hex, of the certificate that
	// is being replaced.
	PredecessorSerial string
	// MinRemaining is the least time the certificate should be valid from now
	// on, usually how long before its end it is to be renewed.
	MinRemaining time.Duration
}

// Finding is one thing that is not as it should be.
type Finding struct {
	// Reason is one of the Reason constants, for machines.
	Reason string
	// Message tells a person what is wrong and what to do. It holds no times
	// relative to now, so that repeated checks give the same text.
	Message string
}

// Check judges a freshly issued Bundle before it is stored. now must come from
// a clock known to agree with the vendor's to within MaxFutureStart.
//
// A fatal finding means the certificate must not be stored and should be
// revoked: key and leaf do not match, the leaf is a CA, has expired, begins
// more than MaxFutureStart after now, has the serial number of its predecessor,
// was made for another device, is not signed by the chain it came with, or has
// a key too weak to use. Everything else that differs from the request is a
// warning, because profiles rightly fix key types and rewrite subjects.
//
// A certificate is of another device only if a common name was requested and
// the leaf's shares nothing with the request: it is, regardless of case, neither
// the requested common name, nor that name with a domain appended or removed,
// nor the device identifier, nor one of the requested DNS names, and none of
// these names is among the leaf's DNS names. A leaf without a common name is
// never judged so. This lets profiles normalise names and still catches
// answers that were mixed up.
//
// Findings come in the order of the Reason constants.
func Check(b Bundle, want Expectation, now time.Time) (fatal, warnings []Finding) {
	if b.Leaf == nil {
		return []Finding{{ReasonLeafMissing, "the vendor's answer holds no certificate for the device: check the enrollment profile"}}, nil
	}
	return checkFatal(b, want, now), checkWarnings(b, want, now)
}

func checkFatal(b Bundle, want Expectation, now time.Time) []Finding {
	var found findings
	leaf := b.Leaf
	if b.Key != nil && !KeyMatches(b.Key.Public(), leaf) {
		found.add(ReasonKeyMismatch, "the private key does not belong to the certificate: report this to the vendor")
	}
	if leaf.IsCA {
		found.add(ReasonLeafIsCA, "the certificate is a CA certificate: correct the certificate profile behind the enrollment profile")
	}
	if !now.Before(leaf.NotAfter) || leaf.NotAfter.Before(leaf.NotBefore) {
		found.add(ReasonExpired, "the certificate already ended at %s: correct the validity in the certificate profile", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if leaf.NotBefore.After(now.Add(MaxFutureStart)) {
		found.add(ReasonNotYetValid, "the certificate only begins at %s: compare the clocks, or correct the validity in the certificate profile", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if SameSerial(SerialString(leaf), want.PredecessorSerial) {
		found.add(ReasonPredecessorSerial, "the vendor returned the certificate that was to be replaced, serial %s: check whether the enrollment profile allows renewal now", SerialString(leaf))
	}
	if otherDevice(leaf, want) {
		found.add(ReasonOtherDevice, "the certificate is for %q, but %q was requested: check which names the enrollment profile lets requests set", printable(leaf.Subject.CommonName, maxShown), printable(want.CommonName, maxShown))
	}
	if err := VerifyChain(b); err != nil {
		found.add(ReasonChainInvalid, "the certificate chain does not verify (%v): check the issuing CA of the enrollment profile", err)
	}
	if weakness := weakKey(leaf); weakness != "" {
		found.add(ReasonKeyTooWeak, "the key is too weak (%s): choose a stronger key type, or allow one in the enrollment profile", weakness)
	}
	return found
}

func checkWarnings(b Bundle, want Expectation, now time.Time) []Finding {
	var found findings
	leaf := b.Leaf
	if got := KeyType(leaf.PublicKey); want.KeyType != "" && !strings.EqualFold(got, want.KeyType) {
		found.add(ReasonKeyTypeDiffers, "the key type is %s, but %q was requested: the enrollment profile may fix the key type", got, printable(want.KeyType, maxShown))
	}
	if want.CommonName != "" && leaf.Subject.CommonName != want.CommonName {
		found.add(ReasonSubjectDiffers, "the common name is %q, but %q was requested: the enrollment profile may rewrite it", printable(leaf.Subject.CommonName, maxShown), printable(want.CommonName, maxShown))
	}
	if missing := missingNames(leaf, want.DNSNames); len(missing) > 0 {
		found.add(ReasonSANsMissing, "%d of %d requested DNS names are missing, the first is %q: check which names the enrollment profile lets requests set", len(missing), len(want.DNSNames), printable(missing[0], maxShown))
	}
	switch {
	case selfSigned(leaf):
	case len(b.Intermediates) == 0 && len(b.Roots) == 0:
		found.add(ReasonChainMissing, "the certificate came without its issuing CAs: clients may not be able to verify it; check the chain settings of the enrollment profile")
	case len(b.Roots) == 0:
		found.add(ReasonRootUnknown, "the root certificate did not come with the chain: ca.crt is left out, distribute the root another way")
	}
	for _, ca := range append(slices.Clone(b.Intermediates), b.Roots...) {
		if now.After(ca.NotAfter) || now.Before(ca.NotBefore.Add(-MaxFutureStart)) {
			found.add(ReasonCAExpired, "the CA certificate %q is outside its validity: check the issuing CA of the enrollment profile", printable(Subject(ca), maxShown))
		}
	}
	if want.MinRemaining > 0 && leaf.NotAfter.Sub(now) <= want.MinRemaining {
		found.add(ReasonValidityShort, "the certificate ends at %s, which is sooner than it is to be renewed before its end: shorten renewBefore, or lengthen the validity in the certificate profile", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if leaf.NotAfter.Sub(leaf.NotBefore) > longLifetime {
		found.add(ReasonValidityLong, "the certificate is valid until %s: check the validity in the certificate profile", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return found
}

// findings collects findings in order.
type findings []Finding

func (f *findings) add(reason, format string, args ...any) {
	*f = append(*f, Finding{Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// VerifyChain checks that each certificate of the bundle is signed by the one
// above it and that those above are CAs allowed to sign, up to the root if
// there is one. It neither knows trusted roots nor looks at validity or names:
// it tells whether the bundle is consistent, not whether to trust it. A leaf
// alone is consistent.
func VerifyChain(b Bundle) error {
	if b.Leaf == nil {
		return errors.New("there is no leaf certificate")
	}
	path := append(b.Chain(), b.Roots...)
	for i, cert := range path[:len(path)-1] {
		if err := issuedBy(cert, path[i+1]); err != nil {
			return fmt.Errorf("%q is not signed by %q: %s", printable(Subject(cert), maxShown), printable(Subject(path[i+1]), maxShown), printable(err.Error(), maxShown))
		}
	}
	return nil
}

func otherDevice(leaf *x509.Certificate, want Expectation) bool {
	got := strings.ToLower(strings.TrimSpace(leaf.Subject.CommonName))
	requested := strings.ToLower(strings.TrimSpace(want.CommonName))
	if got == "" || requested == "" {
		return false
	}
	if strings.HasPrefix(got+".", requested+".") || strings.HasPrefix(requested+".", got+".") {
		return false
	}
	accepted := append([]string{requested, want.DeviceIdentifier}, want.DNSNames...)
	for _, name := range accepted {
		if name != "" && (strings.EqualFold(name, got) || containsFold(leaf.DNSNames, name)) {
			return false
		}
	}
	return true
}

func missingNames(leaf *x509.Certificate, wanted []string) []string {
	var missing []string
	for _, name := range wanted {
		if !containsFold(leaf.DNSNames, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(have string) bool { return strings.EqualFold(have, name) })
}

// weakKey says why the leaf's key must not be used; empty if it may.
func weakKey(leaf *x509.Certificate) string {
	switch key := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < MinRSABits {
			return fmt.Sprintf("RSA with %d bits, at least %d are needed", key.N.BitLen(), MinRSABits)
		}
		if key.E < 3 || key.E%2 == 0 {
			return fmt.Sprintf("RSA with the public exponent %d", key.E)
		}
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < 256 {
			return fmt.Sprintf("the elliptic curve has %d bits, at least 256 are needed", key.Curve.Params().BitSize)
		}
	case ed25519.PublicKey:
	default:
		return "a kind of key that cannot be judged: " + leaf.PublicKeyAlgorithm.String()
	}
	return ""
}
