// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// open tells whether the attempt that bought the line is on record as not resolved yet.
func (w *modelWorld) open(line *modelIssued) bool {
	return slices.ContainsFunc(w.certs[:], func(c *v1alpha1.DeviceCertificate) bool {
		return c != nil && c.Status.Attempt != nil && c.Status.Attempt.ID == line.attempt
	})
}

// accounted tells whether the line is recorded, or about to be: an open attempt names it as what it replaces.
func (w *modelWorld) accounted(line *modelIssued) bool {
	return w.recorded(line) || slices.ContainsFunc(w.certs[:], func(c *v1alpha1.DeviceCertificate) bool {
		return c != nil && c.Status.Attempt != nil && c.Status.Attempt.PredecessorSerial == line.serial
	})
}

// recorded tells whether the line is in a Secret, or on record in a status as stored, replaced or orphaned; a window that names the
// attempt and no certificate counts.
func (w *modelWorld) recorded(line *modelIssued) bool {
	for _, s := range w.secrets {
		if s != nil && s.serial == line.serial && !s.broken {
			return true
		}
	}
	for _, c := range w.certs {
		if c == nil {
			continue
		}
		if inStatus(&c.Status, line.id, line.serial) {
			return true
		}
		if slices.ContainsFunc(c.Status.Orphans, func(o v1alpha1.Orphan) bool {
			return o.AttemptID == line.attempt && o.CertificateID == "" && o.SerialNumber == ""
		}) {
			return true
		}
	}
	return false
}

// settled tells whether nobody needs to account for the line.
func (w *modelWorld) settled(line *modelIssued) bool {
	return line.foreign || line.revoked || line.excused || line.uncommitted || !w.wall().Before(line.notAfter)
}

// excusing runs an edit that may destroy records: what only they accounted for is nobody's fault afterwards.
func (w *modelWorld) excusing(edit func()) {
	known := make([]bool, len(w.ledger), 64)
	for i := range w.ledger {
		line := &w.ledger[i]
		known[i] = line.excused || w.open(line) || w.accounted(line)
	}
	before := w.certs
	edit()
	for slot, c := range before {
		if c != nil && c.Status.Attempt != nil && (w.certs[slot] == nil || openAttemptID(w.certs[slot]) != c.Status.Attempt.ID) {
			w.voided = append(slices.Clone(w.voided), c.Status.Attempt.ID)
			if replaced := w.issued("", c.Status.Attempt.PredecessorSerial); replaced != nil {
				replaced.excused = true // only the attempt knew what it replaces
			}
		}
	}
	for i, was := range known {
		line := &w.ledger[i]
		line.excused = line.excused || was && !w.recorded(line) && (!w.open(line) || w.judged(line))
	}
}

// judged tells whether a process has already found the line in a Secret, and is about to close its attempt.
func (w *modelWorld) judged(line *modelIssued) bool {
	for p := range w.procs {
		for slot := range w.procs[p].flights {
			f := &w.procs[p].flights[slot]
			if f.attemptID() == line.attempt && (f.stage == stageRevokeOrphan || f.stage == stageConclude && f.edit != editDiscard && f.edit != editKeepOpen) {
				return true
			}
		}
	}
	return false
}

// check states what holds at every instant: every certificate that was bought is accounted for, or bought by an attempt that is open.
func (w *modelWorld) check() {
	var perObject map[string]int
	for i := range w.ledger {
		line := &w.ledger[i]
		if w.settled(line) || w.accounted(line) {
			continue
		}
		if !w.open(line) && !w.carried(line) {
			w.fail("I1: certificate %s of %s is nowhere on record", line.serial, line.attempt)
			return
		}
		if perObject == nil {
			perObject = map[string]int{}
		}
		if perObject[line.attempt]++; perObject[line.attempt] > 1 {
			w.fail("I1: %s has bought twice", line.attempt)
		}
	}
}

// carried tells whether a process still holds the answer to an attempt that somebody else closed, and will store or revoke it.
func (w *modelWorld) carried(line *modelIssued) bool {
	for p := range w.procs {
		for slot := range w.procs[p].flights {
			f := &w.procs[p].flights[slot]
			if f.stage != stageIdle && f.attemptID() == line.attempt && f.content.serial == line.serial {
				return true
			}
		}
	}
	return false
}

