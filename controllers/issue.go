// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/decode"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// intentValidity is how long after the acknowledged intent the request may leave. A process that was stopped in between must not wake
// up and buy for an attempt that another process has resolved.
const intentValidity = 5 * time.Second

// purchase is one attempt on its way, in a goroutine of its own.
type purchase struct {
	*scope
	r       *DeviceCertificateReconciler
	plan    plan.Plan
	lease   *account.Lease
	attempt *v1alpha1.Attempt
	// intentAt is when the intent was about to be recorded.
	intentAt time.Time
	// received is the leaf of an answer, as far as it could be read.
	received *x509.Certificate
	// password opens a pkcs_12 answer.
	password string
	log      logr.Logger
}

// run buys one certificate. Up to the intent every step may be repeated and costs nothing; from the intent on the attempt is open, and
// stays open until its outcome is on record. ctx ends when this process stops leading: nothing is sent after that, but what was sent
// is brought to its end on a context of its own.
func (p *purchase) run(ctx context.Context) {
	defer p.lease.Done(account.Outcome{Unused: true}) // without effect once the request's own outcome was told
	if err := p.prepare(ctx); err != nil {
		p.r.unprepared(ctx, p.scope, err)
		return
	}
	issued, err := p.send(ctx)
	ctx = context.WithoutCancel(ctx)
	switch failure, _ := trustmanager.AsError(err); {
	case err == nil:
		p.receive(ctx, issued)
	case failure != nil && (failure.Delivery == trustmanager.NotSent || failure.Delivery == trustmanager.Refused):
		p.notIssued(ctx, failure)
	default:
		p.keepOpen(ctx, err.Error())
	}
}

