// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// closedAttemptMemory is how long the sweep looks for what a closed attempt may have bought after all.
const closedAttemptMemory = 7 * 24 * time.Hour

// RememberAttempt puts an attempt on the list of those that the sweep looks after.
func RememberAttempt(list []v1alpha1.Attempt, closed *v1alpha1.Attempt) []v1alpha1.Attempt {
	list = slices.DeleteFunc(slices.Clone(list), func(a v1alpha1.Attempt) bool { return a.ID == closed.ID })
	list = slices.Insert(list, 0, *closed.DeepCopy())
	return list[:min(len(list), v1alpha1.MaxClosedAttempts)]
}

// Record writes into a status what a sweep has found and, of what was to be revoked, what became of it. It answers how many certificates found
// no place on the list: the sweep lets none of those fall off it that are left to a person.
func (f *Finding) Record(status *v1alpha1.DeviceCertificateStatus, revoked []v1alpha1.Orphan, now metav1.Time) (unlisted int) {
	switch serial := status.SerialNumber; {
	case serial == "" || serial != f.Certificate.Status.SerialNumber: // another one was stored meanwhile
	case f.Valid:
		status.Revoked = nil
	case f.Revoked && (status.Revoked == nil || !certs.SameSerial(status.Revoked.SerialNumber, serial)):
		status.Revoked = &v1alpha1.RevokedCertificate{SerialNumber: serial, ObservedAt: now}
	}
	for i := range status.Orphans {
		if o := &status.Orphans[i]; o.CertificateID != "" && slices.Contains(f.Settled, o.CertificateID) {
			o.Outcome, o.Message = v1alpha1.OrphanRevoked, "it was revoked at the vendor"
		}
	}
	found := slices.Clone(revoked)
	for _, s := range f.Report {
		found = append(found, s.orphan(f.Certificate))
	}
	for _, o := range found {
		if !enlist(status, o) {
			unlisted++
		}
	}
	status.ClosedAttempts = slices.DeleteFunc(status.ClosedAttempts, func(a v1alpha1.Attempt) bool {
		return slices.ContainsFunc(revoked, func(o v1alpha1.Orphan) bool { return o.AttemptID == a.ID })
	})
	return unlisted
}

// enlist puts an orphan on the list: in the place of the window that was reported for its attempt, or at the front. A full list makes room by
// forgetting what is revoked.
func enlist(status *v1alpha1.DeviceCertificateStatus, o v1alpha1.Orphan) bool {
	if slices.Contains(status.AcknowledgedOrphans, o.CertificateID) {
		return true
	}
	if at := slices.IndexFunc(status.Orphans, func(listed v1alpha1.Orphan) bool {
		return listed.CertificateID != "" && listed.CertificateID == o.CertificateID
	}); at >= 0 {
		if o.Outcome != v1alpha1.OrphanReported {
			status.Orphans[at] = o
		}
		return true
	}
	at := slices.IndexFunc(status.Orphans, func(listed v1alpha1.Orphan) bool {
		return o.AttemptID != "" && listed.AttemptID == o.AttemptID && listed.CertificateID == ""
	})
	if at < 0 && len(status.Orphans) >= v1alpha1.MaxOrphans {
		at = slices.IndexFunc(status.Orphans, func(listed v1alpha1.Orphan) bool { return listed.Outcome == v1alpha1.OrphanRevoked })
		if at < 0 {
			return false
		}
	}
	if at >= 0 {
		status.Orphans = slices.Delete(status.Orphans, at, at+1)
	}
	status.Orphans = slices.Insert(status.Orphans, 0, o)
	return true
}

// strayMessage tells a person what a certificate found by the sweep may be.
const strayMessage = "the inventory has it under this object's name, and no Secret and no record of this operator accounts for it: " +
	"it is of a lost answer, of an earlier object of this name, or another cluster's. Revoke it at the vendor if nobody uses it, then acknowledge it"

// Orphan is a suspect as it goes on record with an outcome.
func (s *Suspect) Orphan(c *v1alpha1.DeviceCertificate, outcome v1alpha1.OrphanOutcome, message string) v1alpha1.Orphan {
	o := v1alpha1.Orphan{
		CertificateID: s.CertificateID, SerialNumber: s.Serial, ProfileID: c.Spec.EnrollmentProfileID, CommonName: s.CommonName,
		WindowStart: timestamp(s.NotBefore), WindowEnd: timestamp(s.NotBefore), Outcome: outcome, Message: message,
	}
	notAfter := timestamp(s.NotAfter)
	o.NotAfter = &notAfter
	if s.Attempt != nil {
		o.AttemptID = s.Attempt.ID
	}
	return o
}

func (s *Suspect) orphan(c *v1alpha1.DeviceCertificate) v1alpha1.Orphan {
	return s.Orphan(c, v1alpha1.OrphanReported, strayMessage)
}

// timestamp is a time as a decoded status has it.
func timestamp(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second).Local()) }

// Tidy drops from a status what time has settled: orphans that have expired, and closed attempts that were looked for long enough.
func Tidy(status *v1alpha1.DeviceCertificateStatus, now time.Time) {
	status.Orphans = slices.DeleteFunc(status.Orphans, func(o v1alpha1.Orphan) bool {
		return o.NotAfter != nil && !now.Before(o.NotAfter.Time)
	})
	status.ClosedAttempts = slices.DeleteFunc(status.ClosedAttempts, func(a v1alpha1.Attempt) bool {
		return now.Sub(a.StartedAt.Time) >= closedAttemptMemory
	})
	if len(status.Orphans) == 0 {
		status.Orphans = nil
	}
	if len(status.ClosedAttempts) == 0 {
		status.ClosedAttempts = nil
	}
}
