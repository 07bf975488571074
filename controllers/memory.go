// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/lean"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

// facts is what is known of a Secret without its contents: small enough to keep for every object of a large fleet.
type facts struct {
	plan.Secret
	uid, resourceVersion string
	fingerprint, subject string
	dnsNames             []string
	keyType, requestID   string
	// where it was bought, as its annotations say
	issuer, host, profileID string
	// sealed: the key is not in the open, so that holding the Secret proves nothing.
	sealed bool
	// byIssued: whose it is, or whether that is proven, depends on status.issued.
	byIssued bool
	// chainDamaged: other certificates than the leaf are not those that were issued.
	chainDamaged bool
	// incomplete are the optional outputs that could not be rendered.
	incomplete []string
	// managers are the others who have written to it.
	managers []string
}

// pack lets facts share their strings with the object they are about, which says most of the same. After a start that one was cached long
// before, so that the packer would know its strings no more.
func (f *facts) pack(c *v1alpha1.DeviceCertificate) {
	status := &c.Status
	for _, text := range []string{
		c.Name, c.Spec.EnrollmentProfileID, status.SerialNumber, status.FingerprintSHA256, status.Subject, status.CertificateID, status.RequestID,
		status.IssuanceHash, status.SecretName, status.SecretResourceVersion, status.LastHandledRenewRequest, c.Annotations[v1alpha1.AnnotationRenewRequestedAt],
	} {
		lean.Keep(text)
	}
	for _, text := range []*string{
		&f.uid, &f.resourceVersion, &f.fingerprint, &f.subject, &f.keyType, &f.requestID, &f.issuer, &f.host, &f.profileID,
		&f.Name, &f.Serial, &f.CertificateID, &f.AttemptID, &f.IssuanceHash, &f.RequestHash, &f.HandledRenewRequest,
	} {
		*text = lean.String(*text)
	}
	f.dnsNames = slices.Clone(f.dnsNames)
	for i := range f.dnsNames {
		f.dnsNames[i] = lean.String(f.dnsNames[i])
	}
}

// recollection is what this process remembers of one object. It saves reads and decides nothing on its own: every purchase is fenced by
// resource versions. There is one for every object of a fleet, so it holds no more than it must.
type recollection struct {
	facts      facts
	generation int64
	readAt     time.Time
	// issued is the fingerprint of status.issued at that time.
	issued string
	// attemptID was first seen open at attemptSeen, by this process's monotonic clock.
	attemptID   string
	attemptSeen time.Time
	// rendering is what the last render, at renderedAt, made; repairs counts those before it in a row that made the same.
	rendering  string
	renderedAt time.Time
	repairs    int
	// unvouched is the fingerprint of a certificate in a Secret that is to be taken over, and was not accepted for the reason unvouchedFor.
	unvouched, unvouchedFor string
	// waitingSince is when the object first waited for a token.
	waitingSince time.Time
	// written is the version of the object at this process's last write to it, made at writtenAt.
	written   string
	writtenAt time.Time
	// stumbles counts steps in a row that failed before or after the vendor was asked; notBefore is when the next one may start.
	notBefore time.Time
	stumbles  int32
	// distrusted: a write was refused because something is newer than what was read.
	distrusted bool
}

// memory holds recollections by the UID of their DeviceCertificate.
type memory struct {
	mu    sync.Mutex
	byUID map[types.UID]*recollection
	// windows are what renewals have shown of the vendor's rules.
	windows map[profileOf]renewal.Window
	// unreached are the objects whose last request did not reach the vendor, with the time of the failure on record.
	unreached map[types.UID]time.Time
}

func newMemory() *memory {
	return &memory{byUID: make(map[types.UID]*recollection), windows: make(map[profileOf]renewal.Window), unreached: make(map[types.UID]time.Time)}
}

// recall answers with a copy of what is remembered.
func (m *memory) recall(uid types.UID) recollection {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.byUID[uid]; ok {
		return *r
	}
	return recollection{}
}

// change edits what is remembered.
func (m *memory) change(uid types.UID, edit func(*recollection)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.byUID[uid]
	if !ok {
		r = &recollection{}
		m.byUID[uid] = r
	}
	edit(r)
}

func (m *memory) remember(c *v1alpha1.DeviceCertificate, f facts, now time.Time) {
	f.pack(c)
	m.change(c.UID, func(r *recollection) {
		r.facts, r.generation, r.readAt, r.issued, r.distrusted = f, c.Generation, now, lean.String(issuedFingerprint(c)), false
	})
}

func issuedFingerprint(c *v1alpha1.DeviceCertificate) string {
	if c.Status.Issued == nil {
		return ""
	}
	return c.Status.Issued.FingerprintSHA256
}

func (m *memory) distrust(uid types.UID) {
	m.change(uid, func(r *recollection) { r.distrusted = true })
}

func (m *memory) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byUID, uid)
	delete(m.unreached, uid)
}

// missed remembers that the failure of that time is the vendor's, who was not reached.
func (m *memory) missed(uid types.UID, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unreached[uid] = at
}

// recoveredSince tells whether a failure is one that the vendor was not reached, and the vendor was found again after it.
func (m *memory) recoveredSince(uid types.UID, f *v1alpha1.Failures, found time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.unreached[uid]
	return ok && f != nil && f.LastTime != nil && f.LastTime.Time.Equal(at) && at.Before(found.Truncate(time.Second))
}

// seenSince answers since when this process knows of the open attempt. Its own monotonic clock is the only one that can say when
// another process must have given up.
func (m *memory) seenSince(uid types.UID, attemptID string, now time.Time) time.Time {
	var since time.Time
	m.change(uid, func(r *recollection) {
		if r.attemptID != attemptID {
			r.attemptID, r.attemptSeen = attemptID, now
		}
		since = r.attemptSeen
	})
	return since
}

// wrote remembers the version of this process's last write.
func (m *memory) wrote(uid types.UID, resourceVersion string, now time.Time) {
	m.change(uid, func(r *recollection) { r.written, r.writtenAt = resourceVersion, now })
}

// older tells whether one version of an object precedes another. Versions that are not numbers, which no API server hands out, have no
// order.
func older(a, b string) bool {
	left, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return false
	}
	right, err := strconv.ParseUint(b, 10, 64)
	return err == nil && left < right
}

// stumbled holds the object's next step back: a second, doubling to five minutes.
func (m *memory) stumbled(uid types.UID, now time.Time) {
	const first, longest = time.Second, 5 * time.Minute
	m.change(uid, func(r *recollection) {
		delay := min(first<<min(r.stumbles, 16), longest)
		r.stumbles++
		r.notBefore = now.Add(delay + renewal.Jitter(delay/4, string(uid)))
	})
}

// recovered ends the holding back.
func (m *memory) recovered(uid types.UID) {
	m.change(uid, func(r *recollection) { r.stumbles, r.notBefore, r.waitingSince = 0, time.Time{}, time.Time{} })
}
