// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
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

func (w *modelWorld) stepFinalizer(p int, f *modelFlight, fault modelFault) {
	f.stage = stageRehearse
	if slices.Contains(f.cert.Finalizers, v1alpha1.Finalizer) {
		return
	}
	wanted := *f.base
	wanted.Finalizers = []string{v1alpha1.Finalizer}
	written, err := w.patch(f.slot, f.base, &wanted, fault)
	if err != nil {
		w.unprepared(p, f, err)
		return
	}
	f.use(written)
}

// unprepared ends a purchase before its intent.
func (w *modelWorld) unprepared(p int, f *modelFlight, err error) {
	m := &w.procs[p].memory[f.slot]
	if errors.Is(err, errModelForbidden) {
		w.record(p, f, v1alpha1.Failures{Reason: v1alpha1.ReasonSecretRefused, Terminal: true})
		f.attempt = nil
		w.conclude(f, editFailure)
		return
	}
	m.distrusted = m.distrusted || errors.Is(err, errModelConflict)
	w.stumbled(p, f.slot)
	w.land(p, f)
}

func (w *modelWorld) stepRehearse(p int, f *modelFlight, fault modelFault) {
	f.attempt = w.newAttempt(p, f)
	err := w.admits(secretNameOf(f.cert), f.secret.uid, f.secret.version)
	if fault == faultBefore || fault == faultAfter {
		err = errModelLost
	}
	if err != nil {
		w.unprepared(p, f, err)
		return
	}
	f.rehearsed = w.secrets[secretIndex(secretNameOf(f.cert))]
	f.stage = stageIntent
	f.intentAt = w.mono
}

func (w *modelWorld) newAttempt(p int, f *modelFlight) *v1alpha1.Attempt {
	w.attempts++
	a := &v1alpha1.Attempt{
		ID: "attempt-" + strconv.Itoa(w.attempts), Kind: v1alpha1.AttemptEnroll, Reason: f.plan.Reason, Generation: f.cert.Generation,
		ProfileID: f.cert.Spec.EnrollmentProfileID, CommonName: w.commonName(f.slot), SecretName: secretNameOf(f.cert),
		IssuanceHash: f.snapshot.IssuanceHash, StartedAt: *secondsOf(w.clock(p)), RequestTimeoutSeconds: int32(modelTimeout / time.Second),
	}
	if f.plan.Action == ActionRenew {
		a.Kind = v1alpha1.AttemptRenew
	}
	if known := f.predecessor(); known != nil {
		a.PredecessorSerial = known.SerialNumber
		if known == f.cert.Status.Issued {
			a.PredecessorID = known.CertificateID
		}
	}
	return a
}

func (w *modelWorld) stepIntent(p int, f *modelFlight, fault modelFault) {
	status := f.cert.Status
	f.describe(&status)
	status.Attempt = f.attempt
	if RetryRequested(f.cert) {
		status.LastHandledRetryRequest = f.cert.Annotations[v1alpha1.AnnotationRetryRequestedAt]
	}
	f.applyConditions(&status, f.plan)
	written, err := w.patch(f.slot, f.cert, withStatus(f.cert, status), fault)
	switch {
	case err == nil:
		f.use(written)
	case errors.Is(err, errModelLost):
		live := w.certs[f.slot]
		if live == nil || openAttemptID(live) != f.attempt.ID || live.Generation != f.attempt.Generation {
			w.unprepared(p, f, err)
			return
		}
		f.use(live)
	default:
		w.unprepared(p, f, err)
		return
	}
	w.intended(f)
	f.misdated = f.attempt.StartedAt.Sub(w.wall()).Abs() > clockTolerance
	f.stage = stageSend
}

func openAttemptID(c *v1alpha1.DeviceCertificate) string {
	if c.Status.Attempt == nil {
		return ""
	}
	return c.Status.Attempt.ID
}

func (w *modelWorld) stepSend(p int, f *modelFlight, fault modelFault) {
	f.stage = stageReceive
	if w.procs[p].lame || f.misdated || w.mono-f.intentAt > 5*time.Second {
		f.answer = answerNotSent
		return
	}
	w.sent(f)
	answer, serial := w.post(f.attempt, fault)
	f.answer = answer
	if line := w.issued("", serial); line != nil {
		f.content = modelSecret{
			serial: line.serial, certificateID: line.id, notBefore: line.notBefore, notAfter: line.notAfter,
			owner: f.cert.Name, ownerUID: f.cert.UID, look: ChainWanted(&f.cert.Spec), attemptID: f.attempt.ID, hash: f.attempt.IssuanceHash,
			handledRenewWish: f.cert.Annotations[v1alpha1.AnnotationRenewRequestedAt],
		}
	}
}

