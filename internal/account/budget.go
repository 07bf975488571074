// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"slices"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// class says what a request may take from the budget of the day.
type class int

// The classes of requests.
const (
	// fresh buys a first certificate, or one that replaces another for other reasons than time. It leaves alone what renewals need.
	fresh class = iota
	// due replaces a certificate whose renewal is due.
	due
	// urgent replaces one that has little of its lifetime left. It passes a budget that is used up: the budget must not be the outage.
	urgent

	classes = 3
)

// class of a request.
func (r Request) class() class {
	switch {
	case r.Urgent:
		return urgent
	case r.Due:
		return due
	default:
		return fresh
	}
}

const (
	// largestBlock bounds what is reserved at a time, and with it what a process that ends takes with it.
	largestBlock = 500
	// blockShare is the part of the day's budget that makes a block, smallBlock the block of a budget too small for that.
	blockShare, smallBlock = 50, 10
	// longestTimer bounds how long a gate sleeps until the day is over, as a suspended machine's timers stand still.
	longestTimer = time.Hour
)

// block is how many issuances are reserved at a time.
func block(perDay int) int {
	return max(1, min(smallBlock, perDay/smallBlock), min(largestBlock, perDay/blockShare))
}

// Reservation is what an issuer's status tells of its budget. It is written before it is used, so what is bought in a day is never
// more than what was on record when it was bought, but for urgent renewals.
type Reservation struct {
	// Day is the beginning of a day in UTC; zero when nothing was reserved yet.
	Day time.Time
	// Issuances of that day are bought, on their way, or set aside by a process to be bought.
	Issuances int
}

// DayOf is the beginning of an instant's day in UTC, which is when budgets begin anew.
func DayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// budget is one issuer's share of what its account may buy in a day.
type budget struct {
	day time.Time
	// reserved is on record for the day, committed is what of it is spent or on its way. Urgent renewals may run ahead of the record.
	reserved, committed int
	// need is how many renewals fall due until the day is over and are not on their way.
	need int
	// asked: the issuer controller knows that more is wanted.
	asked bool
	// told: who waits in that class was told that the day's budget is used up.
	told [classes]bool
}

// roll begins a new day. A clock that was set back resets nothing: what was counted counts for the earlier day too.
func (b *budget) roll(now time.Time) {
	today := DayOf(now)
	switch {
	case today.After(b.day):
		*b = budget{day: today}
	case today.Before(b.day):
		b.day = today
	}
}

// adopt takes over what is on record. What exceeds this process's own reservations was set aside by another one, and is taken as spent.
func (b *budget) adopt(on Reservation, now time.Time) {
	b.roll(now)
	if on.Day.Before(b.day) || on.Issuances <= b.reserved {
		return
	}
	b.committed += on.Issuances - b.reserved
	b.reserved = on.Issuances
}

// commit counts a request that gets its turn, uncommit one that bought nothing.
func (b *budget) commit(c class) {
	b.committed++
	if c != fresh {
		b.need = max(b.need-1, 0)
	}
}

func (b *budget) uncommit(c class, day time.Time) {
	if !day.Equal(b.day) {
		return
	}
	b.committed = max(b.committed-1, 0)
	if c != fresh {
		b.need++
	}
}

// departed is what an issuer that was removed has bought, as long as its day lasts.
type departed struct {
	uid       string
	day       time.Time
	issuances int
}

// left is what the accounts of a gate may still buy today in a class. Without a limit it is never asked.
func (g *gate) left(c class) int {
	left := g.issuancesPerDay
	for a := range g.accounts {
		left -= a.budget.committed
		if c == fresh {
			left -= a.budget.need
		}
	}
	for _, d := range g.departed {
		left -= d.issuances
	}
	return left
}

// unreserved is what no issuer has on record yet.
func (g *gate) unreserved() int {
	left := g.issuancesPerDay
	for a := range g.accounts {
		left -= max(a.budget.reserved, a.budget.committed)
	}
	for _, d := range g.departed {
		left -= d.issuances
	}
	return max(left, 0)
}

// budgetFor sets the limit of the day. What was told of the old one no longer counts.
func (g *gate) budgetFor(perDay int) {
	if perDay == g.issuancesPerDay {
		return
	}
	g.issuancesPerDay = perDay
	for a := range g.accounts {
		a.budget.told = [classes]bool{}
	}
}

