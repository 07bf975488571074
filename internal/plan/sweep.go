// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// lateCommit is how long after its deadline a request may still issue a certificate that the sweep ascribes to it: a vendor that queues
// requests during an outage works them off afterwards.
const lateCommit = 24 * time.Hour

// Attributes that name a device.
const (
	attributeCommonName = "subject.common_name"
	attributeDevice     = "DEVICE_IDENTIFIER"
)

// Stray is a certificate of the inventory as a sweep looks at it.
type Stray struct {
	Candidate
	NotAfter time.Time
	// Values are what its subject and its DNS names say. An attempt's id among them is proof of who asked for it.
	Values []string
}

// Inventory is what one sweep judges: what the vendor has issued from a profile, and who could have bought it.
type Inventory struct {
	Now             time.Time
	Host, ProfileID string
	// Policy is the issuer's owner's word on who else buys from the profile.
	Policy v1alpha1.OrphanPolicy
	// Fleet are the certificates that buy from this profile through the issuer that is swept.
	Fleet []*v1alpha1.DeviceCertificate
	// Attempts are those that are open, of all objects: what they may have bought is theirs to resolve.
	Attempts []*v1alpha1.Attempt
	Strays   []Stray
}

// Suspect is an unknown certificate that one object may have to do with.
type Suspect struct {
	Stray
	// Attempt is the closed attempt that may have bought it; nil when none on record fits.
	Attempt *v1alpha1.Attempt
}

// Finding is what a sweep has to say to one object.
type Finding struct {
	Certificate *v1alpha1.DeviceCertificate
	// Revoke are proven to be ours, and nobody has their private keys.
	Revoke []Suspect
	// Report may be ours.
	Report []Suspect
	// Revoked: the certificate that the status describes was revoked at the vendor; Valid: it was not.
	Revoked, Valid bool
	// Settled are ids of orphans on the list that somebody has revoked at the vendor.
	Settled []string
}

// empty tells whether there is nothing to say.
func (f *Finding) empty() bool {
	reinstated := f.Valid && f.Certificate.Status.Revoked != nil
	return len(f.Revoke) == 0 && len(f.Report) == 0 && len(f.Settled) == 0 && !f.Revoked && !reinstated
}

// Sweep compares the inventory of a profile with the objects that buy from it. Reported is what nobody accounts for and what bears the name
// of an object or may be of one of its closed attempts. Revoked, whatever the policy, is only what carries the id of such an attempt or is
// the very certificate that its answer held: names prove nothing, and a certificate of another cluster with the same YAML has the same name.
func Sweep(inventory Inventory) []Finding {
	j := judgement{Inventory: inventory, findings: map[types.UID]*Finding{}}
	for _, c := range inventory.Fleet {
		j.findings[c.UID] = &Finding{Certificate: c}
	}
	j.index()
	for _, s := range inventory.Strays {
		j.judge(s)
	}
	var said []Finding
	for _, c := range inventory.Fleet {
		if f := j.findings[c.UID]; !f.empty() {
			said = append(said, *f)
		}
	}
	return said
}

// judgement is one sweep under way.
type judgement struct {
	Inventory
	names    map[string]*v1alpha1.DeviceCertificate
	held     map[string]*v1alpha1.DeviceCertificate
	findings map[types.UID]*Finding
}

// index looks the fleet up by the names it manages, a name that several ask for being the first one's, and by the certificates it holds.
func (j *judgement) index() {
	j.names, j.held = map[string]*v1alpha1.DeviceCertificate{}, map[string]*v1alpha1.DeviceCertificate{}
	for _, c := range j.Fleet {
		if f := c.Status.FingerprintSHA256; f != "" {
			j.held[f] = c
		}
		for _, name := range managedNames(c) {
			if _, taken := j.names[name]; !taken {
				j.names[name] = c
			}
		}
	}
}

