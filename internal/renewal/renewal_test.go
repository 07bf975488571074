// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"fmt"
	"math"
	"testing"
	"time"
	_ "time/tzdata" // zones, wherever the tests run

	"pgregory.net/rapid"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

const day = 24 * time.Hour

var (
	start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	// noJitter is a seed whose jitter is less than a thousandth of the window, so that tables can state instants.
	noJitter = seedWithoutJitter()
)

func seedWithoutJitter() string {
	for i := 0; ; i++ {
		if seed := fmt.Sprint("seed-", i); Jitter(1000*time.Hour, seed) < time.Hour {
			return seed
		}
	}
}

func lasting(d time.Duration) Lifetime { return Lifetime{NotBefore: start, NotAfter: start.Add(d)} }

func TestWhenACertificateIsDue(t *testing.T) {
	backdated := lasting(3 * time.Hour)
	backdated.IssuedAt = start.Add(2 * time.Hour)
	for name, c := range map[string]struct {
		lifetime Lifetime
		wish     Wish
		// left is the time between due and notAfter without jitter.
		left time.Duration
	}{
		"two thirds by default":                  {lasting(90 * day), Wish{}, 30 * day},
		"renewBefore":                            {lasting(90 * day), Wish{Before: 7 * day}, 7 * day},
		"renewBefore wins over a percentage":     {lasting(90 * day), Wish{Before: 7 * day, Percent: 50}, 7 * day},
		"negative renewBefore is none":           {lasting(90 * day), Wish{Before: -day}, 30 * day},
		"one percent":                            {lasting(100 * day), Wish{Percent: 1}, day},
		"half":                                   {lasting(100 * day), Wish{Percent: 50}, 50 * day},
		"ninety percent, the most":               {lasting(100 * day), Wish{Percent: 90}, 90 * day},
		"renewBefore longer than the lifetime":   {lasting(100 * day), Wish{Before: 365 * day}, 90 * day},
		"renewBefore equal to the lifetime":      {lasting(100 * day), Wish{Before: 100 * day}, 90 * day},
		"a certificate of minutes":               {lasting(10 * time.Minute), Wish{Before: 720 * time.Hour}, 9 * time.Minute},
		"backdated: counts from when it arrived": {backdated, Wish{}, 20 * time.Minute},
		"a century":                              {lasting(36500 * day), Wish{Percent: 90}, 32850 * day},
	} {
		t.Run(name, func(t *testing.T) {
			left := c.lifetime.NotAfter.Sub(Time(c.lifetime, c.wish, noJitter))
			if tolerance := c.left / 5000; left < c.left-tolerance-time.Second || left > c.left+tolerance {
				t.Errorf("%s are left, want %s", left, c.left)
			}
		})
	}
}

func TestALifetimeStartsWhenTheCertificateArrived(t *testing.T) {
	for name, c := range map[string]struct {
		issuedAt time.Time
		want     time.Time
	}{
		"unknown":                           {time.Time{}, start},
		"backdated":                         {start.Add(time.Hour), start.Add(time.Hour)},
		"before notBefore, by clock skew":   {start.Add(-time.Minute), start},
		"at notAfter, by a clock that lies": {start.Add(90 * day), start},
		"after notAfter":                    {start.Add(91 * day), start},
	} {
		t.Run(name, func(t *testing.T) {
			l := lasting(90 * day)
			l.IssuedAt = c.issuedAt
			if got := l.Start(); !got.Equal(c.want) {
				t.Errorf("starts at %s, want %s", got, c.want)
			}
			if got := l.Duration(); got != l.NotAfter.Sub(c.want) {
				t.Errorf("lasts %s", got)
			}
		})
	}
}

