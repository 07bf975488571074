// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// BenchmarkStore measures how long a private key exists in memory alone: from the vendor's answer to the Secret that the API server has
// acknowledged, decoding and verification included. The vendor runs in the same process.
func BenchmarkStore(b *testing.B) {
	const many = 400
	for _, sideBySide := range []int{1, 8} {
		b.Run(fmt.Sprint(sideBySide, " at a time"), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := worldOf(b)
				w.certificate("proof") // the others may follow side by side
				w.settle()
				b.StartTimer()
				taken := w.timeStores(many, sideBySide)
				b.ReportMetric(float64(taken[len(taken)/2].Microseconds())/1000, "ms-p50")
				b.ReportMetric(float64(taken[len(taken)*99/100].Microseconds())/1000, "ms-p99")
			}
		})
	}
}

// timeStores buys certificates and answers with how long each took to be stored, sorted.
func (w *world) timeStores(many, sideBySide int) []time.Duration {
	w.t.Helper()
	var mu sync.Mutex
	stored := map[string]time.Time{}
	w.api.on(apiRule{step: stepStore, act: func(c apiCall) error {
		err := c.forward()
		mu.Lock()
		defer mu.Unlock()
		stored[c.name] = time.Now()
		return err
	}})
	names := make(chan string)
	var taken []time.Duration
	var group sync.WaitGroup
	for range sideBySide {
		group.Go(func() {
			for name := range names {
				answered := w.buyOne(name)
				mu.Lock()
				taken = append(taken, stored[name].Sub(answered))
				mu.Unlock()
			}
		})
	}
	for i := range many {
		names <- fmt.Sprint("gateway-", i)
	}
	close(names)
	group.Wait()
	slices.Sort(taken)
	return taken
}

// buyOne goes through a purchase step by step, and answers when the vendor's answer was there.
func (w *world) buyOne(name string) (answered time.Time) {
	c := w.certificate(name)
	s, err := w.operator.observe(w.ctx, c)
	w.must(err)
	lease, _ := w.accounts.Acquire(w.issuer, s.request())
	if lease == nil {
		w.t.Fatal("no leave to buy")
	}
	p := &purchase{scope: s, r: w.operator, plan: plan.Decide(&s.snapshot), lease: lease, log: s.log()}
	defer lease.Done(account.Outcome{Unused: true})
	w.must(p.prepare(w.ctx))
	issued, err := p.send(w.ctx)
	answered = time.Now()
	w.must(client.IgnoreNotFound(err))
	p.receive(w.ctx, issued)
	return answered
}
