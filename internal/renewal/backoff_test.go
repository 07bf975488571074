// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHowLongAFailedAttemptWaits(t *testing.T) {
	valid := func(left time.Duration) time.Time { return start.Add(left) }
	for name, c := range map[string]struct {
		failure Failure
		want    time.Duration
	}{
		"first":                                 {Failure{Count: 1}, 10 * time.Second},
		"second":                                {Failure{Count: 2}, 20 * time.Second},
		"ninth":                                 {Failure{Count: 9}, 2560 * time.Second},
		"tenth, at the cap":                     {Failure{Count: 10}, time.Hour},
		"a count no one believes":               {Failure{Count: math.MaxInt32}, time.Hour},
		"a count that was wiped":                {Failure{Count: 0}, 10 * time.Second},
		"a count below zero":                    {Failure{Count: -1}, 10 * time.Second},
		"refused":                               {Failure{Count: 1, Terminal: true}, 6 * time.Hour},
		"refused often":                         {Failure{Count: 50, Terminal: true}, 6 * time.Hour},
		"long before the end":                   {Failure{Count: 10, NotAfter: valid(30 * day)}, time.Hour},
		"an hour before the end":                {Failure{Count: 10, NotAfter: valid(time.Hour)}, 6 * time.Minute},
		"refused an hour before the end":        {Failure{Terminal: true, NotAfter: valid(time.Hour)}, 6 * time.Minute},
		"a short delay is not made longer":      {Failure{Count: 1, NotAfter: valid(time.Hour)}, 10 * time.Second},
		"seconds before the end":                {Failure{Count: 10, NotAfter: valid(3 * time.Second)}, 5 * time.Second},
		"expired: nothing is left to hurry for": {Failure{Count: 10, NotAfter: valid(-time.Second)}, time.Hour},
		"ends at this very instant":             {Failure{Count: 10, NotAfter: valid(0)}, time.Hour},
		"never ends":                            {Failure{Count: 10, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Backoff(start, c.failure, noJitter).Sub(start); got < c.want || got > c.want+c.want/5000 {
				t.Errorf("waits %s, want %s", got, c.want)
			}
		})
	}
}

func TestBackoffGrowsUpToItsCapAndOutlivesNoCertificate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.String().Draw(t, "seed")
		f := Failure{Count: rapid.Int32Range(0, math.MaxInt32-1).Draw(t, "count"), Terminal: rapid.Bool().Draw(t, "terminal")}
		left := time.Duration(rapid.Int64Range(int64(-day), int64(400*day)).Draw(t, "left"))
		if rapid.Bool().Draw(t, "stored") {
			f.NotAfter = start.Add(left)
		}
		next := Backoff(start, f, seed)
		if !next.Equal(Backoff(start, f, seed)) {
			t.Error("the same seed gave another instant")
		}
		longest := time.Hour
		if f.Terminal {
			longest = 6 * time.Hour
		}
		if delay := next.Sub(start); delay < 5*time.Second || delay > longest+longest/10 {
			t.Errorf("waits %s", delay)
		}
		// A retry takes up to five and a half seconds to come, whatever is left.
		if left > 5500*time.Millisecond && !f.NotAfter.IsZero() && !next.Before(f.NotAfter) {
			t.Errorf("waits %s, longer than the %s that are left", next.Sub(start), left)
		}
		worse := f
		worse.Count++
		if Backoff(start, worse, seed).Before(next) {
			t.Errorf("failure %d waits less than failure %d", worse.Count, f.Count)
		}
	})
}
