// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// maxProven bounds the signatures that are remembered. A fleet's certificates come from a handful of CAs.
const maxProven = 256

// proven are the signatures on CA certificates that held. Every answer of a vendor brings the same few CAs, and checking their
// signatures anew would cost most of the CPU time of an issuance. Leaves are not among them: each is checked once.
var proven = signatures{known: map[signature]struct{}{}}

// signature is one that was checked: of exactly these two certificates, in exactly this manner.
type signature struct {
	cert, parent [sha256.Size]byte
	mayIssue     bool
}

type signatures struct {
	mu    sync.Mutex
	known map[signature]struct{}
}

// holds checks a signature on a CA certificate, or knows it. One that does not hold is not remembered.
func (s *signatures) holds(cert, parent *x509.Certificate, mayIssue bool, check func() error) error {
	if !cert.IsCA {
		return check()
	}
	key := signature{cert: sha256.Sum256(cert.Raw), parent: sha256.Sum256(parent.Raw), mayIssue: mayIssue}
	s.mu.Lock()
	_, known := s.known[key]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxProven {
		clear(s.known)
	}
	s.known[key] = struct{}{}
	return nil
}

// signedBy checks the signature alone, not whether parent may sign.
func signedBy(cert, parent *x509.Certificate) bool {
	return proven.holds(cert, parent, false, func() error {
		return parent.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	}) == nil
}

// issuedBy checks the signature and that parent may sign certificates.
func issuedBy(cert, parent *x509.Certificate) error {
	return proven.holds(cert, parent, true, func() error { return cert.CheckSignatureFrom(parent) })
}
