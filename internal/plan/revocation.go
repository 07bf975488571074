// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// RevokeRequest is what the user asks for by annotation: a certificate of this object is replaced, then revoked.
type RevokeRequest struct {
	Serial string
	Reason v1alpha1.RevocationReason
}

// RevokeRequested reads devicecert.io/revoke-requested, "<serial>/<reason>". Without a reason that the vendor knows it gets the one of the spec.
func RevokeRequested(c *v1alpha1.DeviceCertificate) (RevokeRequest, bool) {
	serial, word, _ := strings.Cut(c.Annotations[v1alpha1.AnnotationRevokeRequested], "/")
	reason := v1alpha1.RevocationReason(word)
	if !slices.Contains(v1alpha1.RevocationReasons(), reason) {
		reason = cmp.Or(c.Spec.Revocation.Reason, v1alpha1.ReasonCessationOfOperation)
	}
	return RevokeRequest{Serial: serial, Reason: reason}, serial != ""
}

// DueRevocations are the predecessors to be revoked now, oldest last, and when the next one is due; zero for never. A predecessor is due
// when its grace has passed under spec.revocation.onSupersede, or at once when the user asks for it; one whose revocation was refused is
// left to a person, who may ask for a retry.
func DueRevocations(s *Snapshot) (due []v1alpha1.SupersededCertificate, next time.Time) {
	request, requested := RevokeRequested(s.Certificate)
	policy, retry := s.Certificate.Spec.Revocation, RetryRequested(s.Certificate)
	for _, predecessor := range s.Certificate.Status.Superseded {
		var at time.Time
		switch {
		case certs.SameSerial(predecessor.SerialNumber, held(s).Serial): // somebody restored the Secret of yesterday
			continue
		case predecessor.RevocationFailure != "" && !retry || !s.Now.Before(predecessor.NotAfter.Time):
			continue
		case requested && certs.SameSerial(predecessor.SerialNumber, request.Serial):
			at = s.Now
		case policy.OnSupersede != v1alpha1.RevocationRevoke:
			continue
		default:
			at = predecessor.SupersededAt.Add(gracePeriod(policy))
		}
		if s.Now.Before(at) {
			next = earliest(next, at)
			continue
		}
		due = append(due, predecessor)
	}
	return due, next
}

// RevocationReason is the reason a predecessor is revoked for.
func RevocationReason(c *v1alpha1.DeviceCertificate, serial string) v1alpha1.RevocationReason {
	if request, ok := RevokeRequested(c); ok && certs.SameSerial(request.Serial, serial) {
		return request.Reason
	}
	return cmp.Or(c.Spec.Revocation.Reason, v1alpha1.ReasonCessationOfOperation)
}

// revocationRequested says what becomes of the user's wish. A certificate that is done with leaves no trace but this condition itself: one that
// was being revoked, and is now neither stored nor on the list, is revoked.
func revocationRequested(s *Snapshot, serial string) (metav1.ConditionStatus, string, string) {
	const annotation = v1alpha1.AnnotationRevokeRequested
	status := &s.Certificate.Status
	known := []string{s.Secret.Serial, s.Previous.Serial, status.SerialNumber}
	if status.Attempt != nil {
		known = append(known, status.Attempt.PredecessorSerial)
	}
	for _, predecessor := range status.Superseded {
		known = append(known, predecessor.SerialNumber)
	}
	same := func(other string) bool { return certs.SameSerial(other, serial) }
	if slices.ContainsFunc(known, same) {
		return metav1.ConditionTrue, v1alpha1.ReasonRevoking, serial + " is being replaced, if it is in use, and revoked, as " + annotation + " asks"
	}
	before := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRevocationRequested)
	if before != nil && before.Status == metav1.ConditionTrue && strings.HasPrefix(before.Message, serial+" ") {
		return metav1.ConditionTrue, v1alpha1.ReasonRevoked, serial + " is revoked or has expired: " + annotation + " is carried out and may go"
	}
	return metav1.ConditionFalse, v1alpha1.ReasonUnknownSerial, annotation + " names " + strconv.Quote(serial) +
		", which is neither the stored certificate nor one it replaced that is still to be revoked: nothing is done about it. Compare with status.serialNumber, " +
		"or remove the annotation"
}

