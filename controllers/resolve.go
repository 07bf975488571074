// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	// resolveBound is how long one try to resolve may take, waiting for the account's tokens included.
	resolveBound = 5 * time.Minute
	// maxInventory is how many records of one name are looked at. More than that are reported as a window.
	maxInventory = 2000
)

// resolution finds out what became of an attempt whose answer was lost, and closes it. It goes by the attempt alone, never by the spec
// of the day.
type resolution struct {
	*scope
	r       *DeviceCertificateReconciler
	attempt *v1alpha1.Attempt
	orphans []v1alpha1.Orphan
	// nothingNew: the vendor answered with a certificate that was there before.
	nothingNew bool
	// found: the inventory showed what the attempt has bought, proven. Otherwise the sweep goes on looking for it.
	found bool
}

// run closes the attempt: as stored when the Secret carries it, as not issued when the vendor has nothing, with its certificates revoked
// where they are proven ours, and as reported otherwise. A vendor that cannot be asked now leaves it open, to be tried again.
func (q *resolution) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resolveBound)
	defer cancel()
	stored, err := q.storedAfterAll(ctx)
	if stored {
		return
	}
	if err == nil {
		err = q.settle(ctx)
	}
	if err != nil {
		q.log().Info("the attempt cannot be resolved yet", "attempt", q.attempt.ID, "error", err.Error())
		q.r.memory.stumbled(q.cert.UID, q.r.Clock.Now())
		return
	}
	q.close(ctx)
}

// storedAfterAll closes the attempt when its Secret carries it: only the report was lost.
func (q *resolution) storedAfterAll(ctx context.Context) (bool, error) {
	live, err := q.r.readSecret(ctx, q.scope, q.attempt.SecretName)
	if err != nil || live.AttemptID != q.attempt.ID || !live.Usable() {
		return false, err
	}
	replaced := replacedBy(q.attempt, q.cert)
	if live.Name == q.layout.Name {
		q.secret = live
	}
	if !q.r.conclude(ctx, q.scope, q.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) {
		closeAsStored(status, replaced, identify(live), live, q.r.Clock.Now())
	}) {
		q.r.memory.stumbled(q.cert.UID, q.r.Clock.Now())
	}
	return true, nil
}

// replacedBy is the certificate that an attempt replaces, as the status knows it: the one received last or, where another one was found in
// the Secret, the one described. Nil when the status knows neither.
func replacedBy(attempt *v1alpha1.Attempt, c *v1alpha1.DeviceCertificate) *v1alpha1.IssuedCertificate {
	for _, known := range []*v1alpha1.IssuedCertificate{c.Status.Issued, lastDescribed(c)} {
		if known != nil && known.SerialNumber == attempt.PredecessorSerial {
			return known
		}
	}
	return nil
}

// settle asks the vendor what the attempt has bought and does what its proof allows.
func (q *resolution) settle(ctx context.Context) error {
	id := attemptAccount(q.attempt, q.cert.Namespace)
	state := q.r.Accounts.State(id)
	switch {
	case q.abandoned():
		q.add(plan.Candidate{CertificateID: q.attempt.CertificateID}, v1alpha1.OrphanReported, "the attempt was given up by annotation"+byHand)
		return nil
	case !state.Known && q.r.issuerGone(ctx, id):
		q.reportWindow("the issuer is gone, so the vendor could not be asked")
		return nil
	case !state.Known:
		return fmt.Errorf("%s is being connected", id)
	case state.Host != q.attempt.Host || !strings.HasPrefix(state.Version, q.attempt.IssuerUID+"."):
		q.reportWindow(fmt.Sprintf("%s is another connection by now, so %s could not be asked", id, q.attempt.Host))
		return nil
	case q.attempt.CertificateID != "" || q.attempt.CertificateFingerprint != "":
		return q.takeBack(ctx, id, state)
	case q.r.Clock.Now().Before(q.settledAt(state)):
		return errors.New("another process may still be storing it")
	case !state.CanSearch:
		q.reportWindow("the credential cannot search the inventory")
		return nil
	}
	return q.search(ctx, id, state)
}

// settledAt is when the attempt can have no more effects, now that its account is known for sure.
func (q *resolution) settledAt(state account.State) time.Time {
	return q.r.memory.seenSince(q.cert.UID, q.attempt.ID, q.r.Clock.Now()).Add(settlingTime(q.attempt, state))
}

// abandoned tells whether the user gave the attempt up.
func (q *resolution) abandoned() bool {
	return q.cert.Annotations[v1alpha1.AnnotationAbandonAttempt] == q.attempt.ID
}

