// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

func TestRetryAfterIsReadInBothFormsAndClamped(t *testing.T) {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                0,
		"30":                              30 * time.Second,
		" 30 ":                            30 * time.Second,
		"3600":                            time.Hour,
		"0":                               time.Second,
		"-5":                              time.Second,
		"-":                               0,
		"3601":                            time.Hour,
		"315360000":                       time.Hour,
		"1000000000000000000":             time.Hour,
		"99999999999999999999999999":      time.Hour,
		"1.5":                             0,
		"30s":                             0,
		"soon":                            0,
		"0x10":                            0,
		"Tue, 01 Jan 2030 12:00:45 GMT":   45 * time.Second,
		"Tue, 01 Jan 2030 11:00:00 GMT":   time.Second,
		"Tue, 01 Jan 2040 12:00:00 GMT":   time.Hour,
		"Tuesday, 01-Jan-30 12:00:45 GMT": 45 * time.Second,
		"Tue, 99 Jan 2030 12:00:45 GMT":   0,
	} {
		t.Run(value, func(t *testing.T) {
			if got := parseRetryAfter(value, now); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, seed := range []string{"1", "-1", "1e9", "Tue, 01 Jan 2030 12:00:45 GMT", "99999999999999999999"} {
		f.Add(seed, int64(0))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		var got time.Duration
		limit.Parser.Hold(t, len(value), func() { got = parseRetryAfter(value, time.Unix(now%(1<<40), 0)) })
		if got != 0 && (got < time.Second || got > time.Hour) {
			t.Errorf("%q gives %v", value, got)
		}
	})
}
