// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tlssecret turns a key and its certificates into the Secret that holds them, and back. It decides whose a Secret is and
// whether it still holds what was issued, and it writes everything in one apply, so that nobody ever sees half of it.
package tlssecret

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// Content is what one issuance left to be stored: an open pair, or a sealed payload and its leaf.
type Content struct {
	// Bundle holds the certificates; its key is nil when sealed.
	Bundle certs.Bundle
	// SealedKey is the name under which Sealed is stored, bundle.p7m or key.p7m; empty when the key is open.
	SealedKey string
	// Sealed is the vendor's encrypted payload, byte for byte.
	Sealed []byte
	Provenance
}

// Provenance is what a Secret's annotations say of its content: whose it is, and which purchase it came from. It makes a Secret
// understandable without the status, which a restored backup does not have.
type Provenance struct {
	CertificateName, CertificateUID string
	CertificateID, RequestID        string
	AttemptID, IssuanceHash         string
	// RequestHash is the hash of the request as the spec spelt it; written only where it is another than IssuanceHash.
	RequestHash         string
	IssuedAt            time.Time
	HandledRenewRequest string
	// Issuer, as "<kind>/<name>", Host and ProfileID say where it was bought.
	Issuer, Host, ProfileID string
}

// Layout is how a DeviceCertificate wants its Secret: names, metadata and outputs, with the passwords of the keystores resolved.
type Layout struct {
	Namespace, Name                 string
	Labels, Annotations             map[string]string
	Outputs                         v1alpha1.Outputs
	PKCS12Password, JKSPassword     string
	CertificateName, CertificateUID string
}

// LayoutOf is the layout a DeviceCertificate's spec asks for, without passwords.
func LayoutOf(c *v1alpha1.DeviceCertificate) Layout {
	l := Layout{
		Namespace: c.Namespace, Name: SecretName(c),
		Labels: c.Spec.Secret.Labels, Annotations: c.Spec.Secret.Annotations,
		CertificateName: c.Name, CertificateUID: string(c.UID),
	}
	if c.Spec.Secret.Outputs != nil {
		l.Outputs = *c.Spec.Secret.Outputs
	}
	return l
}

// SecretName is spec.secret.name with its default, the name of the DeviceCertificate.
func SecretName(c *v1alpha1.DeviceCertificate) string {
	if c.Spec.Secret.Name != "" {
		return c.Spec.Secret.Name
	}
	return c.Name
}

// secretType is what the Secret's type must be: author-chosen types could make it mean something else to the cluster.
func secretType(sealed bool) corev1.SecretType {
	if sealed {
		return corev1.SecretTypeOpaque
	}
	return corev1.SecretTypeTLS
}

