// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestAPurchaseWaitsForItsIssuer(t *testing.T) {
	waits := decision{action: ActionWait, reason: v1alpha1.ReasonIssuerNotReady, failing: true}
	row := func(d decision, name string, says string, changes ...change) decision {
		d.name, d.says, d.snapshot = name, says, fresh(changes...)
		return d
	}
	missing, suspended, connecting := waits, waits, waits
	missing.reason = v1alpha1.ReasonIssuerNotFound
	suspended.reason, suspended.failing = v1alpha1.ReasonSuspended, false
	connecting.failing = false
	checkAll(t, []decision{
		row(missing, "no such issuer", "ClusterDeviceIssuer digicert does not exist", issuerMissing),
		row(suspended, "suspended", "spec.suspend", issuerSuspended),
		row(connecting, "just started", "being connected", issuerUnknown),
		row(waits, "down", "no route to host (Unreachable)", issuerDown),
	})
}

func TestAPurchaseWaitsForAPerson(t *testing.T) {
	checkAll(t, []decision{
		{name: "not granted", snapshot: fresh(denied), action: ActionBlock, reason: v1alpha1.ReasonNotGranted, after: reread, failing: true, says: "ask the owner"},
		{name: "a problem", snapshot: fresh(problem), action: ActionBlock, reason: v1alpha1.ReasonInvalidSpec, after: reread, failing: true, says: "not RSA"},
		{
			name: "not granted, and the stored one ends sooner", snapshot: stored(expiresIn(time.Minute), denied),
			action: ActionBlock, reason: v1alpha1.ReasonNotGranted, after: time.Minute, failing: true,
		},
	})
}

func TestAFailureHoldsThePurchaseBack(t *testing.T) {
	type failures = v1alpha1.Failures
	enroll := v1alpha1.AttemptEnroll
	next := func(in time.Duration) func(*failures) {
		return func(f *failures) {
			at := metav1.NewTime(now.Add(in))
			f.NextTime = &at
		}
	}
	retry := annotated(v1alpha1.AnnotationRetryRequestedAt, "2030-06-01T11:00:00Z")
	buys := decision{action: ActionEnroll, reason: v1alpha1.ReasonIssuing}
	waits := decision{action: ActionWait, reason: v1alpha1.ReasonUnreachable, after: time.Hour, failing: true, says: "the vendor said no"}
	blocks := decision{action: ActionBlock, reason: v1alpha1.ReasonRefused, after: time.Hour, failing: true, says: "the vendor said no"}
	unverified := decision{action: ActionWait, reason: v1alpha1.ReasonUnverified, after: time.Hour, failing: true}
	row := func(d decision, name string, changes ...change) decision {
		d.name, d.snapshot = name, fresh(changes...)
		return d
	}
	soon, atBound := waits, waits
	soon.after, atBound.after = time.Second, longestWait
	checkAll(t, []decision{
		row(waits, "nobody's fault", failed(enroll, v1alpha1.ReasonUnreachable)),
		row(blocks, "refused", failed(enroll, v1alpha1.ReasonRefused)),
		row(soon, "a second before its time", failed(enroll, v1alpha1.ReasonUnreachable, next(time.Second))),
		row(buys, "at its time", failed(enroll, v1alpha1.ReasonUnreachable, next(0))),
		row(buys, "long after its time, as after a night's sleep", failed(enroll, v1alpha1.ReasonRefused, next(-12*time.Hour))),
		row(buys, "without a time", failed(enroll, v1alpha1.ReasonUnreachable, func(f *failures) { f.NextTime = nil })),
		row(atBound, "at the longest wait", failed(enroll, v1alpha1.ReasonUnreachable, next(longestWait))),
		row(buys, "beyond the longest wait: forged, or the clock was set back", failed(enroll, v1alpha1.ReasonRefused, next(longestWait+time.Second))),

		row(buys, "the spec was edited", failed(enroll, v1alpha1.ReasonRefused, func(f *failures) { f.Generation = 2 })),
		row(buys, "the issuer or its credential changed", failed(enroll, v1alpha1.ReasonRefused, func(f *failures) { f.IssuerVersion = "issuer-0" })),
		row(buys, "a retry is asked for", failed(enroll, v1alpha1.ReasonRefused), retry),
		row(blocks, "the retry asked for was made", failed(enroll, v1alpha1.ReasonRefused), retry, func(s *Snapshot) {
			s.Certificate.Status.LastHandledRetryRequest = s.Certificate.Annotations[v1alpha1.AnnotationRetryRequestedAt]
		}),
		row(blocks, "a retry is asked for in no known time", failed(enroll, v1alpha1.ReasonRefused), annotated(v1alpha1.AnnotationRetryRequestedAt, "now")),

		row(unverified, "a certificate was lost to it", failed(enroll, v1alpha1.ReasonUnverified)),
		row(unverified, "a certificate was lost to it, and the edit buys the same", failed(enroll, v1alpha1.ReasonUnverified, func(f *failures) { f.Generation = 2 })),
		row(buys, "a certificate was lost to it, and the edit buys another", failed(enroll, v1alpha1.ReasonUnverified, func(f *failures) { f.IssuanceHash = "v1:before" })),
		row(buys, "a certificate was lost to it, and a retry is asked for", failed(enroll, v1alpha1.ReasonUnverified), retry),
		row(decision{action: ActionWait, reason: v1alpha1.ReasonBackingOff, after: time.Hour, failing: true, says: "failed"}, "a status without words",
			failed(enroll, "", func(f *failures) { f.Message = "" })),
	})
}
