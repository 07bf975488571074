// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

const sweptHost = "one.example"

// member is an object of the fleet that holds a certificate.
func member(name string, changes ...func(*v1alpha1.DeviceCertificate)) *v1alpha1.DeviceCertificate {
	cn, device := name+".a.example", "device-"+name
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: name, UID: types.UID("uid-" + name)}}
	c.Spec.EnrollmentProfileID = "IOT_1"
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: attributeCommonName, Value: &cn}}
	c.Spec.DeviceAttributes = []v1alpha1.Attribute{{ID: attributeDevice, Value: &device}}
	c.Status.SerialNumber, c.Status.FingerprintSHA256, c.Status.Subject = "0A17", "held-"+name, "CN="+cn+",O=Edge"
	for _, change := range changes {
		change(c)
	}
	return c
}

// closed gives an object an attempt of two hours ago that was closed without a certificate.
func closed(changes ...func(*v1alpha1.Attempt)) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		a := v1alpha1.Attempt{
			ID: attemptID, Host: sweptHost, ProfileID: "IOT_1", CommonName: c.Name + ".a.example", DeviceID: "device-" + c.Name, SANDigest: "sans",
			StartedAt: metav1.NewTime(now.Add(-2 * time.Hour)), RequestTimeoutSeconds: 60,
		}
		for _, change := range changes {
			change(&a)
		}
		c.Status.ClosedAttempts = append(c.Status.ClosedAttempts, a)
	}
}

// unknown is a valid certificate of an hour ago that nobody accounts for.
func unknown(name string, changes ...func(*Stray)) Stray {
	s := Stray{NotAfter: now.Add(90 * day), Values: []string{name}}
	s.CertificateID, s.Serial, s.Fingerprint, s.CommonName, s.NotBefore = "cert-9", "0F", "stray", name, now.Add(-time.Hour)
	for _, change := range changes {
		change(&s)
	}
	return s
}

// said is what a sweep says, in short.
func said(findings []Finding) []string {
	var short []string
	attempt := func(s Suspect) string {
		if s.Attempt == nil {
			return ""
		}
		return " of an attempt"
	}
	for _, f := range findings {
		for _, s := range f.Revoke {
			short = append(short, f.Certificate.Name+" revoke "+s.CertificateID+attempt(s))
		}
		for _, s := range f.Report {
			short = append(short, f.Certificate.Name+" report "+s.CertificateID+attempt(s))
		}
		for _, id := range f.Settled {
			short = append(short, f.Certificate.Name+" settled "+id)
		}
		if f.Revoked {
			short = append(short, f.Certificate.Name+" revoked")
		}
		if f.Valid {
			short = append(short, f.Certificate.Name+" valid")
		}
	}
	return short
}

