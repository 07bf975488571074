// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package renewal is the arithmetic of time: when a certificate is renewed, when a refused renewal becomes an enrollment, and how
// long a failed attempt waits. It is pure: the same input gives the same instant in every process, so a restart never re-rolls a
// die.
package renewal

import (
	"hash/fnv"
	"time"
)

const (
	// lastResortShare is the share of the lifetime that is left when a renewal that keeps being refused becomes an enrollment.
	lastResortShare = 6
	// jitterShare bounds the jitter to this share of renewBefore.
	jitterShare = 10
	// maxRenewBeforePercent keeps a certificate for at least a tenth of its lifetime, so that no setting makes a renewal loop.
	maxRenewBeforePercent = 90
)

// Lifetime is the span a certificate can be used in, as the operator sees it.
type Lifetime struct {
	NotBefore time.Time
	NotAfter  time.Time
	// IssuedAt is when it was stored; zero when unknown. Vendors backdate notBefore, by hours for a certificate of minutes: the
	// lifetime counts from here when it is later.
	IssuedAt time.Time
}

// Start is the later of NotBefore and IssuedAt, as long as that is before NotAfter.
func (l Lifetime) Start() time.Time {
	if l.IssuedAt.After(l.NotBefore) && l.IssuedAt.Before(l.NotAfter) {
		return l.IssuedAt
	}
	return l.NotBefore
}

// Duration is the time from Start to NotAfter; never negative.
func (l Lifetime) Duration() time.Duration {
	return max(0, l.NotAfter.Sub(l.Start()))
}

// Wish is what a DeviceCertificate asks for. Both fields zero means: at two thirds of the lifetime.
type Wish struct {
	// Before is how long before NotAfter the renewal starts.
	Before time.Duration
	// Percent is Before as a percentage of the lifetime.
	Percent int32
}

// Time is when the renewal is due: NotAfter less the wish less a jitter that spreads a fleet and is fixed by seed. A wish longer
// than nine tenths of the lifetime is shortened to that.
func Time(l Lifetime, w Wish, seed string) time.Time {
	lifetime := l.Duration()
	before := lifetime / 3
	switch {
	case w.Before > 0:
		before = w.Before
	case w.Percent > 0:
		before = percent(lifetime, w.Percent)
	}
	longest := percent(lifetime, maxRenewBeforePercent)
	before = min(before, longest)
	before = min(before+Jitter(before/jitterShare, seed), longest)
	// Whole seconds, rounded up: status stores seconds, and an instant that moved back by the rounding would be due too early.
	return l.NotAfter.Add(-before).Add(time.Second - 1).Truncate(time.Second)
}

// LastResort is when a renewal that is still refused becomes an enrollment: a sixth of the lifetime before NotAfter.
func LastResort(l Lifetime) time.Time {
	return l.NotAfter.Add(-l.Duration() / lastResortShare)
}

// Jitter is a share of window that is fixed by seed: in [0, window).
func Jitter(window time.Duration, seed string) time.Duration {
	if window <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(seed)) // a hash.Hash never fails to write
	const buckets = 1 << 16
	return window / buckets * time.Duration(mix(h.Sum64())%buckets)
}

// mix spreads FNV's weak high bits over the whole word (the finalizer of MurmurHash3), so that UIDs that differ in one digit land
// far apart.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

func percent(d time.Duration, p int32) time.Duration {
	// Divide first: a lifetime of centuries times a percentage overflows int64 nanoseconds.
	return d / 100 * time.Duration(p)
}
