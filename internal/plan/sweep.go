// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"
	"time"

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
	// Held: it is or was in a Secret. What is Accounted for and not Held is an orphan on a list, or was acknowledged.
	Held bool
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
	if s.Held || !j.Now.Before(s.NotAfter) {
		return
	}
	if c, attempt := j.buyer(s); c != nil {
		if !s.Accounted || reported(c, s) {
			f := j.findings[c.UID]
			f.Revoke = append(f.Revoke, Suspect{Stray: s, Attempt: attempt})
		}
		return
	}
	if s.Accounted || j.mayBeOnItsWay(s) {
		return
	}
	if c, attempt := j.suspect(s); c != nil {
		f := j.findings[c.UID]
		f.Report = append(f.Report, Suspect{Stray: s, Attempt: attempt})
	}
}

// buyer is the object that has bought a certificate for sure, and its closed attempt; nil when nothing proves it.
func (j *judgement) buyer(s Stray) (*v1alpha1.DeviceCertificate, *v1alpha1.Attempt) {
	for _, c := range j.Fleet {
		for i := range c.Status.ClosedAttempts {
			if attempt := &c.Status.ClosedAttempts[i]; j.concerns(attempt) && proven(attempt, s) {
				return c, attempt
			}
		}
	}
	return nil, nil
}

// reported tells whether a certificate is on an object's list and left to a person, because it could not be confirmed or revoked at the time.
func reported(c *v1alpha1.DeviceCertificate, s Stray) bool {
	return slices.ContainsFunc(c.Status.Orphans, func(o v1alpha1.Orphan) bool {
		return o.Outcome == v1alpha1.OrphanReported && sameCertificate(o, s)
	})
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
	for _, a := range c.Spec.CertificateAttributes {
		if issued := issuedName(c); asked.CommonName == "" && a.Value != nil && strings.EqualFold(*a.Value, issued) {
			asked.CommonName = issued // the attribute stands there by its name
		}
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
