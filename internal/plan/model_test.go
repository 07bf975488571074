// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// configOf makes a world's configuration of a number, so that a failing sequence is told by numbers alone.
func configOf(n uint16) modelConfig {
	c := modelConfig{objects: 1 + int(n&1), processes: 1 + int(n>>1&1), sameName: n>>2&1 == 1, policy: v1alpha1.OrphansReport}
	switch n >> 3 & 3 {
	case 1:
		c.policy = v1alpha1.OrphansRevoke
	case 2:
		c.marked = true
	}
	return c
}

// play lets events happen to a new world and then brings it to rest.
func play(config uint16, events []uint16) (problem string) {
	w := newModelWorld(configOf(config))
	for _, e := range events {
		if w.happen(modelEvent(e)); w.problem != "" {
			return w.problem
		}
	}
	w.converge()
	return w.problem
}

// tell plays a failing sequence again and says what happens.
func tell(config uint16, events []uint16) string {
	var b strings.Builder
	w := newModelWorld(configOf(config))
	fmt.Fprintf(&b, "play(%d, %#v): %+v\n", config, events, w.modelConfig)
	for _, n := range events {
		e := modelEvent(n)
		slot, p := e.object()%w.objects, e.process()%w.processes
		stage := w.procs[p].flights[slot].stage
		w.happen(e)
		fmt.Fprintf(&b, "%v kind=%d how=%d p=%d object=%d stage=%d->%d %s %s\n", w.mono, e.kind(), e.how(), p, slot, stage, w.procs[p].flights[slot].stage, w.describe(), w.problem)
	}
	return b.String()
}

// tryMany makes rapid try more than its hundred cases, and the same ones each time, unless somebody chose -rapid.checks.
func tryMany(t *testing.T) {
	t.Helper()
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() != checks.DefValue {
		return
	}
	for name, value := range map[string]string{"rapid.checks": "1500", "rapid.seed": "20300601"} {
		usual := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, usual) })
	}
}

func TestNoSequenceOfEventsBreaksThePromise(t *testing.T) {
	tryMany(t)
	numbers := rapid.SliceOfN(rapid.Uint16(), 30, 120)
	rapid.Check(t, func(t *rapid.T) {
		config, events := rapid.Uint16Range(0, 31).Draw(t, "config"), scatter(numbers.Draw(t, "events"))
		if problem := play(config, events); problem != "" {
			events = shorten(config, events, problem)
			t.Fatalf("%s\n%s", problem, tell(config, events))
		}
	})
}

// scatter spreads numbers, of which rapid prefers the small ones, over all events; zero stays zero.
func scatter(numbers []uint16) []uint16 {
	events := make([]uint16, len(numbers))
	for i, n := range numbers {
		events[i] = n * 0x9e3b
	}
	return events
}

// shorten leaves out what a failure does not need.
func shorten(config uint16, events []uint16, problem string) []uint16 {
	law, _, _ := strings.Cut(problem, " ")
	for size := len(events) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(events); {
			shorter := slices.Concat(events[:at], events[at+size:])
			if strings.HasPrefix(play(config, shorter), law) {
				events = shorter
			} else {
				at += size
			}
		}
	}
	return events
}