// takeBack revokes the certificate that was answered and cannot be kept. An answer may name another certificate than it holds, or one that
// is in use: the inventory must show the very one, and nobody may account for it.
func (q *resolution) takeBack(ctx context.Context, id account.ID, state account.State) error {
	answered := plan.Candidate{CertificateID: q.attempt.CertificateID, Serial: q.attempt.CertificateSerial}
	if !state.CanSearch {
		q.add(answered, v1alpha1.OrphanReported, "the credential cannot search, so that nothing confirms what the answer named"+byHand)
		return nil
	}
	records, _, err := q.r.inventory(ctx, id, q.attempt)
	if err != nil {
		return fmt.Errorf("confirm the certificate that was answered: %w", err)
	}
	kin, err := q.kin(ctx)
	if err != nil {
		return err
	}
	for _, c := range kin.candidates(q.attempt, records) {
		known := c.Fingerprint == q.attempt.CertificateFingerprint
		if q.attempt.CertificateFingerprint == "" {
			known = c.CertificateID == q.attempt.CertificateID && plan.Possible(q.attempt, q.deadline(state), c)
		}
		switch {
		case !known:
		case c.Accounted:
			q.nothingNew, q.found = true, true
			return nil
		case c.Revoked:
			q.found = true
			q.add(c, v1alpha1.OrphanRevoked, "it was not stored, and is revoked")
			return nil
		default:
			q.found = true
			return q.revoke(ctx, id, state, c)
		}
	}
	if q.r.Clock.Now().Before(q.settledAt(state)) {
		return errors.New("the inventory does not show the certificate that was answered yet")
	}
	q.add(answered, v1alpha1.OrphanReported, "the inventory does not confirm the certificate that was answered"+byHand)
	return nil
}

// deadline is when the request can have issued at the latest.
func (q *resolution) deadline(state account.State) time.Time {
	return q.attempt.StartedAt.Add(settlingTime(q.attempt, state) - state.InventoryLag)
}

// search looks for what the attempt may have bought.
func (q *resolution) search(ctx context.Context, id account.ID, state account.State) error {
	records, truncated, err := q.r.inventory(ctx, id, q.attempt)
	if refusal, ok := trustmanager.AsError(err); ok && refusal.HTTPStatus == 403 {
		q.reportWindow("the credential may not search the inventory")
		return nil
	}
	if err != nil {
		return fmt.Errorf("search the inventory: %w", err)
	}
	if truncated {
		q.reportWindow(fmt.Sprintf("the inventory has more than %d certificates of this name", maxInventory))
		return nil
	}
	kin, err := q.kin(ctx)
	if err != nil {
		return err
	}
	policy := q.orphanPolicy(ctx)
	if kin.attempting {
		policy = v1alpha1.OrphansReport // another object's answer may be on its way: nothing found is surely ours
	}
	verdict := plan.Judge(q.attempt, q.deadline(state), policy, kin.candidates(q.attempt, records))
	q.found = len(verdict.Revoke) > 0 // what is reported may be another's, and the attempt's own show up later
	if len(verdict.Revoke) == 1 && state.CanRevoke {
		if err := q.condemn(ctx, verdict.Revoke[0]); err != nil {
			return err
		}
	}
	for _, c := range verdict.Revoke {
		if err := q.revoke(ctx, id, state, c); err != nil {
			return err
		}
	}
	for _, c := range verdict.Report {
		q.add(c, v1alpha1.OrphanReported, "it may be of this attempt, but that is not proven: revoke it at the vendor if nobody uses it, then acknowledge it")
	}
	return nil
}

// condemn puts on record which certificate is about to be revoked. A process that slept for longer than anybody waits, with the answer in
// hand, must not store it any more; and whoever goes on after a crash needs no new proof.
func (q *resolution) condemn(ctx context.Context, c plan.Candidate) error {
	if !q.r.conclude(ctx, q.scope, q.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) {
		status.Attempt.CertificateID, status.Attempt.CertificateSerial, status.Attempt.CertificateFingerprint = c.CertificateID, c.Serial, c.Fingerprint
	}) {
		return errors.New("what is to be revoked cannot be put on record")
	}
	live, err := q.r.readSecret(ctx, q.scope, q.attempt.SecretName)
	if err == nil && live.AttemptID == q.attempt.ID {
		err = errors.New("it was stored meanwhile")
	}
	return err
}

// revoke revokes a certificate that is proven ours. A vendor that fails to answer is an error, so that the attempt stays open and the
// revocation is repeated; a vendor that refuses is on record.
func (q *resolution) revoke(ctx context.Context, id account.ID, state account.State, c plan.Candidate) error {
	if !state.CanRevoke {
		q.add(c, v1alpha1.OrphanReported, "the credential cannot revoke: revoke it at the vendor, then acknowledge it")
		return nil
	}
	refused, err := q.r.revokeAtVendor(ctx, id, c.CertificateID, v1alpha1.ReasonCessationOfOperation, "its private key was never stored (devicecert-operator)")
	switch {
	case err != nil:
		return err
	case refused != "":
		q.add(c, v1alpha1.OrphanRevokeFailed, refused+": revoke it there, then acknowledge it")
	default:
		q.add(c, v1alpha1.OrphanRevoked, "its private key was lost, so it was revoked")
	}
	return nil
}

