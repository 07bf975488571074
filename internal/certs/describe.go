// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSubjectBytes is the most text Subject returns.
const MaxSubjectBytes = 1024

// FingerprintSHA256 is the SHA-256 of the certificate's DER in lower-case hex,
// without separators.
func FingerprintSHA256(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// SerialString writes a serial number as the vendor's inventory spells it:
// upper-case hex without separators, padded to whole octets. Compare serial
// numbers with SameSerial: other places pad and spell differently.
func SerialString(cert *x509.Certificate) string {
	text := fmt.Sprintf("%X", cert.SerialNumber)
	if len(text)%2 == 1 {
		text = "0" + text
	}
	return text
}

// SameSerial compares two serial numbers in hex as integers, so case, leading
// zeros, and separating colons do not matter. Texts that are not hex are
// never the same, not even as themselves.
func SameSerial(a, b string) bool {
	left, leftOK := parseSerial(a)
	right, rightOK := parseSerial(b)
	return leftOK && rightOK && left.Cmp(right) == 0
}

// CanonicalSerial spells a serial number in the one way that makes equal ones
// equal texts: lower-case hex without leading zeros. It is empty for what is not
// hex.
func CanonicalSerial(text string) string {
	serial, ok := parseSerial(text)
	if !ok {
		return ""
	}
	return serial.Text(16)
}

// parseSerial accepts digits and colons only: big.Int alone would also take
// signs and underscores. RFC 5280 allows 20 octets; 64 leave room for others.
func parseSerial(text string) (*big.Int, bool) {
	text = strings.ReplaceAll(text, ":", "")
	octets := strings.TrimLeft(text, "0")
	if text == "" || len(octets) > 2*64 || strings.Trim(octets, "0123456789abcdefABCDEF") != "" {
		return nil, false
	}
	return new(big.Int).SetString(text, 16)
}

// KeyType names the kind of a public key in the vendor's words: rsa_2048,
// rsa_3072, rsa_4096, p_256, p_384, p_521 or ed_25519. Sizes the vendor does not
// offer are spelled alike (rsa_1024, p_224), everything else is "unknown".
func KeyType(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa_%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("p_%d", key.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "ed_25519"
	default:
		return "unknown"
	}
}

// DNSNames returns the certificate's DNS names in lower case, sorted, without
// duplicates and with unprintable characters replaced. Their number is bounded
// only by MaxCertificateBytes: cut the list before showing it.
func DNSNames(cert *x509.Certificate) []string {
	return normalNames(cert.DNSNames)
}

// SANDigest is the SHA-256, in lower-case hex, of a set of DNS names; order,
// case and duplicates do not matter. Two certificates with the same names have
// the same digest, and an intent can be compared with a certificate by it.
func SANDigest(dnsNames []string) string {
	sum := sha256.Sum256([]byte(strings.Join(normalNames(dnsNames), "\n")))
	return hex.EncodeToString(sum[:])
}

func normalNames(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, strings.ToLower(printable(name, MaxSubjectBytes)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Subject writes the distinguished name of the certificate's subject for people
// to read (RFC 2253 style), at most MaxSubjectBytes long, without control and
// formatting characters that could forge log lines or hide text.
func Subject(cert *x509.Certificate) string {
	return printable(cert.Subject.String(), MaxSubjectBytes)
}

// printable replaces what is not printable and cuts text to at most limit
// bytes, marking the cut with three dots.
func printable(text string, limit int) string {
	var out strings.Builder
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if out.Len()+utf8.RuneLen(r) > limit-len("...") {
			return out.String() + "..."
		}
		out.WriteRune(r)
	}
	return out.String()
}
