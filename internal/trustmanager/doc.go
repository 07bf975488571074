// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package trustmanager is the client of the DigiCert IoT Trust Manager REST API
// (path prefix /iot/api/v1): enroll, renew, search, revoke and the enrollment
// specification of a profile. docs/vendor-api.md restates what is known of that
// API, what is inferred and what is unknown.
//
// # One request is one request
//
// The vendor makes the private key and shows it once, in one answer. There is no
// idempotency key, and every repeated POST buys another certificate. So nothing in
// this package sends a request twice:
//
//   - A call is one [http.Transport.RoundTrip]; there is no http.Client around it,
//     hence no redirect is followed and no cookie is kept, whatever the answer says.
//   - Calls with a body travel on a connection of their own. net/http repeats a
//     request only when a reused connection turns out dead, so a fresh one rules it
//     out. The price is one TLS handshake, small beside making a key.
//   - HTTP/1.1 only. With HTTP/2 a GOAWAY or REFUSED_STREAM lets net/http decide by
//     itself to send again on another stream.
//   - Neither Idempotency-Key nor X-Idempotency-Key is sent, because net/http takes
//     them as a permission to repeat a POST; the vendor knows neither.
//
// # Errors
//
// Every failed call returns an [*Error]. Its Delivery says whether the vendor may
// have acted, its Actor says who has to do something now. Retrying is left to the
// caller, who knows what a repetition costs.
//
// # Secrets
//
// API tokens, passcodes, PKCS#12 passwords and private keys are never part of an
// error, and the types that hold them show themselves redacted to fmt, log/slog and
// encoding/json. One gap is left by the language: fmt prints a struct held *by
// value* in an unexported field without asking its methods. Hold [Credential],
// [KeyRequest] and [Issued] by pointer or do not print their holders.
package trustmanager
