// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/profile"
	"github.com/devicecert/devicecert-operator/internal/renewal"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

const (
	// rereadAfter is how long what was read of an object that is not watched stays good, before jitter.
	rereadAfter = 5 * time.Minute
	// storeBound is how long after the answer another process may still store it without asking again whose turn it is. Resolving an
	// attempt waits for it.
	storeBound = 10 * time.Second
)

// scope is one reconcile: what was observed, and the object whose status is being rewritten.
type scope struct {
	// cert is a copy whose status may be changed; base is what was observed.
	cert, base *v1alpha1.DeviceCertificate
	snapshot   plan.Snapshot
	secret     facts
	previous   facts
	issuer     issuer
	account    account.State
	layout     tlssecret.Layout
	encryption encryption
	// asked is the spec with its attributes under ids, as far as they are known; wants is what the profile wants, nil while that is not
	// known. A purchase knows both: see readProfile.
	asked *v1alpha1.DeviceCertificateSpec
	wants *profile.Specification
	// incomplete are the optional outputs that cannot be rendered, in words.
	incomplete    []string
	passwordsRead bool
	// failure is the record of a failed attempt that is about to be written.
	failure *v1alpha1.Failures
	// elsewhere: another process serves the issuer, and with it this object.
	elsewhere bool
}

func (s *scope) key() types.NamespacedName { return client.ObjectKeyFromObject(s.cert) }

// observe reads everything the plan needs. What only a purchase or a rendering needs is read by inspect, when there is one to make.
func (r *DeviceCertificateReconciler) observe(ctx context.Context, base *v1alpha1.DeviceCertificate) (*scope, error) {
	s := &scope{cert: base.DeepCopy(), base: base, layout: tlssecret.LayoutOf(base), asked: &base.Spec}
	now := r.Clock.Now()
	s.snapshot = plan.Snapshot{Now: now, Certificate: s.cert, InFlight: r.Flights.InFlight(base.UID)}
	if s.snapshot.InFlight {
		return s, nil
	}
	var err error
	if s.secret, err = r.observeSecret(ctx, s, now); err != nil {
		return nil, err
	}
	r.yieldToElder(ctx, s)
	r.unvouched(s)
	r.contest(s)
	s.snapshot.Secret = s.secret.Secret
	if previous := base.Status.SecretName; previous != "" && previous != s.layout.Name && !s.secret.Usable() {
		found, err := r.readSecret(ctx, s, previous)
		if err != nil {
			return nil, err
		}
		s.previous, s.snapshot.Previous = found, found.Secret
	}
	if err := r.observeIssuer(ctx, s); err != nil {
		return nil, err
	}
	s.snapshot.WindowOpens = r.windowOpens(s, now)
	s.snapshot.Recovered = r.memory.recoveredSince(base.UID, base.Status.Failures, s.account.RecoveredAt)
	if attempt := base.Status.Attempt; attempt != nil {
		s.snapshot.SettlesAt = r.memory.seenSince(base.UID, attempt.ID, now).Add(r.settling(ctx, base.Namespace, attempt))
	}
	return s, nil
}

// settling is how long an open attempt may still have effects this process does not see: the request's deadline, the time to store
// its answer, and the delay of the vendor's inventory. While the issuer is not connected yet the answer is a moment: to ask again.
func (r *DeviceCertificateReconciler) settling(ctx context.Context, namespace string, attempt *v1alpha1.Attempt) time.Duration {
	id := attemptAccount(attempt, namespace)
	state := r.Accounts.State(id)
	if !state.Known && !r.issuerGone(ctx, id) {
		return time.Second
	}
	return settlingTime(attempt, state)
}

// settlingTime is how long an attempt may have effects after it was seen open.
func settlingTime(attempt *v1alpha1.Attempt, state account.State) time.Duration {
	deadline := max(state.RequestTimeout, time.Duration(attempt.RequestTimeoutSeconds)*time.Second)
	return deadline + storeBound + state.InventoryLag
}

// connected tells whether the account speaks for the issuer object as it was observed. Between an edit of the issuer and its account's
// reconnection, a certificate would be bought from the old host and recorded as the new one's.
func (s *scope) connected() bool {
	return s.account.Known && strings.HasPrefix(s.account.Version, fmt.Sprintf("%s.%d.", s.issuer.UID, s.issuer.Generation))
}

// cannotRevoke tells whether the issuer's credential is known to be unable to revoke, or to search for the proof that a revocation needs.
func (s *scope) cannotRevoke() bool {
	return s.connected() && !(s.account.CanSearch && s.account.CanRevoke)
}

