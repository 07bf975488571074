// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"fmt"
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
}

const (
	modelConcurrent = 3
	modelBurst      = 4
	modelRate       = 2
)

func modelConnection(generation int64) Connection {
	c := connection()
	c.Generation = generation
	c.Limits = Limits{RequestsPerSecond: modelRate, Burst: modelBurst, MaxConcurrent: modelConcurrent}
	return c
}

func runModel(t *testing.T, events []int) string {
	m := &model{desk: newDesk(t), waits: map[string]bool{}, start: time.Now()}
	m.update(issuerA, modelConnection(1))
	m.update(issuerB, modelConnection(1))
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
	switch event / 8 % 8 {
	case 0, 1, 2:
		m.acquire(id, name)
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
	}
}

func (m *model) acquire(id ID, name string) {
	req := request(name)
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
	m.leases = append(m.leases[:n], m.leases[n+1:]...)
}

func (m *model) change(id ID, n int) {
	switch c := modelConnection(int64(n / 4 % 3)); n % 4 {
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
	return ""
}

// settle makes everything work again and sees that everybody who waits gets a turn and every slot comes back.
func (m *model) settle() string {
	for len(m.leases) > 0 {
		m.done(0, Outcome{Unused: true})
	}
	m.update(issuerA, modelConnection(100))
	m.update(issuerB, modelConnection(100))
	for range 200 {
		for _, name := range m.takeWoken() {
			m.Registry.mu.Lock()
			w, ok := m.waiters[request(name).Key]
			m.Registry.mu.Unlock()
			if !ok {
				continue
			}
			m.acquire(w.lane.account.id, name)
			m.done(0, Outcome{Issued: true})
		}
		advance(time.Second)
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
