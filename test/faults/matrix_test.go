// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"testing"
	"time"
)

// TestWhateverBreaksNothingIsLostAndNothingBoughtTwice learns the points of each workload from a clean run and breaks every one of them
// in every way, one at a time; and some of them two in a row.
func TestWhateverBreaksNothingIsLostAndNothingBoughtTwice(t *testing.T) {
	t.Parallel()
	clean := map[string]*rehearsal{}
	t.Run("undisturbed", func(t *testing.T) {
		for _, l := range workloads() {
			clean[l.name] = &rehearsal{}
			t.Run(l.name, func(t *testing.T) { l.rehearse(t, clean[l.name]) })
		}
	})
	for _, l := range workloads() {
		learned := clean[l.name]
		for _, f := range learned.faults() {
			if !*pairs && (*full || l.always && f.plan.always) {
				t.Run(l.name+"/"+f.String(), func(t *testing.T) { l.run(t, f, learned.writes) })
			}
		}
		for _, two := range learned.pairs() {
			if l.paired && (*pairs || two.always || *full && two.sometimes) {
				t.Run(l.name+" twice/"+two.first.String()+", then "+two.second.String(), func(t *testing.T) { l.runTwice(t, two) })
			}
		}
	}
}

// fault is a plan at a point.
type fault struct {
	point point
	plan  plan
}

func (f fault) String() string { return f.point.String() + " " + f.plan.name }

// faults are all ways in which the workload can break once.
func (r *rehearsal) faults() []fault {
	var all []fault
	for _, p := range r.points {
		for _, plan := range p.plans() {
			all = append(all, fault{p, plan})
		}
	}
	return all
}

// pair are two faults of which each kills the manager.
type pair struct {
	first, second fault
	// always: part of every run; sometimes: of the full one.
	always, sometimes bool
}

// pairs are all ordered pairs of kills. The second point is counted anew after the restart.
func (r *rehearsal) pairs() []pair {
	var kills []fault
	for _, f := range r.faults() {
		if f.plan.kills {
			kills = append(kills, f)
		}
	}
	var all []pair
	for i, first := range kills {
		for j, second := range kills {
			diagonal := j == (2*i+1)%len(kills)
			all = append(all, pair{first: first, second: second, always: diagonal && i%5 == 2, sometimes: diagonal})
		}
	}
	return all
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
	table.learned(len(learned.points), len(learned.faults()))
	if len(learned.points) == 0 {
		t.Error("the workload has no point that could break")
	}
}

// inFlight is how many requests an account has on their way at most, unless its issuer says otherwise.
const inFlight = 8

// run breaks one point, heals, and checks that the user gets what was asked for and that the invariants hold.
func (l workload) run(t *testing.T, f fault, writes int) {
	p := f.plan
	w := newWorld(t, l.name+": "+p.name)
	l.begin(w)
	met := p.arm(w, f.point)
	l.act(w)
	eventually(w.T, "the fault is met", func(context.Context) (bool, error) { return met(), nil })
	if p.kills {
		w.restartKilled()
	}
	l.finish(w)
	w.verify()
	extra := l.slack
	if p.loses {
		extra++
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

// restartKilled waits until the manager is dead and starts another.
func (w *world) restartKilled() {
	w.Helper()
	eventually(w.T, "the manager is killed", func(context.Context) (bool, error) { return !w.managerAlive(), nil })
	w.startManager()
}

// runTwice kills the manager at one point, and the next one at another if it comes there.
func (l workload) runTwice(t *testing.T, two pair) {
	w := newWorld(t, l.name+": killed twice")
	l.begin(w)
	met := two.first.plan.arm(w, two.first.point)
	l.act(w)
	eventually(w.T, "the first fault is met", func(context.Context) (bool, error) { return met(), nil })
	eventually(w.T, "the manager is killed", func(context.Context) (bool, error) { return !w.managerAlive(), nil })
	again := two.second.point
	again.nth = 0
	met = two.second.plan.arm(w, again)
	w.launchManager(w.kubeconfig) // which may die before it has said that it works
	done := settled(w.before)
	eventually(w.T, "the second fault is met, or nothing is left to do", func(context.Context) (bool, error) {
		c := w.find(gateway)
		return met() || c != nil && done(c), nil
	})
	if met() {
		w.restartKilled()
	}
	w.proxy().Reset()
	w.vendor().server.ResetFaults()
	if !w.managerAlive() {
		w.startManager()
	}
	l.finish(w)
	w.verify()
	lost := 0
	for _, f := range []fault{two.first, two.second} {
		if f.plan.loses {
			lost++
		}
	}
	w.wantBought(l.bought, l.bought+lost)
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