// observeSecret answers from memory as long as the Secret's version is the one remembered, and reads it live otherwise. An object
// that never had a Secret is taken to have none: its first write is fenced and finds out.
func (r *DeviceCertificateReconciler) observeSecret(ctx context.Context, s *scope, now time.Time) (facts, error) {
	remembered := r.memory.recall(s.cert.UID)
	fresh := !remembered.distrusted && remembered.generation == s.cert.Generation && remembered.facts.Name == s.layout.Name &&
		(!remembered.facts.byIssued || remembered.issued == issuedFingerprint(s.cert)) &&
		(!s.needsPasswords() && remembered.facts.Refused == "" || now.Sub(remembered.readAt) < r.reread(s.cert))
	if !remembered.distrusted && r.WatchSecrets {
		meta := &metav1.PartialObjectMetadata{}
		meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: s.cert.Namespace, Name: s.layout.Name}, meta)
		switch {
		case err == nil && fresh && remembered.facts.resourceVersion == meta.ResourceVersion && remembered.facts.uid == string(meta.UID):
			return remembered.facts, nil
		case err == nil && fresh && older(meta.ResourceVersion, remembered.facts.resourceVersion) && remembered.facts.uid == string(meta.UID):
			return remembered.facts, nil // the cache lags behind this process's own write
		case apierrors.IsNotFound(err) && s.cert.Status.SecretName == "" && remembered.readAt.IsZero():
			return facts{Secret: plan.Secret{Name: s.layout.Name}}, nil
		case err != nil && !apierrors.IsNotFound(err):
			return facts{}, fmt.Errorf("read the Secret's metadata: %w", err)
		}
	} else if fresh && !remembered.readAt.IsZero() && now.Sub(remembered.readAt) < r.reread(s.cert) {
		return remembered.facts, nil
	}
	found, err := r.readSecret(ctx, s, s.layout.Name)
	if err != nil {
		return facts{}, err
	}
	if found.incomplete = slices.Clone(s.incomplete); len(found.incomplete) > 0 && found.Usable() {
		found.InSync = true // keystores whose password is gone are left as they are, rather than taken away
	}
	r.memory.remember(s.cert, found, now)
	return found, nil
}

// reread is rereadAfter with the object's own jitter, so that a fleet does not read in step.
func (r *DeviceCertificateReconciler) reread(c *v1alpha1.DeviceCertificate) time.Duration {
	return rereadAfter - renewal.Jitter(rereadAfter/5, string(c.UID))
}

