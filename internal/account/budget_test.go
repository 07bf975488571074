// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// budgeted is a connection that may buy so much in a day.
func budgeted(uid string, perDay int) Connection {
	c := connection()
	c.UID, c.Limits.IssuancesPerDay, c.CanEnroll = uid, perDay, v1alpha1.CapabilityYes
	return c
}

// newBudgetDesk has issuer A with a budget; its profile is proven, and that has cost nothing.
func newBudgetDesk(t *testing.T, perDay int) *desk {
	t.Helper()
	d := newDesk(t)
	d.update(issuerA, connection())
	d.prove(issuerA)
	c := connection() // the same version: what was proven stays proven
	c.Limits.IssuancesPerDay = perDay
	d.update(issuerA, c)
	d.Registry.accounts[issuerA].budget = budget{}
	d.takeProbed()
	return d
}

// record does what the issuer controller does when it is asked, and answers what was written.
func (d *desk) record(id ID) (Reservation, bool) {
	on, ok := d.Reserve(id)
	if ok {
		d.Reserved(id, on)
	}
	return on, ok
}

func dueRequest(name string) Request {
	req := expiring(name, time.Now().Add(24*time.Hour))
	req.Due = true
	return req
}

func urgentRequest(name string) Request {
	req := dueRequest(name)
	req.Urgent = true
	return req
}

// buy takes leases for new certificates until there is none, recording what is asked for, and answers how many succeeded.
func (d *desk) buy(id ID, make func(string) Request) int {
	var bought int
	for ; bought < 1000; bought++ {
		req := make(fmt.Sprint("buy", bought))
		lease, _ := d.Acquire(id, req)
		if lease == nil {
			d.record(id)
			if lease, _ = d.Acquire(id, req); lease == nil {
				d.Withdraw(req.Key)
				break
			}
		}
		lease.Done(Outcome{Issued: true})
	}
	d.takeWoken()
	d.takeProbed()
	return bought
}

func TestNothingIsBoughtBeforeItIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 100)
		if wait := d.waits(issuerA, request("a")); wait.Reason != v1alpha1.ReasonRateLimited {
			t.Errorf("it waits for %s", wait.Reason)
		}
		wantProbed(t, d, issuerA)
		on, ok := d.record(issuerA)
		if !ok || on.Issuances != 10 || !on.Day.Equal(DayOf(time.Now())) {
			t.Errorf("%+v, %t on record, want a block of ten of today", on, ok)
		}
		wantWoken(t, d, "a")
		d.lease(issuerA, request("a")).Done(Outcome{Issued: true})
		if _, more := d.Reserve(issuerA); more {
			t.Error("more is wanted although nobody waits")
		}
	})
}

func TestABudgetThatIsUsedUpWaitsForTheNextDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 30)
		if got := d.buy(issuerA, request); got != 30 {
			t.Fatalf("%d were bought, want 30", got)
		}
		wait := d.waits(issuerA, request("late"))
		if wait.Reason != v1alpha1.ReasonBudgetExceeded || wait.Terminal || !wait.Until.Equal(DayOf(time.Now()).Add(24*time.Hour)) {
			t.Errorf("it waits for %+v", wait)
		}
		if !d.State(issuerA).BudgetExceeded {
			t.Error("the issuer does not say so")
		}
		d.takeWoken()
		d.takeProbed()
		advance(time.Until(wait.Until))
		wantProbed(t, d, issuerA) // the new day's block
		d.record(issuerA)
		wantWoken(t, d, "late")
		d.lease(issuerA, request("late")).Done(Outcome{Issued: true})
		if got := d.buy(issuerA, request); got != 29 {
			t.Errorf("%d more were bought, want 29", got)
		}
	})
}

func TestThoseWhoWaitHearThatTheBudgetIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 20)
		d.buy(issuerA, request)
		d.Withdraw(request("x").Key)
		// As if they had waited for their turn before.
		a := d.Registry.accounts[issuerA]
		a.budget.told = [classes]bool{}
		d.Await(issuerA, request("a"))
		d.Await(issuerA, request("b"))
		wantWoken(t, d, "a")
		a.budget.told = [classes]bool{}
		d.Await(issuerA, request("b"))
		wantWoken(t, d, "a", "b")
	})
}

func TestUrgentRenewalsPassABudgetThatIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 10)
		d.buy(issuerA, request)
		d.waits(issuerA, dueRequest("due"))
		d.waits(issuerA, request("new"))
		for i := range 5 {
			d.lease(issuerA, urgentRequest(fmt.Sprint("urgent", i))).Done(Outcome{Issued: true})
		}
		if on, ok := d.record(issuerA); !ok || on.Issuances != 15 {
			t.Errorf("%+v, %t on record, want all fifteen", on, ok)
		}
		urgent := dueRequest("due")
		urgent.Urgent = true // time has passed
		d.lease(issuerA, urgent).Done(Outcome{Issued: true})
		d.waits(issuerA, request("new"))
	})
}

func TestNewCertificatesLeaveWhatRenewalsNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 100)
		d.Expect(issuerA, 70)
		if got := d.buy(issuerA, request); got != 30 {
			t.Fatalf("%d new ones were bought, want 30 of 100 as 70 renewals fall due today", got)
		}
		if wait := d.waits(issuerA, request("new")); wait.Reason != v1alpha1.ReasonBudgetExceeded {
			t.Errorf("a new one waits for %s", wait.Reason)
		}
		if got := d.buy(issuerA, dueRequest); got != 70 {
			t.Errorf("%d renewals were bought, want 70", got)
		}
	})
}

func TestARestartForgetsNothingOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 100)
		var on Reservation
		for i := range 25 {
			req := request(fmt.Sprint("c", i))
			lease, _ := d.Acquire(issuerA, req)
			if lease == nil {
				on, _ = d.record(issuerA)
				lease = d.lease(issuerA, req)
			}
			lease.Done(Outcome{Issued: true})
		}
		if on.Issuances < 25 || on.Issuances > 40 {
			t.Fatalf("%d on record for 25", on.Issuances)
		}
		next := newBudgetDesk(t, 100)
		c := connection()
		c.Limits.IssuancesPerDay, c.Reservation = 100, on
		next.update(issuerA, c)
		if got := next.buy(issuerA, request); got != 100-on.Issuances {
			t.Errorf("%d more were bought with %d on record, want the rest of 100", got, on.Issuances)
		}
	})
}

func TestWhatAnotherProcessReservedIsTakenAsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 100)
		d.Await(issuerA, request("a"))
		d.record(issuerA)
		c := connection()
		c.Limits.IssuancesPerDay, c.Reservation = 100, Reservation{Day: DayOf(time.Now()), Issuances: 60}
		d.update(issuerA, c)
		d.Withdraw(request("a").Key)
		if got := d.buy(issuerA, request); got != 50 {
			t.Errorf("%d were bought, want 50: ten were ours of the sixty on record", got)
		}
	})
}

func TestIssuersWithOneCredentialShareOneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 100)
		d.update(issuerB, budgeted("b", 60))
		first := d.buy(issuerA, request)
		d.lease(issuerA, urgentRequest("urgent")).Done(Outcome{Issued: true})
		if second := d.buy(issuerB, request); first+second != 60 {
			t.Errorf("%d and %d were bought, want 60 together", first, second)
		}
	})
}

func TestARemovedIssuersPurchasesCountAsLongAsTheirDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, budgeted("first", 50))
		if got := d.buy(issuerA, request); got != 50 {
			t.Fatalf("%d were bought, want 50", got)
		}
		d.Remove(issuerA)
		d.update(issuerA, budgeted("second", 50)) // deleted and made anew, with an empty status
		if got := d.buy(issuerA, request); got != 0 {
			t.Errorf("%d more were bought on the same day", got)
		}
		advance(24 * time.Hour)
		d.Expect(issuerA, 0)
		if got := d.buy(issuerA, request); got != 50 {
			t.Errorf("%d were bought on the next day, want 50", got)
		}
	})
}

func TestWhatCostNothingIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBudgetDesk(t, 100)
		d.Await(issuerA, request("a"))
		d.record(issuerA)
		for name, o := range map[string]Outcome{
			"unused": {Unused: true}, "refused": {Err: &trustmanager.Error{Delivery: trustmanager.Refused, Actor: trustmanager.User, HTTPStatus: 400}},
			"not sent": {Err: &trustmanager.Error{Delivery: trustmanager.NotSent, Actor: trustmanager.Nobody}},
		} {
			d.lease(issuerA, request("a")).Done(o)
			if got := d.State(issuerA).IssuedToday; got != 0 {
				t.Errorf("%s: %d count", name, got)
			}
		}
		for name, o := range map[string]Outcome{"issued": {Issued: true}, "lost": {Err: disturbance()}} {
			before := d.State(issuerA).IssuedToday
			d.lease(issuerA, request("a")).Done(o)
			if got := d.State(issuerA).IssuedToday - before; got != 1 {
				t.Errorf("%s: %d count", name, got)
			}
		}
	})
}

func TestAClockThatIsSetBackGivesNoSecondBudget(t *testing.T) {
	var b budget
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	b.adopt(Reservation{Day: DayOf(now), Issuances: 40}, now)
	b.roll(now.Add(-48 * time.Hour))
	if b.committed != 40 || !b.day.Equal(DayOf(now.Add(-48*time.Hour))) {
		t.Errorf("%d count for %s", b.committed, b.day)
	}
	// A record of a day that has not come yet, written by a clock that was ahead, counts for today.
	var next budget
	next.adopt(Reservation{Day: DayOf(now).AddDate(1, 0, 0), Issuances: 40}, now)
	if next.committed != 40 {
		t.Errorf("%d count of the forty on record", next.committed)
	}
	next.roll(now.Add(12 * time.Hour))
	if next.committed != 0 {
		t.Errorf("%d count on the next day", next.committed)
	}
}

func TestBlocksAreSmallForSmallBudgets(t *testing.T) {
	for perDay, want := range map[int]int{1: 1, 10: 1, 50: 5, 100: 10, 500: 10, 5000: 100, 25000: 500, 1000000: 500} {
		if got := block(perDay); got != want {
			t.Errorf("%d per day are reserved by %d, want %d", perDay, got, want)
		}
	}
}

func TestTheDayOfABudgetIsTheSameInEveryZone(t *testing.T) {
	midnight := time.Date(2031, 3, 30, 0, 0, 0, 0, time.UTC)
	for _, offset := range []time.Duration{0, time.Hour, 2 * time.Hour, 14 * time.Hour, -3*time.Hour - 30*time.Minute} {
		zone := time.FixedZone("", int(offset.Seconds()))
		for after, want := range map[time.Duration]time.Time{0: midnight, 24*time.Hour - 1: midnight, -1: midnight.AddDate(0, 0, -1)} {
			if got := DayOf(midnight.Add(after).In(zone)); !got.Equal(want) {
				t.Errorf("%s after midnight at %s from UTC counts for %s", after, offset, got)
			}
		}
	}
}
