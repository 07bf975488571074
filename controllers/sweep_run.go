// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	// maxSwept is how many records of one status a sweep looks at.
	maxSwept = 100_000
	// sweepCourtesy is how long a page of the inventory lets those go first who wait to buy.
	sweepCourtesy = 10 * time.Second
)

// The inventory's words for what becomes of a certificate.
const (
	statusIssued  = "ISSUED"
	statusRevoked = "REVOKED"
)

// sweep is one comparison of the inventory of a profile with the cluster.
type sweep struct {
	r         *DeviceCertificateReconciler
	id        account.ID
	issuer    issuer
	profileID string
	began     time.Time
	log       logr.Logger

	records, reported, revoked int
	// remarks say what could not be looked at or listed.
	remarks []string
}

// run reads the inventory first and the cluster second: what was bought in between is in the one and not in the other, and what is on its
// way has an open attempt.
func (s *sweep) run(ctx context.Context) error {
	cached, err := (&SweepReconciler{Certificates: s.r}).cachedFleet(ctx, s.id)
	if err != nil {
		return err
	}
	strays, err := s.inventory(ctx, plan.InterestOf(slices.DeleteFunc(cached, s.elsewhere)))
	if err != nil {
		return err
	}
	everyone, err := s.r.fleet(ctx)
	if err != nil {
		return err
	}
	known, held := newKin(), newKin()
	found := plan.Inventory{
		Now: s.r.Clock.Now(), Host: s.issuer.Host(), ProfileID: s.profileID, Policy: s.issuer.Spec.Orphans.Policy, Strays: strays,
		Fleet: belonging(everyone, func(c *v1alpha1.DeviceCertificate) bool { return !s.elsewhere(c) }),
	}
	for i := range everyone {
		known.addStatus(&everyone[i].Status)
		held.addHeld(&everyone[i].Status)
		if attempt := everyone[i].Status.Attempt; attempt != nil {
			found.Attempts = append(found.Attempts, attempt)
		}
	}
	if err := s.r.addWatchedSecrets(ctx, held); err != nil {
		return err
	}
	for i := range found.Strays {
		stray := &found.Strays[i]
		stray.Held = held.accounts(stray.Candidate)
		stray.Accounted = stray.Held || known.accounts(stray.Candidate)
	}
	for _, finding := range plan.Sweep(found) {
		if err := s.act(ctx, &finding, found.Fleet); err != nil {
			return err
		}
	}
	return s.tidy(ctx, found.Fleet)
}

// elsewhere tells whether an object buys through another issuer or from another profile.
func (s *sweep) elsewhere(c *v1alpha1.DeviceCertificate) bool {
	return accountOf(c) != s.id || c.Spec.EnrollmentProfileID != s.profileID
}

// inventory reads what the vendor has issued from the profile, page by page, and keeps what the fleet may have to do with.
func (s *sweep) inventory(ctx context.Context, interest *plan.Interest) ([]plan.Stray, error) {
	var strays []plan.Stray
	for _, status := range []string{statusIssued, statusRevoked} {
		records, truncated, err := trustmanager.SearchEach(ctx, s.page, trustmanager.SearchQuery{ProfileID: s.profileID, Status: status}, maxSwept,
			func(record trustmanager.Record) {
				if stray, ok := strayOf(record); ok && interest.In(stray) {
					strays = append(strays, stray)
				}
			})
		if err != nil {
			return nil, fmt.Errorf("read the inventory: %w", err)
		}
		s.records += records
		if truncated {
			s.remarks = append(s.remarks, fmt.Sprintf("the inventory has more than %d certificates of this profile with status %s; the others were not looked at", maxSwept, status))
		}
	}
	return strays, nil
}

// page reads one page of the inventory, after those who wait to buy.
func (s *sweep) page(ctx context.Context, query trustmanager.SearchQuery) (page *trustmanager.SearchPage, err error) {
	for waited := time.Duration(0); waited < sweepCourtesy && s.r.Accounts.State(s.id).Waiting > 0; waited += time.Second {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.r.Clock.After(time.Second):
		}
	}
	err = s.r.Accounts.Call(ctx, s.id, func(ctx context.Context, c *trustmanager.Client) (err error) {
		page, err = c.Search(ctx, query)
		return err
	})
	return page, err
}

// strayOf is what a sweep keeps of a record; without its leaf nothing can be told of it.
func strayOf(record trustmanager.Record) (plan.Stray, bool) {
	leaf := leafOf(record)
	if leaf == nil || describable(leaf) != nil || len(record.ID) > maxID {
		return plan.Stray{}, false
	}
	stray := plan.Stray{Candidate: candidateOf(record, leaf), NotAfter: leaf.NotAfter, Values: slices.Clone(leaf.DNSNames)}
	for _, a := range leaf.Subject.Names {
		if text, ok := a.Value.(string); ok {
			stray.Values = append(stray.Values, text)
		}
	}
	return stray, true
}

