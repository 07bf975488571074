// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// yieldToElder takes a Secret that is nobody's yet for that of an older object which names it, too: two that buy for one Secret would waste
// a certificate. Once it is written, its annotations say whose it is.
func (r *DeviceCertificateReconciler) yieldToElder(ctx context.Context, s *scope) {
	if s.secret.State != plan.SecretAbsent && s.secret.State != plan.SecretAdoptable {
		return
	}
	for _, other := range r.sharing(ctx, types.NamespacedName{Namespace: s.cert.Namespace, Name: s.layout.Name}) {
		if tlssecret.SecretName(&other) == s.layout.Name && other.DeletionTimestamp == nil && elder(&other, s.cert) {
			s.secret.State, s.secret.Owner = plan.SecretForeign, "DeviceCertificate "+other.Name+", which is older and names it in its spec,"
			return
		}
	}
}

// elder tells whether a was created before b; of two that were created within one second, the name decides.
func elder(a, b *v1alpha1.DeviceCertificate) bool {
	if a.UID == b.UID {
		return false
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name)) < 0
}

const (
	// freeRepairs of a Secret that others keep rewriting wait for nothing; each further one waits twice as long as the one before.
	freeRepairs                    = 3
	firstRepairWait, longestRepair = time.Minute, time.Hour
	// repairMemory ends a row of repairs.
	repairMemory = 3 * time.Hour
)

// rendering identifies what a render made of which request: one that follows another of the same repairs what somebody else has changed.
func (s *scope) rendering(leaf string) string {
	return fmt.Sprintf("%d %s %s", s.cert.Generation, s.layout.Name, leaf)
}

// rendered counts the repairs in a row.
func (m *recollection) rendered(what string, now time.Time) {
	if m.rendering == what && now.Sub(m.renderedAt) < repairMemory {
		m.repairs++
	} else {
		m.repairs = 0
	}
	m.rendering, m.renderedAt = what, now
}

// nextRepair is when the Secret may be repaired again; zero for at once.
func (m *recollection) nextRepair() time.Time {
	if m.repairs < freeRepairs {
		return time.Time{}
	}
	return m.renderedAt.Add(min(firstRepairWait<<min(m.repairs-freeRepairs, 16), longestRepair))
}

// contest notes in the snapshot that somebody else keeps rewriting the Secret, and until when it is left as it is.
func (r *DeviceCertificateReconciler) contest(s *scope) {
	remembered := r.memory.recall(s.cert.UID)
	until := remembered.nextRepair()
	if s.secret.InSync || until.IsZero() || remembered.rendering != s.rendering(s.secret.fingerprint) || !s.snapshot.Now.Before(until) {
		return
	}
	s.secret.ContestedUntil = until
	s.secret.Contested = fmt.Sprintf("others keep rewriting Secret %s, and it is brought back in line ever more rarely; stop them from writing to it, or choose another spec.secret.name. Its field managers are %s",
		s.secret.Name, cmp.Or(strings.Join(s.secret.managers, ", "), "this operator alone, as one who only removes fields leaves no trace there; the audit log of the API server knows who it is"))
}

// unvouched tells that a Secret which is to be taken over holds a pair of unknown origin, as far as that was found out.
func (r *DeviceCertificateReconciler) unvouched(s *scope) {
	if remembered := r.memory.recall(s.cert.UID); s.secret.State == plan.SecretAdoptable && s.secret.Broken == "" && remembered.unvouched == s.secret.fingerprint {
		s.secret.Broken = remembered.unvouchedFor
	}
}

// managersOf are the others who have written to a Secret, by the names they go by, latest first.
func managersOf(secret *corev1.Secret) []string {
	const most = 5
	entries := slices.Clone(secret.ManagedFields)
	slices.SortStableFunc(entries, func(a, b metav1.ManagedFieldsEntry) int {
		if a.Time == nil || b.Time == nil {
			return 0
		}
		return b.Time.Compare(a.Time.Time)
	})
	var names []string
	for _, e := range entries {
		if e.Manager != string(fieldOwner) && e.Manager != "" && !slices.Contains(names, e.Manager) {
			names = append(names, e.Manager)
		}
	}
	return names[:min(len(names), most)]
}

// vouch asks the inventory for a pair in a Secret that is to be taken over and does not say where it comes from. Only a certificate that
// the vendor has issued, and that answers the request, saves the purchase; it is then known by its id. Anything else is replaced.
func (r *DeviceCertificateReconciler) vouch(ctx context.Context, s *scope, stored *tlssecret.Stored) (unknown string, err error) {
	leaf := stored.Bundle.Leaf
	if !s.connected() {
		return "", fmt.Errorf("%s is being connected", s.issuer.ID)
	}
	if !s.account.CanSearch {
		return "nobody can tell whether the vendor issued what is in it, as the issuer's credential cannot search the inventory", nil
	}
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	var page *trustmanager.SearchPage
	err = r.Accounts.Call(ctx, s.issuer.ID, func(ctx context.Context, c *trustmanager.Client) (err error) {
		page, err = c.Search(ctx, trustmanager.SearchQuery{ProfileID: s.cert.Spec.EnrollmentProfileID, SerialNumber: certs.SerialString(leaf)})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask the inventory for the certificate that is to be taken over: %w", err)
	}
	for _, record := range page.Records {
		found, err := bundleOf(record)
		if err != nil || !found.Leaf.Equal(leaf) {
			continue
		}
		if strings.EqualFold(record.Status, "REVOKED") {
			return "the vendor has revoked its certificate", nil
		}
		want := certs.Expectation{
			CommonName: attributeValue(s.asked.CertificateAttributes, attributeCommonName), DeviceIdentifier: attributeValue(s.asked.DeviceAttributes, attributeDevice),
			DNSNames: dnsNames(s.asked), KeyType: s.cert.Spec.PrivateKey.KeyType,
		}
		if fatal, _ := certs.Check(stored.Bundle, want, s.snapshot.Now); len(fatal) > 0 {
			return fatal[0].Message, nil
		}
		stored.CertificateID = record.ID
		return "", nil
	}
	return "the vendor's inventory knows no such certificate of the profile", nil
}
