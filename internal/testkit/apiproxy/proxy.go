// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiproxy stands between one client and a kube-apiserver, records every request, and misbehaves as scripted. The client's own
// token is handed through, so that its rights are still judged.
//
// It speaks HTTP/1.1 and asks the API server for JSON, so that answers can be read and watches be tampered with.
package apiproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/clock"
)

// maxBody bounds what is read of a request or an answer; the API server's own bound is 3 MiB for requests.
const maxBody = 64 << 20

// Proxy is safe for concurrent use.
type Proxy struct {
	server    *httptest.Server
	upstream  *url.URL
	transport http.RoundTripper
	clock     clock.PassiveClock
	closing   chan struct{}

	mu      sync.Mutex
	faults  []*Armed
	history []*Exchange
	watches watchRules
}

// Start listens on loopback and writes a kubeconfig that leads through the proxy: the given one with another server. The caller ends
// it with Close.
func Start(upstreamKubeconfig, kubeconfig string) (*Proxy, error) {
	config, err := clientcmd.LoadFromFile(upstreamKubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig of the API server: %w", err)
	}
	current, ok := config.Contexts[config.CurrentContext]
	if !ok {
		return nil, fmt.Errorf("kubeconfig %s has no current context", upstreamKubeconfig)
	}
	cluster := config.Clusters[current.Cluster]
	p := &Proxy{clock: clock.RealClock{}, closing: make(chan struct{})}
	if p.upstream, err = url.Parse(cluster.Server); err != nil {
		return nil, fmt.Errorf("read the API server's address: %w", err)
	}
	p.transport, err = rest.TransportFor(&rest.Config{
		Host: cluster.Server, DisableCompression: true, TLSClientConfig: rest.TLSClientConfig{CAData: cluster.CertificateAuthorityData},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	p.server = httptest.NewTLSServer(p)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	config.Clusters[current.Cluster] = &clientcmdapi.Cluster{Server: p.server.URL, CertificateAuthorityData: ca}
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		p.Close()
		return nil, fmt.Errorf("write the kubeconfig that leads through the proxy: %w", err)
	}
	return p, nil
}

// Close drops all connections.
func (p *Proxy) Close() {
	close(p.closing)
	p.server.CloseClientConnections()
	p.server.Close()
}

func (p *Proxy) closed() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// Add arms a fault.
func (p *Proxy) Add(f Fault) *Armed {
	a := &Armed{fault: f, proxy: p, met: make(chan struct{}), removed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, a)
	return a
}

// Reset removes all faults and all rules for watches.
func (p *Proxy) Reset() {
	p.mu.Lock()
	faults := p.faults
	p.faults = nil
	p.mu.Unlock()
	for _, a := range faults {
		a.Remove()
	}
	p.watches.reset()
}

// History are all requests so far, in the order of their arrival.
func (p *Proxy) History() []Exchange {
	p.mu.Lock()
	defer p.mu.Unlock()
	history := make([]Exchange, 0, len(p.history))
	for _, e := range p.history {
		history = append(history, *e)
	}
	return history
}

// ServeHTTP handles one request of the client.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		drop(w)
		return
	}
	e, armed := p.arrive(r, body)
	if armed != nil && armed.fault.Stage == BeforeCommit && armed.fault.Action != Truncate {
		if p.act(w, r, e, armed) {
			return
		}
		armed = nil
	}
	if e.Verb == "watch" {
		p.watch(w, r, e)
		return
	}
	p.watches.travel(r, e)
	response, err := p.forward(r, body, e)
	if err != nil {
		drop(w)
		return
	}
	if armed != nil && p.act(w, r, e, armed, response.body...) {
		return
	}
	p.record(func() { e.Answered = response.status })
	for name, values := range response.header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.status)
	_, _ = w.Write(response.body) // a client that has gone is told nothing
}

// arrive notes the request and finds the fault it meets.
func (p *Proxy) arrive(r *http.Request, body []byte) (*Exchange, *Armed) {
	e := describe(r, body)
	e.Arrived = p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history = append(p.history, e)
	e.Sequence = len(p.history)
	for _, a := range p.faults {
		if a.meets(e, body) {
			e.Fault = a.fault.name()
			return e, a
		}
	}
	return e, nil
}

func (p *Proxy) record(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// act does what the fault says, and tells whether the request has ended with that.
func (p *Proxy) act(w http.ResponseWriter, r *http.Request, e *Exchange, a *Armed, answer ...byte) bool {
	if a.fault.Delay > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), a.fault.Delay)
		p.wait(ctx, a)
		cancel()
	}
	if a.fault.Do != nil {
		a.fault.Do()
	}
	switch a.fault.Action {
	case Drop:
		drop(w)
	case Hang:
		p.wait(r.Context(), a)
		drop(w)
	case Respond:
		p.record(func() { e.Answered = a.fault.Status })
		respond(w, a.fault)
	case Truncate:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer[:len(answer)/2]) // net/http closes a connection whose answer is short
	default:
		return false
	}
	return true
}

// wait ends with the context, the fault or the proxy.
func (p *Proxy) wait(ctx context.Context, a *Armed) {
	select {
	case <-ctx.Done():
	case <-a.removed:
	case <-p.closing:
	}
}

// answer is what the API server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// forward asks the API server. It does not stop when the client goes away: what was sent may be carried out.
func (p *Proxy) forward(r *http.Request, body []byte, e *Exchange) (*answer, error) {
	response, err := p.transport.RoundTrip(p.outgoing(context.WithoutCancel(r.Context()), r, body))
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, err
	}
	_, version := identify(text)
	p.record(func() { e.Committed, e.Code, e.VersionOut = p.clock.Now(), response.StatusCode, version })
	response.Header.Del("Content-Length")
	return &answer{status: response.StatusCode, header: response.Header, body: text}, nil
}

// outgoing is the request as the API server gets it.
func (p *Proxy) outgoing(ctx context.Context, r *http.Request, body []byte) *http.Request {
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = p.upstream.Scheme, p.upstream.Host, "", ""
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		out.Body = http.NoBody
	}
	out.Header.Del("Connection")
	out.Header.Del("Accept-Encoding")
	if accepted := onlyJSON(r.Header.Get("Accept")); accepted != "" {
		out.Header.Set("Accept", accepted)
	}
	return out
}

// onlyJSON keeps of an Accept header what is JSON: clients offer it besides protobuf.
func onlyJSON(accept string) string {
	parts := slices.DeleteFunc(strings.Split(accept, ","), func(part string) bool {
		return !strings.HasPrefix(strings.TrimSpace(part), "application/json")
	})
	return strings.Join(parts, ",")
}

// drop closes the client's connection without an answer.
func drop(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	if connection, _, err := hijacker.Hijack(); err == nil {
		_ = connection.Close()
	}
}

// respond answers with a Status object, as the API server would.
func respond(w http.ResponseWriter, f Fault) {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(f.Status), Reason: metav1.StatusReason(f.Reason), Message: f.Message,
	}
	if status.Reason == "" {
		status.Reason = usualReason(f.Status)
	}
	if status.Message == "" {
		status.Message = "scripted by the test: " + http.StatusText(f.Status)
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(status) // a client that has gone is told nothing
}

func usualReason(code int) metav1.StatusReason {
	return map[int]metav1.StatusReason{
		http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusForbidden: metav1.StatusReasonForbidden,
		http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusConflict: metav1.StatusReasonConflict,
		http.StatusUnprocessableEntity: metav1.StatusReasonInvalid, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
		http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
	}[code]
}
