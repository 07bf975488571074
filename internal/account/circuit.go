// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"net/http"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	// maxFailures is how many disturbances in a row open the circuit.
	maxFailures = 5
	// firstBackoff and longestBackoff bound the delay between trials of a credential that no probe can try.
	firstBackoff   = 5 * time.Second
	longestBackoff = 5 * time.Minute
	// longestProbe bounds the delay between probes of a vendor that does not answer: one cheap request a minute, whose success lets a whole
	// fleet go on.
	longestProbe = time.Minute
	// heldFor is the delay between trials of a credential that is accepted but may not buy.
	heldFor = 6 * time.Hour
	// maxUnauthorized is how many 401 to buying requests in a row, each followed by an accepted probe, count as a lack of permission.
	maxUnauthorized = 2
)

// circuit protects the vendor and the purse from an account that does not work. While it is open nothing is bought. It closes when
// any request was answered; where none can be made without buying, and where probes succeed and purchases do not, single purchases
// are let through as trials.
type circuit struct {
	open bool
	// held: probes are answered, and orders are refused.
	held            bool
	reason, message string
	// status is the HTTP status that opened it; 0 if none did. foreign: it was not the vendor's API that answered.
	status  int
	foreign bool
	// refused: a definite refusal to buy opened it.
	refused bool
	// retryAt is when a trial may go; zero means that only a probe can close the circuit.
	retryAt time.Time
	trial   bool // one is granted or in flight
	trials  int  // have failed
	// failures counts disturbances in a row, refusals definite refusals to buy.
	failures, refusals int
}

// halfOpen tells whether it is time for a trial, or for one that is under way.
func (c *circuit) halfOpen(now time.Time) bool {
	return c.open && !c.retryAt.IsZero() && !now.Before(c.retryAt)
}

func (c *circuit) admits(now time.Time) bool {
	return !c.open || c.halfOpen(now) && !c.trial
}

// hasten lets a trial go now, where only time is awaited.
func (c *circuit) hasten(now time.Time) {
	if c.open && now.Before(c.retryAt) {
		c.retryAt = now
	}
}

// feed learns from one request. The lock is held.
func (r *Registry) feed(a *account, g *gate, v verdict) {
	if skewed := a.skewed(); skewed != a.skewTold {
		a.skewTold = skewed
		r.probes = append(r.probes, a.id)
	}
	f := v.failure
	switch {
	case v.neutral:
	case f == nil || f.Actor == trustmanager.User:
		g.pauses = 0
		r.answered(a, v)
	case !v.buying && f.Delivery == trustmanager.Refused && f.Actor == trustmanager.Issuer && !a.refuses(f):
		r.answered(a, v) // it may not search or revoke, which says nothing about buying
	case v.buying && f.HTTPStatus == http.StatusForbidden && !v.proven && a.canEnroll() == v1alpha1.CapabilityYes:
		r.answered(a, v) // it may not buy from this profile, which must not stop those that it may buy from
	case f.Actor == trustmanager.Issuer:
		r.open(a, v)
	case f.Actor == trustmanager.Time:
		g.pause(r.options.Clock.Now(), f.RetryAfter)
	default:
		r.disturbed(a, g, v)
	}
}

// refuses tells whether a refusal of a request that buys nothing is one of the credential itself.
func (a *account) refuses(f *trustmanager.Error) bool {
	return f.HTTPStatus != http.StatusForbidden && a.connection.CanSearch == v1alpha1.CapabilityYes
}

func (r *Registry) disturbed(a *account, g *gate, v verdict) {
	if v.failure.RetryAfter > 0 {
		g.pause(r.options.Clock.Now(), v.failure.RetryAfter)
	}
	a.circuit.failures++
	if a.circuit.open || a.circuit.failures >= maxFailures {
		r.open(a, v)
	}
}

// answered learns from a request that the vendor has answered: it can be reached and accepts the credential.
func (r *Registry) answered(a *account, v verdict) {
	c := &a.circuit
	c.failures = 0
	if v.buying {
		c.refusals = 0
	}
	switch {
	case !c.open:
		a.rampUp()
	case v.buying || !c.refused || c.status == http.StatusUnauthorized && c.refusals < maxUnauthorized:
		a.circuit = circuit{refusals: c.refusals}
		a.allowance, a.recoveredAt = 1, r.options.Clock.Now()
		r.options.Log.Info("buying goes on", "issuer", a.id.String())
		r.probes = append(r.probes, a.id)
	case !c.held:
		c.hold(r.options.Clock.Now())
		r.probes = append(r.probes, a.id)
	}
}

