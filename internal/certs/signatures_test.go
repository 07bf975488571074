// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"testing"
)

// authority is a CA certificate that signed itself.
func authority(t *testing.T, name string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: testNow, NotAfter: testNow.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestASignatureOnACAIsCheckedOnce(t *testing.T) {
	s := signatures{known: map[signature]struct{}{}}
	ca, checks := authority(t, "root", 1), 0
	check := func() error { checks++; return nil }
	for range 3 {
		if err := s.holds(ca, ca, true, check); err != nil {
			t.Fatal(err)
		}
	}
	if checks != 1 {
		t.Errorf("checked %d times, want once", checks)
	}
	if err := s.holds(ca, ca, false, check); err != nil || checks != 2 {
		t.Errorf("%v after %d checks: what is checked in another manner is checked on its own", err, checks)
	}
	leaf := *ca
	leaf.IsCA = false
	for range 2 {
		if err := s.holds(&leaf, ca, true, check); err != nil {
			t.Fatal(err)
		}
	}
	if checks != 4 || len(s.known) != 2 {
		t.Errorf("%d checks and %d remembered: leaves are checked each time", checks, len(s.known))
	}
}

func TestASignatureThatDoesNotHoldIsNotRemembered(t *testing.T) {
	s := signatures{known: map[signature]struct{}{}}
	ca, broken := authority(t, "root", 1), errors.New("broken")
	for range 2 {
		if err := s.holds(ca, ca, true, func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("error is %v", err)
		}
	}
	if len(s.known) != 0 {
		t.Error("it was remembered")
	}
}

func TestACAOfAnotherKeyIsNotTakenForTheOneThatSigned(t *testing.T) {
	root, impostor := authority(t, "root", 1), authority(t, "root", 1)
	for range 2 {
		if !signedBy(root, root) || issuedBy(root, root) != nil {
			t.Error("a CA that signed itself is not recognised")
		}
		if signedBy(root, impostor) || issuedBy(root, impostor) == nil {
			t.Error("a CA of the same name passes for the one that signed")
		}
	}
	forged := *root
	forged.Raw = slices.Clone(root.Raw)
	forged.Raw[len(forged.Raw)-1] ^= 1
	forged.Signature = slices.Clone(root.Signature)
	forged.Signature[len(forged.Signature)-1] ^= 1
	if signedBy(&forged, root) {
		t.Error("a damaged signature passes after the whole one was seen")
	}
}

func TestTheMemoryOfSignaturesIsBounded(t *testing.T) {
	s := signatures{known: map[signature]struct{}{}}
	ca := authority(t, "root", 1)
	for i := range 2*maxProven + 1 {
		other := *ca
		other.Raw = append(slices.Clone(ca.Raw), byte(i), byte(i>>8))
		if err := s.holds(&other, ca, true, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.known) > maxProven {
		t.Errorf("%d are remembered", len(s.known))
	}
}
