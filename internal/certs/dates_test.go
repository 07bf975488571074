// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
	_ "time/tzdata" // the zones below, wherever the tests run
)

// ending is a pair that ends at that instant, under a root that outlives it, as it comes out of PEM.
func ending(t *testing.T, at time.Time) Bundle {
	t.Helper()
	keys := make([]*ecdsa.PrivateKey, 2)
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: testNow, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "gateway"}, NotBefore: testNow, NotAfter: at, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	var text []byte
	for i, c := range []*x509.Certificate{root, leaf} {
		der, err := x509.CreateCertificate(rand.Reader, c, root, keys[i].Public(), keys[0])
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	pool, err := ParseCertificatesPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Assemble(keys[1], pool)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// validityTag is how a certificate spells its end.
func validityTag(t *testing.T, c *x509.Certificate) int {
	t.Helper()
	var tbs struct {
		Version   asn1.RawValue `asn1:"tag:0"`
		Serial    asn1.RawValue
		Algorithm asn1.RawValue
		Issuer    asn1.RawValue
		Validity  struct{ NotBefore, NotAfter asn1.RawValue }
		Rest      asn1.RawValue
	}
	if _, err := asn1.Unmarshal(c.RawTBSCertificate, &tbs); err != nil {
		t.Fatal(err)
	}
	return tbs.Validity.NotAfter.Tag
}

// RFC 5280, 4.1.2.5: two digits for the year through 2049, four from 2050 on; the last second of 9999 stands for no end.
func TestTheEndOfACertificateIsRightInEveryCenturyAndZone(t *testing.T) {
	for end, spelt := range map[string]int{
		"2038-01-19T03:14:07Z": asn1.TagUTCTime, // the last second of 32 bits
		"2038-01-19T03:14:08Z": asn1.TagUTCTime,
		"2049-12-31T23:59:59Z": asn1.TagUTCTime,
		"2050-01-01T00:00:00Z": asn1.TagGeneralizedTime,
		"2040-02-29T12:00:00Z": asn1.TagUTCTime,
		"2031-03-30T01:00:00Z": asn1.TagUTCTime, // the hour that is left out in Berlin
		"2031-10-26T01:00:00Z": asn1.TagUTCTime, // the one that comes twice
		"9999-12-31T23:59:59Z": asn1.TagGeneralizedTime,
	} {
		at, err := time.Parse(time.RFC3339, end)
		if err != nil {
			t.Fatal(err)
		}
		b := ending(t, at)
		if got := validityTag(t, b.Leaf); got != spelt {
			t.Errorf("%s has tag %d, want %d", end, got, spelt)
		}
		if !b.Leaf.NotAfter.Equal(at) {
			t.Errorf("%s was read as %s", end, b.Leaf.NotAfter)
		}
		for _, name := range []string{"UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/St_Johns"} {
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			for after, want := range map[time.Duration]string{-time.Second: "", 0: ReasonExpired} {
				fatal, _ := Check(b, Expectation{}, at.Add(after).In(zone))
				if got := reasons(fatal); got != want {
					t.Errorf("%s after %s, in %s: %q, want %q", after, end, name, got, want)
				}
			}
		}
	}
}