// digest covers what was asked to be rendered and what was rendered. Keystores differ at every encoding, so the second part is
// taken from the bytes that were written; a change of either shows.
func digest(c Content, l Layout, data map[string][]byte) (string, error) {
	var leaf string
	if c.Bundle.Leaf != nil {
		leaf = certs.FingerprintSHA256(c.Bundle.Leaf)
	}
	sums := make(map[string]string, len(data))
	for name, value := range data {
		sums[name] = sum(value)
	}
	text, err := json.Marshal(struct {
		Leaf                string
		Sealed              string
		Labels, Annotations map[string]string
		Outputs             v1alpha1.Outputs
		Passwords           [2]string
		Data                map[string]string
	}{
		leaf, c.SealedKey, l.Labels, l.Annotations, l.Outputs,
		// Bound to the leaf, the digest of a password tells nobody that two Secrets share one.
		[2]string{sum([]byte(leaf + l.PKCS12Password)), sum([]byte(leaf + l.JKSPassword))}, sums,
	})
	if err != nil {
		return "", fmt.Errorf("digest of the Secret's content: %w", err)
	}
	return "v1:" + sum(text), nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// annotations are the provenance as it is written on the Secret.
func (p Provenance) annotations() map[string]string {
	a := map[string]string{
		v1alpha1.AnnotationCertificateName:     p.CertificateName,
		v1alpha1.AnnotationCertificateUID:      p.CertificateUID,
		v1alpha1.AnnotationCertificateID:       p.CertificateID,
		v1alpha1.AnnotationRequestID:           p.RequestID,
		v1alpha1.AnnotationAttemptID:           p.AttemptID,
		v1alpha1.AnnotationIssuanceHash:        p.IssuanceHash,
		v1alpha1.AnnotationIssuedAt:            p.IssuedAt.UTC().Format(time.RFC3339),
		v1alpha1.AnnotationHandledRenewRequest: p.HandledRenewRequest,
		v1alpha1.AnnotationIssuer:              p.Issuer,
		v1alpha1.AnnotationHost:                p.Host,
		v1alpha1.AnnotationProfile:             p.ProfileID,
	}
	if p.RequestHash != p.IssuanceHash {
		a[v1alpha1.AnnotationRequestHash] = p.RequestHash
	}
	maps.DeleteFunc(a, func(_, v string) bool { return v == "" })
	return a
}

// provenanceOf reads the annotations back. An unreadable time counts as unknown.
func provenanceOf(s *corev1.Secret) Provenance {
	a := s.Annotations
	issuedAt, _ := time.Parse(time.RFC3339, a[v1alpha1.AnnotationIssuedAt])
	return Provenance{
		CertificateName: a[v1alpha1.AnnotationCertificateName], CertificateUID: a[v1alpha1.AnnotationCertificateUID],
		CertificateID: a[v1alpha1.AnnotationCertificateID], RequestID: a[v1alpha1.AnnotationRequestID],
		AttemptID: a[v1alpha1.AnnotationAttemptID], IssuanceHash: a[v1alpha1.AnnotationIssuanceHash],
		RequestHash: a[v1alpha1.AnnotationRequestHash],
		IssuedAt:    issuedAt, HandledRenewRequest: a[v1alpha1.AnnotationHandledRenewRequest],
		Issuer: a[v1alpha1.AnnotationIssuer], Host: a[v1alpha1.AnnotationHost], ProfileID: a[v1alpha1.AnnotationProfile],
	}
}

// Stored is what was read from a Secret.
type Stored struct {
	Content
	// ChainDamaged: intermediates or roots are not those that were issued. The key and its leaf are not touched by it.
	ChainDamaged bool
	// Broken says why Content cannot be used; nil when key and certificate are whole, match and are the ones that were issued.
	Broken error
	digest string
}

// Read takes a Secret apart. It trusts nothing in it: edited data, a swapped pair and missing keys show as Broken.
func Read(s *corev1.Secret) Stored {
	stored := Stored{Content: Content{Provenance: provenanceOf(s)}, digest: s.Annotations[v1alpha1.AnnotationContentDigest]}
	stored.Broken = stored.read(s)
	return stored
}

func (st *Stored) read(s *corev1.Secret) error {
	pool, err := certs.ParseCertificatesPEM(s.Data[v1alpha1.KeyCertificate])
	if err != nil {
		return fmt.Errorf("%s: %w", v1alpha1.KeyCertificate, err)
	}
	for _, name := range []string{v1alpha1.KeySealedBundle, v1alpha1.KeySealedKey} {
		if payload, ok := s.Data[name]; ok && s.Type == corev1.SecretTypeOpaque {
			st.SealedKey, st.Sealed = name, payload
		}
	}
	var key crypto.Signer
	if st.SealedKey == "" {
		if key, err = readKey(s); err != nil {
			return err
		}
	}
	if st.Bundle, err = certs.Assemble(key, pool); err != nil {
		return fmt.Errorf("%s and its key: %w", v1alpha1.KeyCertificate, err)
	}
	st.addIssuers(s, pool)
	if want := s.Annotations[v1alpha1.AnnotationFingerprint]; want != "" && want != certs.FingerprintSHA256(st.Bundle.Leaf) {
		return errors.New("its certificate is not the one that was issued for it")
	}
	if want := s.Annotations[v1alpha1.AnnotationChainDigest]; want != "" && want != chainDigest(st.Bundle) {
		st.ChainDamaged = true
	}
	if want := s.Annotations[v1alpha1.AnnotationSealedDigest]; st.SealedKey != "" && want != sum(st.Sealed) {
		return fmt.Errorf("%s is not the payload that was issued for it", st.SealedKey)
	}
	return nil
}

func readKey(s *corev1.Secret) (crypto.Signer, error) {
	text := s.Data[v1alpha1.KeyPrivateKey]
	if len(text) == 0 {
		return nil, fmt.Errorf("it has no %s", v1alpha1.KeyPrivateKey)
	}
	key, err := certs.ParsePrivateKeyPEM(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v1alpha1.KeyPrivateKey, err)
	}
	return key, nil
}

