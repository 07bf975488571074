// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"runtime/debug"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
)

// Flights are the goroutines that buy and resolve, at most one per object. The manager stops at once when it loses its lease; whoever
// starts it must then wait for the flights with Drain, or the private keys on their way are lost.
type Flights struct {
	mu      sync.Mutex
	flying  map[types.UID]struct{}
	closed  bool
	pending sync.WaitGroup
}

// NewFlights has nothing in flight.
func NewFlights() *Flights {
	return &Flights{flying: make(map[types.UID]struct{})}
}

// Start runs fly in a goroutine unless the object has one already or Drain was called, and then landed. A panic of fly ends that
// flight alone: its attempt stays open and is resolved like any lost answer.
func (f *Flights) Start(log logr.Logger, uid types.UID, fly, landed func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, busy := f.flying[uid]; busy || f.closed {
		return false
	}
	f.flying[uid] = struct{}{}
	f.pending.Go(func() {
		defer landed()
		defer f.land(uid)
		defer func() {
			if p := recover(); p != nil {
				// The value may hold what was being decoded, so only the place is logged.
				log.Error(nil, "panic while a request to the vendor was handled", "stack", string(debug.Stack()))
			}
		}()
		fly()
	})
	return true
}

// InFlight tells whether the object has a goroutine.
func (f *Flights) InFlight(uid types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, busy := f.flying[uid]
	return busy
}

func (f *Flights) land(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.flying, uid)
}

// Drain lets nothing new start and waits for what is in flight, until ctx is done. It answers how many were left behind; their
// attempts stay open and are resolved by the next process.
func (f *Flights) Drain(ctx context.Context) int {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.pending.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flying)
}
