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
		row(missing, "no such issuer of the namespace", "unless its kind is ClusterDeviceIssuer", issuerMissing, func(s *Snapshot) { s.Certificate.Spec.IssuerRef.Kind = v1alpha1.KindDeviceIssuer }),
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
		row(buys, "the vendor that was not reached was found again", failed(enroll, v1alpha1.ReasonBackingOff), func(s *Snapshot) { s.Recovered = true }),
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

func TestCertificatesThatAreTakenAwayAgainAndAgainAreReplacedEverMoreSlowly(t *testing.T) {
	row := func(count int32, ago time.Duration) change {
		return func(s *Snapshot) {
			s.Certificate.Status.Replacements = &v1alpha1.Replacements{Count: count, LastTime: metav1.NewTime(now.Add(-ago))}
		}
	}
	retry := annotated(v1alpha1.AnnotationRetryRequestedAt, now.Format(time.RFC3339))
	buys := decision{action: ActionEnroll, reason: v1alpha1.ReasonSecretBroken}
	waits := func(after time.Duration) decision {
		return decision{
			action: ActionWait, reason: v1alpha1.ReasonTooManyReplacements, after: after, failing: true, says: v1alpha1.AnnotationRetryRequestedAt,
		}
	}
	named := func(d decision, name string, s *Snapshot) decision {
		d.name, d.snapshot = name, s
		return d
	}
	checkAll(t, []decision{
		named(buys, "the second", stored(broken, row(1, 0))),
		named(waits(time.Minute), "the third", stored(broken, row(2, 0))),
		named(waits(40*time.Second), "the third, after twenty seconds", stored(broken, row(2, 20*time.Second))),
		named(buys, "the third, after a minute", stored(broken, row(2, time.Minute))),
		named(waits(2*time.Minute), "the fourth", stored(broken, row(3, 0))),
		named(waits(256*time.Minute), "the eleventh", stored(broken, row(10, 0))),
		named(waits(6*time.Hour), "the twelfth, at the longest wait", stored(broken, row(11, 0))),
		named(waits(6*time.Hour), "a count no one believes", stored(broken, row(1<<30, 0))),
		named(buys, "a row of the future: forged, or the clock was set back", stored(broken, row(11, -time.Hour))),
		named(buys, "a retry is asked for", stored(broken, row(11, 0), retry)),
		named(waits(time.Minute), "it comes before a back-off", stored(broken, row(2, 0), failed(v1alpha1.AttemptEnroll, v1alpha1.ReasonUnreachable))),
		named(decision{action: ActionBlock, reason: v1alpha1.ReasonInvalidSpec, after: reread, failing: true}, "and after what a person must settle", stored(broken, row(2, 0), problem)),
		named(decision{action: ActionRenew, reason: v1alpha1.ReasonRenewing}, "a renewal is not one of them", stored(due, row(11, 0))),
		named(decision{action: ActionEnroll, reason: v1alpha1.ReasonIssuing}, "nor is the first", fresh(row(11, 0))),
	})
}

func TestARowOfReplacementsEndsAfterADayWithoutOne(t *testing.T) {
	at := metav1.NewTime(now)
	for name, c := range map[string]struct {
		row  *v1alpha1.Replacements
		want int32
	}{
		"the first":                      {nil, 1},
		"within a day":                   {&v1alpha1.Replacements{Count: 3, LastTime: metav1.NewTime(now.Add(-day + time.Second))}, 4},
		"after a day":                    {&v1alpha1.Replacements{Count: 3, LastTime: metav1.NewTime(now.Add(-day))}, 1},
		"a count that cannot get bigger": {&v1alpha1.Replacements{Count: 1<<31 - 1, LastTime: at}, 1<<30 + 1},
	} {
		if got := CountReplacement(c.row, at); got.Count != c.want || !got.LastTime.Equal(&at) {
			t.Errorf("%s: %d at %s, want %d at %s", name, got.Count, got.LastTime, c.want, at)
		}
	}
}

func TestARenewalWaitsForTheVendorsWindow(t *testing.T) {
	opens := func(after time.Duration) change {
		return func(s *Snapshot) { s.WindowOpens = now.Add(after) }
	}
	retry := annotated(v1alpha1.AnnotationRetryRequestedAt, now.Format(time.RFC3339))
	renews := decision{action: ActionRenew, reason: v1alpha1.ReasonRenewing}
	named := func(d decision, name string, s *Snapshot) decision {
		d.name, d.snapshot = name, s
		return d
	}
	checkAll(t, []decision{
		named(decision{action: ActionWait, reason: v1alpha1.ReasonTooEarly, after: time.Hour, says: "renewBefore"}, "it opens later", stored(due, opens(time.Hour))),
		named(renews, "it is open", stored(due, opens(0))),
		named(renews, "nothing is known", stored(due)),
		named(renews, "a retry is asked for", stored(due, opens(time.Hour), retry)),
		named(decision{action: ActionEnroll, reason: v1alpha1.ReasonOutOfDate}, "another certificate is asked for", stored(specChanged, opens(time.Hour))),
	})
}