func gracePeriod(policy v1alpha1.RevocationPolicy) time.Duration {
	const byDefault = 24 * time.Hour
	if policy.GracePeriod == nil {
		return byDefault
	}
	return policy.GracePeriod.Duration
}

func revocation(s *Snapshot) (Plan, bool) {
	due, _ := DueRevocations(s)
	if len(due) == 0 {
		return Plan{}, false
	}
	// Also while the issuer is being connected: nothing else would look again when it is. Trying early costs a read.
	return Plan{Action: ActionRevoke, Reason: v1alpha1.ReasonStored, Message: "a replaced certificate is being revoked", Due: lookAgain(s)}, true
}

// needAfterRevocation says what follows when somebody revoked the certificate at the vendor. Under Hold nothing is bought for whatever
// else is wrong, a Secret that is gone included, until a person asks for a renewal or for another certificate.
func needAfterRevocation(s *Snapshot, source Secret) (Plan, bool) {
	if !revokedAtVendor(s, source) {
		return Plan{}, false
	}
	described := source
	described.IssuanceHash = cmp.Or(source.IssuanceHash, s.Certificate.Status.IssuanceHash)
	p := Plan{Action: ActionEnroll, Reason: v1alpha1.ReasonRevoked}
	switch {
	case revokedOrphan(s, source), revokeWanted(s, source), outOfDate(s, described):
		return Plan{}, false // which are answered by a new certificate
	case renewRequested(s.Certificate, source):
		p.Reason = v1alpha1.ReasonRenewRequested
		p.Message = "the certificate was revoked at the vendor; a new one is being issued, as " + v1alpha1.AnnotationRenewRequestedAt + " asks"
	case s.Certificate.Spec.Renewal.OnRevoked == v1alpha1.OnRevokedReenroll:
		p.Message = "the certificate was revoked at the vendor; a new one is being issued, as spec.renewal.onRevoked asks"
	default:
		p.Action = ActionBlock
		p.Message = "somebody revoked the certificate at the vendor, and spec.renewal.onRevoked is Hold: find out why, then annotate this object with " +
			v1alpha1.AnnotationRenewRequestedAt + " to have a new one issued, or delete it"
	}
	return p, true
}

// revokedAtVendor tells whether the certificate that is stored, or was stored last, is on record as revoked by somebody else.
func revokedAtVendor(s *Snapshot, stored Secret) bool {
	revoked := s.Certificate.Status.Revoked
	return revoked != nil && certs.SameSerial(revoked.SerialNumber, cmp.Or(stored.Serial, s.Certificate.Status.SerialNumber))
}

// revocationFailing says why what spec.revocation or the user asks for is not, or will not be, revoked; an empty reason when nothing stands
// against it.
func revocationFailing(s *Snapshot) (reason, message string) {
	for _, predecessor := range s.Certificate.Status.Superseded {
		if predecessor.RevocationFailure != "" && s.Now.Before(predecessor.NotAfter.Time) {
			return v1alpha1.ReasonRevocationFailed, "serial " + predecessor.SerialNumber + " is still valid at the vendor: " + predecessor.RevocationFailure +
				"; or mend the cause and annotate this object with " + v1alpha1.AnnotationRetryRequestedAt
		}
	}
	policy := s.Certificate.Spec.Revocation
	if s.Issuer.CannotRevoke && (policy.OnDelete == v1alpha1.RevocationRevoke || policy.OnSupersede == v1alpha1.RevocationRevoke) {
		return v1alpha1.ReasonCannotRevoke, "spec.revocation asks for revocations, and the issuer's credential cannot search and revoke: give the issuer an API token " +
			"or a client certificate that may, or revoke at the vendor by hand"
	}
	return "", ""
}
