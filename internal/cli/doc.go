// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli holds the verbs of the kubectl plugin. It talks to the Kubernetes API alone: it reads objects and their statuses, and
// steers by the annotations of api/v1alpha1. It never writes a spec or a status, and it knows no vendor credential.
//
// A verb is an options struct with Complete, which turns arguments into what is asked for, Validate, which refuses what makes no sense,
// and Run. What they share is in an Environment: streams, cluster and clock, so that tests inject all three.
package cli
