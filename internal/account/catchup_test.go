// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// catchUp serves whoever is woken as a reconcile and its purchase do, each after a while of its own: some come with a cache that lags,
// let their turn go and ask again. It answers the leases in their order with the time from the first to the last.
func (d *desk) catchUp(id ID, waiting []Request, seed uint64) (order []int, took time.Duration) {
	d.t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	number := map[string]int{}
	for i, r := range waiting {
		number[r.Key.Name] = i
	}
	var first time.Time
	for range 100 * len(waiting) {
		for _, name := range d.takeWoken() {
			i, lags := number[name], random.IntN(10) == 0
			after := func(least, most int) time.Duration {
				return time.Duration(least+random.IntN(most-least)) * time.Millisecond
			}
			reconciled, answered := after(1, 20), after(20, 150)
			go func() {
				advance(reconciled)
				if lags {
					d.Withdraw(waiting[i].Key)
					advance(answered)
				}
				lease, _ := d.Acquire(id, waiting[i])
				if lease == nil {
					return // it is woken again
				}
				d.mu.Lock()
				if len(order) == 0 {
					first = time.Now()
				}
				order, took = append(order, i), time.Since(first)
				d.mu.Unlock()
				advance(answered)
				lease.Done(Outcome{Issued: true})
			}()
		}
		d.mu.Lock()
		done := len(order) == len(waiting)
		d.mu.Unlock()
		if done {
			break
		}
		advance(time.Millisecond)
	}
	advance(time.Second) // the last ones end
	return order, took
}

func TestAnOutageIsCaughtUpWithInOrderAndWithAllOfTheRate(t *testing.T) {
	for _, burst := range []int{1, 20} {
		t.Run(fmt.Sprintf("burst of %d", burst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const perSecond, concurrent, n = 20, 8, 400
				d := newDesk(t)
				c := connection()
				c.Limits = Limits{RequestsPerSecond: perSecond, Burst: burst, MaxConcurrent: concurrent}
				d.update(issuerA, c)
				d.prove(issuerA)
				for range maxFailures {
					advance(time.Second)
					d.fail(issuerA, 1, disturbance())
				}
				waiting := make([]Request, n)
				for i := range waiting {
					waiting[i] = expiring(fmt.Sprint("c", i), time.Now().Add(time.Duration(i)*time.Minute))
				}
				for i := range waiting {
					d.Await(issuerA, waiting[(i*7+3)%n]) // in no order
				}
				advance(time.Hour)
				wantWoken(t, d)
				if err := d.call(issuerA, nil); err != nil { // the probe that finds the vendor again
					t.Fatal(err)
				}
				order, took := d.catchUp(issuerA, waiting, 4711)
				if len(order) != n {
					t.Fatalf("%d of %d were served", len(order), n)
				}
				if used := float64(n-burst) / perSecond / took.Seconds(); used < 0.95 {
					t.Errorf("%.1f %% of the rate was used", 100*used)
				}
				// Whoever let a turn go comes later by as long as its cache lagged, and overtakes again all who wait.
				if behind := furthestBehind(order); behind > burst+concurrent {
					t.Errorf("one came %d places after one that expires later", behind)
				}
			})
		})
	}
}

// furthestBehind is how many places there are at most between one and another that should have come before it.
func furthestBehind(order []int) int {
	var most int
	for i := range order {
		for j := i + most + 1; j < len(order); j++ {
			if order[j] < order[i] {
				most = j - i
			}
		}
	}
	return most
}

func TestTheStateTellsWhenAnIssuerRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		d.prove(issuerA)
		d.fail(issuerA, maxFailures, disturbance())
		if at := d.State(issuerA).RecoveredAt; !at.IsZero() {
			t.Errorf("recovered at %s, while nothing goes", at)
		}
		advance(time.Hour)
		_ = d.call(issuerA, nil)
		found := time.Now()
		advance(time.Hour)
		_ = d.call(issuerA, nil) // all is well already
		if at := d.State(issuerA).RecoveredAt; !at.Equal(found) {
			t.Errorf("recovered at %s, want %s", at, found)
		}
	})
}