func (j *judgement) judge(s Stray) {
	if holder, ok := j.held[s.Fingerprint]; ok {
		f := j.findings[holder.UID]
		f.Revoked, f.Valid = s.Revoked, !s.Revoked
		return
	}
	if s.Revoked {
		j.settle(s)
		return
	}
	if s.Accounted || !j.Now.Before(s.NotAfter) || j.mayBeOnItsWay(s) {
		return
	}
	for _, c := range j.Fleet {
		for i := range c.Status.ClosedAttempts {
			if attempt := &c.Status.ClosedAttempts[i]; j.concerns(attempt) && proven(attempt, s) {
				f := j.findings[c.UID]
				f.Revoke = append(f.Revoke, Suspect{Stray: s, Attempt: attempt})
				return
			}
		}
	}
	if c, attempt := j.suspect(s); c != nil {
		f := j.findings[c.UID]
		f.Report = append(f.Report, Suspect{Stray: s, Attempt: attempt})
	}
}

// settle notes that an orphan on the list is revoked by now.
func (j *judgement) settle(s Stray) {
	for _, c := range j.Fleet {
		if slices.ContainsFunc(c.Status.Orphans, func(o v1alpha1.Orphan) bool {
			return o.Outcome != v1alpha1.OrphanRevoked && sameCertificate(o, s)
		}) {
			f := j.findings[c.UID]
			f.Settled = append(f.Settled, s.CertificateID)
		}
	}
}

func sameCertificate(o v1alpha1.Orphan, s Stray) bool {
	return o.CertificateID != "" && o.CertificateID == s.CertificateID || certs.SameSerial(o.SerialNumber, s.Serial)
}

// mayBeOnItsWay tells whether an open attempt may have bought it: that one is resolved by itself.
func (j *judgement) mayBeOnItsWay(s Stray) bool {
	return slices.ContainsFunc(j.Attempts, func(a *v1alpha1.Attempt) bool {
		return j.concerns(a) && (proven(a, s) || Possible(a, j.Now, s.Candidate))
	})
}

// concerns tells whether an attempt bought from what is swept.
func (j *judgement) concerns(a *v1alpha1.Attempt) bool {
	return a.Host == j.Host && a.ProfileID == j.ProfileID
}

// proven tells whether a certificate is the very one of an attempt: it carries the attempt's id, or is what its answer held.
func proven(a *v1alpha1.Attempt, s Stray) bool {
	return a.ID != "" && slices.Contains(s.Values, a.ID) ||
		a.CertificateFingerprint != "" && a.CertificateFingerprint == s.Fingerprint
}

// suspect finds the object that an unknown certificate has to do with, and the closed attempt that may have bought it; nil for nobody.
func (j *judgement) suspect(s Stray) (*v1alpha1.DeviceCertificate, *v1alpha1.Attempt) {
	named := j.names[strings.ToLower(s.CommonName)]
	if named != nil {
		return named, j.attemptFor(named, s, Possible)
	}
	for _, fits := range []func(*v1alpha1.Attempt, time.Time, Candidate) bool{Possible, j.renamed(s)} {
		for _, c := range j.Fleet {
			if attempt := j.attemptFor(c, s, fits); attempt != nil {
				return c, attempt
			}
		}
	}
	return nil, nil
}

func (j *judgement) attemptFor(c *v1alpha1.DeviceCertificate, s Stray, fits func(*v1alpha1.Attempt, time.Time, Candidate) bool) *v1alpha1.Attempt {
	for i := range c.Status.ClosedAttempts {
		if a := &c.Status.ClosedAttempts[i]; j.concerns(a) && fits(a, lastEffect(a), s.Candidate) {
			return a
		}
	}
	return nil
}

// renamed tells whether an attempt may have bought a certificate whose name the profile replaced altogether. Time alone would accuse
// whatever others buy meanwhile: the device or all the alternative names must fit as well, unless nobody else buys from the profile.
func (j *judgement) renamed(s Stray) func(*v1alpha1.Attempt, time.Time, Candidate) bool {
	return func(a *v1alpha1.Attempt, deadline time.Time, c Candidate) bool {
		if c.NotBefore.Before(a.StartedAt.Add(-backdating)) || c.NotBefore.After(deadline) {
			return false
		}
		return j.Policy == v1alpha1.OrphansRevoke ||
			a.SANDigest != "" && a.SANDigest == c.SANDigest ||
			a.DeviceID != "" && slices.ContainsFunc(s.Values, func(v string) bool { return strings.EqualFold(v, a.DeviceID) })
	}
}

// lastEffect is the latest time at which a closed attempt is taken to have issued.
func lastEffect(a *v1alpha1.Attempt) time.Time {
	return a.StartedAt.Add(time.Duration(a.RequestTimeoutSeconds)*time.Second + lateCommit)
}

