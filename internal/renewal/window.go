// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import "time"

// Window is what was learned of how long before its expiry a vendor renews a certificate of one profile. No vendor tells, and "too early"
// looks like any other refusal: only a refusal and an acceptance later in the lifetime show the window between them.
type Window struct {
	// Refused is the shortest remaining lifetime at which a renewal was refused, Accepted the longest at which one succeeded; zero for none.
	Refused, Accepted time.Duration
}

// Learn takes in what became of a renewal with so much of the lifetime left. What contradicts the earlier observations replaces them: the
// profile was changed, or the refusal had another cause.
func (w Window) Learn(left time.Duration, accepted bool) Window {
	switch {
	case left <= 0: // expired certificates have rules of their own
		return w
	case accepted && w.Refused > 0 && left >= w.Refused:
		return Window{Accepted: left}
	case accepted:
		w.Accepted = max(w.Accepted, left)
	case left <= w.Accepted:
		return Window{Refused: left}
	case w.Refused == 0 || left < w.Refused:
		w.Refused = left
	}
	return w
}

// Opens is when a renewal is worth asking for, so far as is known: at once, or when others of the profile were accepted. It is never
// later than the last resort.
func (w Window) Opens(l Lifetime, now time.Time) time.Time {
	left := l.NotAfter.Sub(now)
	if w.Refused == 0 || w.Accepted == 0 || left < w.Refused {
		return now
	}
	opens := l.NotAfter.Add(-w.Accepted)
	if last := LastResort(l); last.Before(opens) {
		opens = last
	}
	if opens.Before(now) {
		return now
	}
	return opens
}