// exhausted tells whether a class has to wait for another day.
func (g *gate) exhausted(c class) bool {
	return g.issuancesPerDay > 0 && c != urgent && g.left(c) <= 0
}

// affords tells whether a request of an account may go, as far as the budget is concerned: there is something left, and on record.
func (g *gate) affords(a *account, c class) bool {
	return g.issuancesPerDay == 0 || c == urgent || !g.exhausted(c) && a.budget.reserved > a.budget.committed
}

// roll begins a new day for all accounts of a gate.
func (g *gate) roll(now time.Time) {
	for a := range g.accounts {
		a.budget.roll(now)
	}
	g.departed = slices.DeleteFunc(g.departed, func(d departed) bool { return d.day.Before(DayOf(now)) })
}

// depart remembers for the rest of the day what a removed account has bought.
func (g *gate) depart(a *account) {
	if g.issuancesPerDay > 0 && a.budget.committed > 0 {
		g.departed = append(g.departed, departed{uid: a.connection.UID, day: a.budget.day, issuances: a.budget.committed})
	}
	a.budget = budget{}
}

// wantsBlock tells whether more must be put on record for an account: soon there is nothing left for those who wait, or urgent renewals
// have run ahead of it.
func (g *gate) wantsBlock(a *account) bool {
	b := &a.budget
	if g.issuancesPerDay == 0 || !a.known {
		return false
	}
	return b.committed > b.reserved || a.waiting() > 0 && (b.reserved-b.committed)*2 < block(g.issuancesPerDay) && g.unreserved() > 0
}

// reserve asks for what must be put on record, and tells those who have to wait for another day that they do. The lock is held.
func (r *Registry) reserve(g *gate) {
	if g.issuancesPerDay == 0 {
		return
	}
	for a := range g.accounts {
		if !a.budget.asked && g.wantsBlock(a) {
			a.budget.asked = true
			r.probes = append(r.probes, a.id)
		}
		for c := fresh; c < urgent; c++ {
			if a.budget.told[c] || !g.exhausted(c) {
				continue
			}
			if waiting := a.lanes.waiting(c); len(waiting) > 0 {
				a.budget.told[c] = true
				r.wakes = append(r.wakes, waiting...)
				r.probes = append(r.probes, a.id)
			}
		}
	}
}

// Reserve answers what the issuer's status is to say of the budget. ok is false as long as what was last put on record is enough.
func (r *Registry) Reserve(id ID) (_ Reservation, ok bool) {
	r.mu.Lock()
	defer r.release()
	a, found := r.accounts[id]
	if !found || a.gate == nil || !a.budget.asked {
		return Reservation{}, false
	}
	g := a.gate
	g.roll(r.options.Clock.Now())
	b := &a.budget
	wanted := max(b.reserved, b.committed) + min(block(g.issuancesPerDay), g.unreserved())
	if wanted <= b.reserved {
		b.asked = false
		return Reservation{}, false
	}
	return Reservation{Day: b.day, Issuances: wanted}, true
}

// Reserved tells that a reservation of Reserve is on record.
func (r *Registry) Reserved(id ID, on Reservation) {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok {
		return
	}
	a.budget.roll(r.options.Clock.Now())
	a.budget.asked = false
	if on.Day.Equal(a.budget.day) {
		a.budget.reserved = max(a.budget.reserved, on.Issuances)
	}
	r.dispatch(a.gate)
}

// Expect tells how many renewals of an issuer fall due until the end of the day. Those on their way may be among them.
func (r *Registry) Expect(id ID, renewals int) {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok {
		return
	}
	a.budget.roll(r.options.Clock.Now())
	a.budget.need = renewals
	r.dispatch(a.gate)
}

// overBudget says that a request has to wait for another day; ok is false if it need not.
func (g *gate) overBudget(c class, now time.Time) (_ Wait, ok bool) {
	if !g.exhausted(c) {
		return Wait{}, false
	}
	wait := Wait{Reason: v1alpha1.ReasonBudgetExceeded, Until: DayOf(now).Add(24 * time.Hour)}
	const goesOn = "; it goes on by itself when the day is over in UTC, or when the limit is raised"
	if g.left(due) > 0 {
		wait.Message = "what is left of the issuer's spec.limits.issuancesPerDay is kept for renewals that fall due today" + goesOn
	} else {
		wait.Message = "the issuer's spec.limits.issuancesPerDay is used up" + goesOn + "; renewals with less than a sixth of their lifetime left pass it"
	}
	return wait, true
}