// Interest is what a sweep keeps of an inventory that may be far larger than the fleet.
type Interest struct {
	names        map[string]struct{}
	fingerprints map[string]struct{}
	attempts     []*v1alpha1.Attempt
	orphans      map[string]struct{}
}

// InterestOf a fleet is what the sweep of its profile needs to see.
func InterestOf(fleet []*v1alpha1.DeviceCertificate) *Interest {
	i := &Interest{names: map[string]struct{}{}, fingerprints: map[string]struct{}{}, orphans: map[string]struct{}{}}
	for _, c := range fleet {
		for _, name := range managedNames(c) {
			i.names[name] = struct{}{}
		}
		i.fingerprints[c.Status.FingerprintSHA256] = struct{}{}
		for k := range c.Status.ClosedAttempts {
			i.attempts = append(i.attempts, &c.Status.ClosedAttempts[k])
		}
		for _, o := range c.Status.Orphans {
			i.orphans[o.CertificateID] = struct{}{}
		}
	}
	return i
}

// In tells whether the sweep needs a certificate.
func (i *Interest) In(s Stray) bool {
	if _, held := i.fingerprints[s.Fingerprint]; held {
		return true
	}
	if s.Revoked {
		_, listed := i.orphans[s.CertificateID]
		return listed
	}
	if _, named := i.names[strings.ToLower(s.CommonName)]; named && s.CommonName != "" {
		return true
	}
	return slices.ContainsFunc(i.attempts, func(a *v1alpha1.Attempt) bool {
		return !s.NotBefore.Before(a.StartedAt.Add(-backdating)) && !s.NotBefore.After(lastEffect(a)) || proven(a, s)
	})
}

// managedNames are the names that certificates of an object bear: the one it asks for, its device's, which profiles may make it, and what a
// profile made of either by adding a domain or taking it away.
func managedNames(c *v1alpha1.DeviceCertificate) []string {
	asked := &v1alpha1.Attempt{
		CommonName: value(c.Spec.CertificateAttributes, attributeCommonName), DeviceID: value(c.Spec.DeviceAttributes, attributeDevice),
	}
	var names []string
	for _, name := range []string{asked.CommonName, asked.DeviceID, issuedName(c)} {
		if name != "" && nameFits(asked, name) {
			names = append(names, strings.ToLower(name))
		}
	}
	return names
}

func value(attributes []v1alpha1.Attribute, id string) string {
	for _, a := range attributes {
		if a.ID == id && a.Value != nil {
			return *a.Value
		}
	}
	return ""
}

