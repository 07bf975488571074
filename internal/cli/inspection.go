// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// inspection is what was seen in a Secret or in files. It never holds a key.
type inspection struct {
	Source      string             `json:"source"`
	Certificate *certificateReport `json:"certificate,omitempty"`
	Chain       []chainReport      `json:"chain,omitempty"`
	PrivateKey  string             `json:"privateKey"`
	Origin      map[string]string  `json:"origin,omitempty"`
	Outputs     []outputReport     `json:"outputs,omitempty"`
	Problems    []string           `json:"problems,omitempty"`
	Remarks     []string           `json:"remarks,omitempty"`
	now         time.Time
}

// certificateReport is what the leaf says.
type certificateReport struct {
	Subject           string    `json:"subject"`
	SerialNumber      string    `json:"serialNumber"`
	DNSNames          []string  `json:"dnsNames,omitempty"`
	OtherNames        []string  `json:"otherNames,omitempty"`
	KeyType           string    `json:"keyType"`
	NotBefore         time.Time `json:"notBefore"`
	NotAfter          time.Time `json:"notAfter"`
	FingerprintSHA256 string    `json:"fingerprintSHA256"`
}

// chainReport is a certificate above the leaf.
type chainReport struct {
	Subject  string    `json:"subject"`
	Role     string    `json:"role"`
	NotAfter time.Time `json:"notAfter"`
}

// outputReport is a key of the Secret's data.
type outputReport struct {
	Key     string `json:"key"`
	Verdict string `json:"verdict"`
	Agrees  bool   `json:"agrees"`
}

func (i *inspection) problem(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(i.Problems, text) {
		i.Problems = append(i.Problems, text)
	}
}

// The words for a private key.
const (
	keyFits    = "fits the certificate"
	keyAbsent  = "absent"
	keySealed  = "sealed: only the device opens it"
	keyMisfits = "belongs to another certificate"
)

// inspectPieces judges certificates and keys that belong together.
func inspectPieces(source string, p pieces, now time.Time) *inspection {
	i := &inspection{Source: source, PrivateKey: keyAbsent, now: now}
	if len(p.certificates) == 0 {
		i.problem("there is no certificate")
		if len(p.keys) > 0 {
			i.PrivateKey = "a key of type " + certs.KeyType(p.keys[0].Public())
		}
		return i
	}
	var key crypto.Signer
	switch {
	case len(p.keys) > 1:
		i.problem("there are %d private keys", len(p.keys))
	case len(p.keys) == 1:
		if key = p.keys[0]; slices.ContainsFunc(p.certificates, func(c *x509.Certificate) bool { return certs.KeyMatches(key.Public(), c) }) {
			i.PrivateKey = keyFits
		} else {
			i.PrivateKey = keyMisfits
			i.problem("the private key belongs to none of the certificates")
			key = nil
		}
	}
	bundle, err := certs.Assemble(key, p.certificates)
	if err != nil {
		i.problem("%v", err)
		i.describe(certs.Bundle{Leaf: p.certificates[0]})
		return i
	}
	i.describe(bundle)
	i.judge(bundle, p.certificates)
	return i
}

// inspectSecret judges a Secret; c is the DeviceCertificate it belongs to, if one is known.
func inspectSecret(secret *corev1.Secret, c *v1alpha1.DeviceCertificate, passwords map[string]password, now time.Time) *inspection {
	var p pieces
	chain, err := piecesOfPEM(secret.Data[v1alpha1.KeyCertificate])
	broken := err
	p.add(chain)
	if key, err := piecesOfPEM(secret.Data[v1alpha1.KeyPrivateKey]); err == nil {
		p.add(key)
	}
	stored := tlssecret.Read(secret)
	i := inspectPieces("Secret "+secret.Namespace+"/"+secret.Name, p, now)
	switch {
	case broken != nil:
		i.problem("%s: %v", v1alpha1.KeyCertificate, broken)
	case stored.Broken != nil:
		i.problem("%v", stored.Broken)
	default:
		i.Problems, i.Remarks, i.Chain = nil, nil, nil
		i.describe(stored.Bundle)
		i.judge(stored.Bundle, chain.certificates)
	}
	if stored.SealedKey != "" {
		i.PrivateKey = keySealed
	}
	if stored.ChainDamaged {
		i.problem("the certificates above the leaf are not those that were issued with it; the operator restores them")
	}
	i.Origin = originOf(stored.Provenance)
	i.Outputs = outputsOf(secret, stored, c, passwords)
	for _, o := range i.Outputs {
		if !o.Agrees {
			i.problem("%s: %s", o.Key, o.Verdict)
		}
	}
	return i
}

