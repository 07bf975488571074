// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// A modelEvent is a choice of the scheduler, of a user or of fate: which kind, to which process, about which object, and how.
type modelEvent uint16

const (
	eventStep modelEvent = iota
	eventFaultyStep
	eventSync
	eventPass
	eventCrash
	eventUser
	eventTrouble
	modelEvents
)

// modelDice says how often each kind of event comes.
var modelDice = [16]modelEvent{
	eventStep, eventStep, eventStep, eventStep, eventStep, eventStep, eventFaultyStep, eventFaultyStep, eventFaultyStep,
	eventSync, eventPass, eventPass, eventUser, eventUser, eventCrash, eventTrouble,
}

func (e modelEvent) kind() modelEvent { return modelDice[e&15] }
func (e modelEvent) process() int     { return int(e >> 4 & 1) }
func (e modelEvent) object() int      { return int(e >> 5 & 1) }
func (e modelEvent) fresh() bool      { return e>>6&1 == 0 }
func (e modelEvent) how() int         { return int(e >> 7) }

var modelWaits = [...]time.Duration{
	time.Second, 6 * time.Second, 11 * time.Second, 61 * time.Second, 5 * time.Minute, 375 * time.Second, 20 * time.Minute, time.Hour,
	6 * time.Hour, day, 20 * day, 61 * day, 77 * day, 91 * day,
}

// happen lets one event happen and checks what must hold after it. It answers in words what happened.
func (w *modelWorld) happen(e modelEvent) {
	p, slot := e.process()%w.processes, e.object()%w.objects
	switch e.kind() {
	case eventStep:
		for range 1 + e.how()&7 {
			if e.fresh() {
				w.sync(p, slot, true, true)
			}
			w.step(p, slot, faultNone)
			w.check()
		}
	case eventFaultyStep:
		w.step(p, slot, modelFault(e.how()%int(modelFaults)))
	case eventSync:
		w.sync(p, slot, e.how()&1 == 0, e.how()&2 == 0)
	case eventPass:
		w.elapse(modelWaits[e.how()%len(modelWaits)])
	case eventCrash:
		switch e.how() & 3 {
		case 0:
			w.procs[p].lame = true
		case 1:
			w.restart(p, true)
		default:
			w.restart(p, false)
		}
	case eventUser:
		w.user(slot, e.how())
	case eventTrouble:
		w.trouble(p, slot, e.how())
	}
	w.check()
}

func (w *modelWorld) edit(slot int, spec bool, change func(*v1alpha1.DeviceCertificate)) {
	live := w.certs[slot]
	if live == nil {
		return
	}
	c := *live
	c.Annotations = maps.Clone(c.Annotations)
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	change(&c)
	if spec {
		c.Generation++
	}
	w.replace(slot, &c)
}

func (w *modelWorld) annotate(slot int, key, value string) {
	w.edit(slot, false, func(c *v1alpha1.DeviceCertificate) { c.Annotations[key] = value })
}

