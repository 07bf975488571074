// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"slices"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// modelStage is where a flight stands: what it will do in its next step.
type modelStage int

const (
	stageIdle modelStage = iota
	stageReport
	stageRender
	stageRenderReport
	stageFinalizer
	stageRehearse
	stageIntent
	stageSend
	stageReceive
	stageStore
	stageConclude
	stageReadBack
	stageSettle
	stageSearch
	stageKin
	stageJudge
	stageRevokeOrphan
	stageConfirm
	stageRevoke
	stageFinalize
	stageDeleteSecret
	stageUnfinalize
)

// modelFault is what goes wrong in one step.
type modelFault int

const (
	faultNone modelFault = iota
	// faultBefore: the call does not arrive; faultAfter: it has its effect, and its answer is lost.
	faultBefore
	faultAfter
	vendorLosesAnswer
	vendorSlow
	vendorTooSlow
	vendorDrops
	vendorRefuses
	vendorUnreachable
	vendorThrottles
	vendorUnauthorized
	vendorPending
	vendorUnusable
	modelFaults
)

// modelEdit is what a conclusion changes in the status.
type modelEdit int

const (
	editFailure modelEdit = iota
	editNotIssued
	editKeepOpen
	editDiscard
	editPending
	editStored
	editStoredAfterAll
	editClosed
	editRevoked
	editCondemned
)

// modelFlight is one reconcile on its way. It is a value, like the world.
type modelFlight struct {
	stage, then modelStage
	slot        int
	base, cert  *v1alpha1.DeviceCertificate

	secret, previous modelFacts
	// target is the Secret as the next write finds it; rehearsed is the one that the rehearsal found.
	target    modelFacts
	rehearsed *modelSecret
	snapshot  Snapshot
	plan      Plan
	attempt   *v1alpha1.Attempt
	intentAt  time.Duration
	// misdated: the API server's clock contradicts the time that the intent bears.
	misdated bool
	answer   modelAnswer
	// content is the private key on its way to the Secret.
	content     modelSecret
	storeBegan  time.Duration
	storeTried  bool
	edit        modelEdit
	concludeEnd time.Duration
	failure     *v1alpha1.Failures
	message     string

	replaced, issued *v1alpha1.IssuedCertificate
	// begins is when the issued one is valid from.
	begins time.Time
	// direct: the orphan of an attempt that is closed already is revoked without being recorded.
	direct  bool
	orphans []v1alpha1.Orphan
	found   []Candidate
	proven  []Candidate
	// mayRevoke: the account could revoke when the flight looked, which is what it goes by to its end.
	mayRevoke bool

	// due are the predecessors to revoke; finalizing, on behalf of a deletion.
	due        []v1alpha1.SupersededCertificate
	record     string
	refused    string
	finalizing bool
	failed     bool
}

// step takes one step of a process for an object: the next one of its flight, or a new reconcile.
func (w *modelWorld) step(p, slot int, fault modelFault) {
	f := w.procs[p].flights[slot] // a copy: what became of it is put back below
	if f.stage == stageIdle {
		w.reconcile(p, slot)
		return
	}
	w.advance(p, &f, fault)
	w.procs[p].flights[slot] = f
}

func (w *modelWorld) advance(p int, f *modelFlight, fault modelFault) {
	switch f.stage {
	case stageReport:
		w.stepReport(p, f, fault)
	case stageRender:
		w.stepRender(p, f, fault)
	case stageFinalizer:
		w.stepFinalizer(p, f, fault)
	case stageRehearse:
		w.stepRehearse(p, f, fault)
	case stageIntent:
		w.stepIntent(p, f, fault)
	case stageSend:
		w.stepSend(p, f, fault)
	case stageReceive:
		w.stepReceive(p, f)
	case stageStore:
		w.stepStore(p, f, fault)
	case stageConclude:
		w.stepConclude(p, f, fault)
	case stageReadBack:
		w.stepReadBack(p, f, fault)
	case stageSettle:
		w.stepSettle(p, f)
	case stageSearch:
		w.stepSearch(p, f, fault)
	case stageKin:
		w.stepKin(p, f)
	case stageJudge:
		w.stepJudge(p, f)
	case stageRevokeOrphan:
		w.stepRevokeOrphan(p, f, fault)
	case stageConfirm:
		w.stepConfirm(p, f, fault)
	case stageRevoke:
		w.stepRevoke(p, f, fault)
	case stageFinalize:
		w.stepFinalize(p, f)
	case stageDeleteSecret:
		w.stepDeleteSecret(p, f, fault)
	case stageUnfinalize:
		w.stepUnfinalize(p, f, fault)
	}
}

