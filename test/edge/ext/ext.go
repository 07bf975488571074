// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ext stands in for the one package of Traefik that it keeps in a module without a version, so that no proxy serves it. Traefik embeds
// these types to give a product of its own room for further fields, and has them empty itself.
package ext

// HTTP has no further fields.
type HTTP struct{}

// Router has no further fields.
type Router struct{}
