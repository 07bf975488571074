// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

const (
	// sweepEvery is the pause between two sweeps of a profile. Each issuer and profile adds a jitter of its own, of at most an hour.
	sweepEvery = 24 * time.Hour
	// firstSweepAfter is when a profile is first swept that no sweep is on record of, before jitter of as much again: a cluster that was
	// restored must first have said from its Secrets what it holds.
	firstSweepAfter = 15 * time.Minute
	// restoredSweepAfter is how soon after the last object came back from a backup the profile is swept; restoredSweepGap keeps such sweeps
	// apart.
	restoredSweepAfter = 10 * time.Minute
	restoredSweepGap   = time.Hour
	// firstSweepRetry, doubled for each failure in a row up to longestSweepRetry, is the pause after a sweep that failed.
	firstSweepRetry   = 5 * time.Minute
	longestSweepRetry = 6 * time.Hour
	sweepJitter       = time.Hour
)

// ScheduleSweeps brings an issuer's sweeps up to date with the fleet: an entry for each profile in use, in the order of their ids, each with
// its next time. Profiles beyond the first hundred have none.
func ScheduleSweeps(sweeps []v1alpha1.Sweep, fleet []*v1alpha1.DeviceCertificate, now time.Time, seed string) []v1alpha1.Sweep {
	var scheduled []v1alpha1.Sweep
	for _, profile := range profilesOf(fleet) {
		if len(scheduled) == v1alpha1.MaxSweeps {
			break
		}
		entry := v1alpha1.Sweep{ProfileID: profile}
		if i := slices.IndexFunc(sweeps, func(s v1alpha1.Sweep) bool { return s.ProfileID == profile }); i >= 0 {
			entry = *sweeps[i].DeepCopy()
		}
		own := seed + "/" + profile
		if next := entry.NextTime.Time; next.IsZero() || next.Sub(now) > sweepEvery+2*sweepJitter { // a clock was set, or somebody edited it
			entry.NextTime = timestamp(now.Add(firstSweepAfter + renewal.Jitter(firstSweepAfter, own)))
		}
		if at := restoredSweep(entry, fleet); !at.IsZero() && at.Before(entry.NextTime.Time) {
			entry.NextTime = timestamp(at)
		}
		scheduled = append(scheduled, entry)
	}
	return scheduled
}

func profilesOf(fleet []*v1alpha1.DeviceCertificate) []string {
	var profiles []string
	for _, c := range fleet {
		profiles = append(profiles, c.Spec.EnrollmentProfileID)
	}
	slices.Sort(profiles)
	return slices.Compact(profiles)
}

// restoredSweep is when to sweep for objects that were created since the last sweep and hold a certificate they did not buy: they came back
// from a backup, or were created anew, and what was on their record is gone. Zero when there are none.
func restoredSweep(entry v1alpha1.Sweep, fleet []*v1alpha1.DeviceCertificate) time.Time {
	var last time.Time
	for _, c := range fleet {
		restored := c.Spec.EnrollmentProfileID == entry.ProfileID && c.Status.Issued == nil && c.Status.SerialNumber != ""
		if restored && entry.LastTime != nil && c.CreationTimestamp.After(entry.LastTime.Time) && c.CreationTimestamp.After(last) {
			last = c.CreationTimestamp.Time
		}
	}
	if last.IsZero() {
		return last
	}
	at := last.Add(restoredSweepAfter)
	if earliestNext := entry.LastTime.Add(restoredSweepGap); at.Before(earliestNext) {
		return earliestNext
	}
	return at
}

// DueSweep is the place of the sweep that is due and has waited longest; -1 for none. next is when the next one is due that is not yet; zero
// for never.
func DueSweep(sweeps []v1alpha1.Sweep, now time.Time) (due int, next time.Time) {
	due = -1
	for i, s := range sweeps {
		switch {
		case now.Before(s.NextTime.Time):
			next = earliest(next, s.NextTime.Time)
		case due < 0 || s.NextTime.Before(&sweeps[due].NextTime):
			due = i
		}
	}
	return due, next
}

// EndSweep is the entry of a sweep that began at a time and has come to its end, having looked at so many records.
func EndSweep(entry v1alpha1.Sweep, began time.Time, records int, message, seed string) v1alpha1.Sweep {
	at := timestamp(began)
	return v1alpha1.Sweep{
		ProfileID: entry.ProfileID, LastTime: &at, Records: int32(min(records, 1<<30)), Message: message,
		NextTime: timestamp(began.Add(sweepEvery + renewal.Jitter(sweepJitter, seed+"/"+entry.ProfileID))),
	}
}

// FailSweep is the entry of a sweep that failed.
func FailSweep(entry v1alpha1.Sweep, now time.Time, message, seed string) v1alpha1.Sweep {
	wait := min(firstSweepRetry<<min(entry.Failures, 16), longestSweepRetry)
	entry.Failures = min(entry.Failures, 1<<30) + 1
	entry.Message = message
	entry.NextTime = timestamp(now.Add(wait + renewal.Jitter(wait/4, seed+"/"+entry.ProfileID)))
	return entry
}

// CountOrphans sums up what stands in the statuses of a fleet; nil when nothing does.
func CountOrphans(fleet []*v1alpha1.DeviceCertificate) *v1alpha1.OrphanCount {
	var count v1alpha1.OrphanCount
	for _, c := range fleet {
		for _, o := range c.Status.Orphans {
			if o.Outcome == v1alpha1.OrphanRevoked {
				count.Revoked++
				continue
			}
			if o.Outcome == v1alpha1.OrphanRevokeFailed {
				count.RevokeFailed++
			} else {
				count.Reported++
			}
			if count.Oldest == nil || o.WindowStart.Before(count.Oldest) {
				count.Oldest = &metav1.Time{Time: o.WindowStart.Time}
			}
		}
	}
	if count == (v1alpha1.OrphanCount{}) {
		return nil
	}
	return &count
}
