// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// kin are the certificates that this operator already accounts for.
type kin struct {
	serials, ids, fingerprints map[string]struct{}
	// read are the Secrets that were looked into: what their annotations say adds nothing.
	read map[types.NamespacedName]struct{}
	// feared are what other objects' attempts have reported because they may have bought it.
	feared []v1alpha1.Orphan
	// attempting: another object has an open attempt that could have bought the same.
	attempting bool
}

func newKin() *kin {
	return &kin{serials: map[string]struct{}{}, ids: map[string]struct{}{}, fingerprints: map[string]struct{}{}, read: map[types.NamespacedName]struct{}{}}
}

// kin gathers them, live, from the status of every DeviceCertificate, and from the Secrets of those that ask for the same name: a status
// can be lost, a Secret says what it holds.
func (q *resolution) kin(ctx context.Context) (*kin, error) {
	k := newKin()
	err := q.r.eachCertificate(ctx, func(c *v1alpha1.DeviceCertificate) error {
		if c.UID == q.cert.UID {
			k.addStatus(&c.Status)
			return nil
		}
		k.addOther(&c.Status)
		other := c.Status.Attempt
		k.attempting = k.attempting || other != nil && other.Host == q.attempt.Host && other.ProfileID == q.attempt.ProfileID && strings.EqualFold(other.CommonName, q.attempt.CommonName)
		if asksFor(c, q.attempt.CommonName) {
			return q.r.addSecretsOf(ctx, k, c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	own, err := q.r.readSecret(ctx, q.scope, q.attempt.SecretName)
	if err != nil {
		return nil, err
	}
	k.addSecret(q.cert.Namespace, own)
	return k, q.r.addWatchedSecrets(ctx, k)
}

// pageSize bounds how many objects of a live list are in memory at a time: a fleet in one answer would take more than the fleet's cache.
const pageSize = 500

// eachCertificate lists, live, every DeviceCertificate of the namespaces that are served, as far as the cache would hold it.
func (r *DeviceCertificateReconciler) eachCertificate(ctx context.Context, visit func(*v1alpha1.DeviceCertificate) error) error {
	namespaces := r.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		for next := ""; ; {
			page := &v1alpha1.DeviceCertificateList{}
			if err := r.Reader.List(ctx, page, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next)); err != nil {
				return fmt.Errorf("list the certificates: %w", err)
			}
			for i := range page.Items {
				leanCertificate(&page.Items[i])
				if err := visit(&page.Items[i]); err != nil {
					return err
				}
			}
			if next = page.Continue; next == "" {
				break
			}
		}
	}
	return nil
}

// fleet is every DeviceCertificate of the namespaces that are served, read live.
func (r *DeviceCertificateReconciler) fleet(ctx context.Context) ([]v1alpha1.DeviceCertificate, error) {
	var all []v1alpha1.DeviceCertificate
	err := r.eachCertificate(ctx, func(c *v1alpha1.DeviceCertificate) error {
		all = append(all, *c)
		return nil
	})
	return all, err
}

// addSecretsOf adds what the Secret of another object holds, and the one it used before.
func (r *DeviceCertificateReconciler) addSecretsOf(ctx context.Context, k *kin, c *v1alpha1.DeviceCertificate) error {
	for _, name := range slices.Compact([]string{tlssecret.SecretName(c), cmp.Or(c.Status.SecretName, tlssecret.SecretName(c))}) {
		held, err := r.readSecret(ctx, &scope{cert: c, layout: tlssecret.LayoutOf(c), passwordsRead: true}, name)
		if err != nil {
			return err
		}
		k.addSecret(c.Namespace, held)
	}
	return nil
}

// asksFor tells whether a spec may ask for a common name: the attribute may stand there by its name, which only the profile tells from
// others.
func asksFor(c *v1alpha1.DeviceCertificate, commonName string) bool {
	return slices.ContainsFunc(c.Spec.CertificateAttributes, func(a v1alpha1.Attribute) bool {
		return slices.ContainsFunc(attributeValues(a), func(v string) bool { return strings.EqualFold(v, commonName) })
	})
}

// addSecret adds what a Secret holds. One that is broken accounts for nothing: its key is lost.
func (k *kin) addSecret(namespace string, f facts) {
	if f.State != plan.SecretForeign {
		k.read[types.NamespacedName{Namespace: namespace, Name: f.Name}] = struct{}{}
	}
	if f.Usable() {
		k.add(f.CertificateID, f.Serial)
	}
}

func (k *kin) add(id, serial string) {
	k.ids[id], k.serials[certs.CanonicalSerial(serial)] = struct{}{}, struct{}{}
}

// addWatchedSecrets adds what the annotations of the operator's Secrets name: a Secret that was retained belongs to no object any more and may
// be in use all the same.
func (r *DeviceCertificateReconciler) addWatchedSecrets(ctx context.Context, k *kin) error {
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	options := []client.ListOption{client.MatchingLabels{v1alpha1.LabelWatch: "true"}, client.UnsafeDisableDeepCopy}
	if !r.WatchSecrets {
		return nil // listing is not allowed then; retained Secrets are protected by orphans.policy Report alone
	}
	if err := r.Client.List(ctx, secrets, options...); err != nil {
		return fmt.Errorf("list the Secrets' metadata: %w", err)
	}
	for i := range secrets.Items {
		if _, ok := k.read[client.ObjectKeyFromObject(&secrets.Items[i])]; ok {
			continue
		}
		id, fingerprint := heldBy(&secrets.Items[i])
		k.ids[id], k.fingerprints[fingerprint] = struct{}{}, struct{}{}
	}
	return nil
}

// addStatus adds everything that a status accounts for.
func (k *kin) addStatus(status *v1alpha1.DeviceCertificateStatus) {
	k.addHeld(status)
	for _, o := range status.Orphans {
		k.add(o.CertificateID, o.SerialNumber)
	}
	for _, id := range status.AcknowledgedOrphans {
		k.ids[id] = struct{}{}
	}
}

// addOther adds what the status of another object accounts for. What it only fears to have bought may be this object's.
func (k *kin) addOther(status *v1alpha1.DeviceCertificateStatus) {
	others := *status
	others.Orphans = nil
	for _, o := range status.Orphans {
		if o.Outcome == v1alpha1.OrphanReported {
			k.feared = append(k.feared, o)
		} else {
			others.Orphans = append(others.Orphans, o)
		}
	}
	k.addStatus(&others)
}

// addHeld adds what is or was in a Secret.
func (k *kin) addHeld(status *v1alpha1.DeviceCertificateStatus) {
	k.add(status.CertificateID, status.SerialNumber)
	if status.Issued != nil {
		k.add(status.Issued.CertificateID, status.Issued.SerialNumber)
	}
	for _, s := range status.Superseded {
		k.add(s.CertificateID, s.SerialNumber)
	}
}

// accounts tells whether a certificate is among them.
func (k *kin) accounts(c plan.Candidate) bool {
	_, byID := k.ids[c.CertificateID]
	_, bySerial := k.serials[certs.CanonicalSerial(c.Serial)]
	_, byFingerprint := k.fingerprints[c.Fingerprint]
	return byID && c.CertificateID != "" || bySerial && c.Serial != "" || byFingerprint
}

// fears tells whether another object's attempt may have bought the certificate.
func (k *kin) fears(c plan.Candidate) bool {
	return slices.ContainsFunc(k.feared, func(o v1alpha1.Orphan) bool {
		return o.CertificateID != "" && o.CertificateID == c.CertificateID || certs.SameSerial(o.SerialNumber, c.Serial)
	})
}

// candidates are the inventory's records as the judgement needs them.
func (k *kin) candidates(attempt *v1alpha1.Attempt, records []trustmanager.Record) []plan.Candidate {
	candidates := make([]plan.Candidate, 0, len(records))
	for _, record := range records {
		leaf := leafOf(record)
		if leaf == nil {
			continue // without its leaf nothing can be told of it
		}
		c := candidateOf(record, leaf)
		c.Marked, c.Accounted, c.Feared = carries(leaf, attempt.ID), k.accounts(c), k.fears(c)
		candidates = append(candidates, c)
	}
	return candidates
}

// candidateOf is what the inventory shows of a certificate.
func candidateOf(record trustmanager.Record, leaf *x509.Certificate) plan.Candidate {
	c := plan.Candidate{
		CertificateID: record.ID, Serial: certs.SerialString(leaf), Fingerprint: certs.FingerprintSHA256(leaf), CommonName: leaf.Subject.CommonName,
		KeyType: certs.KeyType(leaf.PublicKey), NotBefore: leaf.NotBefore, Revoked: strings.EqualFold(record.Status, statusRevoked),
	}
	if len(leaf.DNSNames) > 0 {
		c.SANDigest = certs.SANDigest(leaf.DNSNames)
	}
	return c
}

// carries tells whether the leaf shows the attempt's id, as an issuer's markerAttribute makes it.
func carries(leaf *x509.Certificate, attemptID string) bool {
	if slices.Contains(leaf.DNSNames, attemptID) {
		return true
	}
	return slices.ContainsFunc(leaf.Subject.Names, func(a pkix.AttributeTypeAndValue) bool { return a.Value == attemptID })
}

func leafOf(record trustmanager.Record) *x509.Certificate {
	pool, err := certs.ParseCertificatesPEM([]byte(record.Body))
	if err != nil || len(pool) == 0 {
		return nil
	}
	return pool[0]
}

// inventory lists what the vendor has of the attempt's profile and name, and the certificate that was answered. Every page takes a token of the account.
func (r *DeviceCertificateReconciler) inventory(ctx context.Context, id account.ID, attempt *v1alpha1.Attempt) (records []trustmanager.Record, truncated bool, err error) {
	search := func(ctx context.Context, query trustmanager.SearchQuery) (page *trustmanager.SearchPage, err error) {
		err = r.Accounts.Call(ctx, id, func(ctx context.Context, c *trustmanager.Client) (err error) {
			page, err = c.Search(ctx, query)
			return err
		})
		return page, err
	}
	queries := []trustmanager.SearchQuery{{ProfileID: attempt.ProfileID, CommonName: cmp.Or(attempt.CommonName, attempt.DeviceID)}}
	if attempt.DeviceID != "" && !strings.EqualFold(attempt.DeviceID, queries[0].CommonName) {
		queries = append(queries, trustmanager.SearchQuery{ProfileID: attempt.ProfileID, CommonName: attempt.DeviceID}) // profiles may make it the name
	}
	if attempt.CertificateSerial != "" {
		queries = append(queries, trustmanager.SearchQuery{ProfileID: attempt.ProfileID, SerialNumber: attempt.CertificateSerial})
	}
	for _, query := range queries {
		found, more, err := trustmanager.SearchAll(ctx, search, query, maxInventory)
		if err != nil {
			return nil, false, err
		}
		records, truncated = append(records, found...), truncated || more
	}
	return records, truncated, nil
}

// leafFromInventory fetches a certificate that came inside a sealed bundle alone. The bundle exists nowhere else, so it is looked for
// until the inventory must have it.
func (r *DeviceCertificateReconciler) leafFromInventory(ctx context.Context, attempt *v1alpha1.Attempt, namespace, certificateID string) (certs.Bundle, error) {
	id := attemptAccount(attempt, namespace)
	end := r.Clock.Now().Add(r.Accounts.State(id).InventoryLag + resolveBound)
	for delay := time.Second; ; delay = min(2*delay, time.Minute) {
		records, _, err := r.inventory(ctx, id, attempt)
		for _, record := range records {
			if record.ID == certificateID && certificateID != "" {
				return bundleOf(record)
			}
		}
		refusal, ok := trustmanager.AsError(err)
		if certificateID == "" || ok && refusal.HTTPStatus == 403 || r.Clock.Now().After(end) {
			return certs.Bundle{}, fmt.Errorf("the answer held no certificate, and the inventory does not show it: use format %s", v1alpha1.FormatCertEncryptedKeyOnly)
		}
		<-r.Clock.After(delay)
	}
}

func bundleOf(record trustmanager.Record) (certs.Bundle, error) {
	pool, err := certs.ParseCertificatesPEM([]byte(record.Body + "\n" + strings.Join(record.Chain, "\n")))
	if err != nil {
		return certs.Bundle{}, fmt.Errorf("certificate %s in the inventory: %w", record.ID, err)
	}
	return certs.Assemble(nil, pool)
}
