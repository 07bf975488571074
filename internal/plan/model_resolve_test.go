// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

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
