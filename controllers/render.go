// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// render writes the Secret anew from the key and certificates already stored, in the Secret itself or in the one the spec named before.
// It buys nothing, and it is fenced: what changed since it was read is looked at again first.
func (r *DeviceCertificateReconciler) render(ctx context.Context, s *scope) error {
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
	if stored.IssuanceHash == "" { // adopted: what it answers is what the spec asks now
		stored.IssuanceHash = s.snapshot.IssuanceHash
	}
	if stored.IssuedAt.IsZero() {
		stored.IssuedAt = stored.Bundle.Leaf.NotBefore
	}
	written, err := r.apply(ctx, s.cert, stored.Content, s.layout, target)
	if err != nil {
		if refusedByAPI(err) {
			s.secret.Refused = "the API server would not take the Secret: " + err.Error()
			s.snapshot.Secret = s.secret.Secret
			r.memory.change(s.cert.UID, func(m *recollection) { m.facts.Refused = s.secret.Refused })
			return r.report(ctx, s, plan.Decide(&s.snapshot))
		}
		r.memory.distrust(s.cert.UID)
		return err
	}
	if source != s.layout.Name && s.cert.Spec.Secret.DeletionPolicy == v1alpha1.DeletionDelete {
		if err := r.deleteSecret(ctx, s, source); err != nil {
			return err
		}
	}
	s.secret = written
	s.snapshot.Secret = written.Secret
	r.memory.remember(s.cert.UID, written, s.cert.Generation, s.snapshot.Now)
	return r.report(ctx, s, plan.Decide(&s.snapshot))
}
