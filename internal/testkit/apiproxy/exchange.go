// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiproxy

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Exchange is one request of the client and what became of it. Bodies of Secrets are not kept.
type Exchange struct {
	// Sequence counts requests from 1 in the order of their arrival.
	Sequence int
	// Verb is get, list, watch, create, update, patch, apply or delete.
	Verb, Resource, Subresource, Namespace, Name string
	DryRun                                       bool
	// Arrived is when the request came. Committed is when the API server had answered it; zero when it never heard of it.
	Arrived, Committed time.Time
	// VersionIn is metadata.resourceVersion of the request's body, VersionOut that of the API server's answer.
	VersionIn, VersionOut string
	// Code is the API server's status; 0 without one.
	Code int
	// Answered is the status that the client was sent; 0 when it was sent none, or not all.
	Answered int
	// Fault is the scripted misbehaviour it met, in words.
	Fault string
	// Request is the body of a write that is not of a Secret.
	Request []byte
}

// Written tells whether the API server carried a write out.
func (e Exchange) Written() bool { return e.IsWrite() && !e.DryRun && e.Code >= 200 && e.Code < 300 }

// IsWrite tells whether the request asks for a change.
func (e Exchange) IsWrite() bool {
	switch e.Verb {
	case "create", "update", "patch", "apply", "delete":
		return true
	}
	return false
}

// String is such as "apply secrets (dry run)".
func (e Exchange) String() string {
	text := e.Verb + " " + e.Resource
	if e.Subresource != "" {
		text += "/" + e.Subresource
	}
	if e.DryRun {
		text += " (dry run)"
	}
	return text
}

// describe reads what a request is about from its line and its body.
func describe(r *http.Request, body []byte) *Exchange {
	e := &Exchange{DryRun: r.URL.Query().Has("dryRun")}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		e.Verb, e.Resource = "get", r.URL.Path // discovery
		return e
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		e.Namespace, parts = parts[1], parts[2:]
	}
	for i, field := range []*string{&e.Resource, &e.Name, &e.Subresource} {
		if i < len(parts) {
			*field = parts[i]
		}
	}
	e.Verb = verb(r, e.Name)
	if !e.IsWrite() {
		return e
	}
	name, version := identify(body)
	e.VersionIn = version
	if e.Name == "" {
		e.Name = name
	}
	if e.Resource != "secrets" {
		e.Request = body
	}
	return e
}

func verb(r *http.Request, name string) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodDelete:
		return "delete"
	case http.MethodPatch:
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch") {
			return "apply"
		}
		return "patch"
	}
	switch {
	case r.URL.Query().Has("watch"):
		return "watch"
	case name == "":
		return "list"
	default:
		return "get"
	}
}

// identify finds name and version of an object in JSON; both are empty in anything else.
func identify(body []byte) (name, version string) {
	var object struct {
		Metadata struct{ Name, ResourceVersion string }
	}
	if json.Unmarshal(body, &object) != nil {
		return "", ""
	}
	return object.Metadata.Name, object.Metadata.ResourceVersion
}
