// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxRequests bounds the request log; older requests are forgotten.
const maxRequests = 20_000

// masked stands for a secret in the request log.
const masked = "***"

// Request is one request as it arrived. No credential, passcode or PKCS#12 password is in it.
type Request struct {
	// Sequence counts requests from 1.
	Sequence  uint64    `json:"sequence"`
	Time      time.Time `json:"time"`
	Operation Operation `json:"operation,omitempty"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Query     string    `json:"query,omitempty"`
	// Credential is the configured name of the credential; empty when it was refused.
	Credential string `json:"credential,omitempty"`
	ProfileID  string `json:"profileID,omitempty"`
	CommonName string `json:"commonName,omitempty"`
	// CertificateID is the certificate the request named, or the one issued for it.
	CertificateID string `json:"certificateID,omitempty"`
	// Status is the HTTP status of the answer; 0 while there is none, or when the connection was dropped.
	Status int `json:"status"`
	// Done is true when the simulator is finished with the request.
	Done bool `json:"done"`
	// Fault is the scripted misbehaviour it met.
	Fault   Action `json:"fault,omitempty"`
	FaultID string `json:"faultID,omitempty"`
	// TransactionID is the header X-DC-TransactionId.
	TransactionID string `json:"transactionID,omitempty"`
	UserAgent     string `json:"userAgent,omitempty"`
	// HeaderNames are the names of all request headers, sorted.
	HeaderNames []string `json:"headerNames"`
	// Body is the JSON body with secrets masked.
	Body string `json:"body,omitempty"`
}

// requestLog keeps the latest requests.
type requestLog struct {
	mu       sync.Mutex
	last     uint64
	requests []*Request
}

func newRequestLog() *requestLog { return &requestLog{} }

// arrived notes a request before anything else happens to it and returns its sequence number.
func (l *requestLog) arrived(r *http.Request, operation Operation, now time.Time) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.requests = append(l.requests, &Request{
		Sequence:      l.last,
		Time:          now,
		Operation:     operation,
		Method:        r.Method,
		Path:          r.URL.Path,
		Query:         r.URL.RawQuery,
		TransactionID: r.Header.Get("X-Dc-Transactionid"),
		UserAgent:     r.UserAgent(),
		HeaderNames:   slices.Sorted(maps.Keys(r.Header)),
	})
	if len(l.requests) > maxRequests {
		l.requests = slices.Delete(l.requests, 0, len(l.requests)-maxRequests)
	}
	return l.last
}

func (l *requestLog) update(sequence uint64, change func(*Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index, found := slices.BinarySearchFunc(l.requests, sequence, func(r *Request, wanted uint64) int {
		return cmp.Compare(r.Sequence, wanted)
	})
	if found { // not if the log was reset or has moved on
		change(l.requests[index])
	}
}

func (l *requestLog) all() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	requests := make([]Request, 0, len(l.requests))
	for _, r := range l.requests {
		requests = append(requests, *r)
	}
	return requests
}

func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = nil
}

// maskBody hides the PKCS#12 password. A body that is no JSON object is not shown at all.
func maskBody(body []byte) string {
	var fields map[string]any
	if json.Unmarshal(body, &fields) != nil {
		return ""
	}
	for name := range fields {
		if strings.Contains(strings.ToLower(name), "password") {
			fields[name] = masked
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return ""
	}
	return string(text)
}