// intended checks an intent that was just recorded: the purchase is needed, by what the Secret and the object are in truth.
func (w *modelWorld) intended(f *modelFlight) {
	c := f.cert
	switch {
	case c.DeletionTimestamp != nil:
		w.fail("I15: %s buys while it is being deleted", c.Name)
	case c.Spec.Suspend:
		w.fail("%s buys while it is suspended", c.Name)
	case f.base.Status.Attempt != nil:
		w.fail("I6: %s buys while %s is open", c.Name, f.base.Status.Attempt.ID)
	}
	held := factsOf(secretNameOf(c), f.rehearsed, c)
	if held.State == SecretForeign {
		w.fail("I9: %s buys for the Secret of %s", c.Name, f.rehearsed.owner)
	}
	if !held.Usable() {
		held = f.previous
	}
	if !held.Usable() || held.State != SecretOurs || held.IssuanceHash != hashOf(c) {
		return
	}
	due, automatic := RenewalTime(c, held.Secret)
	renewal := c.Annotations[v1alpha1.AnnotationRenewRequestedAt]
	known := slices.Concat(c.Status.Orphans, f.base.Status.Orphans) // the wish to drop one may have been followed in the same run
	revoked := slices.ContainsFunc(known, func(o v1alpha1.Orphan) bool {
		return o.Outcome == v1alpha1.OrphanRevoked && (o.CertificateID == held.CertificateID || o.SerialNumber == held.Serial)
	})
	wish, _, _ := strings.Cut(c.Annotations[v1alpha1.AnnotationRevokeRequested], "/")
	if automatic && !f.snapshot.Now.Before(due) || renewal != "" && renewal != held.HandledRenewRequest || revoked || certs.SameSerial(wish, held.Serial) {
		return
	}
	w.fail("I5: %s buys although its Secret holds %s, which is what its spec asks for and not due", c.Name, held.Serial)
}

// sent checks a request that is about to leave: its attempt is the one on record.
func (w *modelWorld) sent(f *modelFlight) {
	live := w.certs[f.slot]
	if live == nil || live.UID != f.cert.UID || live.Generation != f.cert.Generation || live.Annotations[v1alpha1.AnnotationAbandonAttempt] == f.attempt.ID {
		return // edited within the seconds after the intent
	}
	if open := live.Status.Attempt; (open == nil || open.ID != f.attempt.ID) && !w.tampered[f.slot] {
		w.fail("I7: %s is sent, and not on record", f.attempt.ID)
	}
}

// neverWorse checks what is about to replace a Secret's content.
func (w *modelWorld) neverWorse(f *modelFlight, name string) {
	held := w.secrets[secretIndex(name)]
	if held == nil || held.broken || held.uid != f.target.uid || held.version != f.target.version || f.content.serial == "" {
		return
	}
	if f.content.notAfter.Before(held.notAfter) && held.hash == f.content.hash && !w.tampered[f.slot] {
		w.fail("I3: %s would be replaced by %s, which ends earlier", held.serial, f.content.serial)
	}
}

// heal ends every fault.
func (w *modelWorld) heal() {
	w.down, w.noSearch, w.noRevoke, w.unready, w.gone, w.issuerPaused, w.forbidden = false, false, false, false, false, false, false
	w.inventoryLag = 0
	for p := range w.processes {
		pr := &w.procs[p]
		pr.offset, pr.measured, pr.connecting, pr.lame = 0, 0, false, false
	}
}

// converge lets a healed world come to rest, and answers whether it did.
func (w *modelWorld) converge() {
	const rounds = 400
	w.heal()
	for range rounds {
		if w.round() {
			continue
		}
		if w.rested() {
			w.still()
			return
		}
		if !w.sleep() {
			break
		}
	}
	w.fail("I12: no rest: %s", w.describe())
}

// round lets every process look at every object and finish what comes of it; it answers whether anything happened.
func (w *modelWorld) round() bool {
	flew := false
	for p := range w.processes {
		for slot := range w.objects {
			w.sync(p, slot, true, true)
			for range 64 {
				idle := w.procs[p].flights[slot].stage == stageIdle
				w.step(p, slot, faultNone)
				w.check()
				landed := w.procs[p].flights[slot].stage == stageIdle
				flew = flew || !idle || !landed
				if landed {
					break
				}
			}
		}
	}
	return flew && w.problem == ""
}

// sleep passes the time until the next object is due; false when none ever is.
func (w *modelWorld) sleep() bool {
	next := w.nextDue()
	if next == 0 || w.problem != "" {
		return false
	}
	w.elapse(max(next-w.mono, time.Second))
	return true
}

// rested tells whether every object is Ready, or rightly waits for a person, and no process is only pausing after a step that failed.
func (w *modelWorld) rested() bool {
	for slot, c := range w.certs[:w.objects] {
		if c != nil && (!w.atRest(c) || w.pausing(slot)) {
			return false
		}
	}
	return true
}

// pausing tells whether a process holds an object back for a moment.
func (w *modelWorld) pausing(slot int) bool {
	for p := range w.processes {
		if m := &w.procs[p].memory[slot]; w.certs[slot] != nil && m.uid == w.certs[slot].UID && m.notBefore > w.mono && w.procs[p].due[slot] > 0 {
			return true
		}
	}
	return false
}

