// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEveryCallCarriesTheHeadersOfTheContract(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	client := v.client(t, func(cfg *Config) { cfg.UserAgent = "devicecert-operator/1.2" })
	if _, err := client.Enroll(t.Context(), testKeyRequest()); err != nil {
		t.Fatal(err)
	}
	header := v.recorded()[0].header
	transaction := header.Get("X-DC-TransactionId")
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(transaction) {
		t.Errorf("transaction id %q is not a UUID of version 4", transaction)
	}
	header.Del("X-DC-TransactionId")
	header.Del("Content-Length")
	want := http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"identity"},
		"Connection":      {"close"},
		"Content-Type":    {"application/json"},
		"User-Agent":      {"devicecert-operator/1.2"},
		"X-Api-Key":       {testToken},
	}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestEveryCallHasATransactionIDOfItsOwn(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	client := v.client(t)
	for range 2 {
		if _, err := client.Enroll(t.Context(), testKeyRequest()); err != nil {
			t.Fatal(err)
		}
	}
	requests := v.recorded()
	if a, b := requests[0].header.Get("X-DC-TransactionId"), requests[1].header.Get("X-DC-TransactionId"); a == b {
		t.Errorf("both calls carry transaction id %s", a)
	}
}

func TestAPasscodeIsSentInItsOwnHeaderOnly(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	client := v.client(t, func(cfg *Config) { cfg.Credential = Credential{Passcode: "passcode-1"} })
	if _, err := client.Enroll(t.Context(), testKeyRequest()); err != nil {
		t.Fatal(err)
	}
	header := v.recorded()[0].header
	if got := header.Get("X-Passcode"); got != "passcode-1" {
		t.Errorf("x-passcode is %q", got)
	}
	if _, present := header["X-Api-Key"]; present {
		t.Error("x-api-key is sent beside x-passcode")
	}
}

