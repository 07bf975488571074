// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
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
	byName := member("gw", func(c *v1alpha1.DeviceCertificate) { c.Spec.CertificateAttributes[0].ID = "Common name" })
	answered := closed(func(a *v1alpha1.Attempt) { a.CertificateFingerprint = "stray" })
	elsewhere := closed(func(a *v1alpha1.Attempt) { a.Host = "two.example" })
	listedByAnswer := member("gw", answered, func(c *v1alpha1.DeviceCertificate) {
		c.Status.Orphans = []v1alpha1.Orphan{{CertificateID: "cert-9", Outcome: v1alpha1.OrphanReported}}
	})
	failedByAnswer := member("gw", answered, func(c *v1alpha1.DeviceCertificate) {
		c.Status.Orphans = []v1alpha1.Orphan{{CertificateID: "cert-9", Outcome: v1alpha1.OrphanRevokeFailed}}
	})
	accounted := func(s *Stray) { s.Accounted = true }
	inUse := func(s *Stray) { s.Accounted, s.Held = true, true }
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
		"the name, asked for by a name":       {fleet: list(byName), stray: unknown("gw.a.example"), want: []string{"gw report cert-9"}},
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
		"of an answer, reported so far":       {fleet: list(listedByAnswer), stray: unknown("gw.a.example", accounted), want: []string{"gw revoke cert-9 of an attempt"}},
		"of an answer, refused before":        {fleet: list(failedByAnswer), stray: unknown("gw.a.example", accounted)},
		"of an answer, acknowledged":          {fleet: list(member("gw", answered)), stray: unknown("gw.a.example", accounted)},
		"of an answer, and in a Secret":       {fleet: list(member("gw", answered)), stray: unknown("gw.a.example", marked, inUse)},
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
