// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
)

// MaxChain is the most certificates one Bundle may hold, leaf and root
// included. Real device hierarchies have three; the cap keeps the work of
// ordering a hostile pool small.
const MaxChain = 10

// Assemble orders an unordered pool of certificates into one Bundle.
// Duplicates are dropped. Every other certificate must be part of the one chain
// that leads upwards from the leaf, or the pool is refused: a certificate that
// belongs elsewhere is a sign that answers were mixed up.
//
//	pool:  root  leaf  ICA1  ICA2  leaf         (any order, with duplicates)
//	       leaf <- ICA2 <- ICA1 <- root
//	out:   Leaf = leaf   Intermediates = ICA2, ICA1   Roots = root
//
// With a key, the leaf is the one certificate that carries its public key.
// With a nil key (sealed delivery) it is the only certificate that is not a
// CA, or, where there is nothing but CAs, the first: the vendor sends the leaf
// first, and Check is there to refuse a CA as leaf.
//
// A chain without its root, or with nothing but a leaf, is fine here; Check
// warns about it. Assemble fails when the pool is empty or has more than
// MaxChain certificates, when no or several certificates could be the leaf,
// when two could be the issuer of one, when issuers form a loop, and when a
// certificate is left over.
func Assemble(key crypto.Signer, pool []*x509.Certificate) (Bundle, error) {
	pool, err := distinct(pool)
	if err != nil {
		return Bundle{}, err
	}
	leaf, err := findLeaf(key, pool)
	if err != nil {
		return Bundle{}, err
	}
	bundle := Bundle{Key: key, Leaf: leaf}
	used := 1
	for cert := leaf; !selfSigned(cert); used++ {
		issuer, err := findIssuer(cert, pool)
		if err != nil {
			return Bundle{}, err
		}
		if issuer == nil {
			break
		}
		if issuer == leaf || contains(bundle.Intermediates, issuer) {
			return Bundle{}, fmt.Errorf("the certificates issue each other in a loop through %q: ask for the chain of the profile's issuing CA", Subject(issuer))
		}
		if selfSigned(issuer) {
			bundle.Roots = append(bundle.Roots, issuer)
		} else {
			bundle.Intermediates = append(bundle.Intermediates, issuer)
		}
		cert = issuer
	}
	if used != len(pool) {
		return Bundle{}, fmt.Errorf("%d of %d certificates do not belong to the chain of the leaf %q", len(pool)-used, len(pool), Subject(leaf))
	}
	return bundle, nil
}

// distinct drops repeated certificates, keeps the order and enforces MaxChain.
func distinct(pool []*x509.Certificate) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, cert := range pool {
		if contains(out, cert) {
			continue
		}
		if len(out) == MaxChain {
			return nil, fmt.Errorf("more than %d certificates for one leaf", MaxChain)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate to work with")
	}
	return out, nil
}

func contains(pool []*x509.Certificate, cert *x509.Certificate) bool {
	for _, have := range pool {
		if have.Equal(cert) {
			return true
		}
	}
	return false
}

// findLeaf picks the certificate of the device out of a pool that is not empty.
func findLeaf(key crypto.Signer, pool []*x509.Certificate) (*x509.Certificate, error) {
	var candidates []*x509.Certificate
	for _, cert := range pool {
		if key != nil && KeyMatches(key.Public(), cert) || key == nil && !cert.IsCA && !issuesAnother(cert, pool) {
			candidates = append(candidates, cert)
		}
	}
	switch {
	case len(candidates) == 1:
		return candidates[0], nil
	case len(candidates) > 1:
		return nil, fmt.Errorf("%d different certificates could be the leaf: exactly one must be", len(candidates))
	case key == nil:
		return pool[0], nil
	default:
		return nil, errors.New("the private key belongs to none of the certificates")
	}
}

// issuesAnother tells whether the pool names cert as an issuer. It keeps
// version 1 roots, which cannot say that they are CAs, from passing as leaves.
func issuesAnother(cert *x509.Certificate, pool []*x509.Certificate) bool {
	for _, other := range pool {
		if other != cert && bytes.Equal(other.RawIssuer, cert.RawSubject) {
			return true
		}
	}
	return false
}

// findIssuer returns the certificate in pool that issued cert, nil if there is
// none. Names decide; where a CA changed its key and both certificates are
// there, the signature does.
func findIssuer(cert *x509.Certificate, pool []*x509.Certificate) (*x509.Certificate, error) {
	var named, signed []*x509.Certificate
	for _, candidate := range pool {
		if candidate != cert && bytes.Equal(cert.RawIssuer, candidate.RawSubject) {
			named = append(named, candidate)
		}
	}
	switch len(named) {
	case 0:
		return nil, nil
	case 1:
		return named[0], nil
	}
	for _, candidate := range named {
		if signedBy(cert, candidate) {
			signed = append(signed, candidate)
		}
	}
	if len(signed) != 1 {
		return nil, fmt.Errorf("%d certificates named %q, and %d of them signed the one below: the chain is ambiguous", len(named), Subject(named[0]), len(signed))
	}
	return signed[0], nil
}

// selfSigned tells whether nothing is above cert.
func selfSigned(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, cert.RawSubject) && signedBy(cert, cert)
}

// KeyMatches tells whether cert carries exactly this public key.
func KeyMatches(public crypto.PublicKey, cert *x509.Certificate) bool {
	key, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && cert != nil && key.Equal(cert.PublicKey)
}