// issuedName is the common name that the vendor gave the object's present certificate; empty when it is not known.
func issuedName(c *v1alpha1.DeviceCertificate) string {
	for _, part := range strings.FieldsFunc(c.Status.Subject, func(r rune) bool { return r == ',' || r == '+' }) {
		if name, ok := strings.CutPrefix(part, "CN="); ok && !strings.Contains(name, `\`) {
			return name
		}
	}
	return ""
}

// closedAttemptMemory is how long the sweep looks for what a closed attempt may have bought after all.
const closedAttemptMemory = 7 * 24 * time.Hour

// RememberAttempt puts an attempt on the list of those that the sweep looks after.
func RememberAttempt(list []v1alpha1.Attempt, closed *v1alpha1.Attempt) []v1alpha1.Attempt {
	list = slices.DeleteFunc(slices.Clone(list), func(a v1alpha1.Attempt) bool { return a.ID == closed.ID })
	list = slices.Insert(list, 0, *closed.DeepCopy())
	return list[:min(len(list), v1alpha1.MaxClosedAttempts)]
}

// Record writes into a status what a sweep has found and, of what was to be revoked, what became of it. It answers how many certificates found
// no place on the list: the sweep lets none of those fall off it that are left to a person.
func (f *Finding) Record(status *v1alpha1.DeviceCertificateStatus, revoked []v1alpha1.Orphan, now metav1.Time) (unlisted int) {
	switch serial := status.SerialNumber; {
	case serial == "" || serial != f.Certificate.Status.SerialNumber: // another one was stored meanwhile
	case f.Valid:
		status.Revoked = nil
	case f.Revoked && (status.Revoked == nil || !certs.SameSerial(status.Revoked.SerialNumber, serial)):
		status.Revoked = &v1alpha1.RevokedCertificate{SerialNumber: serial, ObservedAt: now}
	}
	for i := range status.Orphans {
		if o := &status.Orphans[i]; o.CertificateID != "" && slices.Contains(f.Settled, o.CertificateID) {
			o.Outcome, o.Message = v1alpha1.OrphanRevoked, "it was revoked at the vendor"
		}
	}
	found := slices.Clone(revoked)
	for _, s := range f.Report {
		found = append(found, s.orphan(f.Certificate))
	}
	for _, o := range found {
		if !enlist(status, o) {
			unlisted++
		}
	}
	status.ClosedAttempts = slices.DeleteFunc(status.ClosedAttempts, func(a v1alpha1.Attempt) bool {
		return slices.ContainsFunc(revoked, func(o v1alpha1.Orphan) bool { return o.AttemptID == a.ID })
	})
	return unlisted
}

// enlist puts an orphan on the list: in the place of the window that was reported for its attempt, or at the front. A full list makes room by
// forgetting what is revoked.
func enlist(status *v1alpha1.DeviceCertificateStatus, o v1alpha1.Orphan) bool {
	if slices.Contains(status.AcknowledgedOrphans, o.CertificateID) || slices.ContainsFunc(status.Orphans, func(listed v1alpha1.Orphan) bool {
		return listed.CertificateID != "" && listed.CertificateID == o.CertificateID
	}) {
		return true
	}
	at := slices.IndexFunc(status.Orphans, func(listed v1alpha1.Orphan) bool {
		return o.AttemptID != "" && listed.AttemptID == o.AttemptID && listed.CertificateID == ""
	})
	if at < 0 && len(status.Orphans) >= v1alpha1.MaxOrphans {
		at = slices.IndexFunc(status.Orphans, func(listed v1alpha1.Orphan) bool { return listed.Outcome == v1alpha1.OrphanRevoked })
		if at < 0 {
			return false
		}
	}
	if at >= 0 {
		status.Orphans = slices.Delete(status.Orphans, at, at+1)
	}
	status.Orphans = slices.Insert(status.Orphans, 0, o)
	return true
}

// strayMessage tells a person what a certificate found by the sweep may be.
const strayMessage = "the inventory has it under this object's name, and no Secret and no record of this operator accounts for it: " +
	"it is of a lost answer, of an earlier object of this name, or another cluster's. Revoke it at the vendor if nobody uses it, then acknowledge it"

// Orphan is a suspect as it goes on record with an outcome.
func (s *Suspect) Orphan(c *v1alpha1.DeviceCertificate, outcome v1alpha1.OrphanOutcome, message string) v1alpha1.Orphan {
	o := v1alpha1.Orphan{
		CertificateID: s.CertificateID, SerialNumber: s.Serial, ProfileID: c.Spec.EnrollmentProfileID, CommonName: s.CommonName,
		WindowStart: timestamp(s.NotBefore), WindowEnd: timestamp(s.NotBefore), Outcome: outcome, Message: message,
	}
	notAfter := timestamp(s.NotAfter)
	o.NotAfter = &notAfter
	if s.Attempt != nil {
		o.AttemptID = s.Attempt.ID
	}
	return o
}

func (s *Suspect) orphan(c *v1alpha1.DeviceCertificate) v1alpha1.Orphan {
	return s.Orphan(c, v1alpha1.OrphanReported, strayMessage)
}

// timestamp is a time as a decoded status has it.
func timestamp(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second).Local()) }

// Tidy drops from a status what time has settled: orphans that have expired, and closed attempts that were looked for long enough.
func Tidy(status *v1alpha1.DeviceCertificateStatus, now time.Time) {
	status.Orphans = slices.DeleteFunc(status.Orphans, func(o v1alpha1.Orphan) bool {
		return o.NotAfter != nil && !now.Before(o.NotAfter.Time)
	})
	status.ClosedAttempts = slices.DeleteFunc(status.ClosedAttempts, func(a v1alpha1.Attempt) bool {
		return now.Sub(a.StartedAt.Time) >= closedAttemptMemory
	})
	if len(status.Orphans) == 0 {
		status.Orphans = nil
	}
	if len(status.ClosedAttempts) == 0 {
		status.ClosedAttempts = nil
	}
}