func TestASweepReportsWhatBearsAManagedNameAndRevokesOnlyWhatIsProven(t *testing.T) {
	gw, other := member("gw"), member("other")
	revoked := func(s *Stray) { s.Revoked = true }
	marked := func(s *Stray) { s.Values = append(s.Values, attemptID) }
	sans := func(s *Stray) { s.SANDigest = "sans" }
	device := func(s *Stray) { s.Values = append(s.Values, "DEVICE-gw") }
	begun := func(at time.Time) func(*Stray) { return func(s *Stray) { s.NotBefore = at } }
	listed := func(outcome v1alpha1.OrphanOutcome) *v1alpha1.DeviceCertificate {
		return member("gw", func(c *v1alpha1.DeviceCertificate) {
			c.Status.Orphans = []v1alpha1.Orphan{{CertificateID: "cert-9", Outcome: outcome}}
		})
	}
	onHold := member("gw", func(c *v1alpha1.DeviceCertificate) {
		c.Status.Revoked = &v1alpha1.RevokedCertificate{SerialNumber: "0A17"}
	})
	rewritten := member("gw", func(c *v1alpha1.DeviceCertificate) { c.Status.Subject = "O=Edge,CN=gw.a.example.corp" })
	constant := member("gw", func(c *v1alpha1.DeviceCertificate) { c.Status.Subject = "CN=thing" })
	answered := closed(func(a *v1alpha1.Attempt) { a.CertificateFingerprint = "stray" })
	elsewhere := closed(func(a *v1alpha1.Attempt) { a.Host = "two.example" })
	held := unknown("gw.a.example", func(s *Stray) { s.Fingerprint = "held-gw" })
	for name, c := range map[string]struct {
		fleet  []*v1alpha1.DeviceCertificate
		open   []*v1alpha1.Attempt
		policy v1alpha1.OrphanPolicy
		stray  Stray
		want   []string
	}{
		"the name of an object":               {fleet: list(gw, other), stray: unknown("OTHER.a.example"), want: []string{"other report cert-9"}},
		"the name of its device":              {fleet: list(gw), stray: unknown("device-gw"), want: []string{"gw report cert-9"}},
		"the name as the profile wrote it":    {fleet: list(rewritten), stray: unknown("gw.a.example.corp"), want: []string{"gw report cert-9"}},
		"a name the profile gives to all":     {fleet: list(constant), stray: unknown("thing")},
		"the name, whatever the policy":       {fleet: list(gw), policy: v1alpha1.OrphansRevoke, stray: unknown("gw.a.example"), want: []string{"gw report cert-9"}},
		"nobody's name":                       {fleet: list(gw), stray: unknown("nobody.example")},
		"accounted for":                       {fleet: list(gw), stray: unknown("gw.a.example", func(s *Stray) { s.Accounted = true })},
		"expired":                             {fleet: list(gw), stray: unknown("gw.a.example", func(s *Stray) { s.NotAfter = now })},
		"revoked already":                     {fleet: list(gw), stray: unknown("gw.a.example", revoked)},
		"in use":                              {fleet: list(gw), stray: held},
		"in use and revoked":                  {fleet: list(gw), stray: unknown("gw.a.example", revoked, func(s *Stray) { s.Fingerprint = "held-gw" }), want: []string{"gw revoked"}},
		"in use and no longer on hold":        {fleet: list(onHold), stray: held, want: []string{"gw valid"}},
		"a reported orphan, revoked by hand":  {fleet: list(listed(v1alpha1.OrphanReported)), stray: unknown("x", revoked), want: []string{"gw settled cert-9"}},
		"an orphan revoked by us":             {fleet: list(listed(v1alpha1.OrphanRevoked)), stray: unknown("x", revoked)},
		"of an open attempt":                  {fleet: list(gw), open: list(&v1alpha1.Attempt{Host: sweptHost, ProfileID: "IOT_1", CommonName: "gw.a.example", StartedAt: metav1.NewTime(now.Add(-time.Hour))}), stray: unknown("gw.a.example")},
		"not of another account's attempt":    {fleet: list(gw), open: list(&v1alpha1.Attempt{Host: "two.example", ProfileID: "IOT_1", CommonName: "gw.a.example", StartedAt: metav1.NewTime(now.Add(-time.Hour))}), stray: unknown("gw.a.example"), want: []string{"gw report cert-9"}},
		"a late commit":                       {fleet: list(member("gw", closed())), stray: unknown("gw.a.example"), want: []string{"gw report cert-9 of an attempt"}},
		"a late commit of another domain":     {fleet: list(member("gw", closed())), stray: unknown("gw.a.example.corp"), want: []string{"gw report cert-9 of an attempt"}},
		"a late commit with the mark":         {fleet: list(other, member("gw", closed())), stray: unknown("anything", marked), want: []string{"gw revoke cert-9 of an attempt"}},
		"the very certificate of an answer":   {fleet: list(member("gw", answered)), stray: unknown("gw.a.example"), want: []string{"gw revoke cert-9 of an attempt"}},
		"the mark of another account":         {fleet: list(member("gw", elsewhere)), stray: unknown("gw.a.example", marked), want: []string{"gw report cert-9"}},
		"renamed, with the same SANs":         {fleet: list(member("gw", closed())), stray: unknown("thing", sans), want: []string{"gw report cert-9 of an attempt"}},
		"renamed, with the device inside":     {fleet: list(member("gw", closed())), stray: unknown("thing", device), want: []string{"gw report cert-9 of an attempt"}},
		"renamed, and the account is ours":    {fleet: list(member("gw", closed())), policy: v1alpha1.OrphansRevoke, stray: unknown("thing"), want: []string{"gw report cert-9 of an attempt"}},
		"renamed, and nothing but the time":   {fleet: list(member("gw", closed())), policy: v1alpha1.OrphansReport, stray: unknown("thing")},
		"renamed, and older than the attempt": {fleet: list(member("gw", closed())), stray: unknown("thing", sans, begun(now.Add(-51*time.Hour)))},
		"renamed, and a day after it":         {fleet: list(member("gw", closed(func(a *v1alpha1.Attempt) { a.StartedAt = metav1.NewTime(now.Add(-27 * time.Hour)) }))), stray: unknown("thing", sans)},
	} {
		got := said(Sweep(Inventory{Now: now, Host: sweptHost, ProfileID: "IOT_1", Policy: c.policy, Fleet: c.fleet, Attempts: c.open, Strays: list(c.stray)}))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if len(c.want) > 0 && !InterestOf(c.fleet).In(c.stray) {
			t.Errorf("%s: the sweep would not have looked at it", name)
		}
	}
	if InterestOf(list(gw)).In(unknown("nobody.example")) || InterestOf(list(gw)).In(unknown("gw.a.example", revoked)) || InterestOf(list(gw)).In(unknown("")) {
		t.Error("a sweep keeps what nobody has to do with")
	}
}

// list is a slice of what is given.
func list[T any](items ...T) []T { return items }

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