// hold waits for somebody to act: the vendor answers probes and refuses to be bought from.
func (c *circuit) hold(now time.Time) {
	c.held = true
	c.reason = v1alpha1.ReasonCredentialRefused
	switch {
	case c.status == http.StatusUnauthorized || c.status == http.StatusForbidden:
		c.message = "the vendor accepts the credential but not for buying: give its user the permission to enroll, or change the credential; last refusal: " + c.message
	case c.foreign:
		c.reason = v1alpha1.ReasonUnreachable
		c.message = "the vendor answers other requests, but what answers orders is not its API: a proxy or gateway in between may be in the way; last answer: " + c.message
	default:
		c.message = "the vendor accepts the credential and refuses all orders; last refusal: " + c.message
	}
	c.retryAt = now.Add(heldFor)
}

// open opens the circuit, or keeps it open after a failed trial or probe. A connection that is not ready has no leases to protect:
// the issuer controller is at it already.
func (r *Registry) open(a *account, v verdict) {
	c, now := &a.circuit, r.options.Clock.Now()
	if !a.connection.Ready {
		return
	}
	if c.held {
		c.retryAt = now.Add(longestBackoff)
		if v.failure.Delivery == trustmanager.Refused {
			c.retryAt = now.Add(heldFor)
		}
		return
	}
	if v.buying && v.failure.Delivery == trustmanager.Refused {
		c.refusals++
	}
	if c.open && !v.buying && c.refused {
		c.refused = false // the probe fails as well
	} else if !c.open {
		c.refused = v.buying && v.failure.Delivery == trustmanager.Refused
	}
	c.status, c.foreign = v.failure.HTTPStatus, v.failure.Foreign()
	c.reason, c.message = Explain(v.failure)
	if !a.connection.probeable() {
		c.trials++
		c.retryAt = now.Add(backoff(a.id, c.trials))
	}
	if !c.open {
		c.open = true
		r.options.Log.Info("buying stopped", "issuer", a.id.String(), "reason", c.reason, "message", c.message)
		r.probes = append(r.probes, a.id)
	}
}

// rampUp doubles what may be in flight after each success, until the gate's own bound is reached.
func (a *account) rampUp() {
	if a.allowance == 0 {
		return
	}
	a.allowance *= 2
	if a.gate == nil || a.allowance >= a.gate.maxConcurrent {
		a.allowance = 0
	}
}

// backoff is the delay after a number of failed trials in a row: from five seconds doubling to five minutes, with up to a tenth more that
// depends on the issuer.
func backoff(id ID, failures int) time.Duration { return backoffTo(longestBackoff, id, failures) }

// ProbeBackoff is the same for probes that failed for a reason. A vendor that cannot be reached comes back by itself, and is asked once a
// minute; what a person must mend first is not: a changed credential is tried at once.
func ProbeBackoff(id ID, failures int, reason string) time.Duration {
	if reason == v1alpha1.ReasonUnreachable {
		return backoffTo(longestProbe, id, failures)
	}
	return backoff(id, failures)
}

func backoffTo(longest time.Duration, id ID, failures int) time.Duration {
	delay := min(firstBackoff<<min(max(failures-1, 0), 16), longest)
	return delay + renewal.Jitter(delay/10, fmt.Sprint(id, failures))
}

// Explain puts a failed request into a reason and a message for an issuer: what is wrong and what to check.
func Explain(err error) (reason, message string) {
	f, ok := trustmanager.AsError(err)
	if !ok {
		return v1alpha1.ReasonUnreachable, err.Error()
	}
	switch {
	case f.DestinationForbidden():
		return v1alpha1.ReasonHostForbidden, f.Error() + ": name the network in --allowed-networks if this address is meant"
	case f.HTTPStatus == http.StatusUnauthorized:
		return v1alpha1.ReasonCredentialRefused, f.Error() + ": check that the credential is the right one, enabled and not expired"
	case f.HTTPStatus == http.StatusForbidden:
		return v1alpha1.ReasonCredentialRefused, f.Error() + ": check the permissions of the credential's user"
	case f.Foreign():
		return v1alpha1.ReasonUnreachable, f.Error() // which says what to check
	case f.Delivery == trustmanager.Refused:
		return v1alpha1.ReasonCredentialRefused, f.Error() + ": check the account's licences and limits"
	case f.HTTPStatus == 0:
		return v1alpha1.ReasonUnreachable, f.Error() + ": check the URL, the CA bundle, the proxy and the network"
	}
	return v1alpha1.ReasonUnreachable, f.Error() + ": check the URL, any proxy in between, and the vendor's status page"
}
