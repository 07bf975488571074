// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// silent answers the headers at once and the body never, until the test ends.
func silent(t *testing.T, headers bool) string {
	t.Helper()
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if headers {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(over) })
	return server.URL
}

func TestACallThatIsNeverAnsweredEnds(t *testing.T) {
	for name, headers := range map[string]bool{"nothing comes": false, "only the headers come": true} {
		t.Run(name, func(t *testing.T) {
			transport := boundedTransport{next: http.DefaultTransport, bound: 50 * time.Millisecond}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, silent(t, headers), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := transport.RoundTrip(request)
			if err == nil {
				_, err = io.ReadAll(response.Body)
				_ = response.Body.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error is %v, want a deadline", err)
			}
		})
	}
}

func TestAWatchHasNoDeadline(t *testing.T) {
	var deadline bool
	next := roundTripper(func(r *http.Request) (*http.Response, error) {
		_, deadline = r.Context().Deadline()
		return &http.Response{Body: http.NoBody}, nil
	})
	for query, want := range map[string]bool{"?watch=true": false, "?watch=1": false, "?watch=false": true, "": true} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example/"+query, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := boundCalls(next).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if deadline != want {
			t.Errorf("%q has a deadline: %t, want %t", query, deadline, want)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
