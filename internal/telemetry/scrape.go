// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// state is what a certificate counts as, the worst that is true of it.
type state string

const (
	stateExpired  state = "expired"         // and not renewed
	stateStalled  state = "stalled"         // not ready, and somebody must act
	statePending  state = "pending"         // not ready, and the operator is at it
	stateExpiring state = "expiring"        // see the metric of that name
	stateFailing  state = "renewal_failing" // ready, but its renewal fails
	stateOverdue  state = "overdue"         // ready, and its renewal is due
	stateReady    state = "ready"           // and nothing else to say
)

var states = []state{stateExpired, stateStalled, statePending, stateExpiring, stateFailing, stateOverdue, stateReady}

// urgentShare is the part of the lifetime below which the operator spares no budget to renew.
const urgentShare = 6

// scrape is one answer to Prometheus.
type scrape struct {
	ch     chan<- prometheus.Metric
	now    time.Time
	detail Detail
	counts map[string]*count // by issuer
}

type count struct {
	states   map[state]int
	orphans  map[v1alpha1.OrphanOutcome]int
	attempts int
	due      [len(horizons)]int
}

// horizons are how far the forecast looks.
var horizons = [...]struct {
	name string
	time.Duration
}{{"1h", time.Hour}, {"24h", 24 * time.Hour}, {"168h", 7 * 24 * time.Hour}}

func (s *scrape) of(issuer string) *count {
	c, ok := s.counts[issuer]
	if !ok {
		c = &count{states: map[state]int{}, orphans: map[v1alpha1.OrphanOutcome]int{}}
		s.counts[issuer] = c
	}
	return c
}

// judgement is what is true of one certificate now.
type judgement struct {
	ready, expired, expiring, overdue, failing, stalled bool
}

func (s *scrape) judge(c *v1alpha1.DeviceCertificate) judgement {
	status := &c.Status
	is := func(kind string) bool { return apimeta.IsStatusConditionTrue(status.Conditions, kind) }
	j := judgement{
		ready: is(v1alpha1.ConditionReady), stalled: is(v1alpha1.ConditionStalled), failing: is(v1alpha1.ConditionRenewalFailing),
		overdue: status.RenewalTime != nil && !s.now.Before(status.RenewalTime.Time),
	}
	if status.NotAfter == nil || status.NotBefore == nil {
		return j
	}
	left, lifetime := status.NotAfter.Sub(s.now), status.NotAfter.Sub(status.NotBefore.Time)
	j.expired = left <= 0
	j.expiring = !j.expired && left < lifetime/urgentShare && (status.RenewalTime == nil || j.overdue)
	return j
}

func (j judgement) state() state {
	switch {
	case j.expired:
		return stateExpired
	case !j.ready && j.stalled:
		return stateStalled
	case !j.ready:
		return statePending
	case j.expiring:
		return stateExpiring
	case j.failing:
		return stateFailing
	case j.overdue:
		return stateOverdue
	}
	return stateReady
}

func (s *scrape) certificate(c *v1alpha1.DeviceCertificate, issuer string) {
	j := s.judge(c)
	sums := s.of(issuer)
	sums.states[j.state()]++
	if c.Status.Attempt != nil {
		sums.attempts++
	}
	if due := c.Status.RenewalTime; due != nil {
		for i, horizon := range horizons {
			if due.Sub(s.now) <= horizon.Duration {
				sums.due[i]++
			}
		}
	}
	s.orphans(c, issuer)
	if s.detail == Problems && j.state() == stateReady {
		return
	}
	put := func(d *prometheus.Desc, value float64) { gauge(s.ch, d, value, c.Namespace, c.Name, issuer) }
	put(ready, truth(j.ready))
	moment(put, notAfter, c.Status.NotAfter)
	moment(put, renewal, c.Status.RenewalTime)
	for d, holds := range map[*prometheus.Desc]bool{expired: j.expired, expiring: j.expiring, overdue: j.overdue, failing: j.failing} {
		if holds {
			put(d, 1)
		}
	}
}

func moment(put func(*prometheus.Desc, float64), d *prometheus.Desc, at *metav1.Time) {
	if at != nil {
		put(d, float64(at.Unix()))
	}
}

func (s *scrape) orphans(c *v1alpha1.DeviceCertificate, issuer string) {
	if len(c.Status.Orphans) == 0 {
		return
	}
	byOutcome := map[v1alpha1.OrphanOutcome]int{}
	for i := range c.Status.Orphans {
		byOutcome[c.Status.Orphans[i].Outcome]++
	}
	for outcome, n := range byOutcome {
		gauge(s.ch, orphans, float64(n), c.Namespace, c.Name, issuer, string(outcome))
		s.of(issuer).orphans[outcome] += n
	}
}

// sums tells every state of every issuer, zeros too: a sum that is missing looks like a fleet that is not watched.
func (s *scrape) sums() {
	for issuer, sums := range s.counts {
		for _, st := range states {
			gauge(s.ch, certificates, float64(sums.states[st]), issuer, string(st))
		}
		for _, outcome := range []v1alpha1.OrphanOutcome{v1alpha1.OrphanReported, v1alpha1.OrphanRevoked, v1alpha1.OrphanRevokeFailed} {
			gauge(s.ch, lostKeys, float64(sums.orphans[outcome]), issuer, string(outcome))
		}
		for i, horizon := range horizons {
			gauge(s.ch, forecast, float64(sums.due[i]), issuer, horizon.name)
		}
		gauge(s.ch, attempts, float64(sums.attempts), issuer)
	}
}

func (f *Fleet) issuer(s *scrape, i *issuer) {
	label := issuerLabel(i.id)
	s.of(label)
	now := f.Accounts.State(i.id)
	put := func(d *prometheus.Desc, value float64) { gauge(s.ch, d, value, label) }
	put(issuerReady, truth(apimeta.IsStatusConditionTrue(i.status.Conditions, v1alpha1.ConditionReady)))
	put(issuerSuspended, truth(i.suspend))
	put(issuerCircuit, truth(now.CircuitOpen))
	put(issuerWaiting, float64(now.Waiting))
	put(issuerInFlight, float64(now.InFlight))
	put(issuerBlocked, float64(len(i.status.BlockedProfiles)))
	if now.IssuancesPerDay > 0 {
		put(issuerLimit, float64(now.IssuancesPerDay))
		put(issuerUsed, float64(now.IssuedToday))
	}
	moment(put, issuerCredential, i.status.CredentialExpiresAt)
	if now.SkewKnown {
		put(issuerSkew, now.Skew.Seconds())
	}
	if sweeps := i.status.Sweeps; len(sweeps) > 0 {
		last, failures := worstOf(sweeps)
		moment(put, issuerSwept, last)
		put(issuerSweepFails, float64(failures))
	}
}

// worstOf is what to know of the sweeps of all profiles: the earliest that came to its end, and the most failures in a row.
func worstOf(sweeps []v1alpha1.Sweep) (last *metav1.Time, failures int32) {
	for i := range sweeps {
		if at := sweeps[i].LastTime; at != nil && (last == nil || at.Before(last)) {
			last = at
		}
		failures = max(failures, sweeps[i].Failures)
	}
	return last, failures
}
