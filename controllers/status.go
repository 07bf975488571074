// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// reportBound is how long the report of an outcome is repeated. After that the attempt stays open on record and is resolved anew.
const reportBound = time.Minute

// report writes the status of a reconcile that changed nothing else, if it says anything new.
func (r *DeviceCertificateReconciler) report(ctx context.Context, s *scope, p plan.Plan) error {
	s.describe()
	s.applyConditions(p)
	if apiequality.Semantic.DeepEqual(s.base.Status, s.cert.Status) {
		return nil
	}
	if err := r.Client.Status().Patch(ctx, s.cert, statusPatch{s.base}); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	r.memory.wrote(s.cert.UID, s.cert.ResourceVersion, s.snapshot.Now)
	return nil
}

// conclude writes the outcome of a flight: edit changes the status, the conditions follow from the plan that is made of it. The write is
// fenced, and repeated on the live object as long as the attempt is still the one that the flight began with; another process that
// resolved it has the last word. It answers whether the outcome is on record.
func (r *DeviceCertificateReconciler) conclude(ctx context.Context, s *scope, attemptID string, edit func(*v1alpha1.DeviceCertificateStatus)) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportBound)
	defer cancel()
	var bare bool // without the description of the Secret, which the API server would not have
	for delay := firstStoreDelay; ; delay = min(2*delay, longestStoreDelay) {
		observed := s.cert.DeepCopy()
		edit(&s.cert.Status)
		s.refresh(r)
		if !bare {
			s.describe()
		}
		s.applyConditions(plan.Decide(&s.snapshot))
		err := r.Client.Status().Patch(ctx, s.cert, statusPatch{observed})
		if err == nil {
			r.memory.recovered(s.cert.UID)
			r.memory.wrote(s.cert.UID, s.cert.ResourceVersion, s.snapshot.Now)
			return true
		}
		s.use(observed)
		if apierrors.IsNotFound(err) {
			return false
		}
		bare = bare || apierrors.IsInvalid(err)
		if apierrors.IsConflict(err) {
			live := &v1alpha1.DeviceCertificate{}
			if r.Reader.Get(ctx, s.key(), live) == nil {
				if live.UID != observed.UID || openAttemptID(live) != attemptID {
					return false
				}
				s.use(live)
			}
		}
		select {
		case <-ctx.Done():
			s.log().Error(err, "reporting an outcome failed; the attempt will be resolved again", "attempt", attemptID)
			return false
		case <-r.Clock.After(delay):
		}
	}
}

// use makes cert the object whose status is edited.
func (s *scope) use(cert *v1alpha1.DeviceCertificate) {
	s.cert = cert.DeepCopy()
	s.snapshot.Certificate = s.cert
}

// refresh brings the snapshot up to what the flight has learnt.
func (s *scope) refresh(r *DeviceCertificateReconciler) {
	s.snapshot.Now = r.Clock.Now()
	s.snapshot.InFlight = false
	s.snapshot.Secret = s.secret.Secret
	s.snapshot.SettlesAt = s.snapshot.Now.Add(storeBound)
	s.account = r.Accounts.State(s.issuer.ID)
	i := &s.snapshot.Issuer
	i.CannotRevoke = s.cannotRevoke()
	i.Known, i.Ready, i.Reason, i.Message, i.Version = s.connected(), s.account.Ready, s.account.Reason, s.account.Message, s.account.Version
}

// openAttemptID is the id of the open attempt, or empty.
func openAttemptID(c *v1alpha1.DeviceCertificate) string {
	if c.Status.Attempt == nil {
		return ""
	}
	return c.Status.Attempt.ID
}

// describe copies what the Secret holds into the status. While an attempt is open the description stays that of its predecessor, and
// while there is no usable Secret that of the last certificate: their successor must be told apart from them.
func (s *scope) describe() {
	f, status := s.secret, &s.cert.Status
	if status.Attempt != nil || s.snapshot.InFlight || f.State != plan.SecretOurs || f.Broken != "" {
		return
	}
	s.outlives(f)
	status.CertificateID, status.RequestID, status.IssuanceHash = f.CertificateID, f.requestID, f.IssuanceHash
	status.SerialNumber, status.FingerprintSHA256, status.KeyType = f.Serial, f.fingerprint, f.keyType
	status.Subject, status.DNSNames = f.subject, slices.Clone(f.dnsNames)
	status.NotBefore, status.NotAfter = timeOf(f.NotBefore), timeOf(f.NotAfter)
	status.SecretName, status.SecretResourceVersion = f.Name, f.resourceVersion
	status.RenewalTime = nil
	if due, ok := plan.RenewalTime(s.cert, f.Secret); ok {
		status.RenewalTime = timeOf(due)
	}
	if revoked := status.Revoked; revoked != nil && !certs.SameSerial(revoked.SerialNumber, f.Serial) {
		status.Revoked = nil
	}
	if f.HandledRenewRequest != "" {
		status.LastHandledRenewRequest = f.HandledRenewRequest
	}
}

