// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

const (
	// fieldOwner owns the operator's keys of a Secret.
	fieldOwner = client.FieldOwner("devicecert-operator")
	// absentVersion, as a resourceVersion, lets an apply create the Secret and conflicts when there is one.
	absentVersion = "1"
	// callBound is the longest one call to the API server may take while a key waits to be stored: a connection that hangs must not
	// hold it for good.
	callBound = 30 * time.Second
	// refusalBound is how long a definite refusal is borne before the certificate is given up: long enough for a person to mend RBAC,
	// quota or a policy.
	refusalBound = 10 * time.Minute
	// firstStoreDelay and longestStoreDelay bound the pauses between the tries to store a key that exists nowhere else.
	firstStoreDelay   = 50 * time.Millisecond
	longestStoreDelay = 5 * time.Second
)

var (
	errOvertaken = errors.New("the Secret was taken by somebody else, or another process has resolved this attempt")
	errTampered  = errors.New("something changes the Secret while it is written (an admission webhook?), so that key and certificate cannot be used")
)

// fence binds an apply to the Secret that was observed. The version alone is not enough: one of a deleted Secret would create it anew.
func fence(ac *corev1ac.SecretApplyConfiguration, uid, resourceVersion string) {
	if uid == "" {
		ac.WithResourceVersion(absentVersion)
		return
	}
	ac.WithUID(types.UID(uid)).WithResourceVersion(resourceVersion)
}

// store writes everything in one fenced apply and repeats it until it lands: this process holds the only copy of the key. It gives up,
// with an error, only when another attempt has overtaken this one or a definite refusal has lasted refusalBound.
func (p *purchase) store(ctx context.Context, content tlssecret.Content) (facts, error) {
	target, layout := p.secret, p.layout
	began := p.r.Clock.Now()
	if late := p.r.Clock.Since(p.intentAt); late > p.lease.Timeout()+storeBound {
		// The process was stopped for so long that another one may have resolved the attempt.
		var err error
		if target, err = p.retarget(ctx, target, late); err != nil {
			return facts{}, err
		}
	}
	for delay := firstStoreDelay; ; delay = min(2*delay, longestStoreDelay) {
		stored, err := p.r.apply(ctx, p.cert, content, layout, target)
		if err == nil {
			return stored, nil
		}
		waited := p.r.Clock.Since(began)
		p.log.Error(err, "storing the certificate failed and is repeated", "attempt", p.attempt.ID)
		if tooLarge(err) {
			layout = withoutOptional(layout)
			p.incomplete = append(p.incomplete, "the Secret was too large with its optional outputs, so they are left out")
		}
		if namespaceTerminating(err) || waited > refusalBound && (refusedByAPI(err) || errors.Is(err, errTampered)) {
			return facts{}, err
		}
		<-p.r.Clock.After(delay)
		// Looked at right before the next try: whoever was stopped in the pause may have been overtaken.
		if target, err = p.retarget(ctx, target, p.r.Clock.Since(began)); err != nil {
			return facts{}, err
		}
		if target.AttemptID == p.attempt.ID && target.Usable() {
			return target, nil // an earlier try landed and its answer was lost
		}
	}
}

// retarget reads the Secret live and answers with what the next try is fenced by, or with errOvertaken when the certificate has lost its
// claim: the Secret is somebody else's by now, carries a newer attempt, or the attempt was resolved without it.
func (p *purchase) retarget(ctx context.Context, target facts, waited time.Duration) (facts, error) {
	live, err := p.r.readSecret(ctx, p.scope, p.layout.Name)
	if err != nil {
		return target, nil // unreadable now: try again as before
	}
	mine := live.AttemptID == p.attempt.ID
	if live.State == plan.SecretForeign || live.AttemptID != "" && !mine && live.AttemptID != p.secret.AttemptID {
		return facts{}, errOvertaken
	}
	if waited > storeBound && !mine {
		cert := &v1alpha1.DeviceCertificate{}
		ctx, cancel := context.WithTimeout(ctx, callBound)
		defer cancel()
		err := p.r.Reader.Get(ctx, p.key(), cert)
		gone := apierrors.IsNotFound(err) || err == nil && cert.UID != p.cert.UID
		if gone || err == nil && !claims(cert.Status.Attempt, p.attempt.ID) {
			return facts{}, errOvertaken
		}
	}
	return live, nil
}

// claims tells whether an open attempt still waits for its answer: it is the one of the id, and nobody is about to revoke what it bought.
func claims(open *v1alpha1.Attempt, id string) bool {
	return open != nil && open.ID == id && open.CertificateID == "" && open.CertificateFingerprint == ""
}

// apply writes content once, and reads from the answer that it was written as it was sent.
func (r *DeviceCertificateReconciler) apply(ctx context.Context, c *v1alpha1.DeviceCertificate, content tlssecret.Content, layout tlssecret.Layout, target facts) (facts, error) {
	ac, incomplete, err := tlssecret.Render(content, layout)
	if err != nil {
		return facts{}, fmt.Errorf("render Secret %s: %w", layout.Name, err)
	}
	fence(ac, target.uid, target.resourceVersion)
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	if err := r.Client.Apply(ctx, ac, fieldOwner, client.ForceOwnership); err != nil {
		return facts{}, fmt.Errorf("apply Secret %s: %w", layout.Name, err)
	}
	written, err := secretOf(ac)
	if err != nil {
		return facts{}, err
	}
	stored := factsOf(written, c, layout)
	if !stored.Usable() {
		return facts{}, errTampered
	}
	for _, err := range incomplete {
		stored.incomplete = append(stored.incomplete, err.Error())
	}
	return stored, nil
}

// secretOf reads the server's answer, which replaced what was applied.
func secretOf(ac *corev1ac.SecretApplyConfiguration) (*corev1.Secret, error) {
	text, err := json.Marshal(ac)
	if err != nil {
		return nil, fmt.Errorf("read the written Secret back: %w", err)
	}
	secret := &corev1.Secret{}
	if err := json.Unmarshal(text, secret); err != nil {
		return nil, fmt.Errorf("read the written Secret back: %w", err)
	}
	return secret, nil
}

// secretMoved tells whether the Secret is another object, or at another version, than the one observed.
func (r *DeviceCertificateReconciler) secretMoved(ctx context.Context, s *scope) bool {
	live, err := r.readSecret(ctx, s, s.layout.Name)
	return err == nil && (live.uid != s.secret.uid || live.resourceVersion != s.secret.resourceVersion)
}

// withoutOptional is the layout that holds the pair alone.
func withoutOptional(l tlssecret.Layout) tlssecret.Layout {
	l.Outputs.Formats, l.Outputs.PKCS12, l.Outputs.JKS = nil, nil, nil
	return l
}

func tooLarge(err error) bool {
	if apierrors.IsRequestEntityTooLargeError(err) {
		return true
	}
	return apierrors.IsInvalid(err) && apierrors.HasStatusCause(err, metav1.CauseType("FieldValueTooLong"))
}

func namespaceTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
