// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"regexp"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

// row is a case of the fault table (docs/reliability.md) that no generated plan covers.
type row struct {
	// id as in the table.
	id, name string
	// vendor edits the account.
	vendor func(*simulator.Config)
	run    func(*world)
	// variant: much like another case of the row, and so part of the full run alone.
	variant bool
}

func TestEveryRowOfTheFaultTableHolds(t *testing.T) {
	t.Parallel()
	for _, r := range slices.Concat(processRows(), endingRows(), apiRows(), admissionRows(), outageRows(), watchRows(), connectionRows(), transportRows(),
		answerRows(), refusalRows(), contentRows(), secretRows(), objectRows()) {
		if r.variant && !*full {
			continue
		}
		t.Run(r.id+" "+r.name, func(t *testing.T) {
			if r.vendor == nil {
				r.vendor = func(*simulator.Config) {}
			}
			w := newWorld(t, r.id, r.vendor)
			r.run(w)
			w.verify()
		})
	}
}

// begin starts a manager and an issuer.
func (w *world) begin() {
	w.Helper()
	workload{}.begin(w)
}

// beginIssued also issues a certificate.
func (w *world) beginIssued(edit ...func(*v1alpha1.DeviceCertificate)) {
	w.Helper()
	workload{prepare: issued(edit...)}.begin(w)
}

// awaitStalled waits until a person is asked to act, for that reason.
func (w *world) awaitStalled(name, reason string) {
	w.Helper()
	w.await(name, "stalled as "+reason, func(c *v1alpha1.DeviceCertificate) bool {
		stalled := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionStalled)
		return stalled != nil && stalled.Reason == reason && c.Status.ObservedGeneration == c.Generation
	})
}

// retry is what a user does who has mended the cause.
func (w *world) retry(name string) {
	w.Helper()
	w.edit(name, func(c *v1alpha1.DeviceCertificate) {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.AnnotationRetryRequestedAt, "2030-01-01T00:00:00Z")
	})
}

// purchases are the requests to buy a certificate of that name since the mark.
func (w *world) purchases(name string) []simulator.Request {
	return slices.DeleteFunc(w.calls(), func(r simulator.Request) bool {
		return !buys(r) || r.CommonName != w.commonName(name) || r.Time.Before(w.marked)
	})
}

func (w *world) wantPurchases(name string, want int) {
	w.Helper()
	if got := w.purchases(name); len(got) != want {
		w.Errorf("%d requests to buy %s, want %d: %+v", len(got), name, want, got)
	}
}

// wantIntact checks that the Secret still holds the prepared certificate.
func (w *world) wantIntact() {
	w.Helper()
	s := w.secret(gateway)
	if s == nil {
		w.Error("the Secret is gone")
		return
	}
	if held, problem := inspect(s, w.roots()); problem != nil || held != w.before {
		w.Errorf("the Secret holds %s (%v), want %s", held, problem, w.before)
	}
}

// The writes of the protocol.
func rehearsed() apiproxy.Match {
	return apiproxy.Match{Verb: "apply", Resource: "secrets", DryRun: new(true)}
}

func stored() apiproxy.Match {
	return apiproxy.Match{Verb: "apply", Resource: "secrets", DryRun: new(false)}
}

func intended() apiproxy.Match {
	return apiproxy.Match{Verb: "patch", Resource: "devicecertificates", Subresource: "status", Body: attemptOpened}
}

// closing is the report that ends an attempt.
func closing() apiproxy.Match {
	return apiproxy.Match{Verb: "patch", Resource: "devicecertificates", Subresource: "status", Body: attemptClosed}
}

// heldEnroll arms a fault that keeps enrollments at the vendor after their commit.
func (w *world) heldEnroll() string {
	w.Helper()
	return w.misbehave(w.vendor(), simulator.Fault{
		Match: simulator.Match{Operation: simulator.OperationEnroll}, Action: simulator.ActionHold, Stage: simulator.StageAfterCommit,
	})
}

func (w *world) release(id string) { w.vendor().server.RemoveFault(id) }

// do is for faults that change the cluster in the middle of a request: failing there would end the wrong goroutine.
func (w *world) do(what string, err error) {
	if err != nil {
		w.Errorf("%s: %v", what, err)
	}
}

// awaitSecret waits until the Secret is as described.
func (w *world) awaitSecret(name, what string, is func(*corev1.Secret) bool) {
	w.Helper()
	eventually(w.T, "Secret "+name+" is "+what, func(context.Context) (bool, error) {
		s := w.secret(name)
		return s != nil && is(s), nil
	})
}

// attemptOpened is in the patch that records an intent, attemptClosed in the one that reports its outcome.
var (
	attemptOpened = regexp.MustCompile(`"attempt":\{[^}]*"id"`)
	attemptClosed = regexp.MustCompile(`"attempt":null`)
)