// outlives keeps what the status described until now on record, when another certificate has come into its place and nothing else tells of
// it: whoever stored that one may not have been heard any more.
func (s *scope) outlives(successor facts) {
	status, described := &s.cert.Status, lastDescribed(s.cert)
	if described == nil || certs.SameSerial(described.SerialNumber, successor.Serial) || status.Issued != nil && certs.SameSerial(status.Issued.SerialNumber, described.SerialNumber) {
		return
	}
	status.Superseded = superseded(status.Superseded, described, successor.NotBefore, s.snapshot.Now)
}

func timeOf(t time.Time) *metav1.Time {
	// Local, as a decoded status has it: otherwise every comparison sees a change.
	at := metav1.NewTime(t.Truncate(time.Second).Local())
	return &at
}

// applyConditions sets the conditions the plan implies and removes those it does not.
func (s *scope) applyConditions(p plan.Plan) {
	status := &s.cert.Status
	// A conflict may have brought in a newer spec, which nobody has looked at yet.
	status.ObservedGeneration = s.base.Generation
	wanted := plan.Conditions(&s.snapshot, p)
	now := metav1.NewTime(s.snapshot.Now.Truncate(time.Second).Local())
	for _, c := range wanted {
		c.Message, c.ObservedGeneration = truncate(c.Message), s.base.Generation
		c.LastTransitionTime = now
		apimeta.SetStatusCondition(&status.Conditions, c)
	}
	for _, kind := range plan.ConditionTypes {
		if !slices.ContainsFunc(wanted, func(c metav1.Condition) bool { return c.Type == kind }) {
			apimeta.RemoveStatusCondition(&status.Conditions, kind)
		}
	}
	s.setOrRemove(v1alpha1.ConditionOutputsIncomplete, v1alpha1.ReasonCredentialMissing, slices.Clone(s.secret.incomplete))
	slices.SortStableFunc(status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

// setOrRemove keeps an abnormal-true condition that tells of remarks: True while there are any, absent otherwise.
func (s *scope) setOrRemove(kind, reason string, remarks []string) {
	if len(remarks) == 0 {
		apimeta.RemoveStatusCondition(&s.cert.Status.Conditions, kind)
		return
	}
	slices.Sort(remarks)
	apimeta.SetStatusCondition(&s.cert.Status.Conditions, metav1.Condition{
		Type: kind, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: s.base.Generation,
		Message:            truncate(strings.Join(slices.Compact(remarks), "; ")),
		LastTransitionTime: metav1.NewTime(s.snapshot.Now.Truncate(time.Second).Local()),
	})
}

// truncate bounds a message to what the API admits, so that a vendor's long answer cannot block a status.
func truncate(message string) string {
	const ellipsis = "…"
	if len(message) <= v1alpha1.MaxMessageLength {
		return message
	}
	return strings.ToValidUTF8(message[:v1alpha1.MaxMessageLength-len(ellipsis)], "") + ellipsis
}

// closeAsStored ends an attempt whose certificate is in the Secret, and lists what it replaced.
func closeAsStored(status *v1alpha1.DeviceCertificateStatus, replaced, issued *v1alpha1.IssuedCertificate, stored facts, now time.Time) {
	if status.Attempt != nil && plan.Unscheduled(status.Attempt.Reason) {
		status.Replacements = plan.CountReplacement(status.Replacements, *timeOf(now))
	}
	// A pair that was swapped in the Secret is what was replaced there; what had been issued for it is replaced as well.
	for _, earlier := range []*v1alpha1.IssuedCertificate{status.Issued, replaced} {
		status.Superseded = superseded(status.Superseded, earlier, stored.NotBefore, now)
	}
	status.Attempt, status.Failures, status.Issued = nil, nil, issued
}

// superseded adds what was replaced to the list of earlier certificates, newest first, and drops those that have expired. What has expired
// is told by when the vendor let the successor begin: a clock of ours that has jumped must not take valid certificates off the record.
func superseded(list []v1alpha1.SupersededCertificate, replaced *v1alpha1.IssuedCertificate, successorBegins, now time.Time) []v1alpha1.SupersededCertificate {
	if replaced != nil && !slices.ContainsFunc(list, func(s v1alpha1.SupersededCertificate) bool { return s.SerialNumber == replaced.SerialNumber }) {
		list = slices.Insert(slices.Clone(list), 0, v1alpha1.SupersededCertificate{IssuedCertificate: *replaced, SupersededAt: *timeOf(now)})
	}
	list = slices.DeleteFunc(list, func(s v1alpha1.SupersededCertificate) bool { return !successorBegins.Before(s.NotAfter.Time) })
	return list[:min(len(list), v1alpha1.MaxSuperseded)]
}
