// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/renewal"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// probeTimeout bounds a probe, so that a vendor that does not answer holds up no worker for long.
const probeTimeout = 15 * time.Second

// probe is what trying a credential has shown.
type probe struct {
	// version of the connection that was tried.
	version string
	// accepted: the vendor accepts the credential. Otherwise reason and message say what is wrong.
	accepted        bool
	reason, message string
	search          v1alpha1.CapabilityState
	// failures counts probes in a row that were not accepted; notBefore is when the next may start.
	failures  int
	notBefore time.Time
}

// connect tells the account what is known of its issuer, tries the credential if that is due, and returns when to look again.
func (r *IssuerReconciler) connect(ctx context.Context, id account.ID, o observed) time.Time {
	due := r.rereadAt(id, o)
	last := r.lastProbe(id)
	current := last.version == o.Version()
	if err := r.Accounts.Update(id, o.judged(last, current)); err != nil || o.Credential == (trustmanager.Credential{}) {
		return due
	}
	if !r.needsProbe(id, o, last, current) {
		return due
	}
	if now := r.Clock.Now(); current && now.Before(last.notBefore) {
		return earlier(due, last.notBefore)
	}
	last = r.try(ctx, id, o, last)
	if o.Credential.Passcode == "" {
		// Update met this very connection just now and found nothing wrong with it.
		_ = r.Accounts.Update(id, o.judged(last, true))
	}
	if !last.accepted {
		due = earlier(due, last.notBefore)
	}
	return due
}

const (
	// missingAfter is how soon a credential is looked for again that is not there, or of no use.
	missingAfter = 30 * time.Second
	// watchedRereadAfter is how soon one is read again whose changes a watch tells, in case the watch does not.
	watchedRereadAfter = 2 * time.Hour
)

// rereadAt is when a credential is read again.
func (r *IssuerReconciler) rereadAt(id account.ID, o observed) time.Time {
	after := rereadAfter
	switch {
	case !o.Ready:
		after = missingAfter
	case o.watched:
		after = watchedRereadAfter
	}
	due := r.Clock.Now().Add(after - renewal.Jitter(after/5, id.String()))
	if o.Ready && !o.expiresAt.IsZero() {
		return earlier(due, o.expiresAt) // after which each order would find out by itself
	}
	return due
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// judged is the connection with what its probe has shown. A passcode, which can only buy, is taken to be good until it is refused.
func (o observed) judged(last probe, current bool) account.Connection {
	c := o.Connection
	switch {
	case !c.Ready || c.Credential.Passcode != "":
	case last.version == "" && o.accepted:
		c.Untried, c.CanSearch = true, o.search
	case !current:
		c.Ready, c.Reason, c.Message = false, v1alpha1.ReasonProbing, "the credential is being tried"
	case !last.accepted:
		c.Ready, c.Reason, c.Message = false, last.reason, last.message
	default:
		c.CanSearch = last.search
	}
	return c
}

// needsProbe tells whether the vendor must be asked: each version of a connection once, then only while it does not work. A passcode is
// tried by what it buys; its refused search only tells the vendor's time.
func (r *IssuerReconciler) needsProbe(id account.ID, o observed, last probe, current bool) bool {
	state := r.Accounts.State(id)
	if o.Credential.Passcode != "" {
		return state.Reason == v1alpha1.ReasonClockSkew
	}
	if last.version == "" && o.accepted && state.Waiting == 0 {
		return false // it is tried when it is needed
	}
	return !current || !last.accepted || state.Reason != "" && state.RetryAt.IsZero()
}

// try asks the vendor for one record of its inventory, and remembers what that has shown.
func (r *IssuerReconciler) try(ctx context.Context, id account.ID, o observed, last probe) probe {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := r.Accounts.Call(ctx, id, func(ctx context.Context, c *trustmanager.Client) error {
		_, err := c.Search(ctx, trustmanager.SearchQuery{Limit: 1})
		return err
	})
	next := judge(err)
	next.version = o.Version()
	if !next.accepted {
		if last.version == next.version {
			next.failures = last.failures
		}
		next.failures++
		next.notBefore = r.Clock.Now().Add(account.ProbeBackoff(id, next.failures, next.reason))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.probes == nil {
		r.probes = map[account.ID]probe{}
	}
	r.probes[id] = next
	return next
}

func (r *IssuerReconciler) lastProbe(id account.ID) probe {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.probes[id]
}

// judge reads the outcome of a probe. Who may not search is known to the vendor all the same and may be allowed to buy.
func judge(err error) probe {
	if err == nil {
		return probe{accepted: true, search: v1alpha1.CapabilityYes}
	}
	f, ok := trustmanager.AsError(err)
	switch {
	case !ok && errors.Is(err, context.DeadlineExceeded):
		return probe{reason: v1alpha1.ReasonProbing, message: "the credential waits to be tried: other requests use up spec.limits, or the vendor asks for fewer"}
	case ok && f.Actor == trustmanager.Time:
		return probe{reason: v1alpha1.ReasonProbing, message: "the credential waits to be tried: the vendor asks for fewer requests"}
	case ok && f.HTTPStatus == http.StatusForbidden && f.Code != "":
		return probe{accepted: true, search: v1alpha1.CapabilityNo}
	}
	reason, message := account.Explain(err)
	return probe{reason: reason, message: message}
}
