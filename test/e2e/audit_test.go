// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// auditEvent is what is read of a line of the API server's audit log.
type auditEvent struct {
	Verb       string
	RequestURI string
	Stage      string
	User       struct{ Username string }
	ObjectRef  struct{ Resource, Namespace, Name, Subresource string }
	// ResponseStatus is the answer's.
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp time.Time
}

// request is the event's kind of request: verb, resource, and dry run.
func (e auditEvent) request() string {
	request := e.Verb + " " + e.ObjectRef.Resource
	if e.ObjectRef.Subresource != "" {
		request += "/" + e.ObjectRef.Subresource
	}
	if strings.Contains(e.RequestURI, "dryRun=All") {
		request += " (dry run)"
	}
	return request
}

// audited are the operator's finished requests about objects of the test's namespace, oldest first. Watches are not among them: they
// are as many however much is issued.
func (w *world) audited() []auditEvent {
	w.Helper()
	text, err := os.ReadFile(env.controlPlane.AuditLog())
	w.must(err)
	var found []auditEvent
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(w.namespace)) {
			continue
		}
		var e auditEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the last line may be half written
		}
		if e.Stage == "ResponseComplete" && e.User.Username == operatorUser && e.ObjectRef.Namespace == w.namespace && e.Verb != "watch" && e.Verb != "list" {
			found = append(found, e)
		}
	}
	w.must(lines.Err())
	return found
}

// conflicts counts the operator's requests of that kind that were answered with 409.
func (w *world) conflicts(request string) int {
	w.Helper()
	var n int
	for _, e := range w.audited() {
		if e.ResponseStatus.Code == 409 && e.request() == request {
			n++
		}
	}
	return n
}

// tally counts requests by kind, as a table for the test's log.
func tally(t *testing.T, title string, events []auditEvent) {
	t.Helper()
	count := map[string]int{}
	for _, e := range events {
		count[e.request()]++
	}
	t.Logf("%s: %d API requests", title, len(events))
	for _, request := range slices.Sorted(maps.Keys(count)) {
		t.Logf("  %d %s", count[request], request)
	}
}
