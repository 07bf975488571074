// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func errorsBody(code, message string) string {
	return `{"errors":[{"code":` + quoteJSON(code) + `,"message":` + quoteJSON(message) + `}]}`
}

func quoteJSON(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}

func TestStatusesSayWhatHappenedAndWhoMustAct(t *testing.T) {
	const page = "<html>Gateway</html>"
	for name, tc := range map[string]struct {
		status int
		body   string
		want   verdict
	}{
		"bad request":             {400, errorsBody("invalid_input", "no such profile"), verdict{Refused, User, 400}},
		"bad request of a proxy":  {400, page, verdict{Refused, Issuer, 400}},
		"bad request, no body":    {400, "", verdict{Refused, User, 400}},
		"bad credential":          {401, errorsBody("invalid_api_key", ""), verdict{Refused, Issuer, 401}},
		"no licence":              {402, errorsBody("x", ""), verdict{Refused, Issuer, 402}},
		"no role":                 {403, errorsBody("access_denied", "denied"), verdict{Refused, Issuer, 403}},
		"throttled by message":    {403, errorsBody("access_denied", "Request was throttled"), verdict{Refused, Time, 403}},
		"throttled by code":       {403, errorsBody("rate_limit_exceeded", ""), verdict{Refused, Time, 403}},
		"not found":               {404, errorsBody("entity_not_found", "x"), verdict{Refused, User, 404}},
		"not found by a web site": {404, page, verdict{Refused, Issuer, 404}},
		"method":                  {405, "", verdict{Refused, User, 405}},
		"not acceptable":          {406, "", verdict{Refused, User, 406}},
		"proxy":                   {407, page, verdict{Refused, Issuer, 407}},
		"request timeout":         {408, "", verdict{Ambiguous, Nobody, 408}},
		"conflict":                {409, errorsBody("duplicate_error", "x"), verdict{Refused, User, 409}},
		"gone":                    {410, "", verdict{Refused, User, 410}},
		"media type":              {415, "", verdict{Refused, User, 415}},
		"misdirected":             {421, "", verdict{Refused, Issuer, 421}},
		"unprocessable":           {422, errorsBody("invalid", ""), verdict{Refused, User, 422}},
		"seats used up":           {422, errorsBody("license_limit_reached", ""), verdict{Refused, Issuer, 422}},
		"quota used up":           {400, errorsBody("QUOTA_EXCEEDED", ""), verdict{Refused, Issuer, 400}},
		"a device named license":  {400, errorsBody("invalid_input", "bad common name license.quota"), verdict{Refused, User, 400}},
		"too early":               {425, "", verdict{Refused, Time, 425}},
		"rate":                    {429, errorsBody("request_limit_exceeded", ""), verdict{Refused, Time, 429}},
		"rate of a gateway":       {429, page, verdict{Refused, Time, 429}},
		"client closed request":   {499, "", verdict{Ambiguous, Nobody, 499}},
		"server error":            {500, page, verdict{Ambiguous, Nobody, 500}},
		"not implemented":         {501, "", verdict{Ambiguous, Nobody, 501}},
		"bad gateway":             {502, page, verdict{Ambiguous, Nobody, 502}},
		"maintenance":             {503, errorsBody("x", ""), verdict{Ambiguous, Nobody, 503}},
		"gateway timeout":         {504, "", verdict{Ambiguous, Nobody, 504}},
		"not modified":            {304, "", verdict{Ambiguous, Issuer, 304}},
		"beyond the statuses":     {799, "", verdict{Ambiguous, Nobody, 799}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVendor(t, answeringJSON(tc.status, tc.body)).client(t).Enroll(t.Context(), testKeyRequest())
			if diff := cmp.Diff(tc.want, verdictOf(mustFail(t, err))); diff != "" {
				t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestAnErrorCarriesWhatTheVendorSaid(t *testing.T) {
	v := newVendor(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", "Tue, 01 Jan 2030 00:00:00 GMT")
		w.Header().Set("Retry-After", "Tue, 01 Jan 2030 00:00:30 GMT")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(errorsBody("maintenance", "back soon")))
	})
	_, err := v.client(t).Enroll(t.Context(), testKeyRequest())
	got := mustFail(t, fmt.Errorf("wrapped: %w", err))
	if got.TransactionID != v.recorded()[0].header.Get("X-DC-TransactionId") {
		t.Errorf("transaction id is %q", got.TransactionID)
	}
	if got.Op != "enroll" || got.Code != "maintenance" || got.Message != "back soon" || got.RetryAfter != 30*time.Second ||
		!got.ServerDate.Equal(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)) || got.Unwrap() != nil {
		t.Errorf("got %#v", got)
	}
	if want := "enroll: the vendor answered 503 (maintenance): back soon"; got.Error() != want {
		t.Errorf("text is %q, want %q", got.Error(), want)
	}
}

func TestWithoutADateRetryAfterIsMeasuredAgainstOurClock(t *testing.T) {
	v := newAnsweringRawVendor(t, "HTTP/1.1 429 X\r\nRetry-After: Tue, 01 Jan 2030 00:00:30 GMT\r\nConnection: close\r\n\r\n")
	client := v.client(t, func(cfg *Config) {
		cfg.Now = func() time.Time { return time.Date(2030, 1, 1, 0, 0, 10, 0, time.UTC) }
	})
	_, err := client.Enroll(t.Context(), testKeyRequest())
	if got := mustFail(t, err).RetryAfter; got != 20*time.Second {
		t.Errorf("retry after is %v, want 20s", got)
	}
}

func TestA401IsNeverAnsweredWithMoreCredentials(t *testing.T) {
	for _, challenge := range []string{"Basic realm=x", "NTLM", "Negotiate"} {
		v := newVendor(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		})
		_, err := v.client(t).Enroll(t.Context(), testKeyRequest())
		if failure := mustFail(t, err); failure.Actor != Issuer || len(v.recorded()) != 1 {
			t.Errorf("%s: got %v after %d requests", challenge, err, len(v.recorded()))
		}
	}
}

