// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiproxy

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Event is one event of a watch.
type Event struct {
	// Type is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
	Type string
	// Name of the object.
	Name string
}

// watchRules spoil what watches deliver, by resource.
type watchRules struct {
	mu sync.Mutex
	// frozen are closed when the resource's watches go on.
	frozen map[string]chan struct{}
	// swallowed tells which events of a resource are lost.
	swallowed map[string]func(Event) bool
	// old are the versions that lists of a resource are served at.
	old map[string]string
	// repeated are the resources whose events come again, out of order.
	repeated map[string]bool
	// running are the watches under way, by resource; calling one ends it.
	running map[string]map[*Exchange]context.CancelFunc
}

// Freeze keeps back everything that watches of the resource have to say, those that are opened meanwhile included, until thaw is
// called. Requests that are no watches go on: a client sees old news in its cache and the truth when it asks.
func (p *Proxy) Freeze(resource string) (thaw func()) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	if p.watches.frozen == nil {
		p.watches.frozen = map[string]chan struct{}{}
	}
	if _, already := p.watches.frozen[resource]; !already {
		p.watches.frozen[resource] = make(chan struct{})
	}
	return func() { p.watches.thaw(resource) }
}

// ServeOld answers lists of a resource as they were at that version of the cluster, and lets its watches say nothing, as an API server
// that has lost touch with etcd does, until Reset. Reads of single objects show the truth. The version must be younger than etcd's
// compaction of five minutes.
func (p *Proxy) ServeOld(resource, version string) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	if p.watches.old == nil {
		p.watches.old = map[string]string{}
	}
	p.watches.old[resource] = version
}

// Swallow loses the events of a resource that lost answers true for, until Reset.
func (p *Proxy) Swallow(resource string, lost func(Event) bool) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	if p.watches.swallowed == nil {
		p.watches.swallowed = map[string]func(Event) bool{}
	}
	p.watches.swallowed[resource] = lost
}

// Repeat delivers, after each event of a resource, the one before it and the event itself once more, until Reset: news come twice, and
// between the two comes what is old.
func (p *Proxy) Repeat(resource string) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	if p.watches.repeated == nil {
		p.watches.repeated = map[string]bool{}
	}
	p.watches.repeated[resource] = true
}

// EndWatches cuts the watches of the resource that are under way. Clients open new ones.
func (p *Proxy) EndWatches(resource string) {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	for _, end := range p.watches.running[resource] {
		end()
	}
}

// begin notes a watch until ended is called. Its context ends with the watch.
func (w *watchRules) begin(ctx context.Context, e *Exchange) (running context.Context, ended func()) {
	running, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == nil {
		w.running = map[string]map[*Exchange]context.CancelFunc{}
	}
	if w.running[e.Resource] == nil {
		w.running[e.Resource] = map[*Exchange]context.CancelFunc{}
	}
	w.running[e.Resource][e] = cancel
	return running, func() {
		cancel()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.running[e.Resource], e)
	}
}

// repeats tells whether events of the resource come again.
func (w *watchRules) repeats(resource string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.repeated[resource]
}

func (w *watchRules) thaw(resource string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if news, ok := w.frozen[resource]; ok {
		close(news)
		delete(w.frozen, resource)
	}
}

func (w *watchRules) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for resource, news := range w.frozen {
		close(news)
		delete(w.frozen, resource)
	}
	w.swallowed, w.old, w.repeated = nil, nil, nil
}

// oldVersion is the version that lists of the resource are served at; empty for the truth.
func (w *watchRules) oldVersion(resource string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.old[resource]
}

// travel rewrites a list to the version it is served at.
func (w *watchRules) travel(r *http.Request, e *Exchange) {
	version := w.oldVersion(e.Resource)
	if version == "" || e.Verb != "list" {
		return
	}
	query := r.URL.Query()
	query.Set("resourceVersion", version)
	query.Set("resourceVersionMatch", "Exact")
	r.URL.RawQuery = query.Encode()
}

// serveNothing is a watch of a resource that is served old: a streamed list is refused, so that the client lists, and the rest is silence.
// Once the truth is back the connection ends, and the client lists again.
func (p *Proxy) serveNothing(w http.ResponseWriter, r *http.Request, e *Exchange) {
	if r.URL.Query().Has("sendInitialEvents") {
		p.record(func() { e.Answered = http.StatusUnprocessableEntity })
		respond(w, Fault{Status: http.StatusUnprocessableEntity, Message: "sendInitialEvents is forbidden for watch"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).Flush() // a client that has gone ends the wait by its context
	const interval = 50 * time.Millisecond
	_ = wait.PollUntilContextCancel(r.Context(), interval, true, func(context.Context) (bool, error) {
		return p.closed() || p.watches.oldVersion(e.Resource) == "", nil
	})
	expired := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "the version is too old",
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "ERROR", "object": expired})
}

// await waits while the resource is frozen, and tells whether the event may be delivered.
func (w *watchRules) await(ctx context.Context, resource string, line []byte) bool {
	for {
		w.mu.Lock()
		news, lost := w.frozen[resource], w.swallowed[resource]
		w.mu.Unlock()
		if news == nil {
			return lost == nil || !lost(eventOf(line))
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

func eventOf(line []byte) Event {
	var event struct {
		Type   string
		Object struct{ Metadata struct{ Name string } }
	}
	if json.Unmarshal(line, &event) != nil {
		return Event{}
	}
	return Event{Type: event.Type, Name: event.Object.Metadata.Name}
}

// watch hands the events of a watch through, one line of JSON each, as they come.
func (p *Proxy) watch(w http.ResponseWriter, r *http.Request, e *Exchange) {
	if p.watches.oldVersion(e.Resource) != "" {
		p.serveNothing(w, r, e)
		return
	}
	ctx, ended := p.watches.begin(r.Context(), e)
	defer ended()
	response, err := p.transport.RoundTrip(p.outgoing(ctx, r, nil))
	if err != nil {
		drop(w)
		return
	}
	defer func() { _ = response.Body.Close() }()
	p.record(func() { e.Code, e.Answered = response.StatusCode, response.StatusCode })
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	flusher := http.NewResponseController(w)
	var previous []byte
	for lines := bufio.NewReader(response.Body); ; {
		_ = flusher.Flush() // a client that has gone ends the loop by its context
		line, err := lines.ReadBytes('\n')
		if p.watches.await(ctx, e.Resource, line) {
			_, _ = w.Write(line)
			if p.watches.repeats(e.Resource) && len(previous) > 0 {
				_, _ = w.Write(slices.Concat(previous, line))
			}
			previous = line
		}
		if err != nil || ctx.Err() != nil {
			return
		}
	}
}