// prepare does everything that must be true before money is spent: the finalizer that keeps the record, the rehearsal of the write that
// will store the key, and the intent.
func (p *purchase) prepare(ctx context.Context) error {
	if controllerutil.AddFinalizer(p.cert, v1alpha1.Finalizer) {
		if err := p.r.Client.Patch(ctx, p.cert, client.MergeFromWithOptions(p.base, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("set the finalizer: %w", err)
		}
	}
	p.attempt = p.r.newAttempt(p.scope, p.plan)
	if err := p.rehearse(ctx); err != nil {
		return err
	}
	return p.recordIntent(ctx)
}

// rehearse is a dry run of the very apply that will store the result, with the version and UID of the Secret that was observed: RBAC,
// quota, admission, immutability, a terminating namespace and a stale cache are known before they cost a certificate.
func (p *purchase) rehearse(ctx context.Context) error {
	ac := tlssecret.Rehearsal(p.layout, p.provenance("", ""), sealedKeyName(&p.cert.Spec))
	fence(ac, p.secret.uid, p.secret.resourceVersion)
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	err := p.r.Client.Apply(ctx, ac, client.DryRunAll, fieldOwner, client.ForceOwnership)
	if err == nil {
		return nil
	}
	if !refusedByAPI(err) || !p.r.secretMoved(ctx, p.scope) {
		return fmt.Errorf("rehearse the write of Secret %s: %w", p.layout.Name, err)
	}
	// A UID that no longer fits is answered as invalid, not as a conflict.
	return apierrors.NewConflict(corev1.Resource("secrets"), p.layout.Name, errors.New("the Secret was replaced meanwhile"))
}

// recordIntent writes the attempt to the status, fenced by the version of the object that was observed: a stale cache, a second leader
// and an edit in between are each refused, and nothing was bought.
func (p *purchase) recordIntent(ctx context.Context) error {
	p.intentAt = p.r.Clock.Now()
	base := p.cert.DeepCopy()
	status := &p.cert.Status
	p.describe() // what is replaced must be on record, should the report be lost
	status.Attempt = p.attempt
	p.handleRetry(status)
	p.applyConditions(p.plan)
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	err := p.r.Client.Status().Patch(ctx, p.cert, statusPatch{base})
	if err == nil {
		return nil
	}
	p.use(base) // what was not recorded must not be reported either
	if refusedByAPI(err) || apierrors.IsConflict(err) {
		return fmt.Errorf("record the intent: %w", err)
	}
	// The answer was lost. If the intent is there it is ours, and as good as acknowledged, unless the spec was edited meanwhile.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), callBound)
	defer cancel()
	live := &v1alpha1.DeviceCertificate{}
	if getErr := p.r.Reader.Get(ctx, p.key(), live); getErr != nil || live.Status.Attempt == nil || live.Status.Attempt.ID != p.attempt.ID || live.Generation != p.attempt.Generation {
		return fmt.Errorf("record the intent: %w", err)
	}
	p.use(live)
	return nil
}

// send makes the one request. Nothing in the process repeats it.
func (p *purchase) send(ctx context.Context) (*trustmanager.Issued, error) {
	request := keyRequest(p.scope, p.attempt.ID)
	if ctx.Err() != nil || p.r.Clock.Since(p.intentAt) > intentValidity {
		return nil, notSent("the operator stopped before the request left")
	}
	if p.misdated() {
		return nil, notSent("the clocks of the operator and of the API server are more than five minutes apart, so nothing was bought: correct the clock of the operator's node")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.lease.Timeout())
	defer cancel()
	var issued *trustmanager.Issued
	var err error
	p.log.Info("requesting a certificate", "attempt", p.attempt.ID, "kind", p.attempt.Kind, "profile", p.attempt.ProfileID)
	if p.attempt.Kind == v1alpha1.AttemptRenew {
		issued, err = p.lease.Client().Renew(ctx, renewalRef(p.attempt), request)
	} else {
		issued, err = p.lease.Client().Enroll(ctx, request)
	}
	if err != nil {
		p.lease.Done(account.Outcome{Err: err})
		return nil, err
	}
	p.password = request.PKCS12Password
	return issued, nil
}

// notSent is the outcome of a request that did not leave.
func notSent(message string) *trustmanager.Error {
	return &trustmanager.Error{Op: "request", Delivery: trustmanager.NotSent, Actor: trustmanager.Nobody, Message: message}
}

func renewalRef(a *v1alpha1.Attempt) trustmanager.CertificateRef {
	if a.PredecessorID != "" {
		return trustmanager.CertificateRef{ID: a.PredecessorID}
	}
	return trustmanager.CertificateRef{Serial: a.PredecessorSerial}
}

// receive handles an answer: a certificate to verify and store, or the word that somebody must approve first.
func (p *purchase) receive(ctx context.Context, issued *trustmanager.Issued) {
	if issued.Pending() {
		p.lease.Done(account.Outcome{Fatal: p.block(v1alpha1.ReasonPendingApproval,
			"the vendor holds requests of this profile for approval: let the profile approve by itself, then annotate one DeviceCertificate with "+v1alpha1.AnnotationRetryRequestedAt)})
		p.pendingApproval(ctx, issued)
		return
	}
	boundIDs(issued)
	content, warnings, err := p.verify(ctx, issued)
	if err != nil {
		// The shape says what a vendor that speaks differently sent, without saying any of it.
		p.log.Error(err, "the issued certificate cannot be used", "attempt", p.attempt.ID, "certificateID", issued.CertificateID, "answer", issued.Shape)
		p.lease.Done(account.Outcome{Fatal: p.block(v1alpha1.ReasonUnverified, err.Error())})
		p.discard(ctx, issued.CertificateID, v1alpha1.ReasonUnverified, err.Error())
		return
	}
	p.lease.Done(account.Outcome{Issued: true})
	p.learnWindow(true)
	verifiedAt := p.r.Clock.Now()
	stored, err := p.store(ctx, content)
	if err != nil {
		p.log.Error(err, "the issued certificate cannot be stored", "attempt", p.attempt.ID, "certificateID", issued.CertificateID)
		p.r.memory.distrust(p.cert.UID) // what is there by now decides how it goes on
		p.discard(ctx, issued.CertificateID, v1alpha1.ReasonSecretRefused, err.Error())
		return
	}
	p.r.Telemetry.Issued(p.accountOf(), p.attempt, p.r.Clock.Since(p.intentAt), p.r.Clock.Since(verifiedAt))
	p.succeeded(ctx, stored, warnings)
}

// boundIDs drops ids that are no UUIDs (docs/vendor-api.md, section 2): nothing could be asked of the vendor by them.
func boundIDs(issued *trustmanager.Issued) {
	for _, id := range []*string{&issued.CertificateID, &issued.RequestID} {
		if uuid.Validate(*id) != nil {
			*id = ""
		}
	}
}

// verify opens the answer and judges it, before anything of it is shown to anybody. A panic of a parser is an answer that cannot be used.
func (p *purchase) verify(ctx context.Context, issued *trustmanager.Issued) (content tlssecret.Content, warnings []certs.Finding, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the answer crashed the operator's parser: please report its shape, which is in the operator's log")
		}
	}()
	if pool, err := certs.ParseCertificatesPEM([]byte(issued.PEM)); err == nil && len(pool) > 0 {
		p.received = pool[0]
	}
	content = tlssecret.Content{Provenance: p.provenance(issued.CertificateID, issued.RequestID)}
	payload := decode.Payload{
		Format: decode.Format(p.cert.Spec.PrivateKey.Format), PEM: issued.PEM, PrivateKey: issued.PrivateKey,
		Password: p.password, DecryptionKey: p.encryption.key, EncryptionCertificate: p.encryption.certificate,
	}
	if name := sealedKeyName(&p.cert.Spec); name != "" {
		sealed, err := decode.Seal(payload)
		if err != nil {
			return content, nil, err
		}
		content.SealedKey, content.Sealed, content.Bundle = name, sealed.Payload, sealed.Bundle
		if !sealed.LeafKnown {
			if content.Bundle, err = p.r.leafFromInventory(ctx, p.attempt, p.cert.Namespace, issued.CertificateID); err != nil {
				return content, nil, err
			}
		}
	} else {
		bundle, err := decode.Decode(payload)
		if err != nil {
			return content, nil, err
		}
		content.Bundle = bundle
	}
	p.received = content.Bundle.Leaf
	fatal, warnings := certs.Check(content.Bundle, expectation(p.scope, p.attempt), judgedAt(issued.ServerDate, p.r.Clock.Now()))
	if len(fatal) > 0 {
		return content, nil, fmt.Errorf("the certificate that was issued cannot be used: %s", fatal[0].Message)
	}
	if err := describable(content.Bundle.Leaf); err != nil {
		return content, nil, err
	}
	return content, warnings, nil
}

