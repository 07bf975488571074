// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// Request asks for leave to buy one certificate.
type Request struct {
	// Key is the DeviceCertificate's. It has at most one request; a later one replaces an earlier one.
	Key       types.NamespacedName
	ProfileID string
	Format    v1alpha1.KeyFormat
	// Expires is the notAfter of the certificate to be replaced: the sooner, the earlier its turn. Zero: there is none yet, and
	// all that replace one come first.
	Expires time.Time
	// Due: its renewal is due. Urgent: it has less than a sixth of its lifetime left, and may pass the budget of the day.
	Due, Urgent bool
	// Retry: a user asked to try again. The request may be the one that tries a blocked profile, or a credential that was refused.
	Retry bool
}

// Wait says why there is no lease yet.
type Wait struct {
	// Reason is one of the reasons of the API; Message says what is awaited and, if somebody must act, what to do.
	Reason, Message string
	// Terminal: nothing happens until somebody acts.
	Terminal bool
	// Until is the earliest time there may be a lease, when it is known. There is no need to come back by then.
	Until time.Time
}

// Acquire gives leave for one request that buys, without blocking. Without a lease the request waits in a heap, also when the issuer
// is unknown, suspended or not ready, and Options.Wake is told its key when its turn has come; it then has five seconds to acquire
// again.
func (r *Registry) Acquire(id ID, req Request) (*Lease, Wait) {
	r.mu.Lock()
	defer r.release()
	now := r.options.Clock.Now()
	a := r.account(id)
	w := r.enqueue(a.lanes.lane(a, req.ProfileID, req.Format), req)
	r.dispatch(a.gate)
	if w.granted() {
		return r.claim(w), Wait{}
	}
	return nil, w.lane.wait(w, now)
}

// Await lets a request wait without asking for a lease yet, for those who saw that the issuer is not ready: they are woken when it is
// their turn.
func (r *Registry) Await(id ID, req Request) {
	r.mu.Lock()
	defer r.release()
	a := r.account(id)
	r.enqueue(a.lanes.lane(a, req.ProfileID, req.Format), req)
	r.dispatch(a.gate)
}

// enqueue puts a request in its lane, or updates the one that waits there. The lock is held.
func (r *Registry) enqueue(l *lane, req Request) *waiter {
	if a := l.account; a.connection.Untried && !a.wanted {
		a.wanted = true
		r.probes = append(r.probes, a.id)
	}
	if w, ok := r.waiters[req.Key]; ok && w.lane == l {
		r.update(w, req)
		return w
	}
	r.arrivals++
	w := &waiter{lane: l, arrival: r.arrivals, since: r.options.Clock.Now(), Request: Request{Key: req.Key}}
	l.push(w)
	if old, ok := r.waiters[req.Key]; ok {
		r.drop(old)
		r.dispatch(old.lane.account.gate)
	}
	r.waiters[req.Key] = w
	r.update(w, req)
	return w
}

// update takes over what a request says now. A user's wish to retry ends the time an open circuit waits, once.
func (r *Registry) update(w *waiter, req Request) {
	if req.Retry && !w.Retry {
		w.lane.account.circuit.hasten(r.options.Clock.Now())
	}
	w.Request = req
	w.lane.account.turns.take(w)
	w.lane.fix(w)
}

// drop takes a waiter out of its lane and gives back the token that was kept for it. The lock is held.
func (r *Registry) drop(w *waiter) {
	l := w.lane
	delete(r.waiters, w.Key)
	l.account.turns.leave(w)
	if w.granted() {
		l.account.gate.ungrant(w)
	} else {
		l.remove(w)
	}
	l.account.lanes.prune(l)
	r.forgetIfIdle(l.account)
}
