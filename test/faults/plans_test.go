// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

// point is one step of a workload that can break: a write to the API server, or a call to the vendor.
type point struct {
	// vendor is set for a call; else match says which write it is.
	vendor simulator.Operation
	match  apiproxy.Match
	// nth of its kind, from 0.
	nth int
	// issued: the vendor has issued and nothing is stored yet, so that whoever dies here loses the key.
	issued bool
}

func (p point) String() string {
	name := string(p.vendor)
	if name == "" {
		dryRun := p.match.DryRun != nil && *p.match.DryRun
		name = apiproxy.Exchange{Verb: p.match.Verb, Resource: p.match.Resource, Subresource: p.match.Subresource, DryRun: dryRun}.String()
	}
	return fmt.Sprintf("%s %d", name, p.nth+1)
}

// plan is one way to break one point.
type plan struct {
	name string
	// arm scripts the fault and answers with whether it was met.
	arm func(w *world, p point) (met func() bool)
	// kills: the manager dies of it.
	kills bool
	// loses: a certificate may have been issued whose key nobody has.
	loses bool
	// always: part of every run.
	always bool
}

// learn derives the points from the history of a clean run since its mark.
func learn(w *world) []point {
	type step struct {
		at    time.Time
		point point
	}
	var steps []step
	for _, e := range w.history() {
		effective := e.IsWrite() && e.Code >= 200 && e.Code < 300
		if e.Arrived.Before(w.marked) || !effective || e.Resource == "leases" || e.Resource == "events" && e.Verb != "create" {
			continue
		}
		dryRun := e.DryRun
		steps = append(steps, step{e.Arrived, point{match: apiproxy.Match{Verb: e.Verb, Resource: e.Resource, Subresource: e.Subresource, DryRun: &dryRun}}})
	}
	for _, c := range w.calls() {
		if !c.Time.Before(w.marked) {
			steps = append(steps, step{c.Time, point{vendor: c.Operation}})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	var points []point
	kinds := map[string]int{}
	issued := false
	for _, s := range steps {
		p := s.point
		kind := p.String()
		p.nth = kinds[kind]
		kinds[kind]++
		p.issued = issued
		switch {
		case p.vendor == simulator.OperationEnroll || p.vendor == simulator.OperationRenew:
			issued = true
		case p.match.Resource == "secrets" && !*p.match.DryRun:
			issued = false
		}
		points = append(points, p)
	}
	return points
}

// thin keeps the middle one of each kind of point: in a burst the others are the same.
func thin(points []point) []point {
	byKind := map[string][]point{}
	var kinds []string
	for _, p := range points {
		first := p
		first.nth, first.issued = 0, false
		if kind := first.String(); byKind[kind] == nil {
			kinds = append(kinds, kind)
		}
		byKind[first.String()] = append(byKind[first.String()], p)
	}
	var kept []point
	for _, kind := range kinds {
		p := byKind[kind][len(byKind[kind])/2]
		// With so many at a time somebody else's answer may always be on its way.
		p.issued = true
		kept = append(kept, p)
	}
	return kept
}

// plans are all ways to break the point.
func (p point) plans() []plan {
	if p.vendor != "" {
		return p.vendorPlans()
	}
	return p.apiPlans()
}

func (p point) apiPlans() []plan {
	before, after := apiproxy.BeforeCommit, apiproxy.AfterCommit
	stores := p.match.Resource == "secrets" && !*p.match.DryRun
	script := func(f apiproxy.Fault, kill bool) func(*world, point) func() bool {
		return func(w *world, p point) func() bool {
			f := f
			f.Match = p.match
			f.Match.After = p.nth
			if kill {
				f.Do = w.killManager
			}
			armed := w.proxy().Add(f)
			return func() bool { return armed.Hits() > 0 }
		}
	}
	respond := func(code int, retryAfter string) apiproxy.Fault {
		return apiproxy.Fault{Action: apiproxy.Respond, Status: code, RetryAfter: retryAfter}
	}
	plans := []plan{
		{name: "killed before", arm: script(apiproxy.Fault{Action: apiproxy.Drop, Stage: before}, true), kills: true, loses: p.issued, always: true},
		{name: "killed after", arm: script(apiproxy.Fault{Action: apiproxy.Drop, Stage: after}, true), kills: true, loses: p.issued && !stores, always: true},
		{name: "answer lost", arm: script(apiproxy.Fault{Action: apiproxy.Drop, Stage: after}, false), always: true},
		{name: "409", arm: script(respond(http.StatusConflict, ""), false)},
		{name: "429", arm: script(respond(http.StatusTooManyRequests, ""), false)},
		{name: "429 with Retry-After", arm: script(respond(http.StatusTooManyRequests, "1"), false)},
		{name: "500", arm: script(respond(http.StatusInternalServerError, ""), false), always: true},
		{name: "503", arm: script(respond(http.StatusServiceUnavailable, ""), false)},
		{name: "no answer", arm: script(apiproxy.Fault{Action: apiproxy.Hang, Stage: before}, false)},
		{name: "answer cut", arm: script(apiproxy.Fault{Action: apiproxy.Truncate, Stage: after}, false)},
	}
	if p.match.Resource == "events" {
		return plans[:3] // nobody waits for them
	}
	return plans
}

func (p point) vendorPlans() []plan {
	before, after := simulator.StageBeforeCommit, simulator.StageAfterCommit
	lossy := p.vendor == simulator.OperationEnroll || p.vendor == simulator.OperationRenew
	script := func(f simulator.Fault, kill bool) func(*world, point) func() bool {
		return func(w *world, p point) func() bool {
			f := f
			f.Match = simulator.Match{Operation: p.vendor, After: p.nth}
			var armed []func() bool
			for _, v := range w.vendors {
				// The probes of issuers search too, but for no name.
				if p.vendor == simulator.OperationSearch {
					f.Match.CommonName = w.commonName(gateway)
				}
				id := w.misbehave(v, f)
				armed = append(armed, func() bool {
					if v.hits(id) == 0 {
						return false
					}
					if kill {
						w.killManager()
						v.server.RemoveFault(id)
					}
					return true
				})
			}
			return func() bool {
				return slices.ContainsFunc(armed, func(met func() bool) bool { return met() })
			}
		}
	}
	respond := func(code int, retryAfter string, stage simulator.Stage) simulator.Fault {
		return simulator.Fault{Action: simulator.ActionRespond, Stage: stage, Response: simulator.Response{Status: code, RetryAfter: retryAfter}}
	}
	return []plan{
		{name: "killed before it commits", arm: script(simulator.Fault{Action: simulator.ActionHold, Stage: before}, true), kills: true, loses: lossy, always: true},
		{name: "killed after it committed", arm: script(simulator.Fault{Action: simulator.ActionHold, Stage: after}, true), kills: true, loses: lossy, always: true},
		{name: "dropped", arm: script(simulator.Fault{Action: simulator.ActionDrop, Stage: before}, false), always: true},
		{name: "dropped after it committed", arm: script(simulator.Fault{Action: simulator.ActionDrop, Stage: after}, false), loses: lossy, always: true},
		{name: "reset after it committed", arm: script(simulator.Fault{Action: simulator.ActionDrop, Stage: after, Reset: true}, false), loses: lossy},
		{name: "answer too late", arm: script(simulator.Fault{Action: simulator.ActionDelay, Stage: after, Delay: simulator.Duration(7 * time.Second)}, false), loses: lossy, always: true},
		{name: "answer cut", arm: script(simulator.Fault{Action: simulator.ActionTruncate, Bytes: 100}, false), loses: lossy, always: true},
		{name: "429", arm: script(respond(http.StatusTooManyRequests, "", before), false)},
		{name: "429 with Retry-After", arm: script(respond(http.StatusTooManyRequests, "1", before), false)},
		{name: "500", arm: script(respond(http.StatusInternalServerError, "", before), false)},
		{name: "500 after it committed", arm: script(respond(http.StatusInternalServerError, "", after), false), loses: lossy, always: true},
		{name: "503", arm: script(respond(http.StatusServiceUnavailable, "", before), false)},
	}
}