// land ends a flight; the object is looked at again.
func (w *modelWorld) land(p int, f *modelFlight) {
	w.procs[p].due[f.slot] = max(w.mono, 1) // zero is never
	f.stage = stageIdle
}

func (w *modelWorld) wrote(p, slot int, c *v1alpha1.DeviceCertificate) {
	m := &w.procs[p].memory[slot]
	if m.uid == c.UID {
		m.written, m.writtenAt = c.ResourceVersion, w.mono
	}
}

func (w *modelWorld) stepReport(p int, f *modelFlight, fault modelFault) {
	written, err := w.patch(f.slot, f.base, f.cert, fault)
	if err != nil {
		w.stumbledQueue(p, f.slot)
		f.stage = stageIdle
		return
	}
	w.wrote(p, f.slot, written)
	f.use(written)
	f.base = written
	f.stage = f.then
}

// stumbledQueue: the work queue repeats a reconcile that ended with an error.
func (w *modelWorld) stumbledQueue(p, slot int) {
	w.procs[p].due[slot] = w.mono + time.Second
}

func (w *modelWorld) stepRender(p int, f *modelFlight, fault modelFault) {
	pr, m := &w.procs[p], &w.procs[p].memory[f.slot]
	source, name := secretNameOf(f.base), secretNameOf(f.base)
	if !f.secret.Usable() {
		source = f.base.Status.SecretName
	}
	live := w.secrets[secretIndex(source)]
	if live == nil || live.broken {
		m.distrusted = m.distrusted || live != nil
		w.stumbledQueue(p, f.slot)
		f.stage = stageIdle
		return
	}
	content := *live
	content.uid, content.owner, content.ownerUID, content.look = 0, f.cert.Name, f.cert.UID, ChainWanted(&f.cert.Spec)
	if content.hash == "" {
		content.hash = f.snapshot.IssuanceHash
	}
	if content.issuedAt.IsZero() {
		content.issuedAt = content.notBefore
	}
	written, err := w.apply(f.cert, name, f.secret.uid, f.secret.version, content, fault)
	switch {
	case errors.Is(err, errModelForbidden):
		f.secret.Refused = "forbidden"
		m.facts.Refused = f.secret.Refused
	case err != nil:
		m.distrusted = true
		w.stumbledQueue(p, f.slot)
		f.stage = stageIdle
		return
	default:
		if source != name && f.cert.Spec.Secret.DeletionPolicy == v1alpha1.DeletionDelete {
			w.deleteSecret(f.cert, source)
		}
		f.secret = factsOf(name, written, f.cert)
		w.remember(p, f.slot, f.cert, f.secret)
	}
	f.snapshot.Secret = f.secret.Secret
	f.plan = Decide(&f.snapshot)
	status := f.cert.Status
	f.describe(&status)
	f.applyConditions(&status, f.plan)
	f.use(withStatus(f.cert, status))
	f.stage, f.then = stageReport, stageIdle
	pr.due[f.slot] = w.after(f.plan, f.snapshot.Now)
}

// conclude enters the stage that writes the outcome of a flight.
func (w *modelWorld) conclude(f *modelFlight, edit modelEdit) {
	f.stage, f.edit, f.concludeEnd = stageConclude, edit, w.mono+time.Minute
}

