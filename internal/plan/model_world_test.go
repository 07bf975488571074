// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// The model is the operator's world in memory: an API server, a vendor, one or two managers and their users. It is a value: what its
// pointers lead to is never changed, only replaced, so that a copy of a world is a world of its own.
type modelWorld struct {
	modelConfig
	// mono is the time since the world began. The clocks of the API server and the vendor never jump.
	mono    time.Duration
	version uint64

	certs [2]*v1alpha1.DeviceCertificate
	// outdated are the versions before the present ones: what a cache shows that lags behind.
	outdated [2]*v1alpha1.DeviceCertificate
	secrets  [3]*modelSecret
	// backup is the content that a Secret had before it was last written.
	backup [3]*modelSecret
	// forbidden: the API server refuses every write of a Secret.
	forbidden bool

	ledger                      []modelIssued
	serials                     int
	down, noSearch, noRevoke    bool
	unready, gone, issuerPaused bool
	issuerVersion               string
	inventoryLag                time.Duration

	// tampered: somebody wrote to the status, or restored an old Secret.
	tampered [2]bool

	procs    [2]modelProcess
	attempts int

	// voided are the attempts whose record somebody destroyed while they were open.
	voided []string

	// writes and calls count the effects on the API server and the vendor.
	writes, calls int
	problem       string
}

// modelConfig never changes while a world lives.
type modelConfig struct {
	objects, processes int
	policy             v1alpha1.OrphanPolicy
	// sameName: both objects ask for the same common name.
	sameName bool
	// marked: leaves carry the attempt's id.
	marked bool
}

const (
	modelTimeout  = 60 * time.Second
	modelLag      = 5 * time.Minute
	modelStore    = 10 * time.Second
	modelValidity = 90 * day
	modelBackdate = time.Hour
	// modelPatience is how long the vendor may take to commit so that an attempt's resolution must still find the certificate.
	modelPatience = modelTimeout + modelStore
)

var (
	errModelConflict  = errors.New("conflict")
	errModelNotFound  = errors.New("not found")
	errModelForbidden = errors.New("forbidden")
	errModelLost      = errors.New("no answer")

	modelNames   = [2]string{"one", "two"}
	modelSecrets = [3]string{"secret-one", "secret-two", "secret-shared"}
	leafOnly     = &v1alpha1.Outputs{Chain: v1alpha1.ChainLeafOnly}
)

// modelSecret is one version of a Secret.
type modelSecret struct {
	uid, version uint64
	// owner and ownerUID are the annotations that say whose it is.
	owner    string
	ownerUID types.UID
	look     v1alpha1.ChainOutput

	broken                                           bool
	serial                                           string
	notBefore, notAfter, issuedAt                    time.Time
	certificateID, attemptID, hash, handledRenewWish string
}

// modelIssued is a line of the vendor's ledger.
type modelIssued struct {
	id, serial, attempt string
	profile, name       string
	notBefore, notAfter time.Time
	// committedAt and visibleAt are when it was issued and when the inventory shows it.
	committedAt, visibleAt time.Duration
	revoked, renewed       bool
	// foreign: bought by somebody else.
	foreign bool
	// received: a manager has held it, with its private key or its id.
	received bool
	// excused: a user destroyed the record of it, or the vendor was later than anybody waits, or it was left by the deletion policy.
	excused bool
	// uncommitted: the vendor is still at it.
	uncommitted bool
}

func newModelWorld(c modelConfig) *modelWorld {
	w := &modelWorld{modelConfig: c, issuerVersion: "issuer-1"}
	for slot := range c.objects {
		w.create(slot)
	}
	for p := range c.processes {
		w.restart(p, false)
	}
	return w
}

// clone is a world of its own.
func (w *modelWorld) clone() *modelWorld {
	c := *w
	c.ledger = slices.Clone(w.ledger)
	return &c
}

func (w *modelWorld) wall() time.Time { return now.Add(w.mono) }

func (w *modelWorld) next() string {
	w.version++
	return strconv.FormatUint(w.version, 10)
}

func (w *modelWorld) fail(format string, args ...any) {
	if w.problem == "" {
		w.problem = fmt.Sprintf(format, args...)
	}
}

