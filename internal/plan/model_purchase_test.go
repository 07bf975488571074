// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

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