func TestLifetimesThatMakeNoSenseAreDueAtTheirEnd(t *testing.T) {
	for name, l := range map[string]Lifetime{
		"none":      lasting(0),
		"negative":  lasting(-day),
		"backwards": {NotBefore: start.AddDate(400, 0, 0), NotAfter: start},
		"all zero":  {},
	} {
		for _, w := range []Wish{{}, {Before: day}, {Percent: 90}} {
			if got := Time(l, w, "uid"); !got.Equal(l.NotAfter) {
				t.Errorf("%s with %+v: due %s, want %s", name, w, got, l.NotAfter)
			}
		}
		if got := LastResort(l); !got.Equal(l.NotAfter) {
			t.Errorf("%s: last resort %s, want %s", name, got, l.NotAfter)
		}
	}
}

// A certificate that does not expire ends on the last second of the year 9999; such spans do not fit into a Duration.
func TestCertificatesForEverAreRenewedBetweenNowAndTheEnd(t *testing.T) {
	l := Lifetime{NotBefore: start, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	if l.Duration() != math.MaxInt64 {
		t.Fatalf("lasts %s, want the longest Duration", l.Duration())
	}
	for _, w := range []Wish{{}, {Before: math.MaxInt64}, {Percent: 1}, {Percent: 90}} {
		if got := Time(l, w, "uid"); got.Before(start) || got.After(l.NotAfter) {
			t.Errorf("%+v: due %s", w, got)
		}
	}
	if got := LastResort(l); got.Before(start) || got.After(l.NotAfter) {
		t.Errorf("last resort %s", got)
	}
}

func TestARenewalIsDueAtTheSameInstantInEveryZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	change := time.Date(2031, 3, 30, 1, 0, 0, 0, time.UTC) // clocks are put forward
	for hours := range 72 {
		l := Lifetime{NotBefore: change.Add(-48 * time.Hour), NotAfter: change.Add(time.Duration(hours) * time.Hour)}
		local := Lifetime{NotBefore: l.NotBefore.In(berlin), NotAfter: l.NotAfter.In(berlin)}
		for _, w := range []Wish{{}, {Before: day}, {Percent: 50}} {
			if got, want := Time(local, w, "uid"), Time(l, w, "uid"); !got.Equal(want) {
				t.Errorf("a lifetime of %d hours with %+v is due %s in Berlin and %s in UTC", 48+hours, w, got.UTC(), want)
			}
		}
		if got, want := LastResort(local), LastResort(l); !got.Equal(want) {
			t.Errorf("last resort %s in Berlin and %s in UTC", got.UTC(), want)
		}
	}
}

func TestTheLastResortIsASixthOfTheLifetimeBeforeTheEnd(t *testing.T) {
	if got, want := LastResort(lasting(90*day)), start.Add(75*day); !got.Equal(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func anyLifetime(t *rapid.T) Lifetime {
	seconds := func(most time.Duration, label string) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(most/time.Second)).Draw(t, label)) * time.Second
	}
	l := Lifetime{NotBefore: start.Add(seconds(365*day, "notBefore"))}
	l.NotAfter = l.NotBefore.Add(seconds(math.MaxInt64, "lifetime"))
	if rapid.Bool().Draw(t, "known arrival") {
		l.IssuedAt = l.NotBefore.Add(seconds(400*day, "arrival") - 10*day)
	}
	return l
}

func anyWish(t *rapid.T) Wish {
	return Wish{
		Before:  time.Duration(rapid.Int64().Draw(t, "before")),
		Percent: rapid.Int32Range(0, 90).Draw(t, "percent"),
	}
}

func TestDueLiesBetweenATenthOfTheLifetimeAndItsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, w, seed := anyLifetime(t), anyWish(t), rapid.String().Draw(t, "seed")
		due := Time(l, w, seed)
		if earliest := l.Start().Add(l.Duration() / 10); due.Before(earliest) {
			t.Errorf("due %s, before a tenth of the lifetime at %s: renewals would loop", due, earliest)
		}
		if due.After(l.NotAfter) {
			t.Errorf("due %s, after the end at %s", due, l.NotAfter)
		}
		if due.Nanosecond() != 0 {
			t.Errorf("due %s does not survive a status of whole seconds", due)
		}
		if !due.Equal(Time(l, w, seed)) {
			t.Error("the same seed gave another instant")
		}
	})
}

func TestALongerWishIsNeverDueLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, seed := anyLifetime(t), rapid.String().Draw(t, "seed")
		p := rapid.Int32Range(1, 89).Draw(t, "percent")
		if Time(l, Wish{Percent: p + 1}, seed).After(Time(l, Wish{Percent: p}, seed)) {
			t.Errorf("%d %% is due later than %d %%", p+1, p)
		}
	})
}

func TestTheLastResortLiesBetweenTheDefaultRenewalAndTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, seed := anyLifetime(t), rapid.String().Draw(t, "seed")
		if r := LastResort(l); r.Add(time.Second).Before(Time(l, Wish{}, seed)) || r.After(l.NotAfter) {
			t.Errorf("renewal %s, last resort %s, end %s", Time(l, Wish{}, seed), r, l.NotAfter)
		}
	})
}

// UIDs that were made one after the other differ in few digits; they must not renew together.
func TestJitterSpreadsAFleetEvenly(t *testing.T) {
	const fleet, buckets = 10_000, 20
	uids := map[string]func(int) string{
		"random-looking": func(i int) string {
			return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(i)*2654435761, uint64(i)*0x9E3779B97F4A7C15>>16)
		},
		"consecutive":   func(i int) string { return fmt.Sprintf("7d3a4f0e-0000-4000-8000-%012d", i) },
		"first digits":  func(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", i) },
		"short numbers": func(i int) string { return fmt.Sprint(i) },
	}
	for name, uid := range uids {
		t.Run(name, func(t *testing.T) {
			var counts [buckets]int
			for i := range fleet {
				counts[Jitter(buckets*time.Hour, uid(i))/time.Hour]++
			}
			var chiSquare float64
			for _, n := range counts {
				const expected = float64(fleet) / buckets
				chiSquare += (float64(n) - expected) * (float64(n) - expected) / expected
			}
			// With 19 degrees of freedom chance exceeds 43.8 once in a thousand times. The seeds are fixed, so this never flickers.
			if chiSquare > 43.8 {
				t.Errorf("chi-square %.1f: %v", chiSquare, counts)
			}
		})
	}
}

func TestJitterStaysWithinItsWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.Int64().Draw(t, "window"))
		if j := Jitter(window, rapid.String().Draw(t, "seed")); j < 0 || j > 0 && j >= window {
			t.Errorf("%s of %s", j, window)
		}
	})
}

// FuzzTime feeds times of any age: vendors and editors of Secrets write what they like. What comes out lies within the lifetime, or at its
// end where there is none.
func FuzzTime(f *testing.F) {
	f.Add(int64(0), int64(1), int64(0), int64(time.Hour), int32(50), "uid")
	f.Add(int64(-62135596800), int64(253402300799), int64(0), int64(1<<62), int32(91), "")
	f.Add(int64(1<<62), int64(-1<<62), int64(1), int64(-1), int32(-1), "\x00")
	f.Fuzz(func(t *testing.T, notBefore, notAfter, issuedAt, before int64, percentage int32, seed string) {
		const oldest, newest = -62135596800, 253402300799 // the years 1 and 9999: no other certificate is kept
		bounded := func(at int64) time.Time { return time.Unix(min(max(at, oldest), newest), 0) }
		l := Lifetime{NotBefore: bounded(notBefore), NotAfter: bounded(notAfter), IssuedAt: bounded(issuedAt)}
		var due, last time.Time
		limit.Parser.Hold(t, len(seed), func() {
			due, last = Time(l, Wish{Before: time.Duration(before), Percent: min(max(percentage, 0), 90)}, seed), LastResort(l)
		})
		if last.After(l.NotAfter) {
			t.Errorf("the last resort %s lies after the end %s", last, l.NotAfter)
		}
		if due.After(l.NotAfter.Add(time.Second)) || l.Duration() > 0 && due.Before(l.NotAfter.Add(-l.Duration())) {
			t.Errorf("%+v is due at %s", l, due)
		}
	})
}