func (w *modelWorld) create(slot int) {
	version := w.next()
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{
		Namespace: "edge", Name: modelNames[slot], UID: types.UID("uid-" + version), Generation: 1, ResourceVersion: version,
	}}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"}
	c.Spec.EnrollmentProfileID = "IOT_1"
	c.Status.ObservedGeneration = -1
	w.certs[slot] = c
}

// commonName is what the object of the slot asks for.
func (w *modelWorld) commonName(slot int) string {
	if w.sameName {
		return modelNames[0]
	}
	return modelNames[slot]
}

func secretNameOf(c *v1alpha1.DeviceCertificate) string {
	if c.Spec.Secret.Name != "" {
		return c.Spec.Secret.Name
	}
	return modelSecrets[slices.Index(modelNames[:], c.Name)]
}

func secretIndex(name string) int { return slices.Index(modelSecrets[:], name) }

func hashOf(c *v1alpha1.DeviceCertificate) string { return "v1:" + c.Spec.EnrollmentProfileID }

// replace makes c the present version of the object; the slot is empty afterwards when it is being deleted and nothing holds it.
func (w *modelWorld) replace(slot int, c *v1alpha1.DeviceCertificate) *v1alpha1.DeviceCertificate {
	c.ResourceVersion = w.next()
	w.outdated[slot], w.certs[slot] = w.certs[slot], c
	if c.DeletionTimestamp != nil && len(c.Finalizers) == 0 {
		w.certs[slot] = nil
	}
	return c
}

// patch writes an object if it is still the version that was seen.
func (w *modelWorld) patch(slot int, seen, wanted *v1alpha1.DeviceCertificate, fault modelFault) (*v1alpha1.DeviceCertificate, error) {
	if fault == faultBefore {
		return nil, errModelLost
	}
	live := w.certs[slot]
	switch {
	case live == nil:
		return nil, errModelNotFound
	case live.UID != seen.UID || live.ResourceVersion != seen.ResourceVersion:
		return nil, errModelConflict
	}
	w.writes++
	c := *wanted
	written := w.replace(slot, &c)
	if fault == faultAfter {
		return nil, errModelLost
	}
	return written, nil
}

// admits tells whether the API server would take an apply fenced by this uid and version: neither of them when there was none.
func (w *modelWorld) admits(name string, uid, version uint64) error {
	live := w.secrets[secretIndex(name)]
	switch {
	case w.forbidden:
		return errModelForbidden
	case live == nil && uid != 0, live != nil && (live.uid != uid || live.version != version):
		return errModelConflict
	}
	return nil
}

// apply writes a Secret, fenced.
func (w *modelWorld) apply(by *v1alpha1.DeviceCertificate, name string, uid, version uint64, content modelSecret, fault modelFault) (*modelSecret, error) {
	if fault == faultBefore {
		return nil, errModelLost
	}
	if err := w.admits(name, uid, version); err != nil {
		return nil, err
	}
	at := secretIndex(name)
	if live := w.secrets[at]; live != nil {
		if live.owner != "" && live.owner != by.Name {
			w.fail("I9: %s overwrites Secret %s of %s", by.Name, name, live.owner)
		}
		content.uid = live.uid
	}
	if content.broken || content.serial == "" {
		w.fail("I2: Secret %s is written without a whole pair", name)
	}
	w.writes++
	w.put(at, &content)
	if fault == faultAfter {
		return nil, errModelLost
	}
	return w.secrets[at], nil
}

// put stores a version of a Secret.
func (w *modelWorld) put(at int, s *modelSecret) {
	w.version++
	s.version = w.version
	s.uid = cmp.Or(s.uid, w.version)
	if old := w.secrets[at]; old != nil && old.serial != s.serial {
		w.backup[at] = old
	}
	w.secrets[at] = s
}

// modelAnswer is what came of a request that left.
type modelAnswer int

const (
	answerLost modelAnswer = iota
	answerIssued
	answerUnusable
	answerPending
	answerRefused
	answerNotSent
	answerThrottled
	answerUnauthorized
)

