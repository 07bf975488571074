// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"testing"
	"time"
)

func TestAForecastCountsByHorizon(t *testing.T) {
	f := Forecast{At: start.Add(20 * time.Hour)}
	for _, after := range []time.Duration{-day, 0, time.Hour, 4 * time.Hour, 5 * time.Hour, day, 7 * day, 8 * day} {
		f.Add(f.At.Add(after))
	}
	if want := (Forecast{At: f.At, Certificates: 8, Overdue: 2, Hour: 3, Today: 4, Day: 6, Week: 7}); f != want {
		t.Errorf("%+v, want %+v", f, want)
	}
}

func TestForecastsDifferByMoreThanATenth(t *testing.T) {
	base := Forecast{Certificates: 1000, Week: 100}
	for week, want := range map[int]bool{100: false, 110: false, 90: false, 89: true, 112: true, 0: true} {
		if got := base.Differs(Forecast{Certificates: 1000, Week: week}); got != want {
			t.Errorf("%d instead of 100 a week differ: %t", week, got)
		}
	}
}