// user is what people, GitOps and backup tools do.
func (w *modelWorld) user(slot, how int) {
	c := w.certs[slot]
	if c == nil {
		w.create(slot)
		w.tampered[slot] = slices.ContainsFunc(w.secrets[:], func(s *modelSecret) bool { return s != nil && s.owner == modelNames[slot] })
		return
	}
	name := secretNameOf(c)
	at := secretIndex(name)
	if touchesSecret := how%26 >= 9 && how%26 <= 14; touchesSecret && w.tampered[slot] {
		w.overwritten(slot, at) // the status, that should remember what was there, was written by others
	}
	switch how % 26 {
	case 0, 1:
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) {
			c.Spec.EnrollmentProfileID = map[string]string{"IOT_1": "IOT_2", "IOT_2": "IOT_1"}[c.Spec.EnrollmentProfileID]
		})
	case 2:
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) {
			if c.Spec.Secret.Outputs = leafOnly; ChainWanted(&w.certs[slot].Spec) == v1alpha1.ChainLeafOnly {
				c.Spec.Secret.Outputs = nil
			}
		})
	case 3:
		w.tampered[slot] = w.tampered[slot] || w.secrets[2] != nil // it may hold what was replaced elsewhere
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = modelSecrets[2] })
	case 4:
		w.tampered[slot] = w.tampered[slot] || w.secrets[slot] != nil
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "" })
	case 5:
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = !c.Spec.Suspend })
	case 6:
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) {
			if c.Spec.Renewal.Policy = v1alpha1.RenewalDisabled; w.certs[slot].Spec.Renewal.Policy == v1alpha1.RenewalDisabled {
				c.Spec.Renewal.Policy = v1alpha1.RenewalAutomatic
			}
		})
	case 7:
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) { c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke })
	case 8:
		w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Revocation.OnDelete, c.Spec.Secret.DeletionPolicy = v1alpha1.RevocationRevoke, v1alpha1.DeletionDelete
		})
	case 9, 10:
		w.excusing(func() { w.secrets[at] = nil })
	case 11:
		w.swap(at, func(s *modelSecret) { s.broken = true })
	case 12: // another pair, that somebody else bought
		line := w.foreign(c)
		w.overwritten(slot, at)
		w.swap(at, func(s *modelSecret) {
			s.serial, s.notBefore, s.notAfter, s.broken = line.serial, line.notBefore, line.notAfter, false
			w.issued("", line.serial).received = true // whoever holds its key may revoke it
		})
	case 13: // a backup of the Secret is restored
		if w.backup[at] != nil {
			w.overwritten(slot, at)
			old := *w.backup[at]
			if w.secrets[at] == nil {
				old.uid = 0
			} else {
				old.uid = w.secrets[at].uid
			}
			w.excusing(func() { w.put(at, &old) })
		}
	case 14: // its annotations are stripped
		w.swap(at, func(s *modelSecret) {
			s.owner, s.ownerUID, s.certificateID, s.attemptID, s.hash, s.handledRenewWish, s.issuedAt = "", "", "", "", "", "", time.Time{}
		})
	case 15, 16:
		if c.DeletionTimestamp == nil {
			w.excusing(func() {
				w.edit(slot, true, func(c *v1alpha1.DeviceCertificate) {
					deleted := metav1.NewTime(w.wall())
					c.DeletionTimestamp = &deleted
				})
			})
		}
	case 17:
		if c.DeletionTimestamp != nil {
			w.excusing(func() { w.edit(slot, false, func(c *v1alpha1.DeviceCertificate) { c.Finalizers = nil }) })
		}
	case 18:
		w.forgotten(slot)
		w.excusing(func() {
			w.edit(slot, false, func(c *v1alpha1.DeviceCertificate) {
				c.Status = v1alpha1.DeviceCertificateStatus{ObservedGeneration: -1}
			})
		})
	case 19:
		w.forgotten(slot)
		w.excusing(func() { w.forge(slot, how/26) })
	case 20:
		w.annotate(slot, v1alpha1.AnnotationRenewRequestedAt, w.wall().Format(time.RFC3339))
	case 21:
		w.annotate(slot, v1alpha1.AnnotationRetryRequestedAt, w.wall().Format(time.RFC3339))
	case 22:
		w.annotate(slot, v1alpha1.AnnotationAbandonAttempt, openAttemptID(c))
	case 23:
		if len(c.Status.Orphans) > 0 {
			attempt := c.Status.Orphans[0].AttemptID
			w.annotate(slot, v1alpha1.AnnotationAcknowledgeOrphan, attempt)
			for i := range w.ledger {
				line := &w.ledger[i]
				line.excused = line.excused || line.attempt == attempt || slices.ContainsFunc(c.Status.Orphans, func(o v1alpha1.Orphan) bool {
					return o.AttemptID == attempt && o.SerialNumber == line.serial
				})
			}
		}
	case 24:
		if c.Status.SerialNumber != "" {
			w.annotate(slot, v1alpha1.AnnotationRevokeRequested, c.Status.SerialNumber+"/key_compromise")
		}
	case 25:
		if len(c.Status.Superseded) > 0 {
			w.annotate(slot, v1alpha1.AnnotationRevokeRequested, c.Status.Superseded[0].SerialNumber+"/superseded")
		}
	}
}

// forgotten: somebody writes over what the status remembers.
func (w *modelWorld) forgotten(slot int) {
	w.tampered[slot] = true
	for i := range w.ledger {
		line := &w.ledger[i]
		line.excused = line.excused || inStatus(&w.certs[slot].Status, line.id, line.serial)
	}
}

