// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// render writes the Secret anew from the key and certificates already stored, in the Secret itself or in the one the spec named before.
// It buys nothing, and it is fenced: what changed since it was read is looked at again first.
func (r *DeviceCertificateReconciler) render(ctx context.Context, s *scope) error {
	// An object that takes a Secret over without buying has a deletion policy to carry out, too.
	if err := r.hold(ctx, s); err != nil {
		return err
	}
	source, target := s.layout.Name, s.secret
	if !s.secret.Usable() {
		source = s.cert.Status.SecretName
	}
	secret := &corev1.Secret{}
	if err := r.Reader.Get(ctx, types.NamespacedName{Namespace: s.cert.Namespace, Name: source}, secret); err != nil {
		return fmt.Errorf("read Secret %s: %w", source, err)
	}
	stored := tlssecret.Read(secret)
	if stored.Broken != nil {
		r.memory.distrust(s.cert.UID)
		return fmt.Errorf("render: Secret %s changed meanwhile: %w", source, stored.Broken)
	}
	if s.secret.State == plan.SecretAdoptable && stored.CertificateID == "" {
		unknown, err := r.vouch(ctx, s, &stored)
		if err != nil {
			return r.renderRefused(ctx, s, err)
		}
		if unknown != "" {
			r.memory.change(s.cert.UID, func(m *recollection) { m.unvouched, m.unvouchedFor = s.secret.fingerprint, unknown })
			r.wake(s.key())
			return nil
		}
	}
	if stored.ChainDamaged {
		if err := r.restoreChain(ctx, s, &stored); err != nil {
			return r.renderRefused(ctx, s, err)
		}
	}
	s.completeProvenance(&stored.Provenance, stored.Bundle.Leaf)
	written, err := r.apply(ctx, s.cert, stored.Content, s.layout, target)
	if err != nil {
		if refusedByAPI(err) {
			return r.renderRefused(ctx, s, fmt.Errorf("the API server would not take the Secret: %w", err))
		}
		r.memory.distrust(s.cert.UID)
		return err
	}
	if source != s.layout.Name && s.cert.Spec.Secret.DeletionPolicy == v1alpha1.DeletionDelete {
		if err := r.deleteSecret(ctx, s, source); err != nil {
			return err
		}
	}
	written.incomplete = append(written.incomplete, s.incomplete...)
	s.secret = written
	s.snapshot.Secret = written.Secret
	r.memory.remember(s.cert, written, s.snapshot.Now)
	r.memory.change(s.cert.UID, func(m *recollection) { m.rendered(s.rendering(written.fingerprint), s.snapshot.Now) })
	return r.report(ctx, s, plan.Decide(&s.snapshot))
}

// completeProvenance fills in what the annotations do not say: stripped ones from the status, those of an adopted Secret from what it
// answers now.
func (s *scope) completeProvenance(p *tlssecret.Provenance, leaf *x509.Certificate) {
	status := &s.cert.Status
	if issued := status.Issued; issued != nil && issued.FingerprintSHA256 == certs.FingerprintSHA256(leaf) {
		p.CertificateID, p.IssuanceHash = cmp.Or(p.CertificateID, issued.CertificateID), cmp.Or(p.IssuanceHash, status.IssuanceHash)
		p.RequestID, p.ProfileID = cmp.Or(p.RequestID, status.RequestID), cmp.Or(p.ProfileID, issued.ProfileID)
		p.Host, p.Issuer = cmp.Or(p.Host, issued.Host), cmp.Or(p.Issuer, string(issued.IssuerKind)+"/"+issued.IssuerName)
		p.HandledRenewRequest = cmp.Or(p.HandledRenewRequest, status.LastHandledRenewRequest)
	}
	p.IssuanceHash = cmp.Or(p.IssuanceHash, s.snapshot.IssuanceHash)
	if p.IssuanceHash == s.snapshot.IssuanceHash && s.snapshot.RequestHash != "" {
		p.RequestHash = s.snapshot.RequestHash // the same, as the spec spells it now
	}
	if p.IssuedAt.IsZero() {
		p.IssuedAt = leaf.NotBefore
	}
}

// renderRefused reports why the Secret stays as it is. It is tried again when what was read is read anew.
func (r *DeviceCertificateReconciler) renderRefused(ctx context.Context, s *scope, cause error) error {
	s.secret.Refused = cause.Error()
	s.snapshot.Secret = s.secret.Secret
	r.memory.change(s.cert.UID, func(m *recollection) { m.facts.Refused = s.secret.Refused })
	return r.report(ctx, s, plan.Decide(&s.snapshot))
}

// restoreChain fetches the intermediates and roots that somebody removed or edited from the vendor's inventory. That costs nothing; the key
// and its leaf are as they were issued.
func (r *DeviceCertificateReconciler) restoreChain(ctx context.Context, s *scope, stored *tlssecret.Stored) error {
	leaf := stored.Bundle.Leaf
	var page *trustmanager.SearchPage
	err := r.Accounts.Call(ctx, s.issuer.ID, func(ctx context.Context, c *trustmanager.Client) (err error) {
		page, err = c.Search(ctx, trustmanager.SearchQuery{SerialNumber: certs.SerialString(leaf)})
		return err
	})
	if err != nil {
		return fmt.Errorf("the chain beside the certificate was changed and cannot be fetched again: %w", err)
	}
	for _, record := range page.Records {
		found, err := bundleOf(record)
		if err == nil && found.Leaf.Equal(leaf) {
			stored.Bundle.Intermediates, stored.Bundle.Roots = found.Intermediates, found.Roots
			return nil
		}
	}
	return errors.New("the chain beside the certificate was changed and the vendor's inventory does not have it: renew the certificate, or restore the Secret from a backup")
}
