// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// The verdicts on an output that is fine, or that cannot be judged.
const (
	outputAgrees   = "agrees"
	outputUnjudged = "not judged: "
)

// outputsOf judges every key of a Secret's data, and names those that are asked for and missing.
func outputsOf(secret *corev1.Secret, stored tlssecret.Stored, c *v1alpha1.DeviceCertificate, passwords map[string]password) []outputReport {
	var reports []outputReport
	for _, name := range slices.Sorted(maps.Keys(secret.Data)) {
		reports = append(reports, judgeOutput(name, secret, stored, passwords[name]))
	}
	for _, name := range askedFor(c) {
		if _, there := secret.Data[name]; !there {
			reports = append(reports, outputReport{Key: name, Verdict: "asked for by the spec, and missing"})
		}
	}
	return reports
}

// askedFor are the optional outputs of a spec.
func askedFor(c *v1alpha1.DeviceCertificate) []string {
	if c == nil || c.Spec.Secret.Outputs == nil {
		return nil
	}
	o, names := c.Spec.Secret.Outputs, []string(nil)
	if slices.Contains(o.Formats, v1alpha1.OutputCombinedPEM) {
		names = append(names, v1alpha1.KeyCombinedPEM)
	}
	if slices.Contains(o.Formats, v1alpha1.OutputDER) {
		names = append(names, v1alpha1.KeyDERKey, v1alpha1.KeyDERCert)
	}
	if o.PKCS12 != nil {
		names = append(names, v1alpha1.KeyPKCS12)
	}
	if o.JKS != nil {
		names = append(names, v1alpha1.KeyJKS)
	}
	return names
}

func judgeOutput(name string, secret *corev1.Secret, stored tlssecret.Stored, secretWord password) outputReport {
	if stored.Broken != nil {
		return outputReport{Key: name, Verdict: outputUnjudged + "there is no whole pair to compare with", Agrees: true}
	}
	var err error
	switch content := secret.Data[name]; name {
	case v1alpha1.KeyCertificate, v1alpha1.KeyPrivateKey:
		// what the rest is compared with
	case v1alpha1.KeyCA, v1alpha1.KeyChain:
		err = holdsAuthorities(content, stored.Bundle)
	case v1alpha1.KeySealedBundle, v1alpha1.KeySealedKey:
		sum := sha256.Sum256(content)
		if want := secret.Annotations[v1alpha1.AnnotationSealedDigest]; want != "" && want != hex.EncodeToString(sum[:]) {
			err = errors.New("it is not the payload that was issued")
		}
	case v1alpha1.KeyCombinedPEM, v1alpha1.KeyDERKey, v1alpha1.KeyDERCert:
		err = holdsPair(content, "", stored.Bundle)
	case v1alpha1.KeyPKCS12, v1alpha1.KeyJKS, v1alpha1.KeyPKCS12Trust, v1alpha1.KeyJKSTrust:
		switch {
		case secretWord.unknown != "":
			return outputReport{Key: name, Verdict: outputUnjudged + secretWord.unknown, Agrees: true}
		case secretWord.value == "":
			return outputReport{Key: name, Verdict: outputUnjudged + "no DeviceCertificate tells where its password is", Agrees: true}
		case name == v1alpha1.KeyPKCS12Trust || name == v1alpha1.KeyJKSTrust:
			err = trusts(content, secretWord.value, stored.Bundle)
		default:
			err = holdsPair(content, secretWord.value, stored.Bundle)
		}
	default:
		return outputReport{Key: name, Verdict: outputUnjudged + "not the operator's", Agrees: true}
	}
	if err != nil {
		return outputReport{Key: name, Verdict: err.Error()}
	}
	return outputReport{Key: name, Verdict: outputAgrees, Agrees: true}
}

// holdsPair wants key and leaf of the bundle, or what a format holds of the two, and nothing that contradicts.
func holdsPair(content []byte, secretWord string, b certs.Bundle) error {
	found, err := piecesOf(content, secretWord)
	if err != nil {
		return err
	}
	for _, key := range found.keys {
		if !certs.KeyMatches(key.Public(), b.Leaf) {
			return errors.New("it holds another private key")
		}
	}
	if len(found.certificates) > 0 && !found.certificates[0].Equal(b.Leaf) {
		return fmt.Errorf("it holds another certificate: serial %s", certs.SerialString(found.certificates[0]))
	}
	if len(found.certificates)+len(found.keys) == 0 {
		return errors.New("it is empty")
	}
	return nil
}

// holdsAuthorities wants certificates of the chain, and no others.
func holdsAuthorities(content []byte, b certs.Bundle) error {
	found, err := piecesOfPEM(content)
	if err != nil {
		return err
	}
	known := slices.Concat(b.Intermediates, b.Roots)
	for _, cert := range found.certificates {
		if !slices.ContainsFunc(known, cert.Equal) {
			return fmt.Errorf("it holds a certificate that is not above the leaf: %s", certs.Subject(cert))
		}
	}
	return nil
}

// trusts wants exactly the roots.
func trusts(content []byte, secretWord string, b certs.Bundle) error {
	found, err := piecesOf(content, secretWord)
	if err != nil {
		return err
	}
	has := func(list []*x509.Certificate, cert *x509.Certificate) bool {
		return slices.ContainsFunc(list, cert.Equal)
	}
	for _, root := range b.Roots {
		if !has(found.certificates, root) {
			return fmt.Errorf("the root %s is missing", certs.Subject(root))
		}
	}
	for _, cert := range found.certificates {
		if !has(b.Roots, cert) {
			return fmt.Errorf("it trusts a certificate that is not the root of the chain: %s", certs.Subject(cert))
		}
	}
	return nil
}
