// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers is the glue between Kubernetes and the rest: it observes, lets package plan decide, acts, and reports.
//
// One reconcile of a DeviceCertificate is: observe (observe.go) -> plan.Decide -> act -> report (status.go). Acting is one file per
// step: issue.go buys (finalizer, rehearsal, intent, one POST, verification), store.go writes the Secret, resolve.go finds out what
// became of an attempt whose answer was lost (inventory.go says what the vendor has and who accounts for it), revoke.go revokes what was
// replaced, render.go shows the same key differently, finalize.go lets a deleted object go.
//
// Buying and resolving run in a goroutine of their own, one per object (flights.go): a vendor that is slow must not hold up other
// objects, and an answer that is on its way must be stored even while the process stops.
package controllers