// overwritten: somebody replaces the pair in a Secret. When the status does not say that it was issued, nothing remembers it.
func (w *modelWorld) overwritten(slot, at int) {
	w.tampered[slot] = true
	if w.secrets[at] == nil {
		return
	}
	var issued *v1alpha1.IssuedCertificate
	if w.certs[slot] != nil {
		issued = w.certs[slot].Status.Issued
	}
	if line := w.issued("", w.secrets[at].serial); line != nil && (issued == nil || issued.SerialNumber != line.serial) {
		line.excused = true
	}
}

// swap edits the Secret by hand.
func (w *modelWorld) swap(at int, change func(*modelSecret)) {
	if w.secrets[at] == nil {
		return
	}
	s := *w.secrets[at]
	w.excusing(func() {
		change(&s)
		w.put(at, &s)
	})
}

// foreign is a certificate that somebody else buys: under the same name, unless the issuer's owner declared that nobody does so.
func (w *modelWorld) foreign(c *v1alpha1.DeviceCertificate) modelIssued {
	name := c.Name
	if w.policy == v1alpha1.OrphansRevoke {
		name = "elsewhere"
	}
	line := w.commit("", c.Spec.EnrollmentProfileID, name)
	line.foreign = true
	return *line
}

// forge writes a status that is not true. The shipped roles let nobody do so; it must not cost what is not ours.
func (w *modelWorld) forge(slot, how int) {
	w.edit(slot, false, func(c *v1alpha1.DeviceCertificate) {
		late := metav1.NewTime(w.wall().AddDate(50, 0, 0))
		s := &c.Status
		switch how % 5 {
		case 0:
			s.Attempt = &v1alpha1.Attempt{
				ID: "forged-" + strconv.Itoa(w.serials), Kind: v1alpha1.AttemptEnroll, ProfileID: "IOT_1", CommonName: w.commonName(slot),
				SecretName: modelSecrets[0], StartedAt: metav1.NewTime(w.wall()), IssuanceHash: "v1:IOT_1",
			}
		case 1:
			s.Failures = &v1alpha1.Failures{Count: 9, NextTime: &late, Generation: c.Generation, IssuerVersion: w.issuerVersion, Terminal: true, Reason: v1alpha1.ReasonRefused}
		case 2:
			s.Replacements = &v1alpha1.Replacements{Count: 1 << 20, LastTime: late}
		case 3:
			s.SerialNumber, s.CertificateID, s.NotAfter, s.IssuanceHash = "F0F0", "id-F0F0", &late, "v1:IOT_9"
		case 4:
			foreign := w.foreign(c)
			s.Superseded = []v1alpha1.SupersededCertificate{{
				IssuedCertificate: v1alpha1.IssuedCertificate{CertificateID: foreign.id, SerialNumber: foreign.serial, NotAfter: late, ProfileID: foreign.profile},
				SupersededAt:      metav1.NewTime(w.wall().AddDate(0, 0, -9)),
			}}
		}
	})
}

// trouble comes from the vendor, the cluster and the clocks.
func (w *modelWorld) trouble(p, slot, how int) {
	switch how % 14 {
	case 0:
		w.down = !w.down
	case 1:
		w.noSearch = !w.noSearch
	case 2:
		w.noRevoke = !w.noRevoke
	case 3:
		w.unready = !w.unready
	case 4:
		w.gone = !w.gone
	case 5:
		w.issuerPaused = !w.issuerPaused
	case 6:
		w.forbidden = !w.forbidden
	case 7:
		w.issuerVersion = fmt.Sprintf("issuer-%d", how)
	case 8:
		w.inventoryLag = []time.Duration{0, modelLag, 2 * time.Hour}[how/14%3]
	case 9:
		w.procs[p].connecting = !w.procs[p].connecting
	case 10, 11:
		w.procs[p].offset = []time.Duration{0, 4 * time.Minute, -4 * time.Minute, 61 * day, -61 * day, 3650 * day}[how/14%6]
	case 12:
		if w.policy != v1alpha1.OrphansRevoke && w.certs[slot] != nil {
			w.foreign(w.certs[slot])
		}
	case 13:
		if line := w.issued("", w.serialOf(slot)); line != nil && w.certs[slot] != nil {
			line.renewed = true // somebody renewed it by hand
		}
	}
}

func (w *modelWorld) serialOf(slot int) string {
	if w.certs[slot] == nil {
		return ""
	}
	return w.certs[slot].Status.SerialNumber
}
