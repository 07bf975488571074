// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package account turns issuer objects and their credentials into clients that are ready to use, and decides who may use them when.
//
//   - registry.go: the Registry, one account for each issuer object
//   - connection.go: what the issuer controller says of an issuer, and the client made of it
//   - acquire.go, lease.go: leave for one request that buys, and its return
//   - call.go: requests that buy nothing: search, revoke, the probe of a credential
//   - gate.go: rate, concurrency and pauses, shared by all issuers of one host and credential
//   - budget.go: what may be bought in a day, kept on the issuers' status in blocks
//   - lane.go: who waits, by expiry, and the canary of each (issuer, profile, format)
//   - circuit.go: what failures close, and what opens it again
//   - hosts.go, addresses.go: which hosts may receive a credential
//
// Nobody polls. Who gets no lease waits in a heap, and each token that becomes free is kept for the best waiter, who is woken.
package account