// judgedAt is the instant validity is judged at: the vendor's clock, as long as it agrees with ours by and large.
func judgedAt(vendor, ours time.Time) time.Time {
	if vendor.IsZero() || vendor.Sub(ours).Abs() > certs.MaxFutureStart {
		return ours
	}
	return vendor
}

// provenance is what the Secret will say of its content.
func (p *purchase) provenance(certificateID, requestID string) tlssecret.Provenance {
	provenance := tlssecret.Provenance{
		CertificateID: certificateID, RequestID: requestID, AttemptID: p.attempt.ID,
		IssuanceHash: p.attempt.IssuanceHash, RequestHash: p.snapshot.RequestHash, IssuedAt: p.r.Clock.Now(),
	}
	provenance.Issuer, provenance.Host, provenance.ProfileID = string(p.attempt.IssuerKind)+"/"+p.attempt.IssuerName, p.attempt.Host, p.attempt.ProfileID
	provenance.HandledRenewRequest = p.cert.Annotations[v1alpha1.AnnotationRenewRequestedAt]
	return provenance
}

// block names the issuer's (profile, format) that is not bought from until somebody acts.
func (p *purchase) block(reason, message string) *v1alpha1.BlockedProfile {
	return &v1alpha1.BlockedProfile{ProfileID: p.attempt.ProfileID, Format: p.cert.Spec.PrivateKey.Format, Reason: reason, Message: truncate(message)}
}

// sealedKeyName is the key under which a sealed payload is stored; empty when the key is delivered open.
func sealedKeyName(spec *v1alpha1.DeviceCertificateSpec) string {
	switch {
	case spec.PrivateKey.Delivery != v1alpha1.DeliverySealed:
		return ""
	case spec.PrivateKey.Format == v1alpha1.FormatCertEncryptedKeyOnly:
		return v1alpha1.KeySealedKey
	default:
		return v1alpha1.KeySealedBundle
	}
}

// refusedByAPI tells whether the API server gave a definite answer that repeating will not change by itself.
func refusedByAPI(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)
}
