// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// waiter is a request without a lease: in its lane's heap, or out of it with a grant.
type waiter struct {
	Request
	lane    *lane
	arrival uint64
	since   time.Time // of its arrival
	// class is the heap it is in, index its place there. A grant keeps the class it was given for.
	class class
	index int

	turn turn

	// grantedUntil is when a grant lapses; zero without one.
	grantedUntil time.Time
	// day is the one whose budget a grant was taken from.
	day time.Time
	// canary and trial: the grant tries an unproven lane, or whether an obstacle is gone.
	canary, trial bool
}

func (w *waiter) granted() bool { return !w.grantedUntil.IsZero() }

// before orders by expiry, certificates that do not exist yet last and in turn among the namespaces, then by arrival.
func (w *waiter) before(other *waiter) bool {
	if none := w.Expires.IsZero(); none != other.Expires.IsZero() {
		return !none
	}
	if w.Expires.IsZero() && w.ahead() != other.ahead() {
		return w.ahead() < other.ahead()
	}
	return cmp.Or(w.Expires.Compare(other.Expires), cmp.Compare(w.arrival, other.arrival)) < 0
}

// laneKey is what a canary speaks for, within one issuer.
type laneKey struct {
	profileID string
	format    v1alpha1.KeyFormat
}

// lane is the queue of one (issuer, profile, format). Until one issuance has succeeded only one is in flight, so that a vendor that
// answers otherwise than expected costs one certificate and not one for each device.
type lane struct {
	key     laneKey
	account *account
	// waiting are the requests of each class; each heap has the best one first.
	waiting [classes]waiterHeap
	// proven: an issuance has succeeded with the present credential.
	proven bool
	// canary: a request that may prove the lane is granted or in flight.
	canary bool
	// blocked: what was issued failed its verification; nil if not.
	blocked *v1alpha1.BlockedProfile
}

// candidate is who goes next in this lane, among the classes that are admitted, if the account and the gate let it; nil for nobody.
func (l *lane) candidate(admitted [classes]bool) *waiter {
	if !l.proven && l.canary {
		return nil
	}
	var best *waiter
	better := func(w *waiter) {
		if best == nil || w.before(best) {
			best = w
		}
	}
	for c, waiting := range l.waiting {
		switch {
		case !admitted[c]:
		case l.blocked == nil && len(waiting) > 0:
			better(waiting[0])
		case l.blocked != nil:
			for _, w := range waiting {
				if w.Retry {
					better(w)
				}
			}
		}
	}
	return best
}

// count is how many wait.
func (l *lane) count() int {
	var n int
	for _, waiting := range l.waiting {
		n += len(waiting)
	}
	return n
}

// keys are the DeviceCertificates that wait.
func (l *lane) keys() []types.NamespacedName {
	var keys []types.NamespacedName
	for _, waiting := range l.waiting {
		keys = append(keys, waiting.keys()...)
	}
	return keys
}

// wait says why a waiter of this lane has no lease.
func (l *lane) wait(w *waiter, now time.Time) Wait {
	a := l.account
	if obstacle, ok := a.obstacle(); ok {
		return obstacle
	}
	over, isOver := a.gate.overBudget(w.class, now)
	switch {
	case l.blocked != nil && !w.Retry:
		return Wait{Reason: v1alpha1.ReasonProfileBlocked, Message: l.blocked.Message, Terminal: true}
	case now.Before(a.gate.pausedUntil):
		return Wait{Reason: v1alpha1.ReasonRateLimited, Message: "the vendor asks for fewer requests; waiting as long as it says", Until: a.gate.pausedUntil}
	case isOver:
		return over
	case !l.proven && l.canary:
		return Wait{
			Reason:  v1alpha1.ReasonIssuing,
			Message: fmt.Sprintf("a first certificate of profile %s in format %s is being tried; the others follow when it has succeeded", l.key.profileID, l.key.format),
		}
	}
	return Wait{Reason: v1alpha1.ReasonRateLimited, Message: "waiting for its turn within the issuer's spec.limits; certificates that expire sooner go first"}
}

func (l *lane) push(w *waiter) {
	w.class = w.Request.class()
	heap.Push(&l.waiting[w.class], w)
}

func (l *lane) remove(w *waiter) { heap.Remove(&l.waiting[w.class], w.index) }

// fix restores the order after a waiter's request has changed.
func (l *lane) fix(w *waiter) {
	switch {
	case w.granted():
	case w.class != w.Request.class():
		l.remove(w)
		l.push(w)
	default:
		heap.Fix(&l.waiting[w.class], w.index)
	}
}

// lanes are those of one account.
type lanes map[laneKey]*lane

// lane returns the lane of a profile and format; it is made when there is none.
func (ls lanes) lane(a *account, profileID string, format v1alpha1.KeyFormat) *lane {
	key := laneKey{profileID, format}
	l, ok := ls[key]
	if !ok {
		l = &lane{key: key, account: a}
		ls[key] = l
	}
	return l
}

// prune forgets a lane that remembers nothing.
func (ls lanes) prune(l *lane) {
	if l.count() == 0 && !l.proven && !l.canary && l.blocked == nil && ls[l.key] == l {
		delete(ls, l.key)
	}
}

// block restores blocks from before a restart.
func (ls lanes) block(a *account, blocked []v1alpha1.BlockedProfile) {
	for _, b := range blocked {
		ls.lane(a, b.ProfileID, b.Format).blocked = &b
	}
}

// unblock lifts all blocks.
func (ls lanes) unblock() {
	for _, l := range ls {
		l.blocked = nil
		ls.prune(l)
	}
}

// disprove makes every lane start with a canary again.
func (ls lanes) disprove() {
	for _, l := range ls {
		l.proven, l.canary = false, false
		ls.prune(l)
	}
}

// waiting are the DeviceCertificates that wait in a class.
func (ls lanes) waiting(c class) []types.NamespacedName {
	var keys []types.NamespacedName
	for _, l := range ls {
		keys = append(keys, l.waiting[c].keys()...)
	}
	return keys
}

func (ls lanes) blocked() []v1alpha1.BlockedProfile {
	var blocked []v1alpha1.BlockedProfile
	for _, l := range ls {
		if l.blocked != nil {
			blocked = append(blocked, *l.blocked)
		}
	}
	slices.SortFunc(blocked, func(a, b v1alpha1.BlockedProfile) int {
		return cmp.Or(cmp.Compare(a.ProfileID, b.ProfileID), cmp.Compare(a.Format, b.Format))
	})
	return blocked
}

// waiterHeap is a heap.Interface with the best waiter first.
type waiterHeap []*waiter

func (h waiterHeap) keys() []types.NamespacedName {
	keys := make([]types.NamespacedName, 0, len(h))
	for _, w := range h {
		keys = append(keys, w.Key)
	}
	return keys
}

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].before(h[j]) }

func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push appends a *waiter, as container/heap asks.
func (h *waiterHeap) Push(x any) {
	w, ok := x.(*waiter)
	if !ok {
		return
	}
	w.index = len(*h)
	*h = append(*h, w)
}

// Pop removes the last waiter, as container/heap asks.
func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}
