// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import "time"

const (
	// firstBackoff is the delay after the first failure that nobody in particular can mend.
	firstBackoff = 10 * time.Second
	// longestBackoff is the longest such delay.
	longestBackoff = time.Hour
	// terminalBackoff is the delay after a refusal that somebody must act on. A refusal costs nothing, so it is repeated, rarely.
	terminalBackoff = 6 * time.Hour
	// shortestRetry is the shortest delay of any failure.
	shortestRetry = 5 * time.Second
	// retriesPerRemainder makes a failing renewal try at least this often in the time that is left.
	retriesPerRemainder = 10
)

// Failure describes a failed attempt to Backoff.
type Failure struct {
	// Count of failures in a row, this one included.
	Count int32
	// Terminal failures wait for somebody to act.
	Terminal bool
	// NotAfter of the certificate that is still in use; zero when there is none.
	NotAfter time.Time
}

// Backoff is when the next attempt may start: doubling from ten seconds to an hour, six hours after a refusal, with up to a tenth
// more by seed. While a certificate is still in use the delay shrinks with the time that is left, down to five seconds, so that no
// back-off outlives it.
func Backoff(now time.Time, f Failure, seed string) time.Time {
	delay := terminalBackoff
	if !f.Terminal {
		delay = firstBackoff << min(max(f.Count-1, 0), 16)
		delay = min(delay, longestBackoff)
	}
	if left := f.NotAfter.Sub(now); !f.NotAfter.IsZero() && left > 0 {
		delay = min(delay, max(left/retriesPerRemainder, shortestRetry))
	}
	return now.Add(delay + Jitter(delay/jitterShare, seed))
}