func (w *modelWorld) atRest(c *v1alpha1.DeviceCertificate) bool {
	status := &c.Status
	if c.DeletionTimestamp != nil || status.ObservedGeneration != c.Generation {
		return false
	}
	if status.Attempt != nil {
		return status.Attempt.RequestID != "" && c.Annotations[v1alpha1.AnnotationAbandonAttempt] != status.Attempt.ID
	}
	held := w.secrets[secretIndex(secretNameOf(c))]
	ready := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	switch {
	case c.Spec.Suspend:
		return true
	case held != nil && held.owner != c.Name && held.owner != "":
		return apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled)
	case held != nil && held.owner == "" && (status.Issued == nil || held.serial != status.Issued.FingerprintSHA256):
		return apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled)
	case c.Spec.Renewal.Policy == v1alpha1.RenewalDisabled && held != nil && !w.wall().Before(held.notAfter):
		return apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled)
	}
	if ready != nil && ready.Status == "True" && status.Failures != nil && status.Failures.Terminal {
		return true // the vendor refuses the renewal; everything else waits for it
	}
	return ready != nil && ready.Status == "True" && len(w.pendingRevocations(c)) == 0 && apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionIssuing) == nil
}

func (w *modelWorld) pendingRevocations(c *v1alpha1.DeviceCertificate) []v1alpha1.SupersededCertificate {
	due, _ := DueRevocations(&Snapshot{Now: w.wall(), Certificate: c, Secret: w.readSecret(secretNameOf(c), c).Secret})
	return due
}

// still checks the world at rest: what is said is true, nothing is unaccounted for, and nothing happens until something is due.
func (w *modelWorld) still() {
	for slot, c := range w.certs[:w.objects] {
		if c != nil {
			w.truthful(slot, c)
		}
	}
	for i := range w.ledger {
		line := &w.ledger[i]
		if !w.settled(line) && !w.accounted(line) && !w.open(line) {
			w.fail("I1: certificate %s of %s is on nobody's record at rest", line.serial, line.attempt)
		}
	}
	writes, calls := w.writes, w.calls
	for _, wait := range []time.Duration{0, time.Second, time.Minute} {
		if due := w.nextDue(); due > 0 && w.mono+wait >= due {
			break
		}
		w.elapse(wait)
		w.round()
	}
	if w.writes != writes || w.calls != calls {
		w.fail("I12: %d writes and %d calls at rest: %s", w.writes-writes, w.calls-calls, w.describe())
	}
}

// nextDue is when somebody looks again without an event; zero for never.
func (w *modelWorld) nextDue() (next time.Duration) {
	for p := range w.processes {
		for _, due := range w.procs[p].due {
			if due > 0 && (next == 0 || due < next) {
				next = due
			}
		}
	}
	return next
}

// truthful checks that an object that is said to be Ready has in its Secret what is said of it.
func (w *modelWorld) truthful(slot int, c *v1alpha1.DeviceCertificate) {
	if !apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) || c.Spec.Suspend || c.Status.Attempt != nil {
		return
	}
	held := w.secrets[secretIndex(secretNameOf(c))]
	switch {
	case held == nil, held.broken:
		w.fail("I14: %s is Ready without a whole pair", c.Name)
	case held.serial != c.Status.SerialNumber:
		w.fail("I14: %s says %s, its Secret holds %s", c.Name, c.Status.SerialNumber, held.serial)
	case held.hash != hashOf(c):
		w.fail("I14: %s is Ready with what its spec no longer asks for", c.Name)
	case !w.wall().Before(held.notAfter):
		w.fail("I14: %s is Ready and has expired", c.Name)
	}
	if line := w.issued("", cmp.Or(held.serial, "-")); line != nil && line.revoked && !line.foreign && !w.tampered[slot] {
		w.fail("I3: %s is Ready with %s, which the operator has revoked", c.Name, line.serial)
	}
}

// describe says in a line how the objects stand.
func (w *modelWorld) describe() string {
	var b strings.Builder
	for slot, c := range w.certs[:w.objects] {
		if c == nil {
			continue
		}
		fmt.Fprintf(&b, "[%s", c.Name)
		for _, condition := range c.Status.Conditions {
			fmt.Fprintf(&b, " %s=%s/%s", condition.Type, condition.Status, condition.Reason)
		}
		fmt.Fprintf(&b, " attempt=%q deleted=%v", openAttemptID(c), c.DeletionTimestamp != nil)
		for p := range w.processes {
			fmt.Fprintf(&b, " p%d:due=%v,stage=%d", p, w.procs[p].due[slot]-w.mono, w.procs[p].flights[slot].stage)
		}
		b.WriteString("]")
	}
	return b.String()
}
