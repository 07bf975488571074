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

func TestASweepIsRecordedWithoutPushingAnythingOffTheList(t *testing.T) {
	reported := func(id string) v1alpha1.Orphan {
		return v1alpha1.Orphan{CertificateID: id, Outcome: v1alpha1.OrphanReported}
	}
	full := func(last v1alpha1.OrphanOutcome) []v1alpha1.Orphan {
		var all []v1alpha1.Orphan
		for i := range v1alpha1.MaxOrphans {
			all = append(all, reported(fmt.Sprint("old-", i)))
		}
		all[len(all)-1].Outcome = last
		return all
	}
	for name, c := range map[string]struct {
		before   v1alpha1.DeviceCertificateStatus
		want     []string
		unlisted int
	}{
		"an empty list":              {want: list("cert-9 Reported")},
		"listed already":             {before: v1alpha1.DeviceCertificateStatus{Orphans: list(reported("cert-9"))}, want: list("cert-9 Reported")},
		"acknowledged":               {before: v1alpha1.DeviceCertificateStatus{AcknowledgedOrphans: list("cert-9")}},
		"its window was listed":      {before: v1alpha1.DeviceCertificateStatus{Orphans: list(reported("a"), v1alpha1.Orphan{AttemptID: attemptID})}, want: list("cert-9 Reported", "a Reported")},
		"a full list":                {before: v1alpha1.DeviceCertificateStatus{Orphans: full(v1alpha1.OrphanReported)}, want: outcomes(full(v1alpha1.OrphanReported)), unlisted: 1},
		"a full list with a revoked": {before: v1alpha1.DeviceCertificateStatus{Orphans: full(v1alpha1.OrphanRevoked)}, want: append(list("cert-9 Reported"), outcomes(full(""))[:9]...)},
	} {
		c.before.SerialNumber = "0A17"
		f := Finding{Certificate: member("gw", closed()), Report: list(Suspect{Stray: unknown("gw.a.example"), Attempt: &v1alpha1.Attempt{ID: attemptID}})}
		got := *c.before.DeepCopy()
		if unlisted := f.Record(&got, nil, metav1.NewTime(now)); unlisted != c.unlisted {
			t.Errorf("%s: %d unlisted, want %d", name, unlisted, c.unlisted)
		}
		if diff := cmp.Diff(c.want, outcomes(got.Orphans)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func outcomes(orphans []v1alpha1.Orphan) []string {
	var all []string
	for _, o := range orphans {
		all = append(all, o.CertificateID+" "+string(o.Outcome))
	}
	return all
}

func TestASweepRecordsWhatBecameOfTheCertificateInUse(t *testing.T) {
	seen := metav1.NewTime(now)
	mark := &v1alpha1.RevokedCertificate{SerialNumber: "0A17", ObservedAt: seen}
	for name, c := range map[string]struct {
		finding Finding
		before  v1alpha1.DeviceCertificateStatus
		want    *v1alpha1.RevokedCertificate
	}{
		"revoked":                 {Finding{Revoked: true}, v1alpha1.DeviceCertificateStatus{SerialNumber: "0A17"}, mark},
		"revoked, as known":       {Finding{Revoked: true}, v1alpha1.DeviceCertificateStatus{SerialNumber: "0A17", Revoked: &v1alpha1.RevokedCertificate{SerialNumber: "a17", ObservedAt: seen}}, &v1alpha1.RevokedCertificate{SerialNumber: "a17", ObservedAt: seen}},
		"replaced meanwhile":      {Finding{Revoked: true}, v1alpha1.DeviceCertificateStatus{SerialNumber: "0A18"}, nil},
		"released from a hold":    {Finding{Valid: true}, v1alpha1.DeviceCertificateStatus{SerialNumber: "0A17", Revoked: mark}, nil},
		"nothing known of it now": {Finding{}, v1alpha1.DeviceCertificateStatus{SerialNumber: "0A17", Revoked: mark}, mark},
	} {
		c.finding.Certificate = member("gw")
		c.finding.Record(&c.before, nil, seen)
		if diff := cmp.Diff(c.want, c.before.Revoked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestARevokedLateCommitEndsTheSearchForItsAttempt(t *testing.T) {
	c := member("gw", closed(), closed(func(a *v1alpha1.Attempt) { a.ID = "another" }))
	c.Status.Orphans = list(v1alpha1.Orphan{CertificateID: "cert-3", Outcome: v1alpha1.OrphanReported})
	suspect := Suspect{Stray: unknown("gw.a.example"), Attempt: &c.Status.ClosedAttempts[0]}
	f := Finding{Certificate: c, Settled: list("cert-3")}
	got := *c.Status.DeepCopy()
	f.Record(&got, list(suspect.Orphan(c, v1alpha1.OrphanRevoked, "it was revoked")), metav1.NewTime(now))
	if diff := cmp.Diff(list("cert-9 Revoked", "cert-3 Revoked"), outcomes(got.Orphans)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.ClosedAttempts) != 1 || got.ClosedAttempts[0].ID != "another" {
		t.Errorf("closed attempts are %v", got.ClosedAttempts)
	}
	if o := got.Orphans[0]; o.AttemptID != attemptID || o.ProfileID != "IOT_1" || !o.WindowStart.Time.Equal(suspect.NotBefore) || !o.NotAfter.Time.Equal(suspect.NotAfter) {
		t.Errorf("the orphan is %+v", o)
	}
}

func TestTimeSettlesOrphansAndClosedAttempts(t *testing.T) {
	at := func(at time.Time) *metav1.Time { t := metav1.NewTime(at); return &t }
	status := v1alpha1.DeviceCertificateStatus{
		Orphans:        list(v1alpha1.Orphan{CertificateID: "expired", NotAfter: at(now)}, v1alpha1.Orphan{CertificateID: "valid", NotAfter: at(now.Add(time.Second))}, v1alpha1.Orphan{CertificateID: "window"}),
		ClosedAttempts: list(v1alpha1.Attempt{ID: "old", StartedAt: *at(now.Add(-7 * day))}, v1alpha1.Attempt{ID: "young", StartedAt: *at(now.Add(-6 * day))}),
	}
	Tidy(&status, now)
	if diff := cmp.Diff(list("valid ", "window "), outcomes(status.Orphans)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(status.ClosedAttempts) != 1 || status.ClosedAttempts[0].ID != "young" {
		t.Errorf("closed attempts are %v", status.ClosedAttempts)
	}
	Tidy(&status, now.Add(100*day))
	if len(status.Orphans) != 1 || status.ClosedAttempts != nil {
		t.Errorf("after a hundred days: %+v", status)
	}
	status.Orphans = status.Orphans[:0]
	Tidy(&status, now)
	if status.Orphans != nil {
		t.Error("an empty list stays on the status")
	}
}

func TestTheNewestClosedAttemptsAreRememberedOnceEach(t *testing.T) {
	var remembered []v1alpha1.Attempt
	for i := range 7 {
		remembered = RememberAttempt(remembered, &v1alpha1.Attempt{ID: fmt.Sprint(i)})
	}
	remembered = RememberAttempt(remembered, &v1alpha1.Attempt{ID: "4"})
	var ids []string
	for _, a := range remembered {
		ids = append(ids, a.ID)
	}
	if diff := cmp.Diff(list("4", "6", "5", "3", "2"), ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
