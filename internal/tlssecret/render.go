// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecret

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/keystore"
)

// Render is the Secret that holds content as layout asks: every key of it, to be applied together. Optional outputs that cannot be
// rendered are left out and named in incomplete; they never hold back tls.crt and tls.key.
func Render(c Content, l Layout) (ac *corev1ac.SecretApplyConfiguration, incomplete []error, err error) {
	data, incomplete, err := render(c, l)
	if err != nil {
		return nil, nil, err
	}
	contentDigest, err := digest(c, l, data)
	if err != nil {
		return nil, nil, err
	}
	c.CertificateName, c.CertificateUID = l.CertificateName, l.CertificateUID
	annotations := maps.Clone(l.Annotations)
	if annotations == nil {
		annotations = make(map[string]string)
	}
	maps.Copy(annotations, c.annotations())
	annotations[v1alpha1.AnnotationFingerprint] = certs.FingerprintSHA256(c.Bundle.Leaf)
	annotations[v1alpha1.AnnotationChainDigest] = chainDigest(c.Bundle)
	annotations[v1alpha1.AnnotationContentDigest] = contentDigest
	if c.SealedKey != "" {
		annotations[v1alpha1.AnnotationSealedDigest] = sum(c.Sealed)
	}
	return base(l, c.SealedKey != "").WithAnnotations(annotations).WithData(data), incomplete, nil
}

// Rehearsal is the same Secret with placeholder data of the given size: what a dry run tries before anything is bought. Its data
// differs from whatever is stored, so that an immutable Secret is noticed.
func Rehearsal(l Layout, p Provenance, sealedKey string) *corev1ac.SecretApplyConfiguration {
	p.CertificateName, p.CertificateUID = l.CertificateName, l.CertificateUID
	annotations := maps.Clone(l.Annotations)
	if annotations == nil {
		annotations = make(map[string]string)
	}
	maps.Copy(annotations, p.annotations())
	for _, name := range []string{v1alpha1.AnnotationFingerprint, v1alpha1.AnnotationChainDigest, v1alpha1.AnnotationContentDigest, v1alpha1.AnnotationSealedDigest} {
		annotations[name] = "rehearsal-" + sum([]byte(p.AttemptID))
	}
	placeholder := []byte("rehearsal " + p.AttemptID)
	data := map[string][]byte{v1alpha1.KeyCA: placeholder}
	if leafOnly(l) {
		data[v1alpha1.KeyChain] = placeholder
	}
	c := Content{SealedKey: sealedKey}
	for _, name := range names(c, l) {
		data[name] = slices.Concat(placeholder, make([]byte, typicalSize))
	}
	return base(l, sealedKey != "").WithAnnotations(annotations).WithData(data)
}

// typicalSize is about the size of a chain or keystore.
const typicalSize = 6 << 10

func base(l Layout, sealed bool) *corev1ac.SecretApplyConfiguration {
	return corev1ac.Secret(l.Name, l.Namespace).
		WithType(secretType(sealed)).
		WithLabels(l.Labels).
		WithLabels(map[string]string{v1alpha1.LabelWatch: "true"})
}

// render encodes every key of the data.
func render(c Content, l Layout) (map[string][]byte, []error, error) {
	chain := c.Bundle.Chain()
	data := make(map[string][]byte)
	if leafOnly(l) {
		chain = chain[:1]
		if len(c.Bundle.Intermediates) > 0 {
			// Kept, so that asking for the chain again does not cost a certificate.
			data[v1alpha1.KeyChain] = certs.EncodeCertificatesPEM(c.Bundle.Intermediates)
		}
	}
	chainPEM := certs.EncodeCertificatesPEM(chain)
	data[v1alpha1.KeyCertificate] = chainPEM
	if len(c.Bundle.Roots) > 0 {
		data[v1alpha1.KeyCA] = certs.EncodeCertificatesPEM(c.Bundle.Roots)
	}
	if c.SealedKey != "" {
		data[c.SealedKey] = c.Sealed
		return data, nil, nil
	}
	encoding := certs.PKCS8
	if l.Outputs.KeyEncoding == v1alpha1.KeyEncodingTraditional {
		encoding = certs.Traditional
	}
	keyPEM, err := certs.EncodePrivateKeyPEM(c.Bundle.Key, encoding)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", v1alpha1.KeyPrivateKey, err)
	}
	data[v1alpha1.KeyPrivateKey] = keyPEM
	if slices.Contains(l.Outputs.Formats, v1alpha1.OutputCombinedPEM) {
		data[v1alpha1.KeyCombinedPEM] = slices.Concat(keyPEM, chainPEM)
	}
	if slices.Contains(l.Outputs.Formats, v1alpha1.OutputDER) {
		der, err := certs.EncodePrivateKeyDER(c.Bundle.Key, encoding)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", v1alpha1.KeyDERKey, err)
		}
		data[v1alpha1.KeyDERKey], data[v1alpha1.KeyDERCert] = der, c.Bundle.Leaf.Raw
	}
	return data, renderKeystores(c.Bundle, l, data), nil
}

const (
	// defaultAlias is the key entry's name when the layout gives none.
	defaultAlias = "certificate"
	// minJKSPassword is the shortest password Java's keytool works with.
	minJKSPassword = 6
)

// renderKeystores adds the keystores and trust stores the layout asks for. Each stands for itself: one that cannot be written is left
// out of data and named in incomplete.
func renderKeystores(b certs.Bundle, l Layout, data map[string][]byte) (incomplete []error) {
	add := func(name string, file []byte, err error) {
		if err != nil {
			incomplete = append(incomplete, fmt.Errorf("%s is left out: %w", name, err))
			return
		}
		data[name] = file
	}
	if o := l.Outputs.PKCS12; o != nil {
		profile := keystore.Profile(o.Profile)
		file, err := keystore.PKCS12(b, l.PKCS12Password, profile)
		add(v1alpha1.KeyPKCS12, file, err)
		file, err = keystore.PKCS12TrustStore(b.Roots, l.PKCS12Password, profile)
		add(v1alpha1.KeyPKCS12Trust, file, err)
	}
	if o := l.Outputs.JKS; o != nil {
		if len(l.JKSPassword) < minJKSPassword {
			tooShort := errors.New("its password has fewer than six characters, which Java refuses")
			add(v1alpha1.KeyJKS, nil, tooShort)
			add(v1alpha1.KeyJKSTrust, nil, tooShort)
			return incomplete
		}
		// Dated by the leaf, so that rendering the same pair again does not look like a newer entry.
		created := b.Leaf.NotBefore
		file, err := keystore.JKS(b, l.JKSPassword, cmp.Or(o.Alias, defaultAlias), created)
		add(v1alpha1.KeyJKS, file, err)
		file, err = keystore.JKSTrustStore(b.Roots, l.JKSPassword, created)
		add(v1alpha1.KeyJKSTrust, file, err)
	}
	return incomplete
}