// TestSequencesThatOnceFailed plays what the model found: each cost a certificate, or the truth, until it was mended.
func TestSequencesThatOnceFailed(t *testing.T) {
	for name, c := range map[string]struct {
		config uint16
		events []uint16
	}{
		"the Secret breaks before the store is reported":                      {3, []uint16{0xab10, 0x629e, 0x539d}},
		"the Secret breaks while the attempt is resolved":                     {3, []uint16{0x61c5, 0x6947, 0x0, 0x8aea, 0x1a43, 0xe712, 0x0, 0x9e3b, 0x39dd}},
		"the spec is edited before the store is reported":                     {0, []uint16{0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0xc, 0x0, 0x0, 0x8e, 0x40}},
		"time passes while a purchase cannot be prepared":                     {19, []uint16{0x7794, 0x539d, 0x9013, 0xdab1, 0x0, 0x539d, 0xdab1}},
		"the issuer is away while the Secret is rendered":                     {16, []uint16{0x89c5, 0x8ff, 0x506, 0x9b45, 0x4709, 0x1afd, 0x0}},
		"the annotations are stripped under a stale cache":                    {6, []uint16{0xb3c0, 0x459a, 0x31de, 0x8823, 0x1b25, 0x966c, 0x8aea, 0xf1d8, 0x1f60}},
		"the status is wiped after the Secret was stripped":                   {14, []uint16{0xc2f5, 0xfad7, 0xd29c, 0x86b8, 0x3b0d, 0x97bf, 0xec9d, 0x539d, 0x3b3, 0x235c}},
		"a deleted object is finalized again beside its successor":            {14, []uint16{0xcd5, 0xdab1, 0xfb6c, 0x524a, 0x3c1c, 0x2f38, 0xe70e, 0xdab1, 0x54cd, 0xdab1, 0x3c76, 0x61c5}},
		"a re-created object renews at once and the report is lost":           {15, []uint16{0x28be, 0xe1e2, 0x2925, 0x8aea, 0x7ac, 0xe3b0, 0x84ad, 0xdab1, 0xc237, 0x78ec, 0x909a}},
		"a renewal is asked for too early while predecessors are revoked":     {23, []uint16{0xcfa5, 0x277d, 0x3f34, 0x78ec, 0xdab1, 0x9e3b, 0x4b7d, 0x9e3b, 0x9e3b, 0x9e3b}},
		"a stopped process wakes while its attempt is being resolved":         {18, []uint16{0xe633, 0x9a00, 0x9e3b, 0x0, 0xbe61, 0xdab1}},
		"a clock jumps ahead while an answer is stored":                       {3, []uint16{0xdab1, 0x684b, 0xdab1, 0xe4b2, 0xd05f, 0xdab1}},
		"a clock is wrong when the intent is recorded and right afterwards":   {0, []uint16{0x8ff, 0x8ff, 0xecaf, 0x5f0, 0x59f, 0x3c76}},
		"a stopped process wakes after its attempt was resolved":              {10, []uint16{0x8665, 0xdab1, 0x9e3b, 0x47b2, 0x9e3b, 0x4cad}},
		"a stopped process wakes after its certificate was revoked":           {11, []uint16{0xbe61, 0xdab1, 0x9e3b, 0x5773}},
		"a process ends between a revocation and its record":                  {10, []uint16{0xdab1, 0x0, 0x0, 0x9e3b, 0x0, 0x6ac4, 0xf5ae}},
		"the right to revoke comes back while a sleeper stores":               {10, []uint16{0x0, 0xc9e3, 0xdab1, 0x9e3b, 0x9b4f, 0xdab1}},
		"an object that fears another's certificate is deleted":               {5, []uint16{0xdab1, 0xb692, 0x11fe, 0x0, 0xdab1, 0x9e3b, 0x3c76, 0x3c76, 0x9b95, 0xb562, 0x2f5c}},
		"a sleeper stores while its attempt is closed, and the Secret breaks": {2, []uint16{0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0xf45b, 0x0, 0x0, 0xf984, 0xdab1, 0x9e3b, 0x3c76, 0x3c76, 0x0, 0x0, 0x3c76, 0xdab1, 0x539d}},
		"a retained pair is renewed and breaks before the report":             {2, []uint16{0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x2ecc, 0xdab1, 0x78ec, 0xa73a, 0xab10, 0x0, 0x9e3b, 0x539d}},
		"a sleeper stores for a broken Secret, which breaks again":            {2, []uint16{0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x539d, 0xdab1, 0x0, 0x0, 0x9e3b, 0x0, 0x0, 0x0, 0x0, 0x0, 0x3c76, 0x0, 0x0, 0x0, 0x0, 0x539d}},
		"a retained pair is renewed by a sleeper after all":                   {2, []uint16{0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0xfead, 0xdab1, 0x78ec, 0xa6bb, 0xdab1, 0x0, 0x0, 0x9e3b, 0xbe61, 0x3c76}},
		"a retained pair is renewed and the report is lost":                   {0, []uint16{0x2e4e, 0x11fe, 0x5c9c, 0x4e74, 0x0, 0xa73a, 0x6ac4, 0xdab1, 0x7ac, 0x8821, 0xfc62, 0x0, 0x58a3, 0xef7c, 0xaf83, 0x5c9c, 0xa73a, 0xbc95, 0x4e74, 0x859e}},
	} {
		t.Run(name, func(t *testing.T) {
			if problem := play(c.config, c.events); problem != "" {
				t.Fatalf("%s\n%s", problem, tell(c.config, c.events))
			}
		})
	}
}

// BenchmarkSequences tells how many random sequences of events, each brought to rest, are judged in a minute, and how many break a law.
// Those are for TestNoSequenceOfEventsBreaksThePromise to find: they do not end a measurement.
func BenchmarkSequences(b *testing.B) {
	var streams, broken atomic.Uint64
	b.RunParallel(func(pb *testing.PB) {
		dice := rand.New(rand.NewPCG(1, streams.Add(1)))
		for pb.Next() {
			events := make([]uint16, 30+dice.IntN(91))
			for i := range events {
				events[i] = uint16(dice.UintN(1 << 16))
			}
			if play(uint16(dice.UintN(32)), events) != "" {
				broken.Add(1)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Minutes(), "sequences/min")
	b.ReportMetric(float64(broken.Load()), "broken")
}
