// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package telemetry holds the operator's own metrics. docs/metrics.md describes each.
//
// What is true of the fleet now (expiry, readiness, orphans, the issuers) is read from the cache at each scrape, so that nothing has to
// be kept in step and nothing goes stale. What happened (requests, purchases, failures) is counted as it happens, at the few places that
// know: the account's client, its queue, and the outcomes of purchases.
//
// Labels are bounded: names of objects, hosts that --allowed-hosts admits, reasons of the API, status codes. None is taken from a
// certificate, a Secret or the vendor's words.
package telemetry
