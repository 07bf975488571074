// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// Lease is leave to send one request that buys. It holds a slot until Done.
type Lease struct {
	registry *Registry
	lane     *lane
	gate     *gate
	client   *trustmanager.Client
	version  string
	timeout  time.Duration
	epoch    uint64
	class    class
	day      time.Time
	canary   bool
	trial    bool
	done     bool
}

// Outcome is what became of a lease.
type Outcome struct {
	// Err is the client's error, or what came before it; nil when the vendor answered the request.
	Err error
	// Fatal: what was issued failed its verification, and nothing more is bought from this profile in this format until somebody acts.
	Fatal *v1alpha1.BlockedProfile
	// Issued: a certificate came and passed its verification.
	Issued bool
	// Unused: nothing was sent. The token goes to the next.
	Unused bool
}

// boughtNothing tells whether the request certainly cost nothing.
func (o Outcome) boughtNothing() bool {
	if o.Unused || o.Issued || o.Fatal != nil {
		return o.Unused
	}
	failure, ok := trustmanager.AsError(o.Err)
	return ok && (failure.Delivery == trustmanager.NotSent || failure.Delivery == trustmanager.Refused)
}

// Client is the one to send the request with, also if the credential is rotated meanwhile.
func (l *Lease) Client() *trustmanager.Client { return l.client }

// Timeout is the deadline of the request.
func (l *Lease) Timeout() time.Duration { return l.timeout }

// Version is State.Version of the issuer when the lease was given.
func (l *Lease) Version() string { return l.version }

// Done returns the lease and tells what became of it. Later calls do nothing.
func (l *Lease) Done(o Outcome) {
	r := l.registry
	r.mu.Lock()
	defer r.release()
	if l.done {
		return
	}
	l.done = true
	l.lane.account.inFlight--
	l.gate.leave(o.Unused)
	if o.boughtNothing() {
		l.lane.account.budget.uncommit(l.class, l.day)
	}
	if l.canary && l.epoch == l.lane.account.epoch {
		l.lane.canary = false
	}
	r.learn(l, o)
	l.lane.account.lanes.prune(l.lane)
	r.dispatch(l.gate)
	if current := l.lane.account.gate; current != l.gate {
		r.dispatch(current)
	}
}

// learn draws the conclusions of an outcome. What an old client or an old spec met says nothing about the present one. The lock is
// held.
func (r *Registry) learn(l *Lease, o Outcome) {
	a := l.lane.account
	if l.epoch != a.epoch {
		return
	}
	if l.trial {
		a.circuit.trial = false
	}
	if o.Unused {
		return
	}
	switch {
	case o.Fatal != nil:
		if l.lane.blocked == nil {
			r.wakes = append(r.wakes, l.lane.keys()...) // they wait for somebody to act from now on, and must say so
		}
		blocked := *o.Fatal
		l.lane.blocked, l.lane.proven = &blocked, false
		r.probes = append(r.probes, a.id)
	case o.Issued:
		if l.lane.blocked != nil || a.canEnroll() != v1alpha1.CapabilityYes {
			r.probes = append(r.probes, a.id)
		}
		l.lane.blocked, l.lane.proven = nil, true
	}
	if o.Issued || o.Fatal != nil {
		o.Err = nil // the vendor has answered, whatever was wrong with it
	}
	v := verdictOf(o.Err)
	v.buying, v.proven = true, l.lane.proven
	r.feed(a, l.gate, v)
}

// verdict is what one request says about the connection.
type verdict struct {
	failure *trustmanager.Error // nil: the vendor answered
	neutral bool                // it says nothing
	buying  bool                // the request was to buy
	proven  bool                // the same has succeeded before
}

func verdictOf(err error) verdict {
	if err == nil {
		return verdict{}
	}
	failure, ok := trustmanager.AsError(err)
	return verdict{failure: failure, neutral: !ok || errors.Is(err, context.Canceled)}
}
