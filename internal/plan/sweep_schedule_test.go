// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// between tells whether a time lies in [from, to).
func between(at metav1.Time, from, to time.Duration) bool {
	return !at.Time.Before(now.Add(from)) && at.Time.Before(now.Add(to))
}

func TestEachProfileInUseIsSweptOnceADay(t *testing.T) {
	other := member("other", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = "IOT_2" })
	fleet := list(other, member("a"), member("b"))
	first := ScheduleSweeps(list(v1alpha1.Sweep{ProfileID: "IOT_9", NextTime: metav1.NewTime(now)}), fleet, now, "issuer")
	if len(first) != 2 || first[0].ProfileID != "IOT_1" || first[1].ProfileID != "IOT_2" {
		t.Fatalf("the calendar is %+v", first)
	}
	if !between(first[0].NextTime, 15*time.Minute, 30*time.Minute) {
		t.Errorf("the first sweep is due at %s", first[0].NextTime)
	}
	if due, next := DueSweep(first, now); due != -1 || next.IsZero() {
		t.Errorf("due is %d, next %s", due, next)
	}
	again := ScheduleSweeps(first, fleet, now.Add(time.Minute), "issuer")
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("looking twice moves the calendar (-first +second):\n%s", diff)
	}
	later := now.Add(time.Hour)
	first[1].NextTime = metav1.NewTime(now.Add(-time.Minute))
	if due, _ := DueSweep(first, later); due != 1 {
		t.Errorf("due is %d, and not what has waited longest", due)
	}
	ended := EndSweep(first[1], now, 17, "", "issuer")
	if !ended.LastTime.Time.Equal(now) || ended.Records != 17 || !between(ended.NextTime, 24*time.Hour, 25*time.Hour) {
		t.Errorf("after a sweep: %+v", ended)
	}
}

func TestTheCalendarIsNotBelievedBlindly(t *testing.T) {
	fleet := list(member("a"))
	for _, next := range []time.Duration{27 * time.Hour, 1000 * day} {
		got := ScheduleSweeps(list(v1alpha1.Sweep{ProfileID: "IOT_1", NextTime: metav1.NewTime(now.Add(next))}), fleet, now, "issuer")
		if !between(got[0].NextTime, 0, time.Hour) {
			t.Errorf("with a next time in %s it is %s", next, got[0].NextTime)
		}
	}
}

func TestNoMoreThanAHundredProfilesAreSwept(t *testing.T) {
	var fleet []*v1alpha1.DeviceCertificate
	for i := range 120 {
		fleet = append(fleet, member("a", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = fmt.Sprintf("IOT_%03d", i) }))
	}
	if got := len(ScheduleSweeps(nil, fleet, now, "issuer")); got != v1alpha1.MaxSweeps {
		t.Errorf("%d profiles are swept", got)
	}
}

func TestObjectsThatCameFromABackupBringTheSweepForward(t *testing.T) {
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(d)) }
	created := func(ago time.Duration, changes ...func(*v1alpha1.DeviceCertificate)) *v1alpha1.DeviceCertificate {
		return member("a", append(changes, func(c *v1alpha1.DeviceCertificate) { c.CreationTimestamp = at(-ago) })...)
	}
	bought := func(c *v1alpha1.DeviceCertificate) { c.Status.Issued = &v1alpha1.IssuedCertificate{} }
	empty := func(c *v1alpha1.DeviceCertificate) { c.Status = v1alpha1.DeviceCertificateStatus{} }
	swept := func(ago time.Duration) v1alpha1.Sweep {
		last := at(-ago)
		return v1alpha1.Sweep{ProfileID: "IOT_1", LastTime: &last, NextTime: at(20 * time.Hour)}
	}
	for name, c := range map[string]struct {
		entry v1alpha1.Sweep
		c     *v1alpha1.DeviceCertificate
		want  time.Duration
	}{
		"restored":                {swept(5 * time.Hour), created(time.Minute), 9 * time.Minute},
		"restored after a sweep":  {swept(10 * time.Minute), created(time.Minute), 50 * time.Minute},
		"restored before a sweep": {swept(time.Minute), created(5 * time.Minute), 20 * time.Hour},
		"bought":                  {swept(5 * time.Hour), created(time.Minute, bought), 20 * time.Hour},
		"nothing in its Secret":   {swept(5 * time.Hour), created(time.Minute, empty), 20 * time.Hour},
	} {
		got := ScheduleSweeps(list(c.entry), list(c.c), now, "issuer")[0].NextTime
		if !got.Time.Equal(now.Add(c.want)) {
			t.Errorf("%s: due in %s, want %s", name, got.Sub(now), c.want)
		}
	}
}

func TestASweepThatFailsIsRepeatedLessAndLessOften(t *testing.T) {
	entry := v1alpha1.Sweep{ProfileID: "IOT_1", NextTime: metav1.NewTime(now), Records: 5}
	var waits []time.Duration
	for range 9 {
		entry = FailSweep(entry, now, "it failed", "issuer")
		waits = append(waits, entry.NextTime.Sub(now))
	}
	if waits[0] < 5*time.Minute || waits[0] >= 7*time.Minute || waits[8] < 6*time.Hour || waits[8] >= 8*time.Hour {
		t.Errorf("it waits %v", waits)
	}
	for i := range waits[1:] {
		if waits[i+1] < waits[i] {
			t.Errorf("it waits %v", waits)
		}
	}
	if entry.Failures != 9 || entry.Message != "it failed" || entry.Records != 5 {
		t.Errorf("the entry is %+v", entry)
	}
}

func TestOrphansAreCountedByTheirOutcome(t *testing.T) {
	if got := CountOrphans(list(member("a"))); got != nil {
		t.Errorf("without orphans there is %+v", got)
	}
	orphan := func(outcome v1alpha1.OrphanOutcome, ago time.Duration) v1alpha1.Orphan {
		return v1alpha1.Orphan{Outcome: outcome, WindowStart: metav1.NewTime(now.Add(-ago))}
	}
	a := member("a", func(c *v1alpha1.DeviceCertificate) {
		c.Status.Orphans = list(orphan(v1alpha1.OrphanReported, time.Hour), orphan(v1alpha1.OrphanRevoked, 10*time.Hour))
	})
	b := member("b", func(c *v1alpha1.DeviceCertificate) {
		c.Status.Orphans = list(orphan(v1alpha1.OrphanReported, 2*time.Hour), orphan(v1alpha1.OrphanRevokeFailed, time.Minute))
	})
	oldest := metav1.NewTime(now.Add(-2 * time.Hour))
	want := &v1alpha1.OrphanCount{Reported: 2, Revoked: 1, RevokeFailed: 1, Oldest: &oldest}
	if diff := cmp.Diff(want, CountOrphans(list(a, b))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