// add notes an orphan. Its window tells where to look for it.
func (q *resolution) add(c plan.Candidate, outcome v1alpha1.OrphanOutcome, message string) {
	timeout := q.r.Accounts.State(attemptAccount(q.attempt, q.cert.Namespace)).RequestTimeout
	q.orphans = append(q.orphans, v1alpha1.Orphan{
		AttemptID: q.attempt.ID, CertificateID: c.CertificateID, SerialNumber: c.Serial,
		ProfileID: q.attempt.ProfileID, CommonName: q.attempt.CommonName,
		WindowStart: q.attempt.StartedAt, WindowEnd: metav1.NewTime(q.attempt.StartedAt.Add(timeout)),
		Outcome: outcome, Message: message,
	})
}

// reportWindow notes that a certificate may exist that could not be looked for.
func (q *resolution) reportWindow(why string) {
	q.add(plan.Candidate{}, v1alpha1.OrphanReported, why+byHand)
}

// byHand is what a person can do about a certificate that may exist.
const byHand = ": search the vendor's inventory for this profile, name and time, revoke what nobody uses, then acknowledge it"

// close puts the outcome on record and lets the object go on.
func (q *resolution) close(ctx context.Context) {
	f := failure{reason: v1alpha1.ReasonBackingOff, kind: q.attempt.Kind, issuanceHash: q.attempt.IssuanceHash}
	if q.attempt.FailureReason != "" {
		f.reason, f.terminal = q.attempt.FailureReason, true
	}
	f.message = q.attempt.Failure
	if f.message == "" {
		f.message = "the answer to the last request was lost"
	}
	if len(q.orphans) == 0 && q.attempt.FailureReason != "" && !q.nothingNew {
		q.reportWindow("a certificate was issued, but the inventory does not show it") // an answer did come
	}
	if len(q.orphans) == 0 {
		f.message += "; the vendor has issued nothing"
	} else if q.attempt.Kind == v1alpha1.AttemptRenew {
		f.lostRenewalOf = q.attempt.PredecessorID
	}
	q.failed(q.r, f)
	reported := q.r.conclude(ctx, q.scope, q.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) {
		status.Attempt = nil
		q.list(status)
		q.recordFailure(status)
		if !q.found {
			status.ClosedAttempts = plan.RememberAttempt(status.ClosedAttempts, q.attempt)
		}
	})
	q.tell()
	if !reported {
		q.addToRecord(ctx)
	}
	if reported && len(q.orphans) > 0 {
		q.r.event(q.cert, corev1.EventTypeWarning, v1alpha1.ReasonOrphan, "Resolve", fmt.Sprintf("attempt %s: %s (%s)", q.attempt.ID, q.orphans[0].Message, q.orphans[0].Outcome))
	}
}

// addToRecord lists the orphans although another process closed the attempt: that one may have stored a certificate that was revoked here.
func (q *resolution) addToRecord(ctx context.Context) {
	live := &v1alpha1.DeviceCertificate{}
	if len(q.orphans) == 0 || q.r.Reader.Get(ctx, q.key(), live) != nil || live.UID != q.cert.UID {
		return
	}
	q.use(live)
	q.r.memory.distrust(live.UID)
	q.r.conclude(ctx, q.scope, openAttemptID(live), q.list)
}

// list puts the orphans on the list.
func (q *resolution) list(status *v1alpha1.DeviceCertificateStatus) {
	status.Orphans = slices.Concat(q.orphans, status.Orphans)
	status.Orphans = status.Orphans[:min(len(status.Orphans), v1alpha1.MaxOrphans)]
}

// tell logs what was found: the log outlives the object.
func (q *resolution) tell() {
	for _, o := range q.orphans {
		logOrphan(q.log(), o)
	}
}

func logOrphan(log logr.Logger, o v1alpha1.Orphan) {
	log.Info("orphaned certificate", "attempt", o.AttemptID, "certificateID", o.CertificateID, "serial", o.SerialNumber,
		"profile", o.ProfileID, "commonName", o.CommonName, "outcome", o.Outcome, "message", o.Message)
}

// issuerGone tells whether an issuer object no longer exists, as opposed to one that is not connected yet.
func (r *DeviceCertificateReconciler) issuerGone(ctx context.Context, id account.ID) bool {
	_, err := getIssuer(ctx, r.Client, id)
	return apierrors.IsNotFound(err)
}

// orphanPolicy is what the owner of the attempt's issuer says of orphans.
func (q *resolution) orphanPolicy(ctx context.Context) v1alpha1.OrphanPolicy {
	found, err := lookupIssuer(ctx, q.r.Client, q.cert.Namespace, v1alpha1.IssuerReference{Kind: q.attempt.IssuerKind, Name: q.attempt.IssuerName})
	if err != nil || string(found.UID) != q.attempt.IssuerUID {
		return v1alpha1.OrphansReport
	}
	return found.Spec.Orphans.Policy
}

// attemptAccount is the account an attempt was made with.
func attemptAccount(attempt *v1alpha1.Attempt, namespace string) account.ID {
	id := account.ID{Kind: attempt.IssuerKind, Namespace: namespace, Name: attempt.IssuerName}
	if id.Kind == v1alpha1.KindClusterDeviceIssuer {
		id.Namespace = ""
	}
	return id
}
