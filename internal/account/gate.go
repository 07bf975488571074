// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

const (
	// grantFor is how long a free token is kept for the waiter who was woken for it.
	grantFor = 5 * time.Second
	// firstPause and longestPause bound a pause for which the vendor named no time.
	firstPause   = 5 * time.Second
	longestPause = 5 * time.Minute
)

// gate bounds the requests to one host with one credential, whoever sends them. Registry.mu guards it.
type gate struct {
	key      gateKey
	accounts map[*account]struct{}
	bucket   *rate.Limiter
	// spare are tokens that were given back.
	spare         int
	maxConcurrent int
	// issuancesPerDay is the budget, 0 for none; departed is what accounts that are gone have taken from it.
	issuancesPerDay int
	departed        []departed
	// busy counts the slots in use: leases, calls and grants.
	busy   int
	grants []*waiter
	calls  []*queuedCall
	// calledLast: the last slot went to a call. Calls and purchases take turns.
	calledLast bool
	// pausedUntil is how long the vendor asked to be left alone; pauses counts requests in a row it gave no time for.
	pausedUntil time.Time
	pauses      int

	timer   clock.Timer
	timerAt time.Time
}

// attach puts an account on the gate of its connection, and takes it from the one it was on. The lock is held.
func (r *Registry) attach(a *account) {
	var wanted *gate
	if a.client != nil {
		wanted = r.gate(a.connection.gateKey(a.client.BaseURL()))
	}
	if old := a.gate; old != nil && old != wanted {
		delete(old.accounts, a)
		old.limit()
	}
	a.gate = wanted
	if wanted != nil {
		wanted.accounts[a] = struct{}{}
		wanted.departed = slices.DeleteFunc(wanted.departed, func(d departed) bool { return d.uid == a.connection.UID })
		wanted.limit()
	}
}

func (r *Registry) gate(key gateKey) *gate {
	g, ok := r.gates[key]
	if !ok {
		r.forgetGates()
		g = &gate{key: key, accounts: map[*account]struct{}{}}
		r.gates[key] = g
	}
	return g
}

// limit takes the strictest limits of the accounts. A gate without accounts keeps its last ones until its requests have ended.
func (g *gate) limit() {
	if len(g.accounts) == 0 {
		return
	}
	strictest := Limits{RequestsPerSecond: math.MaxInt32, Burst: math.MaxInt32, MaxConcurrent: math.MaxInt32}
	for a := range g.accounts {
		l := a.connection.Limits
		strictest.RequestsPerSecond = min(strictest.RequestsPerSecond, max(l.RequestsPerSecond, 1))
		strictest.Burst = min(strictest.Burst, max(l.Burst, 1))
		strictest.MaxConcurrent = min(strictest.MaxConcurrent, max(l.MaxConcurrent, 1))
		if l.IssuancesPerDay > 0 && (strictest.IssuancesPerDay == 0 || l.IssuancesPerDay < strictest.IssuancesPerDay) {
			strictest.IssuancesPerDay = l.IssuancesPerDay
		}
	}
	g.maxConcurrent = strictest.MaxConcurrent
	g.budgetFor(strictest.IssuancesPerDay)
	if g.bucket == nil {
		g.bucket = rate.NewLimiter(rate.Limit(strictest.RequestsPerSecond), strictest.Burst)
		return
	}
	g.bucket.SetLimit(rate.Limit(strictest.RequestsPerSecond))
	g.bucket.SetBurst(strictest.Burst)
}

// dispatch gives every free token to the best waiter and sets the timer for the next. A gate nobody uses is forgotten. The lock is
// held.
func (r *Registry) dispatch(g *gate) {
	if g == nil {
		return
	}
	now := r.options.Clock.Now()
	g.roll(now)
	r.lapse(g, now)
	for g.free(now) {
		best := g.best(now)
		switch call := len(g.calls) > 0; {
		case call && (best == nil || !g.calledLast):
			g.take(now)
			g.calledLast = true
			close(g.calls[0].admitted)
			g.calls = slices.Delete(g.calls, 0, 1)
			continue
		case best != nil:
			g.take(now)
			g.calledLast = false
			r.grant(best, now)
			continue
		}
		break
	}
	r.reserve(g)
	r.arm(g, now)
	if g.idle() {
		delete(r.gates, g.key)
	}
}

// idle tells whether nobody uses a gate or will have to know of it.
func (g *gate) idle() bool {
	return len(g.accounts) == 0 && len(g.departed) == 0 && g.busy == 0 && len(g.calls) == 0
}

// forgetGates drops the gates that were only kept for what their issuers had bought, once the day is over.
func (r *Registry) forgetGates() {
	now := r.options.Clock.Now()
	for key, g := range r.gates {
		if g.roll(now); g.idle() {
			delete(r.gates, key)
		}
	}
}

// free tells whether a request could go now.
func (g *gate) free(now time.Time) bool {
	return g.busy < g.maxConcurrent && !now.Before(g.pausedUntil) && (g.spare > 0 || g.bucket.TokensAt(now) >= 1)
}

// take uses one token and one slot. free is true.
func (g *gate) take(now time.Time) {
	g.busy++
	if g.spare > 0 {
		g.spare--
		return
	}
	g.bucket.AllowN(now, 1)
}

// leave frees a slot; an unused token is for the next.
func (g *gate) leave(unused bool) {
	g.busy--
	if unused {
		g.spare++
	}
}

