// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plan decides. From a snapshot of everything that was observed it computes one Plan: what to do, why, in words for a
// person, and when to look again. It is pure: no client, no clock, no randomness. The controllers do the reading and the doing.
package plan

import (
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

// Snapshot is everything one decision is made from.
type Snapshot struct {
	Now time.Time
	// Certificate is read only.
	Certificate *v1alpha1.DeviceCertificate
	// Secret is the one that spec.secret.name names.
	Secret Secret
	// Previous is the Secret that held the certificate before spec.secret.name was changed; its State is SecretAbsent otherwise.
	Previous Secret
	// Issuer is what spec.issuerRef names.
	Issuer Issuer
	// IssuanceHash is the hash of what the spec asks for, with attributes under their ids as far as those are known; empty while the
	// issuer is not known. RequestHash is the hash of the same as the spec spells it.
	IssuanceHash, RequestHash string
	// Problem is what keeps the spec from being bought or rendered, found by reading what it refers to; nil when nothing does.
	Problem *Problem
	// WindowOpens is when the vendor renews the stored certificate, as far as that was learned; not after Now if it does already, or
	// nothing is known.
	WindowOpens time.Time
	// Recovered: the failure on record is that the vendor could not be reached, and it has been found again since.
	Recovered bool
	// InFlight: a goroutine of this process works on this object's attempt.
	InFlight bool
	// SettlesAt is when the open attempt can have no more effect that this process does not see. Zero while none is open.
	SettlesAt time.Time
}

// SecretState says whose a Secret is.
type SecretState int8

// The states of a Secret.
const (
	// SecretAbsent: there is none.
	SecretAbsent SecretState = iota
	// SecretOurs: this DeviceCertificate, or an earlier one of the same name, wrote it.
	SecretOurs
	// SecretAdoptable: somebody else wrote it and consents that this DeviceCertificate takes it over.
	SecretAdoptable
	// SecretForeign: somebody else's.
	SecretForeign
)

// Secret is what was found in a Secret.
type Secret struct {
	State SecretState
	// InSync: labels, annotations and every key are what the spec asks to be rendered.
	InSync bool
	// Unproven: nothing shows that the certificate is ours to renew, neither the private key beside it nor what was received from the
	// vendor.
	Unproven bool
	Name     string
	// Owner says in words whose a foreign Secret is.
	Owner string
	// Refused says why the Secret could not be written although it is ours, such as being immutable; empty when nothing is known.
	Refused string
	// Contested says that others keep rewriting the Secret, so that it is left as it is until ContestedUntil; empty when nobody does.
	Contested      string
	ContestedUntil time.Time
	// Broken says why key and certificate cannot be used; empty when they are whole and match.
	Broken string

	NotBefore, NotAfter, IssuedAt time.Time
	Serial, CertificateID         string
	AttemptID, IssuanceHash       string
	// RequestHash is the hash of the request as the spec spelt it; empty where that was by ids.
	RequestHash         string
	HandledRenewRequest string
}

// Lifetime of the certificate in the Secret.
func (s Secret) Lifetime() renewal.Lifetime {
	return renewal.Lifetime{NotBefore: s.NotBefore, NotAfter: s.NotAfter, IssuedAt: s.IssuedAt}
}

// Usable tells whether the Secret is this object's and holds a whole, matching pair.
func (s Secret) Usable() bool {
	return (s.State == SecretOurs || s.State == SecretAdoptable) && s.Broken == ""
}

// Issuer is what is known of the issuer object and its account.
type Issuer struct {
	// Found: the object exists and this process serves it.
	Found bool
	// Known: its account is built; false for a moment after a start.
	Known bool
	// Ready: it can be bought from.
	Ready bool
	// Suspended by its owner.
	Suspended bool
	// Reason and Message say why it is not ready.
	Reason, Message string
	// Denied says why no grant covers this object; empty when one does.
	Denied string
	// CannotRevoke: its credential is known to be unable to revoke, or to search for the proof that a revocation needs.
	CannotRevoke bool
	// Version changes with the object's spec and its credential.
	Version string
}

// Problem is something a person must put right before this object can be bought or rendered.
type Problem struct {
	Reason, Message string
}

// Action is what a Plan asks for.
type Action string

// The actions.
const (
	// ActionNone: nothing to do until Due.
	ActionNone Action = "None"
	// ActionEnroll buys a certificate by enrolling.
	ActionEnroll Action = "Enroll"
	// ActionRenew buys a successor by renewing the stored certificate.
	ActionRenew Action = "Renew"
	// ActionRender writes the Secret anew from the key and certificates already stored. It buys nothing.
	ActionRender Action = "Render"
	// ActionResolve finds out what became of an attempt whose answer was lost.
	ActionResolve Action = "Resolve"
	// ActionRevoke revokes predecessors whose time has come.
	ActionRevoke Action = "Revoke"
	// ActionWait: something is due and must wait; the operator goes on by itself.
	ActionWait Action = "Wait"
	// ActionBlock: something is due and a person must act first.
	ActionBlock Action = "Block"
	// ActionFinalize carries out the deletion policy and lets the object go.
	ActionFinalize Action = "Finalize"
)

// Plan is one decision.
type Plan struct {
	Action Action
	// Reason is the machine's word, one of the reasons of the API.
	Reason string
	// Message tells a person what is wrong and what to do. It carries no times, so that it does not flap.
	Message string
	// Due is when to look again without an event; zero for never.
	Due time.Time
	// Failing: the message is a failure's, not just a wait.
	Failing bool
	// AwaitsIssuer: the purchase goes on as soon as the issuer's account can be bought from.
	AwaitsIssuer bool
}

// Buys tells whether the plan spends a certificate.
func (p Plan) Buys() bool { return p.Action == ActionEnroll || p.Action == ActionRenew }

// CallsVendor tells whether carrying the plan out may call the vendor.
func (p Plan) CallsVendor() bool {
	return p.Buys() || p.Action == ActionResolve || p.Action == ActionRevoke || p.Action == ActionFinalize
}