// addIssuers adds what chain.crt and ca.crt know of the chain above pool. They are beside the point of being usable, and other tools
// write trust bundles into ca.crt: what is damaged or does not belong to the chain is left out and shows as out of sync, since a new
// certificate must not be bought for it. The intermediates come first, because a root fits only on top of them.
func (st *Stored) addIssuers(s *corev1.Secret, pool []*certificate) {
	for _, name := range []string{v1alpha1.KeyChain, v1alpha1.KeyCA} {
		more, err := certs.ParseCertificatesPEM(s.Data[name])
		if err != nil {
			continue
		}
		wider := slices.Concat(pool, more)
		if bundle, err := certs.Assemble(st.Bundle.Key, wider); err == nil {
			st.Bundle, pool = bundle, wider
		}
	}
}

// InSync tells whether the Secret holds exactly what the layout asks for: every key, label and annotation.
func (st Stored) InSync(s *corev1.Secret, l Layout) bool {
	if st.Broken != nil || st.ChainDamaged || st.CertificateUID != l.CertificateUID || st.CertificateName != l.CertificateName || s.Labels[v1alpha1.LabelWatch] != "true" ||
		!includes(s.Labels, l.Labels) || !includes(s.Annotations, l.Annotations) {
		return false
	}
	data := make(map[string][]byte)
	for _, name := range names(st.Content, l) {
		if value, ok := s.Data[name]; ok {
			data[name] = value
		}
	}
	want, err := digest(st.Content, l, data)
	return err == nil && want == st.digest
}

// chainDigest covers the certificates beside the leaf.
func chainDigest(b certs.Bundle) string {
	var der []byte
	for _, c := range slices.Concat(b.Intermediates, b.Roots) {
		der = append(der, c.Raw...)
	}
	return sum(der)
}

// includes tells whether every entry of part is in whole.
func includes(whole, part map[string]string) bool {
	for k, v := range part {
		if got, ok := whole[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// names are the keys of the data that the layout asks for. ca.crt is among them when a root is known.
func names(c Content, l Layout) []string {
	n := []string{v1alpha1.KeyCertificate}
	if len(c.Bundle.Roots) > 0 {
		n = append(n, v1alpha1.KeyCA)
	}
	if leafOnly(l) && len(c.Bundle.Intermediates) > 0 {
		n = append(n, v1alpha1.KeyChain)
	}
	if c.SealedKey != "" {
		return append(n, c.SealedKey)
	}
	n = append(n, v1alpha1.KeyPrivateKey)
	if slices.Contains(l.Outputs.Formats, v1alpha1.OutputCombinedPEM) {
		n = append(n, v1alpha1.KeyCombinedPEM)
	}
	if slices.Contains(l.Outputs.Formats, v1alpha1.OutputDER) {
		n = append(n, v1alpha1.KeyDERKey, v1alpha1.KeyDERCert)
	}
	if l.Outputs.PKCS12 != nil {
		n = append(n, v1alpha1.KeyPKCS12, v1alpha1.KeyPKCS12Trust)
	}
	if l.Outputs.JKS != nil {
		n = append(n, v1alpha1.KeyJKS, v1alpha1.KeyJKSTrust)
	}
	return n
}

func leafOnly(l Layout) bool { return l.Outputs.Chain == v1alpha1.ChainLeafOnly }