// best is the waiter whose turn it is among all accounts; nil for nobody.
func (g *gate) best(now time.Time) *waiter {
	var best *waiter
	for a := range g.accounts {
		if !a.admits(now) {
			continue
		}
		admitted := [classes]bool{g.affords(a, fresh), g.affords(a, due), g.affords(a, urgent)}
		for _, l := range a.lanes {
			if w := l.candidate(admitted); w != nil && (best == nil || w.before(best)) {
				best = w
			}
		}
	}
	return best
}

// grant keeps the token and slot just taken for a waiter, and wakes it.
func (r *Registry) grant(w *waiter, now time.Time) {
	l := w.lane
	l.remove(w)
	l.account.turns.serve(w)
	l.account.granted++
	l.account.gate.grants = append(l.account.gate.grants, w)
	w.grantedUntil = now.Add(grantFor)
	w.day = l.account.budget.day
	l.account.budget.commit(w.class)
	w.canary = !l.proven
	l.canary = l.canary || w.canary
	w.trial = l.account.circuit.open
	l.account.circuit.trial = w.trial
	r.wakes = append(r.wakes, w.Key)
}

// claim turns a grant into a lease.
func (r *Registry) claim(w *waiter) *Lease {
	a := w.lane.account
	a.gate.grants = slices.DeleteFunc(a.gate.grants, func(other *waiter) bool { return other == w })
	a.granted--
	a.inFlight++
	delete(r.waiters, w.Key)
	r.options.Waited(a.connection.Host, r.options.Clock.Since(w.since))
	r.wakes = slices.DeleteFunc(r.wakes, func(key types.NamespacedName) bool { return key == w.Key })
	return &Lease{
		registry: r, lane: w.lane, gate: a.gate, client: a.client, version: a.version(), timeout: a.connection.timeout(),
		epoch: a.epoch, class: w.class, day: w.day, canary: w.canary, trial: w.trial,
	}
}

// ungrant frees what was kept for a waiter.
func (g *gate) ungrant(w *waiter) {
	g.grants = slices.DeleteFunc(g.grants, func(other *waiter) bool { return other == w })
	g.leave(true)
	l := w.lane
	l.account.granted--
	l.account.budget.uncommit(w.class, w.day)
	if w.canary {
		l.canary = false
	}
	if w.trial {
		l.account.circuit.trial = false
	}
	w.grantedUntil, w.canary, w.trial = time.Time{}, false, false
}

// lapse ends grants. Who did not come in time leaves the heap, or a busy waiter would hold up all others again and again: it was
// woken, and joins again when it comes. Grants of an account that cannot be used any more go back to the heap.
func (r *Registry) lapse(g *gate, now time.Time) {
	for _, w := range slices.Clone(g.grants) {
		switch {
		case !now.Before(w.grantedUntil):
			r.drop(w)
		case !w.lane.account.usable(now):
			g.ungrant(w)
			w.lane.push(w)
		}
	}
}

// takeBack puts all waiters with a grant of this account back in their heaps.
func (r *Registry) takeBack(a *account) {
	if a.gate == nil {
		return
	}
	for _, w := range slices.Clone(a.gate.grants) {
		if w.lane.account == a {
			a.gate.ungrant(w)
			w.lane.push(w)
		}
	}
}

// pause leaves the vendor alone for as long as it asks, or longer each time if it does not say. Afterwards the accounts start with
// one request in flight.
func (g *gate) pause(now time.Time, wish time.Duration) {
	if wish <= 0 {
		wish = min(firstPause<<min(g.pauses, 16), longestPause)
		g.pauses++
	}
	if until := now.Add(wish); until.After(g.pausedUntil) {
		g.pausedUntil = until
	}
	for a := range g.accounts {
		a.allowance = 1
	}
}

// arm sets the gate's one timer to the next moment at which something can happen by itself.
func (r *Registry) arm(g *gate, now time.Time) {
	next := g.next(now)
	if g.timer != nil && next.Equal(g.timerAt) {
		return
	}
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	g.timerAt = next
	if next.IsZero() {
		return
	}
	// The fake clock of k8s.io/utils calls its functions with its own lock held: they must not ask it for the time.
	g.timer = r.options.Clock.AfterFunc(next.Sub(now), func() { go r.tick(g) })
}

func (r *Registry) tick(g *gate) {
	r.mu.Lock()
	defer r.release()
	g.timer = nil
	r.dispatch(g)
}

// next is when a grant lapses, a trial is due or, if anybody waits for it, a token is free; zero for never.
func (g *gate) next(now time.Time) time.Time {
	var next time.Time
	soonest := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, w := range g.grants {
		soonest(w.grantedUntil)
	}
	for a := range g.accounts {
		if a.waiting() == 0 {
			continue
		}
		soonest(a.circuit.retryAt)
		if g.issuancesPerDay > 0 {
			soonest(earliest(DayOf(now).Add(24*time.Hour), now.Add(longestTimer)))
		}
	}
	if g.busy < g.maxConcurrent && (len(g.calls) > 0 || g.best(now) != nil) {
		soonest(g.nextToken(now))
	}
	return next
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// nextToken is when the pause is over and there is a token. One that is there now is not free for another reason.
func (g *gate) nextToken(now time.Time) time.Time {
	var missing float64
	if g.spare == 0 {
		missing = max(1-g.bucket.TokensAt(now), 0)
	}
	refill := time.Duration(math.Ceil(missing / float64(g.bucket.Limit()) * float64(time.Second)))
	if at := now.Add(refill); at.After(g.pausedUntil) {
		return at
	}
	return g.pausedUntil
}