func TestAForeignAnswerIsNamedAndNotQuoted(t *testing.T) {
	v := newVendor(t, answering(404, "text/html; charset=utf-8", "<html>secret page</html>"))
	_, err := v.client(t).Enroll(t.Context(), testKeyRequest())
	want := "enroll: the vendor answered 404: the answer is not the vendor's JSON (text/html; charset=utf-8): check the URL and any proxy in between"
	if err.Error() != want {
		t.Errorf("text is %q, want %q", err, want)
	}
	_, err = newAnsweringRawVendor(t, "HTTP/1.1 404 X\r\nConnection: close\r\n\r\nplain").client(t).Enroll(t.Context(), testKeyRequest())
	if !strings.Contains(err.Error(), "no content type") {
		t.Errorf("text is %q, want it to say that there is no content type", err)
	}
}

func TestLargeErrorBodiesAreCut(t *testing.T) {
	v := newVendor(t, answeringJSON(400, errorsBody("invalid_input", strings.Repeat("long ", 1<<18))))
	_, err := v.client(t).Enroll(t.Context(), testKeyRequest())
	if failure := mustFail(t, err); failure.Delivery != Refused || len(failure.Message) > 512 {
		t.Errorf("got %s and a message of %d bytes", failure.Delivery, len(failure.Message))
	}
}

// The wire cannot be made to fail in each of these ways on every machine, so the
// errors of net and crypto/tls are made by hand.
func TestTransportErrorsSayWhoMustActInStableWords(t *testing.T) {
	client := newTestClient(t, "https://one.digicert.com", nil)
	remote := func(alert tls.AlertError) error {
		return &net.OpError{Op: "remote error", Err: errors.New(alert.Error())}
	}
	read := &net.OpError{
		Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 43210}, Addr: &net.TCPAddr{Port: 443},
		Err: os.NewSyscallError("read", syscall.ECONNRESET),
	}
	for name, tc := range map[string]struct {
		err      error
		actor    Actor
		delivery Delivery // of a call that had a connection
		text     string
	}{
		"name does not exist": {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "one.digicert.com", Server: "10.0.0.10:53", IsNotFound: true}}, Issuer, Ambiguous, "look up one.digicert.com: no such host"},
		"resolver is down":    {&net.DNSError{Err: "server misbehaving", Name: "one.digicert.com", Server: "10.0.0.10:53", IsTemporary: true}, Nobody, Ambiguous, "look up one.digicert.com: server misbehaving"},
		"reset":               {read, Nobody, Ambiguous, "read one.digicert.com: read: connection reset by peer"},
		"certificate wanted":  {remote(116), Issuer, NotSent, "one.digicert.com ended the TLS connection: tls: certificate required"},
		"unknown CA":          {remote(48), Issuer, NotSent, "one.digicert.com ended the TLS connection: tls: unknown certificate authority"},
		"protocol version":    {remote(70), Issuer, Ambiguous, "one.digicert.com ended the TLS connection: tls: protocol version not supported"},
		"internal error":      {remote(80), Nobody, Ambiguous, "one.digicert.com ended the TLS connection: tls: internal error"},
		"deadline":            {context.DeadlineExceeded, Nobody, Ambiguous, "no complete answer before the deadline"},
		"cancelled":           {context.Canceled, Nobody, Ambiguous, "the call was cancelled"},
		"proxy refuses":       {&proxyRefusedError{status: 407}, Issuer, Ambiguous, "the proxy answered 407 to CONNECT"},
		"proxy in trouble":    {&proxyRefusedError{status: 503}, Nobody, Ambiguous, "the proxy answered 503 to CONNECT"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after progress
			after.connected.Store(true)
			if got := client.transportFailure(call{op: opEnroll}, tc.err, &before); got.Delivery != NotSent {
				t.Errorf("delivery without a connection is %s", got.Delivery)
			}
			got := client.transportFailure(call{op: opEnroll}, tc.err, &after)
			if got.Actor != tc.actor || got.Delivery != tc.delivery || got.Message != tc.text {
				t.Errorf("got %s, %s, %q, want %s, %s, %q", got.Actor, got.Delivery, got.Message, tc.actor, tc.delivery, tc.text)
			}
			if !errors.Is(got, tc.err) {
				t.Error("the cause cannot be recognised")
			}
		})
	}
}
