// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAWindowIsLearnedFromARefusalAndAnAcceptance(t *testing.T) {
	life := lasting(90 * day)
	now := life.NotAfter.Add(-30 * day)
	for name, c := range map[string]struct {
		window Window
		wait   time.Duration
	}{
		"nothing known":                   {Window{}, 0},
		"only refused":                    {Window{}.Learn(28*day, false), 0},
		"only accepted":                   {Window{}.Learn(20*day, true), 0},
		"refused and accepted":            {Window{}.Learn(28*day, false).Learn(20*day, true), 10 * day},
		"the longest acceptance":          {Window{}.Learn(28*day, false).Learn(20*day, true).Learn(21*day, true), 9 * day},
		"between the two it is tried":     {Window{}.Learn(32*day, false).Learn(20*day, true), 0},
		"never beyond the last sixth":     {Window{}.Learn(28*day, false).Learn(2*day, true), 15 * day},
		"accepted earlier than refused":   {Window{}.Learn(20*day, false).Learn(10*day, true).Learn(25*day, true), 0},
		"refused later than accepted":     {Window{}.Learn(28*day, false).Learn(20*day, true).Learn(19*day, false), 0},
		"an expired one says nothing":     {Window{}.Learn(-day, false).Learn(20*day, true), 0},
		"and learned anew after a change": {Window{}.Learn(20*day, true).Learn(19*day, false).Learn(5*day, true), 15 * day},
	} {
		if got := c.window.Opens(life, now).Sub(now); got != c.wait {
			t.Errorf("%s: waits %s, want %s", name, got, c.wait)
		}
	}
}

// TestAWindowNeverHoldsARenewalBackThatWouldSucceed: whatever the order of observations of a vendor with one window, nothing that the
// vendor would accept is held back beyond what was accepted before, and nothing at all beyond the last resort.
func TestAWindowNeverHoldsARenewalBackThatWouldSucceed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opens := time.Duration(rapid.IntRange(1, 80).Draw(rt, "window")) * day
		var w Window
		for _, n := range rapid.SliceOf(rapid.IntRange(-5, 90)).Draw(rt, "observations") {
			left := time.Duration(n) * day
			w = w.Learn(left, left <= opens)
		}
		life := lasting(90 * day)
		now := start.Add(time.Duration(rapid.IntRange(0, 89).Draw(rt, "age")) * day)
		held := w.Opens(life, now)
		if held.Before(now) || held.After(now) && life.NotAfter.Sub(now) <= opens {
			rt.Fatalf("window %s, learned %+v: with %s left it is held until %s before", opens, w, life.NotAfter.Sub(now), life.NotAfter.Sub(held))
		}
		if last := LastResort(life); held.After(last) && held.After(now) {
			rt.Fatalf("held until %s, after the last resort %s", held, last)
		}
	})
}