func (w *modelWorld) stepConclude(p int, f *modelFlight, fault modelFault) {
	status := f.cert.Status
	observed := f.cert
	w.applyEdit(p, f, &status)
	f.use(withStatus(observed, status))
	f.snapshot.Now, f.snapshot.InFlight, f.snapshot.Secret = w.clock(p), false, f.secret.Secret
	f.snapshot.SettlesAt = f.snapshot.Now.Add(modelStore)
	w.observeIssuer(p, f)
	f.describe(&status)
	f.use(withStatus(observed, status))
	f.applyConditions(&status, Decide(&f.snapshot))
	written, err := w.patch(f.slot, observed, withStatus(observed, status), fault)
	if err == nil {
		m := &w.procs[p].memory[f.slot]
		m.stumbles, m.notBefore = 0, 0
		w.wrote(p, f.slot, written)
		f.use(written)
		w.concluded(p, f, true)
		return
	}
	f.use(observed)
	switch {
	case errors.Is(err, errModelNotFound), w.mono > f.concludeEnd:
		w.concluded(p, f, false)
	case errors.Is(err, errModelConflict):
		live := w.certs[f.slot]
		if live == nil {
			return
		}
		if live.UID != observed.UID || openAttemptID(live) != f.attemptID() {
			w.concluded(p, f, false)
			return
		}
		f.use(live)
	}
}

func (f *modelFlight) attemptID() string {
	if f.attempt == nil {
		return ""
	}
	return f.attempt.ID
}

func (w *modelWorld) applyEdit(p int, f *modelFlight, status *v1alpha1.DeviceCertificateStatus) {
	var open v1alpha1.Attempt
	if status.Attempt != nil {
		open = *status.Attempt
	}
	switch f.edit {
	case editFailure:
		f.recordFailure(status)
	case editNotIssued:
		status.Attempt = nil
		f.recordFailure(status)
	case editKeepOpen:
		open.Failure = "lost"
		status.Attempt = &open
	case editDiscard:
		open.CertificateID, open.Failure, open.FailureReason = f.content.certificateID, "cannot be kept", f.message
		status.Attempt = &open
	case editPending:
		open.RequestID = "request"
		status.Attempt = &open
	case editStored, editStoredAfterAll:
		closeAsStored(status, f.replaced, f.issued, f.begins, w.clock(p))
	case editClosed:
		status.Attempt = nil
		status.Orphans = slices.Concat(f.orphans, status.Orphans)
		status.Orphans = status.Orphans[:min(len(status.Orphans), v1alpha1.MaxOrphans)]
		f.recordFailure(status)
	case editCondemned:
		open.CertificateID = f.proven[0].CertificateID
		status.Attempt = &open
	case editRevoked:
		serial := f.due[0].SerialNumber
		at := slices.IndexFunc(status.Superseded, func(s v1alpha1.SupersededCertificate) bool { return s.SerialNumber == serial })
		switch {
		case at < 0:
		case f.refused != "":
			status.Superseded = slices.Clone(status.Superseded)
			status.Superseded[at].RevocationFailure = f.refused
			f.handleRetry(status)
		default:
			status.Superseded = slices.Delete(slices.Clone(status.Superseded), at, at+1)
		}
	}
}

func (f *modelFlight) recordFailure(status *v1alpha1.DeviceCertificateStatus) {
	status.Failures = f.failure
	f.handleRetry(status)
}

func (f *modelFlight) handleRetry(status *v1alpha1.DeviceCertificateStatus) {
	if RetryRequested(f.cert) {
		status.LastHandledRetryRequest = f.cert.Annotations[v1alpha1.AnnotationRetryRequestedAt]
	}
}

// concluded goes on after a conclusion, that was written or not.
func (w *modelWorld) concluded(p int, f *modelFlight, reported bool) {
	switch {
	case f.edit == editNotIssued && f.answer == answerThrottled:
		w.stumbled(p, f.slot)
	case f.edit == editStoredAfterAll && !reported:
		w.stumbled(p, f.slot)
	case f.edit == editDiscard && !reported:
		a := *f.attempt
		a.CertificateID = f.content.certificateID
		f.attempt, f.direct, f.stage = &a, true, stageSettle
		return
	case f.edit == editCondemned:
		if stored := w.readSecret(f.attempt.SecretName, f.cert); reported && (stored.AttemptID != f.attempt.ID || stored.State == SecretForeign) {
			f.stage = stageRevokeOrphan
			return
		}
		w.unresolved(p, f)
		return
	case f.edit == editRevoked && reported && len(f.due) > 1:
		f.due, f.stage = f.due[1:], stageConfirm
		return
	}
	w.land(p, f)
}