// readSecret reads a Secret live and takes it apart.
func (r *DeviceCertificateReconciler) readSecret(ctx context.Context, s *scope, name string) (facts, error) {
	secret := &corev1.Secret{}
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	err := r.Reader.Get(ctx, types.NamespacedName{Namespace: s.cert.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return facts{Secret: plan.Secret{Name: name}}, nil
	}
	if err != nil {
		return facts{}, fmt.Errorf("read Secret %s: %w", name, err)
	}
	if s.needsPasswords() {
		if err := r.readPasswords(ctx, s); err != nil {
			return facts{}, err
		}
	}
	return factsOf(secret, s.cert, s.layout), nil
}

// factsOf reduces a Secret to what is remembered of it.
func factsOf(secret *corev1.Secret, c *v1alpha1.DeviceCertificate, l tlssecret.Layout) facts {
	f := facts{uid: string(secret.UID), resourceVersion: secret.ResourceVersion, Secret: plan.Secret{Name: secret.Name}}
	owner := tlssecret.OwnershipOf(secret, c)
	switch {
	case owner.Ours:
		f.State = plan.SecretOurs
	case owner.Adoptable:
		f.State = plan.SecretAdoptable
	default:
		f.State, f.Owner = plan.SecretForeign, owner.Owner
	}
	stored := tlssecret.Read(secret)
	f.describe(stored)
	f.byIssued = owner.Unclaimed || f.sealed
	received := f.fingerprint != "" && f.fingerprint == issuedFingerprint(c)
	if f.State == plan.SecretForeign {
		if !owner.Unclaimed || !received {
			return facts{uid: f.uid, resourceVersion: f.resourceVersion, byIssued: f.byIssued, Secret: plan.Secret{Name: f.Name, State: f.State, Owner: f.Owner}}
		}
		f.State = plan.SecretOurs // its annotations were stripped; what it holds is what was received
	}
	f.Unproven = f.sealed && !received
	f.InSync, f.managers = stored.InSync(secret, l), managersOf(secret)
	if sealed := c.Spec.PrivateKey.Delivery == v1alpha1.DeliverySealed; f.Broken == "" && sealed != (stored.SealedKey != "") {
		f.Broken = "it was delivered differently than spec.privateKey.delivery asks; choose another spec.secret.name"
	}
	return f
}

// describe fills in what the stored pair is.
func (f *facts) describe(stored tlssecret.Stored) {
	f.CertificateID, f.AttemptID, f.IssuanceHash = bounded(stored.CertificateID, maxID), bounded(stored.AttemptID, maxID), bounded(stored.IssuanceHash, maxID)
	f.RequestHash = bounded(stored.RequestHash, maxID)
	f.issuer, f.host, f.profileID, f.sealed = bounded(stored.Issuer, maxName), bounded(stored.Host, maxName), bounded(stored.ProfileID, maxProfileID), stored.SealedKey != ""
	f.IssuedAt, f.HandledRenewRequest, f.requestID = stored.IssuedAt, bounded(stored.HandledRenewRequest, maxID), bounded(stored.RequestID, maxID)
	if stored.Broken != nil {
		f.Broken = stored.Broken.Error()
		return
	}
	leaf := stored.Bundle.Leaf
	if err := describable(leaf); err != nil {
		f.Broken = err.Error()
		return
	}
	f.Serial, f.NotBefore, f.NotAfter = certs.SerialString(leaf), leaf.NotBefore, leaf.NotAfter
	f.chainDamaged = stored.ChainDamaged
	f.fingerprint, f.subject, f.keyType = certs.FingerprintSHA256(leaf), certs.Subject(leaf), certs.KeyType(leaf.PublicKey)
	f.dnsNames = slices.DeleteFunc(certs.DNSNames(leaf), func(name string) bool { return name == "" || len(name) > v1alpha1.MaxValueLength })
	f.dnsNames = f.dnsNames[:min(len(f.dnsNames), v1alpha1.MaxDNSNames)]
}

// What the status holds at most of ids, hashes and serial numbers, of profile ids, and of names.
const (
	maxID        = 128
	maxProfileID = 64
	maxName      = 253
)

// bounded drops an annotation that no status could hold: whoever edited it must not block the status.
func bounded(value string, longest int) string {
	if len(value) > longest || !utf8.ValidString(value) {
		return ""
	}
	return value
}

// describable refuses a certificate that the status could not describe; no vendor issues such a one.
func describable(leaf *x509.Certificate) error {
	if serial := certs.SerialString(leaf); len(serial) > maxID || leaf.SerialNumber.Sign() <= 0 {
		return errors.New("the certificate's serial number is negative, zero or longer than 64 octets")
	}
	for _, t := range []time.Time{leaf.NotBefore, leaf.NotAfter} {
		if t.Year() < 1 || t.Year() > 9999 {
			return errors.New("the certificate's validity lies outside the years 1 to 9999")
		}
	}
	return nil
}

// observeIssuer looks up the issuer object and its account, and computes the hash of what the spec would buy from it.
func (r *DeviceCertificateReconciler) observeIssuer(ctx context.Context, s *scope) error {
	found, err := lookupIssuer(ctx, r.Client, s.cert.Namespace, s.cert.Spec.IssuerRef)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the issuer: %w", err)
	}
	if !r.Issuers.Matches(labels.Set(found.Labels)) {
		s.elsewhere = true
		return nil
	}
	s.issuer = found
	s.account = r.Accounts.State(found.ID)
	s.snapshot.Issuer = plan.Issuer{
		Found: true, Known: s.connected(), Ready: s.account.Ready, Suspended: found.Spec.Suspend,
		Reason: s.account.Reason, Message: s.account.Message, Version: s.account.Version, CannotRevoke: s.cannotRevoke(),
	}
	if s.cert.Spec.PrivateKey.Delivery == v1alpha1.DeliverySealed {
		problem, err := r.readEncryption(ctx, s)
		if err != nil {
			return err
		}
		s.snapshot.Problem = problem
		if problem != nil {
			return nil // without the certificate's key there is no hash, and nothing is out of date
		}
	}
	s.snapshot.RequestHash, err = plan.IssuanceHash(found.Host(), &s.cert.Spec, s.encryption.keySHA256)
	s.snapshot.IssuanceHash = s.snapshot.RequestHash
	return err
}

// inspect reads what only a purchase or a rendering needs, and answers whether the plan must be made again with it: what the profile wants,
// grants, the encryption certificate and its key, keystore passwords.
func (r *DeviceCertificateReconciler) inspect(ctx context.Context, s *scope, p plan.Plan) (again bool, err error) {
	before := s.snapshot.IssuanceHash
	if p.Buys() && s.snapshot.Problem == nil {
		if s.snapshot.Problem, err = r.readProfile(ctx, s); err != nil {
			return false, err
		}
	}
	if p.Buys() && s.issuer.ID.Kind == v1alpha1.KindClusterDeviceIssuer {
		namespaceLabels, err := r.namespaceLabels(ctx, s.cert.Namespace)
		if err != nil {
			return false, err
		}
		s.snapshot.Issuer.Denied = plan.Denied(s.issuer.Grants, namespaceLabels, s.asked, s.wants.IDs)
	}
	if s.snapshot.Problem == nil && p.Buys() {
		s.snapshot.Problem, err = r.readEncryption(ctx, s)
	}
	if err == nil && s.needsPasswords() && (p.Buys() || p.Action == plan.ActionRender) {
		err = r.readPasswords(ctx, s)
	}
	return s.snapshot.Problem != nil || s.snapshot.Issuer.Denied != "" || s.snapshot.IssuanceHash != before, err
}

// namespaceLabels are those a grant selects by: from the cache, or live where the process may not watch namespaces.
func (r *DeviceCertificateReconciler) namespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	reader := client.Reader(r.Client)
	if len(r.Namespaces) > 0 {
		reader = r.Reader
	}
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	if err := reader.Get(ctx, types.NamespacedName{Name: name}, namespace); err != nil {
		return nil, fmt.Errorf("read the namespace's labels: %w", err)
	}
	return namespace.Labels, nil
}
