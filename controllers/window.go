// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

// profileOf is what a renewal window is learned for.
type profileOf struct {
	issuer  account.ID
	profile string
}

// learnWindow remembers what became of a renewal, for others of its profile. Only this process knows; after a restart each object still
// has its own status.failures.nextTime.
func (p *purchase) learnWindow(accepted bool) {
	if p.attempt.Kind != v1alpha1.AttemptRenew {
		return
	}
	key := profileOf{p.issuer.ID, p.attempt.ProfileID}
	left := p.secret.NotAfter.Sub(p.r.Clock.Now())
	m := p.r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.windows[key] = m.windows[key].Learn(left, accepted)
}

// windowOpens is when the vendor renews the object's certificate, as far as other renewals of its profile have shown; now if nothing is
// known.
func (r *DeviceCertificateReconciler) windowOpens(s *scope, now time.Time) time.Time {
	r.memory.mu.Lock()
	window := r.memory.windows[profileOf{s.issuer.ID, s.cert.Spec.EnrollmentProfileID}]
	r.memory.mu.Unlock()
	return window.Opens(s.secret.Lifetime(), now)
}

// whenOpen brings the next try of a refused renewal forward to the opening of the vendor's window, where that is known and sooner.
func (r *DeviceCertificateReconciler) whenOpen(s *scope, kind v1alpha1.AttemptKind, next, now time.Time) time.Time {
	if opens := r.windowOpens(s, now); kind == v1alpha1.AttemptRenew && opens.After(now) && opens.Before(next) {
		return opens
	}
	return next
}
