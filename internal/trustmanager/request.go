// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

const apiPrefix = "/iot/api/v1"

// maxErrorBodyBytes is how much of a refusal is read: enough for any message, too
// little to be a burden.
const maxErrorBodyBytes = 64 << 10

// call is one request to the vendor.
type call struct {
	op      string     // for errors: what was attempted
	method  string     // anything but GET gets a connection of its own
	path    string     // below apiPrefix, made of validated segments only
	query   url.Values // nil for none
	body    any        // marshalled as JSON; nil for none
	secrets []string   // in the body, hence never to appear in an error
}

// answer is what the vendor sent back, read completely.
type answer struct {
	status        int
	contentType   string
	body          []byte
	serverDate    time.Time // zero when the vendor sent no usable Date
	transactionID string
}

// do sends a call exactly once and returns the answer if its status is 2xx and its
// body was read to the end within all limits. Every other outcome is an *Error. All
// requests of this package go through here.
func (c *Client) do(ctx context.Context, call call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.requestTimeout)
	defer cancel()

	var progress progress
	request, err := c.newRequest(httptrace.WithClientTrace(ctx, progress.trace()), call)
	if err != nil {
		return nil, c.refuse(call, err)
	}
	transactionID := request.Header.Get(transactionHeader)

	exchange, began := Exchange{Op: call.op}, c.now()
	defer func() {
		exchange.Duration = c.now().Sub(began)
		c.observe(exchange)
	}()
	response, err := c.transport(call).RoundTrip(request)
	if err != nil {
		failure := c.transportFailure(call, err, &progress)
		failure.TransactionID = transactionID
		return nil, failure
	}
	defer response.Body.Close()

	exchange.HTTPStatus = response.StatusCode
	serverDate := c.observeDate(response.Header)
	body, err := c.readBody(call, response)
	received := &answer{
		status:        response.StatusCode,
		contentType:   response.Header.Get("Content-Type"),
		body:          body,
		serverDate:    serverDate,
		transactionID: transactionID,
	}
	if !isSuccess(received.status) {
		return nil, c.statusFailure(call, received, response.Header.Get("Retry-After"))
	}
	if err != nil {
		return nil, c.unusable(call, received, err)
	}
	return received, nil
}

// progress is how far a request got. net/http reports from several goroutines.
type progress struct {
	connected       atomic.Bool // a connection, TLS included, was handed to the request
	handshakeFailed atomic.Bool
}

func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { p.connected.Store(true) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			p.handshakeFailed.Store(err != nil)
		},
	}
}

const transactionHeader = "X-Dc-Transactionid"

func (c *Client) newRequest(ctx context.Context, call call) (*http.Request, error) {
	target := *c.baseURL
	target.Path = apiPrefix + call.path
	target.RawQuery = call.query.Encode()

	var body io.Reader
	if call.body != nil {
		encoded, err := json.Marshal(call.body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	// Without GetBody net/http has no means to send the body a second time.
	request.GetBody = nil
	if call.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Accept-Encoding", "identity")
	request.Header.Set("User-Agent", c.userAgent)
	request.Header.Set(transactionHeader, newTransactionID())
	c.authenticate(request.Header)
	return request, nil
}

// transport returns the one that fits: only requests that change nothing may meet a
// reused connection, and with it a repetition by net/http.
func (c *Client) transport(call call) *http.Transport {
	if call.method == http.MethodGet {
		return c.pooled
	}
	return c.fresh
}

// readBody reads a whole answer within the limits. Of a refusal it returns what
// could be read, because the status alone already says enough.
func (c *Client) readBody(call call, response *http.Response) ([]byte, error) {
	limit := c.maxBodyBytes
	if call.method != http.MethodGet {
		limit = min(limit, maxIssuedBytes)
	}
	if !isSuccess(response.StatusCode) {
		limit = min(limit, maxErrorBodyBytes)
	}
	if response.StatusCode < http.StatusOK {
		return nil, nil // 101: what follows is another protocol and has no end
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, errors.New("the answer is compressed although that was not asked for")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return body, fmt.Errorf("the answer broke off: %w", &cleanedError{text: c.describe(err), err: err})
	}
	if int64(len(body)) > limit {
		return body[:limit], fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	return body, nil
}

// observeDate returns the vendor's Date and remembers the skew against our clock.
func (c *Client) observeDate(header http.Header) time.Time {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	skew := date.Sub(c.now())
	c.skew.Store(&skew)
	return date
}

func isSuccess(status int) bool { return status >= 200 && status <= 299 }

// newTransactionID returns a random UUID (version 4). DigiCert correlates calls by
// such an id in its other products; whether IoT Trust Manager does is unknown, and it
// does no harm.
func newTransactionID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, by the documentation of crypto/rand
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