func (w *modelWorld) stepReceive(p int, f *modelFlight) {
	pr := &w.procs[p]
	if f.answer != answerLost && f.answer != answerNotSent {
		pr.measured = pr.offset
	}
	if line := w.issued(f.content.certificateID, ""); line != nil {
		line.received = true
	}
	if f.answer == answerIssued && !w.clock(p).Before(f.content.notAfter) {
		f.answer = answerUnusable
	}
	kind, hash := f.attempt.Kind, f.attempt.IssuanceHash
	switch f.answer {
	case answerIssued:
		f.stage, f.storeBegan, f.target = stageStore, w.mono, f.secret
		f.content.issuedAt = w.clock(p)
	case answerUnusable:
		f.message = v1alpha1.ReasonUnverified
		w.conclude(f, editDiscard)
	case answerPending:
		w.conclude(f, editPending)
	case answerRefused:
		w.record(p, f, v1alpha1.Failures{Reason: v1alpha1.ReasonRefused, Terminal: true, Kind: kind, IssuanceHash: hash})
		w.conclude(f, editNotIssued)
	case answerNotSent:
		w.record(p, f, v1alpha1.Failures{Reason: v1alpha1.ReasonBackingOff, Kind: kind, IssuanceHash: hash})
		w.conclude(f, editNotIssued)
	case answerUnauthorized:
		w.record(p, f, v1alpha1.Failures{Reason: v1alpha1.ReasonCredentialRefused, Kind: kind, IssuanceHash: hash})
		w.conclude(f, editNotIssued)
	case answerThrottled:
		f.failure = f.cert.Status.Failures
		w.conclude(f, editNotIssued)
	default:
		w.conclude(f, editKeepOpen)
	}
}

// record prepares a failure.
func (w *modelWorld) record(p int, f *modelFlight, r v1alpha1.Failures) {
	at := w.clock(p)
	r.Count = 1
	if earlier := f.cert.Status.Failures; earlier != nil {
		r.Count = min(earlier.Count, 1<<30) + 1
		if r.LostRenewalOf == "" {
			r.LostRenewalOf = earlier.LostRenewalOf
		}
	}
	next := renewal.Backoff(at, renewal.Failure{Count: r.Count, Terminal: r.Terminal, NotAfter: f.secret.NotAfter}, string(f.cert.UID))
	r.LastTime, r.NextTime = secondsOf(at), secondsOf(next)
	r.Generation, r.IssuerVersion, r.Message = f.cert.Generation, w.issuerVersion, "it failed"
	f.failure = &r
}

func (w *modelWorld) stepStore(p int, f *modelFlight, fault modelFault) {
	name := f.attempt.SecretName
	waited := w.mono - f.storeBegan
	// Whoever tries again, or was stopped before the first try, looks first.
	if late := w.mono - f.intentAt; f.storeTried || late > modelTimeout+modelStore {
		if !f.storeTried {
			waited = late
		}
		live := w.readSecret(name, f.cert)
		switch mine := live.AttemptID == f.attempt.ID; {
		case live.State == SecretForeign || live.AttemptID != "" && !mine && live.AttemptID != f.secret.AttemptID:
			w.unstored(p, f)
			return
		case waited > modelStore && !mine && w.resolvedByAnother(f):
			w.unstored(p, f)
			return
		case mine && live.Usable():
			w.succeeded(p, f, live)
			return
		}
		f.target = live
	}
	f.storeTried = true
	w.neverWorse(f, name)
	written, err := w.apply(f.cert, name, f.target.uid, f.target.version, f.content, fault)
	switch {
	case err == nil:
		w.succeeded(p, f, factsOf(name, written, f.cert))
	case errors.Is(err, errModelForbidden) && waited > 10*time.Minute:
		w.unstored(p, f)
	}
}

// resolvedByAnother tells whether the attempt of a flight is closed or about to be revoked, or its object gone.
func (w *modelWorld) resolvedByAnother(f *modelFlight) bool {
	c := w.certs[f.slot]
	return c == nil || c.UID != f.cert.UID || openAttemptID(c) != f.attempt.ID || c.Status.Attempt.CertificateID != ""
}

func (w *modelWorld) unstored(p int, f *modelFlight) {
	f.message = v1alpha1.ReasonSecretRefused
	w.procs[p].memory[f.slot].distrusted = true
	w.conclude(f, editDiscard)
}

