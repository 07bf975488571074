// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

// Telemetry is told what became of purchases, for whoever counts them. Reasons are those of the API. Its methods must not block.
type Telemetry interface {
	// Issued: a certificate was bought and is stored. took is the time from its intent on, storing the share of it from the verified
	// answer on.
	Issued(issuer account.ID, a *v1alpha1.Attempt, took, storing time.Duration)
	// Failed: a failure was put on record with an object. Nothing was bought, or nothing that could be kept.
	Failed(issuer account.ID, reason string)
	// Lost: an answer was lost or cannot be kept, so that a certificate may exist whose key nobody has.
	Lost(issuer account.ID, reason string)
}

// accountOf is the account an object buys from.
func (s *scope) accountOf() account.ID {
	ref := s.cert.Spec.IssuerRef
	return attemptAccount(&v1alpha1.Attempt{IssuerKind: ref.Kind, IssuerName: ref.Name}, s.cert.Namespace)
}