// post is the vendor's side of a request. serial is set when a certificate was issued.
func (w *modelWorld) post(a *v1alpha1.Attempt, behaviour modelFault) (answer modelAnswer, serial string) {
	w.calls++
	if w.down {
		return answerNotSent, ""
	}
	switch behaviour {
	case vendorRefuses:
		return answerRefused, ""
	case vendorUnreachable:
		return answerNotSent, ""
	case vendorThrottles:
		return answerThrottled, ""
	case vendorUnauthorized:
		return answerUnauthorized, ""
	case vendorPending:
		return answerPending, ""
	case vendorDrops:
		return answerLost, ""
	}
	if a.Kind == v1alpha1.AttemptRenew {
		predecessor := w.issued(a.PredecessorID, a.PredecessorSerial)
		if predecessor == nil || predecessor.revoked || predecessor.renewed || predecessor.notAfter.Sub(w.wall()) > modelValidity/2 {
			return answerRefused, ""
		}
		predecessor.renewed = true
	}
	line := w.commit(a.ID, a.ProfileID, a.CommonName)
	switch behaviour {
	case vendorLosesAnswer:
		return answerLost, ""
	case vendorSlow:
		line.committedAt, line.uncommitted = w.mono+modelPatience-time.Second, true
		line.visibleAt = line.committedAt + w.inventoryLag
		return answerLost, ""
	case vendorTooSlow:
		line.committedAt, line.uncommitted = w.mono+30*time.Minute, true
		line.visibleAt = line.committedAt + w.inventoryLag
		line.excused = true
		return answerLost, ""
	case vendorUnusable:
		return answerUnusable, line.serial
	}
	return answerIssued, line.serial
}

// commit adds a line to the ledger.
func (w *modelWorld) commit(attempt, profile, name string) *modelIssued {
	w.serials++
	serial := fmt.Sprintf("%04X", 0x1000+w.serials)
	w.ledger = append(w.ledger, modelIssued{
		id: "id-" + serial, serial: serial, attempt: attempt, profile: profile, name: name,
		notBefore: w.wall().Add(-modelBackdate), notAfter: w.wall().Add(modelValidity),
		committedAt: w.mono, visibleAt: w.mono + w.inventoryLag, excused: w.inventoryLag > modelLag || slices.Contains(w.voided, attempt),
	})
	return &w.ledger[len(w.ledger)-1]
}

// issued is the line of an id or, without one, of a serial number.
func (w *modelWorld) issued(id, serial string) *modelIssued {
	for i := range w.ledger {
		if line := &w.ledger[i]; id != "" && line.id == id || id == "" && serial != "" && line.serial == serial {
			return line
		}
	}
	return nil
}

// elapse lets time pass for everybody.
func (w *modelWorld) elapse(d time.Duration) {
	w.mono += d
	for i := range w.ledger {
		if line := &w.ledger[i]; line.uncommitted && line.committedAt <= w.mono {
			line.uncommitted = false
			at := now.Add(line.committedAt)
			line.notBefore, line.notAfter = at.Add(-modelBackdate), at.Add(modelValidity)
		}
	}
}

// search lists what the inventory shows of a profile and name.
func (w *modelWorld) search(profile, name string) (found []Candidate) {
	w.calls++
	for _, line := range w.ledger {
		if line.uncommitted || line.visibleAt > w.mono || line.profile != profile || line.name != name {
			continue
		}
		found = append(found, Candidate{
			CertificateID: line.id, Serial: line.serial, CommonName: line.name, NotBefore: line.notBefore, Revoked: line.revoked,
		})
	}
	return found
}

// revoke is the vendor's side of a revocation, and where it is checked that it was justified.
func (w *modelWorld) revoke(by *v1alpha1.DeviceCertificate, id string) {
	w.calls++
	line := w.issued(id, "")
	if line == nil || line.revoked {
		return
	}
	line.revoked = true
	if !line.received && line.foreign {
		w.fail("%s revokes %s, which is somebody else's", by.Name, line.serial)
	}
	if !line.received && w.policy != v1alpha1.OrphansRevoke && !w.marked {
		w.fail("%s revokes %s without proof that it is ours", by.Name, line.serial)
	}
	for slot, c := range w.certs[:w.objects] {
		if c == nil || c.DeletionTimestamp != nil || w.tampered[slot] || line.attempt != "" && c.Status.Attempt != nil && c.Status.Attempt.ID == line.attempt {
			continue
		}
		if held := w.secrets[secretIndex(secretNameOf(c))]; held != nil && held.owner == c.Name && held.serial == line.serial && !held.broken {
			w.fail("I3: %s revokes %s, which is in the Secret of object %d", by.Name, line.serial, slot)
		}
	}
}