func (w *modelWorld) succeeded(p int, f *modelFlight, stored modelFacts) {
	f.replaced, f.issued = f.predecessor(), identify(stored)
	f.begins, f.secret = stored.NotBefore, stored
	w.remember(p, f.slot, f.cert, stored)
	w.conclude(f, editStored)
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

func (w *modelWorld) stepReadBack(p int, f *modelFlight, fault modelFault) {
	if fault == faultBefore || fault == faultAfter {
		w.unresolved(p, f)
		return
	}
	f.stage = stageSettle
	if secretIndex(f.attempt.SecretName) < 0 {
		return
	}
	live := w.readSecret(f.attempt.SecretName, f.cert)
	if live.AttemptID != f.attempt.ID || !live.Usable() {
		return
	}
	f.replaced = nil
	for _, known := range []*v1alpha1.IssuedCertificate{f.cert.Status.Issued, lastDescribed(f.cert)} {
		if f.replaced == nil && known != nil && known.SerialNumber == f.attempt.PredecessorSerial {
			f.replaced = known
		}
	}
	if live.Name == secretNameOf(f.base) {
		f.secret = live
	}
	f.issued, f.begins = identify(live), live.NotBefore
	w.conclude(f, editStoredAfterAll)
}

func (w *modelWorld) unresolved(p int, f *modelFlight) {
	w.stumbled(p, f.slot)
	w.land(p, f)
}

// stepSettle decides how to find out what an attempt has bought.
func (w *modelWorld) stepSettle(p int, f *modelFlight) {
	pr, m := &w.procs[p], &w.procs[p].memory[f.slot]
	switch {
	case f.cert.Annotations[v1alpha1.AnnotationAbandonAttempt] == f.attempt.ID:
		f.add(Candidate{CertificateID: f.attempt.CertificateID}, v1alpha1.OrphanReported)
	case w.gone:
		f.add(Candidate{}, v1alpha1.OrphanReported)
	case pr.connecting:
		w.unresolved(p, f)
		return
	case f.attempt.CertificateID != "":
		f.proven, f.mayRevoke, f.stage = []Candidate{{CertificateID: f.attempt.CertificateID}}, !w.noRevoke, stageRevokeOrphan
		return
	case m.attempt == f.attempt.ID && w.mono < m.attemptSeen+modelTimeout+modelStore+modelLag:
		w.unresolved(p, f)
		return
	case w.noSearch:
		f.add(Candidate{}, v1alpha1.OrphanReported)
	default:
		f.stage = stageSearch
		return
	}
	w.close(p, f)
}

func (f *modelFlight) add(c Candidate, outcome v1alpha1.OrphanOutcome) {
	f.orphans = append(slices.Clone(f.orphans), v1alpha1.Orphan{
		AttemptID: f.attempt.ID, CertificateID: c.CertificateID, SerialNumber: c.Serial, ProfileID: f.attempt.ProfileID,
		CommonName: f.attempt.CommonName, WindowStart: f.attempt.StartedAt, Outcome: outcome,
	})
}

func (w *modelWorld) stepSearch(p int, f *modelFlight, fault modelFault) {
	if w.down || fault == faultBefore || fault == faultAfter {
		w.unresolved(p, f)
		return
	}
	f.found, f.stage = w.search(f.attempt.ProfileID, f.attempt.CommonName), stageKin
}

// stepKin sets apart what is accounted for by the statuses; the Secrets are looked at in the next step.
func (w *modelWorld) stepKin(_ int, f *modelFlight) {
	for _, c := range w.certs {
		if c == nil {
			continue
		}
		own := c.UID == f.cert.UID
		f.account(func(found Candidate) bool {
			return inUse(&c.Status, found.CertificateID, found.Serial) || orphaned(&c.Status, found.CertificateID, found.Serial, own)
		})
		for i, found := range f.found {
			f.found[i].Feared = found.Feared || orphaned(&c.Status, found.CertificateID, found.Serial, true)
		}
	}
	f.stage = stageJudge
}

// account marks the candidates that are held somewhere.
func (f *modelFlight) account(held func(Candidate) bool) {
	f.found = slices.Clone(f.found)
	for i, c := range f.found {
		f.found[i].Accounted = c.Accounted || held(c)
	}
}

// accountFor marks what a Secret holds. One that is broken has lost the private key, whatever its annotations say.
func (f *modelFlight) accountFor(held modelFacts) {
	f.account(func(found Candidate) bool {
		return held.Usable() && (found.CertificateID == held.CertificateID || found.Serial == held.Serial)
	})
}

func inStatus(status *v1alpha1.DeviceCertificateStatus, id, serial string) bool {
	return inUse(status, id, serial) || orphaned(status, id, serial, true)
}

// inUse tells whether the status names the certificate as stored or replaced.
func inUse(status *v1alpha1.DeviceCertificateStatus, id, serial string) bool {
	same := sameAs(id, serial)
	return same(status.CertificateID, status.SerialNumber) ||
		status.Issued != nil && same(status.Issued.CertificateID, status.Issued.SerialNumber) ||
		slices.ContainsFunc(status.Superseded, func(s v1alpha1.SupersededCertificate) bool { return same(s.CertificateID, s.SerialNumber) })
}

// orphaned tells whether the status lists the certificate as an orphan; feared are those that may be another's.
func orphaned(status *v1alpha1.DeviceCertificateStatus, id, serial string, feared bool) bool {
	same := sameAs(id, serial)
	return slices.ContainsFunc(status.Orphans, func(o v1alpha1.Orphan) bool {
		return same(o.CertificateID, o.SerialNumber) && (feared || o.Outcome != v1alpha1.OrphanReported)
	})
}

func sameAs(id, serial string) func(id, serial string) bool {
	return func(otherID, otherSerial string) bool { return id != "" && otherID == id || otherSerial == serial }
}

func (w *modelWorld) stepJudge(p int, f *modelFlight) {
	policy := w.policy
	for slot, c := range w.certs {
		if c == nil || c.UID == f.cert.UID {
			continue
		}
		if other := c.Status.Attempt; other != nil && other.ProfileID == f.attempt.ProfileID && strings.EqualFold(other.CommonName, f.attempt.CommonName) {
			policy = v1alpha1.OrphansReport
		}
		if w.commonName(slot) == f.attempt.CommonName {
			f.accountFor(w.readSecret(secretNameOf(c), c))
		}
	}
	if secretIndex(f.attempt.SecretName) >= 0 {
		f.accountFor(w.readSecret(f.attempt.SecretName, f.cert))
	}
	if w.marked {
		for i := range f.found {
			f.found[i].Marked = w.issued(f.found[i].CertificateID, "").attempt == f.attempt.ID
		}
	}
	verdict := Judge(f.attempt, f.attempt.StartedAt.Add(modelPatience), policy, f.found)
	for _, c := range verdict.Report {
		f.add(c, v1alpha1.OrphanReported)
	}
	f.proven, f.mayRevoke, f.stage = verdict.Revoke, !w.noRevoke, stageRevokeOrphan
	switch {
	case len(f.proven) == 0:
		w.close(p, f)
	case len(f.proven) == 1 && f.mayRevoke:
		w.conclude(f, editCondemned)
	}
}

func (w *modelWorld) stepRevokeOrphan(p int, f *modelFlight, fault modelFault) {
	c := f.proven[0]
	switch {
	case !f.mayRevoke:
		f.add(c, v1alpha1.OrphanReported)
	case fault == vendorRefuses:
		f.add(c, v1alpha1.OrphanRevokeFailed)
	case w.down, fault == faultBefore:
		w.unresolved(p, f)
		w.leftBehind(f)
		return
	default:
		w.revoke(f.cert, c.CertificateID)
		if fault == faultAfter {
			w.unresolved(p, f)
			return
		}
		f.add(c, v1alpha1.OrphanRevoked)
	}
	if f.proven = f.proven[1:]; len(f.proven) == 0 {
		w.close(p, f)
	}
}

// leftBehind: what a direct revocation could not reach is told in the log alone.
func (w *modelWorld) leftBehind(f *modelFlight) {
	if line := w.issued(f.attempt.CertificateID, ""); line != nil && f.direct {
		line.excused = true
	}
}

// close enters the stage that records what an attempt came to.
func (w *modelWorld) close(p int, f *modelFlight) {
	if f.direct {
		for _, o := range f.orphans {
			if line := w.issued(o.CertificateID, ""); line != nil {
				line.excused = true // told in the log
			}
		}
		w.land(p, f)
		return
	}
	r := v1alpha1.Failures{Reason: v1alpha1.ReasonBackingOff, Kind: f.attempt.Kind, IssuanceHash: f.attempt.IssuanceHash}
	if f.attempt.FailureReason != "" {
		r.Reason, r.Terminal = f.attempt.FailureReason, true
	}
	if len(f.orphans) == 0 && f.attempt.FailureReason != "" {
		f.add(Candidate{}, v1alpha1.OrphanReported)
	}
	if len(f.orphans) > 0 && f.attempt.Kind == v1alpha1.AttemptRenew {
		r.LostRenewalOf = f.attempt.PredecessorID
	}
	w.record(p, f, r)
	w.conclude(f, editClosed)
}

// stepConfirm asks the inventory for the predecessor that is to be revoked.
func (w *modelWorld) stepConfirm(p int, f *modelFlight, fault modelFault) {
	if len(f.due) == 0 {
		w.afterRevocations(p, f)
		return
	}
	predecessor := f.due[0]
	f.record, f.refused = "", ""
	switch {
	case predecessor.FingerprintSHA256 == "", w.gone, w.noSearch, w.noRevoke:
		f.refused = "it cannot be proven to be ours, or revoked"
	case w.procs[p].connecting, w.down, fault == faultBefore, fault == faultAfter:
		w.unrevoked(p, f)
		return
	default:
		w.calls++
		line := w.issued("", predecessor.SerialNumber)
		if line == nil || line.uncommitted || line.visibleAt > w.mono || line.profile != predecessor.ProfileID {
			f.refused = "the inventory does not confirm it"
			break
		}
		f.record = line.id
	}
	f.stage = stageRevoke
}

func (w *modelWorld) stepRevoke(p int, f *modelFlight, fault modelFault) {
	if f.record != "" {
		switch {
		case fault == faultBefore, w.down:
			w.unrevoked(p, f)
			return
		case fault == vendorRefuses:
			f.refused = "the vendor refused"
		default:
			w.revoke(f.cert, f.record)
			if fault == faultAfter {
				w.unrevoked(p, f)
				return
			}
		}
	}
	if f.finalizing {
		f.due, f.stage = f.due[1:], stageConfirm
		return
	}
	f.attempt = nil
	w.conclude(f, editRevoked)
}

// unrevoked: the vendor did not answer. A deletion asks for the others all the same.
func (w *modelWorld) unrevoked(p int, f *modelFlight) {
	if f.finalizing {
		f.failed = true
		f.due, f.stage = f.due[1:], stageConfirm
		return
	}
	w.unresolved(p, f)
}

func (w *modelWorld) afterRevocations(p int, f *modelFlight) {
	switch {
	case !f.finalizing:
		w.land(p, f)
	case f.failed && FinalizePatience(&f.snapshot):
		w.unresolved(p, f)
	default:
		f.stage = stageDeleteSecret
	}
}

func (w *modelWorld) stepFinalize(_ int, f *modelFlight) {
	f.stage, f.finalizing = stageDeleteSecret, true
	if f.cert.Spec.Revocation.OnDelete != v1alpha1.RevocationRevoke {
		return
	}
	// A Secret of a re-created object of the same name is not this one's to empty.
	if held := f.predecessor(); held != nil && f.secret.Usable() && f.secret.content.ownerUID == f.cert.UID {
		f.due = append(f.due, v1alpha1.SupersededCertificate{IssuedCertificate: *held})
	}
	f.due = slices.DeleteFunc(slices.Concat(f.due, f.cert.Status.Superseded), func(s v1alpha1.SupersededCertificate) bool {
		return !f.snapshot.Now.Before(s.NotAfter.Time) || s.RevocationFailure != ""
	})
	f.stage = stageConfirm
}

func (w *modelWorld) stepDeleteSecret(p int, f *modelFlight, fault modelFault) {
	f.stage = stageUnfinalize
	if f.cert.Spec.Secret.DeletionPolicy != v1alpha1.DeletionDelete {
		return
	}
	if fault == faultBefore {
		w.unresolved(p, f)
		return
	}
	w.deleteSecret(f.cert, secretNameOf(f.cert))
	if fault == faultAfter {
		w.unresolved(p, f)
	}
}

func (w *modelWorld) deleteSecret(c *v1alpha1.DeviceCertificate, name string) {
	at := secretIndex(name)
	if live := w.secrets[at]; live != nil && live.owner == c.Name && live.ownerUID == c.UID {
		w.excusing(func() {
			w.writes++
			w.secrets[at] = nil
		})
	}
}

func (w *modelWorld) stepUnfinalize(p int, f *modelFlight, fault modelFault) {
	wanted := *f.base
	wanted.Finalizers = nil
	var err error
	w.excusing(func() { _, err = w.patch(f.slot, f.base, &wanted, fault) })
	if err != nil && !errors.Is(err, errModelNotFound) {
		w.unresolved(p, f)
		return
	}
	w.procs[p].memory[f.slot] = modelMemory{}
	w.land(p, f)
}
