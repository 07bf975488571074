// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"testing"
	"time"
)

// TestWhateverBreaksOnceNothingIsLostAndNothingBoughtTwice learns the points of each workload from a clean run and breaks every one of
// them in every way, one at a time.
func TestWhateverBreaksOnceNothingIsLostAndNothingBoughtTwice(t *testing.T) {
	t.Parallel()
	clean := map[string]*rehearsal{}
	t.Run("undisturbed", func(t *testing.T) {
		for _, l := range workloads() {
			clean[l.name] = &rehearsal{}
			t.Run(l.name, func(t *testing.T) { l.rehearse(t, clean[l.name]) })
		}
	})
	for _, l := range workloads() {
		for _, p := range clean[l.name].points {
			for _, plan := range p.plans() {
				if *full || l.always && plan.always {
					t.Run(l.name+"/"+p.String()+" "+plan.name, func(t *testing.T) { l.run(t, plan, p, clean[l.name].writes) })
				}
			}
		}
	}
}

// rehearsal is what a clean run of a workload taught: its points, and how often it writes.
type rehearsal struct {
	points []point
	writes int
}

func (l workload) rehearse(t *testing.T, learned *rehearsal) {
	w := newWorld(t, l.name+": undisturbed")
	l.begin(w)
	l.act(w)
	l.finish(w)
	w.verify()
	w.wantBought(l.bought)
	learned.points, learned.writes = learn(w), len(w.since())
	if l.many {
		learned.points = thin(learned.points)
	}
	if len(learned.points) == 0 {
		t.Error("the workload has no point that could break")
	}
}

// inFlight is how many requests an account has on their way at most, unless its issuer says otherwise.
const inFlight = 8

// run breaks one point, heals, and checks that the user gets what was asked for and that the invariants hold.
func (l workload) run(t *testing.T, p plan, at point, writes int) {
	w := newWorld(t, l.name+": "+p.name)
	l.begin(w)
	met := p.arm(w, at)
	l.act(w)
	eventually(w.T, "the fault is met", func(context.Context) (bool, error) { return met(), nil })
	if p.kills {
		eventually(w.T, "the manager is killed", func(context.Context) (bool, error) { return !w.managerAlive(), nil })
		w.startManager()
	}
	l.finish(w)
	w.verify()
	extra := 0
	if p.loses {
		extra = 1
	}
	if l.many && p.kills {
		extra = inFlight // all that were on their way die together
	}
	w.wantBought(l.bought, l.bought+extra)
	// A lost answer is resolved and followed by a back-off and a second purchase; a restart may say again what is known.
	if got, most := len(w.since()), 2*writes+6; got > most {
		w.Errorf("I12: %d writes, want at most %d:\n%v", got, most, w.since())
	}
}

// mark begins what a case is about.
func (w *world) mark() {
	w.marked, w.ledgerAtMark = time.Now(), len(w.ledger())
}

// wantBought compares what was bought since the mark with what is allowed: from the first to the last of the numbers.
func (w *world) wantBought(allowed ...int) {
	w.Helper()
	if got := len(w.ledger()) - w.ledgerAtMark; got < allowed[0] || got > allowed[len(allowed)-1] {
		w.Errorf("I5: %d certificates were bought, want %v", got, allowed)
	}
}
