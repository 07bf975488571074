// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// What the operator may ask of the API server for one certificate, its event included.
const (
	requestsPerEnrollment = 6
	requestsPerRenewal    = 5
)

func TestACertificateCostsFewAPIRequests(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.awaitReason(issuerName, v1alpha1.ReasonConnected)
	// The first certificate also proves the issuer, which is reported on the issuer.
	w.certificate("first")
	w.awaitReady("first")
	w.awaitEvents("first", 1)

	w.certificate("gateway")
	first := w.awaitReady("gateway")
	w.awaitEvents("gateway", 1)
	between := time.Now()
	w.requestRenewal("gateway")
	w.await("gateway", "renewed", patience, renewed(first.Status.SerialNumber))
	w.awaitEvents("gateway", 2)
	// Whatever else the operator still has to do about the gateway, it does before this one is done.
	w.certificate("last")
	w.awaitReady("last")
	w.awaitEvents("last", 1)

	all := w.auditedAbout("gateway")
	split := slices.IndexFunc(all, func(e auditEvent) bool { return e.RequestReceivedTimestamp.After(between) })
	enrollment, renewal := all[:split], all[split:]
	tally(t, "one enrollment", enrollment)
	tally(t, "one renewal", renewal)
	if len(enrollment) > requestsPerEnrollment || len(renewal) > requestsPerRenewal {
		t.Errorf("at most %d and %d requests are allowed", requestsPerEnrollment, requestsPerRenewal)
	}
	everything, explained := w.audited(), 0
	for _, name := range []string{"first", "gateway", "last", issuerName} {
		explained += len(w.auditedAbout(name))
	}
	if len(everything) != explained {
		tally(t, fmt.Sprintf("only %d of these are explained", explained), everything)
		t.Fail()
	}
}

// auditedAbout are the operator's requests about the DeviceCertificate, its Secret and its events, whose names begin with its own.
func (w *world) auditedAbout(name string) []auditEvent {
	w.Helper()
	return slices.DeleteFunc(w.audited(), func(e auditEvent) bool {
		return e.ObjectRef.Name != name && !strings.HasPrefix(e.ObjectRef.Name, name+".")
	})
}

// awaitEvents waits until so many events about the certificate are in the audit log: they are the last the operator asks for.
func (w *world) awaitEvents(name string, want int) {
	w.Helper()
	eventually(w.T, patience, fmt.Sprintf("%s has %d events", name, want), func(context.Context) (bool, error) {
		return w.count(name, "create events") >= want, nil
	})
}

// count is how often the operator sent that kind of request about the certificate.
func (w *world) count(name, request string) int {
	w.Helper()
	return len(slices.DeleteFunc(w.auditedAbout(name), func(e auditEvent) bool { return e.request() != request }))
}
