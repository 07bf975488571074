// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certs holds what one issuance yields, a private key and the
// certificates around it, and everything the operator has to know about it:
// parsing, ordering, matching, describing, verifying and encoding.
//
// Everything here is pure: no clock, no randomness, no network, no cluster.
//
// In this package a leaf is the certificate of the device, intermediates are
// the CA certificates between it and the root, ordered from the leaf upwards,
// and roots are self-signed CA certificates. A chain is the leaf followed by
// its intermediates, without the root.
package certs

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
)

// Bundle is what one issuance yields: a private key and the certificates
// around it. Assemble makes one from an unordered pool.
//
// A Bundle shows neither its key nor its certificates when it is formatted with
// fmt, logged with slog or encoded as JSON. Holders must keep it in an exported
// field or a variable of its own: fmt does not ask the values of unexported
// fields how they want to be shown.
type Bundle struct {
	// Key is the private key of Leaf; nil when the key was delivered sealed
	// and never seen.
	Key crypto.Signer
	// Leaf is the certificate of the device.
	Leaf *x509.Certificate
	// Intermediates are ordered from the leaf upwards, without roots.
	Intermediates []*x509.Certificate
	// Roots are self-signed CA certificates: usually one, or none when the
	// vendor left it out.
	Roots []*x509.Certificate
}

// Chain returns the leaf followed by the intermediates, as a TLS server sends
// them: the order of tls.crt. It is empty without a leaf.
func (b Bundle) Chain() []*x509.Certificate {
	if b.Leaf == nil {
		return nil
	}
	return append([]*x509.Certificate{b.Leaf}, b.Intermediates...)
}

// summary names the leaf by its serial number, which is public.
func (b Bundle) summary() string {
	if b.Leaf == nil {
		return "certificate bundle without a leaf"
	}
	return fmt.Sprintf("certificate bundle of serial %s", SerialString(b.Leaf))
}

// Format keeps every verb of fmt, %#v and %+v included, away from the key.
func (b Bundle) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, b.summary())
}

// LogValue keeps structured logs away from the key.
func (b Bundle) LogValue() slog.Value {
	return slog.StringValue(b.summary())
}

// MarshalJSON keeps JSON, and YAML made from it, away from the key.
func (b Bundle) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%q", b.summary()), nil
}
