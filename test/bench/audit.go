// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"
)

// auditLog follows the API server's audit log. Everything about API requests is read from it: how many, and when a certificate was
// asked for and Ready. It costs the processes under measurement nothing but what the API server spends on writing it, and costs the floor
// the same.
type auditLog struct {
	path string
	// user is the one whose requests are counted.
	user   string
	offset int64

	// requests of the user since the last reset, by kind; standing ones are left out.
	requests map[string]int
	// asked is when somebody else created or changed a DeviceCertificate; ready is when the user's first status after its Secret was
	// written. stored are those whose Secret is written and whose status is not.
	asked, ready map[string]time.Time
	stored       map[string]bool
	// last is when the user's last request ended.
	last time.Time
}

// auditEvent is what is read of a line.
type auditEvent struct {
	Verb           string
	RequestURI     string
	Stage          string
	User           struct{ Username string }
	ObjectRef      struct{ Resource, Subresource, Name string }
	ResponseStatus struct{ Code int }

	RequestReceivedTimestamp, StageTimestamp time.Time
}

func (e auditEvent) dryRun() bool { return strings.Contains(e.RequestURI, "dryRun=All") }

// kind of request: verb, resource, and dry run.
func (e auditEvent) kind() string {
	kind := e.Verb + " " + e.ObjectRef.Resource
	if e.ObjectRef.Subresource != "" {
		kind += "/" + e.ObjectRef.Subresource
	}
	if e.dryRun() {
		kind += " (dry run)"
	}
	return kind
}

// standing tells whether a process makes such requests however little it has to do: watches, leases, and finding out what the API
// server serves.
func (e auditEvent) standing() bool {
	return e.Verb == "watch" || e.ObjectRef.Resource == "leases" || e.ObjectRef.Resource == ""
}

// reset forgets what was counted.
func (a *auditLog) reset() error {
	if err := a.read(); err != nil {
		return err
	}
	a.requests, a.asked, a.ready, a.stored = map[string]int{}, map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	return nil
}

// read takes in what is new.
func (a *auditLog) read() error {
	file, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(a.offset, io.SeekStart); err != nil {
		return err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // the last line may be half written
	a.offset += int64(len(text))
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(`"ResponseComplete"`)) {
			continue
		}
		var e auditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return errors.New("the audit log cannot be read: " + err.Error())
		}
		a.take(e)
	}
	return nil
}

func (a *auditLog) take(e auditEvent) {
	name := e.ObjectRef.Name
	about := e.ObjectRef.Resource + "/" + e.ObjectRef.Subresource
	changed := (e.Verb == "create" || e.Verb == "patch") && e.ResponseStatus.Code < 300 && !e.dryRun()
	if e.User.Username != a.user {
		if _, known := a.asked[name]; changed && about == "devicecertificates/" && a.asked != nil && !known {
			a.asked[name] = e.RequestReceivedTimestamp
		}
		return
	}
	if e.standing() || a.requests == nil {
		return
	}
	a.requests[e.kind()]++
	a.last = e.StageTimestamp
	switch {
	case changed && about == "secrets/":
		a.stored[name] = true
	case changed && about == "devicecertificates/status" && a.stored[name]:
		delete(a.stored, name)
		a.ready[name] = e.StageTimestamp
	}
}

// total of all kinds.
func total(counts map[string]int) int {
	var n int
	for _, c := range counts {
		n += c
	}
	return n
}

// writes are the requests that change something.
func writes(counts map[string]int) int {
	var n int
	for kind, c := range counts {
		verb, _, _ := strings.Cut(kind, " ")
		if verb != "get" && verb != "list" {
			n += c
		}
	}
	return n
}