// act does what was found about one object, and puts it on record.
func (s *sweep) act(ctx context.Context, finding *plan.Finding, fleet []*v1alpha1.DeviceCertificate) error {
	c := finding.Certificate
	if err := s.spareStored(ctx, finding, fleet); err != nil {
		return err
	}
	var revoked []v1alpha1.Orphan
	for i := range finding.Revoke {
		o, err := s.revoke(ctx, c, &finding.Revoke[i])
		if err != nil {
			return err
		}
		revoked = append(revoked, o)
	}
	var before, after v1alpha1.DeviceCertificateStatus
	var unlisted int
	if err := s.write(ctx, c, func(status *v1alpha1.DeviceCertificateStatus) {
		status.DeepCopyInto(&before)
		unlisted = finding.Record(status, revoked, *timeOf(s.r.Clock.Now()))
		status.DeepCopyInto(&after)
	}); err != nil {
		return err
	}
	if unlisted > 0 {
		s.remarks = append(s.remarks, fmt.Sprintf("%d unknown certificates found no place in status.orphans of %s/%s: acknowledge what is listed there", unlisted, c.Namespace, c.Name))
	}
	s.tell(c, &before, &after)
	return nil
}

// spareStored takes out of a finding what a Secret holds: a status can be lost, a Secret says what it holds.
func (s *sweep) spareStored(ctx context.Context, finding *plan.Finding, fleet []*v1alpha1.DeviceCertificate) error {
	if len(finding.Revoke)+len(finding.Report) == 0 {
		return nil
	}
	namesake := func(c *v1alpha1.DeviceCertificate) bool {
		return slices.ContainsFunc(slices.Concat(finding.Revoke, finding.Report), func(suspect plan.Suspect) bool { return asksFor(c, suspect.CommonName) })
	}
	held := newKin()
	for _, c := range fleet {
		if c.UID == finding.Certificate.UID || namesake(c) {
			if err := s.r.addSecretsOf(ctx, held, c); err != nil {
				return err
			}
		}
	}
	for _, suspect := range finding.Revoke {
		// The attempt's own Secret may have another name than the spec asks for by now.
		own, err := s.r.readSecret(ctx, &scope{cert: finding.Certificate, layout: tlssecret.LayoutOf(finding.Certificate), passwordsRead: true}, suspect.Attempt.SecretName)
		if err != nil {
			return err
		}
		held.addSecret(finding.Certificate.Namespace, own)
	}
	stored := func(suspect plan.Suspect) bool { return held.accounts(suspect.Candidate) }
	finding.Revoke, finding.Report = slices.DeleteFunc(finding.Revoke, stored), slices.DeleteFunc(finding.Report, stored)
	return nil
}

// revoke revokes what is proven to be of a closed attempt.
func (s *sweep) revoke(ctx context.Context, c *v1alpha1.DeviceCertificate, suspect *plan.Suspect) (v1alpha1.Orphan, error) {
	if !s.r.Accounts.State(s.id).CanRevoke {
		return suspect.Orphan(c, v1alpha1.OrphanReported, "it is of a lost answer of this object, and the credential cannot revoke: revoke it at the vendor, then acknowledge it"), nil
	}
	refused, err := s.r.revokeAtVendor(ctx, s.id, suspect.CertificateID, v1alpha1.ReasonCessationOfOperation, "its private key was never stored (devicecert-operator)")
	switch {
	case err != nil:
		return v1alpha1.Orphan{}, err
	case refused != "":
		return suspect.Orphan(c, v1alpha1.OrphanRevokeFailed, truncate(refused+": revoke it there, then acknowledge it")), nil
	}
	s.revoked++
	return suspect.Orphan(c, v1alpha1.OrphanRevoked, "it was issued after its attempt had been closed, and its private key was lost, so it was revoked"), nil
}

// tell logs and announces what is new on the record of an object.
func (s *sweep) tell(c *v1alpha1.DeviceCertificate, before, after *v1alpha1.DeviceCertificateStatus) {
	for _, o := range after.Orphans {
		if slices.ContainsFunc(before.Orphans, func(listed v1alpha1.Orphan) bool {
			return listed.CertificateID == o.CertificateID && listed.Outcome == o.Outcome
		}) {
			continue
		}
		if o.Outcome != v1alpha1.OrphanRevoked {
			s.reported++
		}
		logOrphan(s.log.WithValues("namespace", c.Namespace, "name", c.Name), o)
		s.r.event(c, corev1.EventTypeWarning, v1alpha1.ReasonOrphan, "Sweep", fmt.Sprintf("certificate %s: %s (%s)", o.CertificateID, o.Message, o.Outcome))
	}
	if r := after.Revoked; r != nil && before.Revoked == nil {
		s.log.Info("a certificate in use was revoked at the vendor", "namespace", c.Namespace, "name", c.Name, "serial", r.SerialNumber)
		s.r.event(c, corev1.EventTypeWarning, v1alpha1.ReasonRevoked, "Sweep", "serial "+r.SerialNumber+" was revoked at the vendor by somebody else")
	}
}

// tidy drops from the records of the fleet what time has settled.
func (s *sweep) tidy(ctx context.Context, fleet []*v1alpha1.DeviceCertificate) error {
	now := s.r.Clock.Now()
	for _, c := range fleet {
		if len(c.Status.Orphans) == 0 && len(c.Status.ClosedAttempts) == 0 {
			continue
		}
		if err := s.write(ctx, c, func(status *v1alpha1.DeviceCertificateStatus) { plan.Tidy(status, now) }); err != nil {
			return err
		}
	}
	return nil
}