// A server that closes a kept-alive connection when the POST has been read is the one
// case in which net/http repeats requests by itself.
func TestAPostIsSentOnceWhenTheServerClosesAtThePost(t *testing.T) {
	var posts, connections atomic.Int32
	v := newRawVendor(t, serverTLS(t), func(conn net.Conn, number int) {
		connections.Store(int32(number))
		reader := bufio.NewReader(conn)
		for {
			switch readRequest(reader) {
			case http.MethodGet:
				page := `{"records":[]}`
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
			case http.MethodPost:
				posts.Add(1)
				return
			default:
				return
			}
		}
	})
	client := v.client(t)
	for range 2 {
		if _, err := client.Search(t.Context(), SearchQuery{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := connections.Load(); got != 1 {
		t.Fatalf("two searches used %d connections, the test needs one that is kept alive", got)
	}
	_, err := client.Enroll(t.Context(), testKeyRequest())
	if diff := cmp.Diff(verdict{Ambiguous, Nobody, 0}, verdictOf(mustFail(t, err))); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if got := posts.Load(); got != 1 {
		t.Errorf("the server saw %d POSTs, want 1", got)
	}
	if got := connections.Load(); got != 2 {
		t.Errorf("the POST used connection %d, want a second one of its own", got)
	}
}

func TestASearchSurvivesAKeptConnectionThatDied(t *testing.T) {
	page := "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"records\":[]}"
	v := newRawVendor(t, serverTLS(t), func(conn net.Conn, _ int) {
		reader := bufio.NewReader(conn)
		if readRequest(reader) != "" {
			_, _ = io.WriteString(conn, page)
			readRequest(reader) // and closes without an answer if there is a second one
		}
	})
	client := v.client(t)
	for range 2 {
		if _, err := client.Search(t.Context(), SearchQuery{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBrokenConnectionsAfterTheRequestAreAmbiguous(t *testing.T) {
	cases := map[string]string{
		"closed without a byte":              "",
		"status line cut":                    "HTTP/1.1 2",
		"garbage instead of HTTP":            "SSH-2.0-OpenSSH_9.2\r\n",
		"status of two digits":               "HTTP/1.1 99 X\r\n\r\n",
		"status of four digits":              "HTTP/1.1 1000 X\r\n\r\n",
		"header without colon":               "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
		"header block over the limit":        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 80<<10) + "\r\n\r\n",
		"many headers over the limit":        "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 20<<10) + "\r\n",
		"endless 1xx answers":                strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 20<<10),
		"NUL in a header":                    "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n{}",
		"NUL in the name of a header":        "HTTP/1.1 200 OK\r\nX\x00: a\r\n\r\n{}",
		"a header that begins folded":        "HTTP/1.1 200 OK\r\n X: a\r\n\r\n{}",
		"negative content length":            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
		"contradicting content lengths":      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"transfer encoding that nobody uses": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
	}
	for name, raw := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := newAnsweringRawVendor(t, raw).client(t).Enroll(t.Context(), testKeyRequest())
			if diff := cmp.Diff(verdict{Ambiguous, Nobody, 0}, verdictOf(mustFail(t, err))); diff != "" {
				t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestAResetBeforeTheRequestIsReadIsAmbiguous(t *testing.T) {
	v := newRawVendor(t, serverTLS(t), func(conn net.Conn, _ int) {
		_, _ = conn.Read(make([]byte, 1))
	})
	request := testKeyRequest()
	request.EncryptionCertificatePEM = strings.Repeat("x", 4<<20) // more than socket buffers take
	_, err := v.client(t).Enroll(t.Context(), request)
	if diff := cmp.Diff(verdict{Ambiguous, Nobody, 0}, verdictOf(mustFail(t, err))); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestA200WhoseBodyIsUnusableCountsAsAnswered(t *testing.T) {
	header := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	cases := map[string]struct {
		raw  string
		want string
	}{
		"content length larger than the body": {header + "Content-Length: 500\r\n\r\n" + issuedAnswer, "broke off"},
		"chunk size is garbage":               {header + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", "broke off"},
		"closed without last chunk":           {header + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "broke off"},
		"body over the limit":                 {header + "\r\n{\"pem\":\"" + strings.Repeat("a", 70<<10) + "\"}", "larger than 65536 bytes"},
		"compressed without being asked":      {header + "Content-Encoding: gzip\r\n\r\n" + gzipBomb(t), "compressed"},
		"brotli":                              {header + "Content-Encoding: br\r\n\r\nxxx", "compressed"},
		"no content":                          {"HTTP/1.1 204 No Content\r\n\r\n", "empty"},
		"created without a body":              {"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", "empty"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			client := newAnsweringRawVendor(t, tc.raw).client(t, func(cfg *Config) { cfg.MaxBodyBytes = 64 << 10 })
			_, err := client.Enroll(t.Context(), testKeyRequest())
			failure := mustFail(t, err)
			if failure.Delivery != Answered || failure.Actor != Nobody || failure.HTTPStatus/100 != 2 {
				t.Errorf("got %+v, want Answered, Nobody and a 2xx", verdictOf(failure))
			}
			if !strings.Contains(failure.Message, tc.want) {
				t.Errorf("message is %q, want it to say %q", failure.Message, tc.want)
			}
		})
	}
}

// gzipBomb is a small stream that would inflate to 16 MiB.
func gzipBomb(t *testing.T) string {
	t.Helper()
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(make([]byte, 16<<20)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

func TestAnAnswerThatIssuesIsSmallerThanAPageOfTheInventory(t *testing.T) {
	filler := strings.Repeat(" ", maxIssuedBytes)
	client := newVendor(t, answeringJSON(200, `{"records":[],"pem":"PEM"}`+filler)).client(t)
	_, err := client.Enroll(t.Context(), testKeyRequest())
	if failure := mustFail(t, err); failure.Delivery != Answered || !strings.Contains(failure.Message, "larger than 262144 bytes") {
		t.Errorf("got %s %q", failure.Delivery, failure.Message)
	}
	if _, err := client.Search(t.Context(), SearchQuery{}); err != nil {
		t.Errorf("a page of that size: %v", err)
	}
}

func TestASecondAnswerOnTheConnectionAnswersNobody(t *testing.T) {
	page := func(id string) string {
		body := `{"records":[{"id":"` + id + `"}]}`
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	v := newRawVendor(t, serverTLS(t), func(conn net.Conn, number int) {
		reader := bufio.NewReader(conn)
		for readRequest(reader) != "" {
			answer := page(fmt.Sprint("asked-", number))
			if number == 1 {
				answer += page("split")
			}
			_, _ = io.WriteString(conn, answer)
		}
	})
	client := v.client(t)
	for range 3 {
		found, err := client.Search(t.Context(), SearchQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if len(found.Records) != 1 || found.Records[0].ID == "split" {
			t.Errorf("answered with %+v", found.Records)
		}
	}
}

func TestASlowAnswerEndsAtTheDeadline(t *testing.T) {
	cases := map[string]struct {
		raw  string
		want verdict
	}{
		"no header":        {"", verdict{Ambiguous, Nobody, 0}},
		"half a header":    {"HTTP/1.1 200 OK\r\nConte", verdict{Ambiguous, Nobody, 0}},
		"half a body":      {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", verdict{Answered, Nobody, 200}},
		"body of a 500":    {"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n{", verdict{Ambiguous, Nobody, 500}},
		"another protocol": {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", verdict{Ambiguous, Nobody, 101}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := newRawVendor(t, serverTLS(t), func(conn net.Conn, _ int) {
				readRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, tc.raw)
				_, _ = io.Copy(io.Discard, conn) // until the client gives up
			})
			_, err := v.client(t, withDeadline(shortDeadline)).Enroll(t.Context(), testKeyRequest())
			failure := mustFail(t, err)
			if diff := cmp.Diff(tc.want, verdictOf(failure)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if tc.want.Status == 0 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v does not unwrap to context.DeadlineExceeded", err)
			}
		})
	}
}

func TestACallWhoseContextIsDoneIsNotSent(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := v.client(t).Enroll(ctx, testKeyRequest())
	failure := mustFail(t, err)
	if diff := cmp.Diff(verdict{NotSent, Nobody, 0}, verdictOf(failure)); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v does not unwrap to context.Canceled", err)
	}
	if got := len(v.recorded()); got != 0 {
		t.Errorf("the vendor saw %d requests", got)
	}
}

func TestTheCallerMayCancelAnAnswerUnderWay(t *testing.T) {
	arrived := make(chan struct{})
	v := newRawVendor(t, serverTLS(t), func(conn net.Conn, _ int) {
		readRequest(bufio.NewReader(conn))
		close(arrived)
		_, _ = io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := v.client(t).Enroll(ctx, testKeyRequest())
	if diff := cmp.Diff(verdict{Ambiguous, Nobody, 0}, verdictOf(mustFail(t, err))); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestSkewIsTheVendorsDateAgainstOurClock(t *testing.T) {
	ours := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	v := newVendor(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", ours.Add(-7*time.Minute).Format(http.TimeFormat))
		_, _ = io.WriteString(w, issuedAnswer)
	})
	client := v.client(t, func(cfg *Config) { cfg.Now = func() time.Time { return ours } })
	if _, known := client.Skew(); known {
		t.Error("the skew is known before the first answer")
	}
	issued, err := client.Enroll(t.Context(), testKeyRequest())
	if err != nil {
		t.Fatal(err)
	}
	if want := ours.Add(-7 * time.Minute); !issued.ServerDate.Equal(want) {
		t.Errorf("server date is %v, want %v", issued.ServerDate, want)
	}
	if skew, known := client.Skew(); !known || skew != -7*time.Minute {
		t.Errorf("skew is %v (known: %t), want -7m", skew, known)
	}
}

func TestAnUnreadableDateLeavesTheSkewUnknown(t *testing.T) {
	v := newAnsweringRawVendor(t, "HTTP/1.1 200 OK\r\nDate: yesterday\r\nConnection: close\r\n\r\n"+issuedAnswer)
	client := v.client(t)
	issued, err := client.Enroll(t.Context(), testKeyRequest())
	if err != nil {
		t.Fatal(err)
	}
	if _, known := client.Skew(); known || !issued.ServerDate.IsZero() {
		t.Errorf("server date is %v, want none", issued.ServerDate)
	}
}
