// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiproxy

import (
	"regexp"
	"sync"
	"time"
)

// Action is what happens to a request that meets a fault.
type Action string

// The actions.
const (
	// Pass does nothing but wait for Fault.Delay and call Fault.Do. The default.
	Pass Action = ""
	// Drop closes the connection without an answer.
	Drop Action = "drop"
	// Hang answers nothing until the client gives up, the fault is removed or the proxy is closed; then it closes the connection.
	Hang Action = "hang"
	// Respond answers Fault.Status.
	Respond Action = "respond"
	// Truncate sends half of the API server's answer and closes the connection. It is always after the commit.
	Truncate Action = "truncate"
)

// Stage is when a fault acts.
type Stage string

const (
	// BeforeCommit is before the API server hears of the request. The default.
	BeforeCommit Stage = ""
	// AfterCommit is when the API server has answered and the client has heard nothing yet.
	AfterCommit Stage = "afterCommit"
)

// Match says which requests a fault meets. Empty fields match everything.
type Match struct {
	// Verb is get, list, watch, create, update, patch, apply or delete.
	Verb string
	// Resource is the plural as it stands in paths, such as "secrets".
	Resource string
	// Subresource is such as "status". Without one only requests to the object itself match, unless Resource is empty too.
	Subresource string
	Name        string
	// DryRun: nil matches both.
	DryRun *bool
	// Body is looked for in the request's body.
	Body *regexp.Regexp
	// After lets this many matching requests pass first.
	After int
	// Times is how many requests the fault meets. 0 means 1; -1 means all until it is removed.
	Times int
}

// Fault is one scripted misbehaviour. A request meets at most one: the first one added that matches and is not used up.
type Fault struct {
	Match  Match
	Stage  Stage
	Action Action
	// Delay is waited for first.
	Delay time.Duration
	// Do is called next, in the request's own goroutine: to kill the client, or to change the cluster at exactly this point.
	Do func()
	// Status and RetryAfter are for Respond. RetryAfter is sent as it is; empty sends none.
	Status     int
	RetryAfter string
	// Reason and Message are what the Status object of Respond says. By default they go with Status.
	Reason, Message string
}

// Armed is a fault in its proxy.
type Armed struct {
	fault Fault
	proxy *Proxy
	// seen counts matching requests, hits those that met the fault. The proxy's lock guards them.
	seen, hits int
	met        chan struct{}
	removed    chan struct{}
	once       sync.Once
}

// Met is closed when the first request meets the fault.
func (a *Armed) Met() <-chan struct{} { return a.met }

// Hits is how many requests have met it.
func (a *Armed) Hits() int {
	a.proxy.mu.Lock()
	defer a.proxy.mu.Unlock()
	return a.hits
}

// Remove ends the fault, and what it keeps hanging.
func (a *Armed) Remove() { a.once.Do(func() { close(a.removed) }) }

// meets counts the request and tells whether the fault acts on it. The proxy's lock is held.
func (a *Armed) meets(e *Exchange, body []byte) bool {
	select {
	case <-a.removed:
		return false
	default:
	}
	m := a.fault.Match
	if !m.fits(e) || m.Body != nil && !m.Body.Match(body) {
		return false
	}
	a.seen++
	times := m.Times
	if times == 0 {
		times = 1
	}
	if a.seen <= m.After || times > 0 && a.hits >= times {
		return false
	}
	a.hits++
	if a.hits == 1 {
		close(a.met)
	}
	return true
}

func (m Match) fits(e *Exchange) bool {
	same := func(want, got string) bool { return want == "" || want == got }
	if m.Resource != "" && m.Subresource != e.Subresource {
		return false
	}
	return same(m.Verb, e.Verb) && same(m.Resource, e.Resource) && same(m.Name, e.Name) && (m.DryRun == nil || *m.DryRun == e.DryRun)
}

// name is how the history calls the fault.
func (f Fault) name() string {
	what := string(f.Action)
	if f.Action == Pass {
		what = "pass"
	}
	if f.Stage == AfterCommit {
		what += " after commit"
	}
	return what
}