// originOf is what the Secret's annotations say of where it came from.
func originOf(p tlssecret.Provenance) map[string]string {
	origin := map[string]string{
		"certificate": p.CertificateName, "certificateID": p.CertificateID, "attemptID": p.AttemptID, "issuer": p.Issuer,
		"host": p.Host, "profile": p.ProfileID,
	}
	if !p.IssuedAt.IsZero() {
		origin["storedAt"] = p.IssuedAt.UTC().Format(time.RFC3339)
	}
	maps.DeleteFunc(origin, func(_, v string) bool { return v == "" })
	return origin
}

func (i *inspection) describe(b certs.Bundle) {
	leaf := b.Leaf
	report := &certificateReport{
		Subject: certs.Subject(leaf), SerialNumber: certs.SerialString(leaf), DNSNames: certs.DNSNames(leaf), KeyType: certs.KeyType(leaf.PublicKey),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(), FingerprintSHA256: certs.FingerprintSHA256(leaf),
	}
	for _, ip := range leaf.IPAddresses {
		report.OtherNames = append(report.OtherNames, "IP "+ip.String())
	}
	for _, mail := range leaf.EmailAddresses {
		report.OtherNames = append(report.OtherNames, "email "+clean(mail))
	}
	for _, uri := range leaf.URIs {
		report.OtherNames = append(report.OtherNames, "URI "+clean(uri.String()))
	}
	i.Certificate = report
	for _, part := range []struct {
		role string
		list []*x509.Certificate
	}{{"intermediate", b.Intermediates}, {"root", b.Roots}} {
		for _, ca := range part.list {
			i.Chain = append(i.Chain, chainReport{Subject: certs.Subject(ca), Role: part.role, NotAfter: ca.NotAfter.UTC()})
		}
	}
}

// judge looks for what is wrong with a whole bundle. written is its chain in the order it stands in.
func (i *inspection) judge(b certs.Bundle, written []*x509.Certificate) {
	fatal, warnings := certs.Check(b, certs.Expectation{}, i.now)
	for _, f := range fatal {
		i.problem("%s", f.Message)
	}
	for _, w := range warnings {
		i.Remarks = append(i.Remarks, w.Message)
	}
	order := append(b.Chain(), b.Roots...)
	for at, cert := range written {
		if at >= len(order) || !order[at].Equal(cert) {
			i.problem("the certificates are not in order: leaf first, then each one's issuer")
			return
		}
	}
}

// draw is the inspection for people.
func (o *inspectOptions) draw(i *inspection) node {
	p := painter(o.Colours)
	root := leaf("%s", p.paint(strong, i.Source))
	if c := i.Certificate; c != nil {
		n := leaf("%s serial %s", p.paint(strong, "Certificate"), c.SerialNumber)
		n.add(leaf("subject %s", orNone(c.Subject)))
		if names := slices.Concat(c.DNSNames, c.OtherNames); len(names) > 0 {
			n.add(leaf("names   %s", strings.Join(names, ", ")))
		}
		n.add(leaf("key     %s", c.KeyType), leaf("valid   from %s to %s", instant(c.NotBefore), when(c.NotAfter, i.now)), leaf("sha256  %s", c.FingerprintSHA256))
		root.add(n)
	}
	if len(i.Chain) > 0 {
		n := leaf("%s", p.paint(strong, "Chain"))
		for _, ca := range i.Chain {
			n.add(leaf("%s %s, valid to %s", ca.Role, ca.Subject, when(ca.NotAfter, i.now)))
		}
		root.add(n)
	}
	tone := map[string]tone{keyFits: good, keySealed: good, keyMisfits: bad}[i.PrivateKey]
	root.add(leaf("%s %s", p.paint(strong, "Private key"), p.paint(tone, i.PrivateKey)))
	root.add(o.listing("Origin", originLines(i.Origin), plain)...)
	if len(i.Outputs) > 0 {
		n := leaf("%s", p.paint(strong, "Outputs"))
		for _, out := range i.Outputs {
			verdict := p.paint(good, out.Verdict)
			if !out.Agrees {
				verdict = p.paint(bad, out.Verdict)
			}
			n.add(leaf("%s: %s", out.Key, verdict))
		}
		root.add(n)
	}
	root.add(o.listing("Remarks", i.Remarks, busy)...)
	root.add(o.listing("Problems", i.Problems, bad)...)
	return root
}

func originLines(origin map[string]string) []string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(origin)) {
		lines = append(lines, key+" "+clean(origin[key]))
	}
	return lines
}

func (o *inspectOptions) listing(title string, texts []string, t tone) []node {
	if len(texts) == 0 {
		return nil
	}
	p := painter(o.Colours)
	n := leaf("%s", p.paint(strong, title))
	for _, text := range texts {
		n.add(leaf("%s", p.paint(t, text)))
	}
	return []node{n}
}
