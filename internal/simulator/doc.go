// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulator is the vendor's API on your desk: an HTTPS server that speaks the certificate part of the DigiCert
// IoT Trust Manager REST API as docs/vendor-api.md describes it, issues real certificates from a certificate authority of
// its own, and misbehaves on request.
//
// The same server runs inside tests (New, Start) and as a program (cmd/simulator). It has its own wire structures on
// purpose and imports neither our client nor our decoder: a field name spelt wrongly on one side must not pass because the
// other side spells it wrongly too. What a real tenant does is only partly known; where it is not, the simulator refuses
// the unexpected loudly and says so in docs/simulator.md.
//
// Where things are:
//
//   - config.go, validate.go: profiles, credentials and switches, from Go or from YAML
//   - server.go, listen.go: the server and its three listeners (API, client certificate, admin)
//   - dispatch.go: the one path every request takes: authenticate, identify, fault, perform, fault, answer
//   - enroll.go, renew.go, search.go, revoke.go, specification.go, device.go: one vendor endpoint each
//   - attributes.go, authority.go, leaf.go, keys.go, render.go, cms.go: issuing, and the five private key formats
//   - ledger.go: every certificate, committed to disk before it is answered; never a private key
//   - fault.go, faultbook.go, act.go, tamper.go, deliver.go: scripted misbehaviour: what, when, and how each is done
//   - admin.go, requestlog.go: what tests and people ask the simulator about itself
package simulator
