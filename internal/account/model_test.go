// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// TestNoSequenceOfEventsBreaksTheBounds drives a Registry at random and checks after each step what must always hold: no limit is
// exceeded, no slot is lost, and whoever waits is woken once the way is free.
func TestNoSequenceOfEventsBreaksTheBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 150).Draw(rt, "events")
		var problem string
		synctest.Test(t, func(t *testing.T) {
			problem = runModel(t, seed)
		})
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

type model struct {
	*desk
	leases []*Lease
	waits  map[string]bool
	start  time.Time
	// onRecord is what the issuers' statuses say; bought counts what was paid for each day that was not urgent.
	onRecord map[ID]Reservation
	bought   map[time.Time]int
}

const (
	modelConcurrent = 3
	modelBurst      = 4
	modelRate       = 2
	modelPerDay     = 12
)

func (m *model) connection(id ID, generation int64) Connection {
	c := connection()
	c.UID, c.Generation, c.Reservation = id.Name, generation, m.onRecord[id]
	c.Limits = Limits{RequestsPerSecond: modelRate, Burst: modelBurst, MaxConcurrent: modelConcurrent, IssuancesPerDay: modelPerDay}
	return c
}

func runModel(t *testing.T, events []int) string {
	m := &model{desk: newDesk(t), waits: map[string]bool{}, start: time.Now(), onRecord: map[ID]Reservation{}, bought: map[time.Time]int{}}
	m.update(issuerA, m.connection(issuerA, 1))
	m.update(issuerB, m.connection(issuerB, 1))
	for i, event := range events {
		m.step(event)
		if problem := m.check(); problem != "" {
			return fmt.Sprintf("after event %d: %s", i, problem)
		}
	}
	return m.settle()
}

func (m *model) step(event int) {
	id := []ID{issuerA, issuerB}[event%2]
	event /= 2
	name := fmt.Sprint("c", event%8)
	switch event / 8 % 9 {
	case 0, 1, 2:
		m.acquire(id, name, event/64)
	case 3:
		m.Withdraw(request(name).Key)
		delete(m.waits, name)
	case 4:
		m.done(event/64, Outcome{Issued: true})
	case 5:
		m.done(event/64, []Outcome{{Err: disturbance()}, {Unused: true}, {Err: throttle(3 * time.Second)}, {Err: refusal(401)}}[event/64%4])
	case 6:
		advance(time.Duration(event/64%3000) * time.Millisecond)
	case 7:
		m.change(id, event/64)
	case 8:
		m.report(id, event/64)
	}
}

// report does what the issuer controller does when it is asked, or comes by: what it writes may be lost, or not be confirmed.
func (m *model) report(id ID, n int) {
	m.Expect(id, n/4%4)
	on, ok := m.Reserve(id)
	if !ok || n%8 == 0 {
		return
	}
	m.onRecord[id] = on
	if n%8 > 1 {
		m.Reserved(id, on)
	}
}

// restart is a new process. What was in flight may have been bought.
func (m *model) restart() {
	for len(m.leases) > 0 {
		m.count(m.leases[0])
		m.leases = m.leases[1:]
	}
	m.desk = newDesk(m.t)
	m.waits = map[string]bool{}
	m.update(issuerA, m.connection(issuerA, 1))
	m.update(issuerB, m.connection(issuerB, 1))
}

// count notes a purchase that the budget of its day has to allow.
func (m *model) count(l *Lease) {
	if l.class != urgent {
		m.bought[l.day]++
	}
}

func (m *model) acquire(id ID, name string, n int) {
	req := request(name)
	req.Due, req.Urgent = n%3 > 0, n%9 == 8
	req.Expires = m.start.Add(time.Duration(len(m.leases)) * time.Hour)
	lease, _ := m.Acquire(id, req)
	m.waits[name] = lease == nil
	if lease != nil {
		m.leases = append(m.leases, lease)
	}
}

func (m *model) done(n int, o Outcome) {
	if len(m.leases) == 0 {
		return
	}
	n %= len(m.leases)
	m.leases[n].Done(o)
	if !o.boughtNothing() {
		m.count(m.leases[n])
	}
	m.leases = append(m.leases[:n], m.leases[n+1:]...)
}

func (m *model) change(id ID, n int) {
	switch c := m.connection(id, int64(n/6%3)); n % 6 {
	case 0:
		m.update(id, c)
	case 1:
		c.Suspended = true
		m.update(id, c)
	case 2:
		m.Remove(id)
	case 3:
		// Every slot may be taken by a lease that only a later event returns.
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
		defer cancel()
		_ = m.Call(ctx, issuerA, func(context.Context, *trustmanager.Client) error { return nil })
	case 4:
		m.restart()
	case 5:
		advance(time.Duration(n/6%30) * time.Hour)
	}
}

func (m *model) check() string {
	m.Registry.mu.Lock()
	defer m.Registry.mu.Unlock()
	for _, g := range m.gates {
		if g.busy > modelConcurrent || g.busy < 0 {
			return fmt.Sprintf("%d slots are in use", g.busy)
		}
	}
	if len(m.leases) > modelConcurrent {
		return fmt.Sprintf("%d leases", len(m.leases))
	}
	if len(m.gates) > 1 {
		return fmt.Sprintf("%d gates for one credential", len(m.gates))
	}
	return m.checkBudget()
}

// checkBudget sees that no day's purchases exceed its budget or what was on record.
func (m *model) checkBudget() string {
	bought := maps.Clone(m.bought)
	for _, l := range m.leases {
		if l.class != urgent {
			bought[l.day]++
		}
	}
	today := DayOf(time.Now())
	var recorded int
	for _, on := range m.onRecord {
		if on.Day.Equal(today) {
			recorded += on.Issuances
		}
	}
	if bought[today] > recorded {
		return fmt.Sprintf("%d bought today, %d on record", bought[today], recorded)
	}
	for day, n := range bought {
		if n > modelPerDay {
			return fmt.Sprintf("%d bought on %s", n, day)
		}
	}
	return ""
}

// settle makes everything work again and sees that everybody who waits gets a turn and every slot comes back.
func (m *model) settle() string {
	for len(m.leases) > 0 {
		m.done(0, Outcome{Unused: true})
	}
	for range 3 {
		m.update(issuerA, m.connection(issuerA, 100))
		m.update(issuerB, m.connection(issuerB, 100))
		m.serve(200)
		advance(time.Until(DayOf(time.Now()).Add(24*time.Hour - time.Second))) // the day's budget may be used up
	}
	m.Registry.mu.Lock()
	defer m.Registry.mu.Unlock()
	if len(m.waiters) > 0 {
		return fmt.Sprintf("%d still wait although nothing is in the way", len(m.waiters))
	}
	for _, g := range m.gates {
		if g.busy != 0 || len(g.grants) != 0 {
			return fmt.Sprintf("%d slots were lost", g.busy)
		}
	}
	return ""
}

// serve lets whoever is woken buy, for some seconds.
func (m *model) serve(seconds int) {
	for range seconds {
		m.report(issuerA, 2)
		m.report(issuerB, 2)
		for _, name := range m.takeWoken() {
			m.Registry.mu.Lock()
			w, ok := m.waiters[request(name).Key]
			m.Registry.mu.Unlock()
			if !ok {
				continue
			}
			m.acquire(w.lane.account.id, name, 1)
			m.done(0, Outcome{Issued: true})
		}
		advance(time.Second)
	}
}
