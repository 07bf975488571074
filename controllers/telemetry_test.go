// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// recordedTelemetry remembers what was counted.
type recordedTelemetry struct {
	mu      sync.Mutex
	counted []string
	issuers []account.ID
}

var _ Telemetry = (*recordedTelemetry)(nil)

func (r *recordedTelemetry) add(issuer account.ID, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted, r.issuers = append(r.counted, text), append(r.issuers, issuer)
}

func (r *recordedTelemetry) Issued(issuer account.ID, a *v1alpha1.Attempt, took, storing time.Duration) {
	r.add(issuer, fmt.Sprintf("%s %s in time %t", a.Kind, a.Reason, storing >= 0 && took >= storing))
}

func (r *recordedTelemetry) Failed(issuer account.ID, reason string) { r.add(issuer, "failed "+reason) }
func (r *recordedTelemetry) Lost(issuer account.ID, reason string)   { r.add(issuer, "lost "+reason) }

func TestEveryPurchaseIsCountedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		upset func(*world)
		want  []string
	}{
		"stored, then renewed": {
			func(w *world) { w.untilRenewal("gateway"); w.pass(time.Minute) },
			[]string{"Enroll Issuing in time true", "Renew Renewing in time true"},
		},
		"asked to renew": {
			func(w *world) {
				w.advance(time.Minute)
				w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.now())
				w.settle()
			},
			[]string{"Enroll Issuing in time true", "Renew RenewRequested in time true"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway")
			w.settle()
			test.upset(w)
			g.Expect(w.telemetry.counted).To(Equal(test.want))
			g.Expect(w.telemetry.issuers).To(HaveEach(w.issuer))
		})
	}
}

func TestWhatFailsIsCountedByItsReason(t *testing.T) {
	for name, test := range map[string]struct {
		fault simulator.Fault
		want  []string
	}{
		"refused":         {answering(simulator.OperationEnroll, 1, 400), []string{"failed RefusedByVendor"}},
		"the answer lost": {answering(simulator.OperationEnroll, 1, 502), []string{"lost Resolving", "failed BackingOff"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.fault(test.fault)
			w.certificate("gateway")
			w.settle()
			w.pass(10 * time.Minute)
			g.Expect(w.telemetry.counted[:len(test.want)]).To(Equal(test.want))
		})
	}
}
