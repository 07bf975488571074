// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"net/http"
	"time"
)

// callBound is the longest one call to the API server may take, its answer's body included. client-go itself waits for ever: a load
// balancer that swallows one answer would hold an object, and with eight of them the controller, until the process ends.
const callBound = 30 * time.Second

// boundCalls gives every request but watches a deadline.
func boundCalls(next http.RoundTripper) http.RoundTripper {
	return boundedTransport{next: next, bound: callBound}
}

type boundedTransport struct {
	next  http.RoundTripper
	bound time.Duration
}

// RoundTrip implements http.RoundTripper.
func (t boundedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if watch := request.URL.Query().Get("watch"); watch == "true" || watch == "1" {
		return t.next.RoundTrip(request)
	}
	ctx, cancel := context.WithTimeout(request.Context(), t.bound)
	response, err := t.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	response.Body = boundedBody{ReadCloser: response.Body, end: cancel}
	return response, nil
}

// boundedBody ends the deadline when the answer has been read.
type boundedBody struct {
	io.ReadCloser
	end context.CancelFunc
}

// Close implements io.Closer.
func (b boundedBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
