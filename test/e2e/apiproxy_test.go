// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// apiProxy stands between one manager and the API server. It hands the manager's own token through, so that the shipped roles still
// judge, and it can be slow in two ways: it keeps a request back, or stops to deliver what watches of Secrets report.
type apiProxy struct {
	// kubeconfig leads through the proxy.
	kubeconfig string

	mu    sync.Mutex
	gates []*gate
	// secretNews is locked while watches of Secrets are frozen.
	secretNews sync.RWMutex
	// closed ends the requests that are still kept back: that their sender has died does not show before their body is read.
	closed chan struct{}
}

// gate keeps the first request back that matches.
type gate struct {
	match   func(*http.Request) bool
	arrived chan struct{}
	opened  chan struct{}
}

func startAPIProxy(t *testing.T) *apiProxy {
	t.Helper()
	config, err := clientcmd.LoadFromFile(env.operatorKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cluster := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
	upstream, err := url.Parse(cluster.Server)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(&rest.Config{Host: cluster.Server, TLSClientConfig: rest.TLSClientConfig{CAData: cluster.CertificateAuthorityData}})
	if err != nil {
		t.Fatal(err)
	}
	p := &apiProxy{closed: make(chan struct{}), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport:      transport,
		FlushInterval:  -1,
		ModifyResponse: p.slowDown,
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if p.pass(r) {
			forward.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(func() {
		close(p.closed)
		server.CloseClientConnections()
		server.Close()
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for _, c := range config.Clusters {
		*c = clientcmdapi.Cluster{Server: server.URL, CertificateAuthorityData: ca}
	}
	if err := clientcmd.WriteToFile(*config, p.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return p
}

// hold keeps the next request back that matches, until opened is closed.
func (p *apiProxy) hold(match func(*http.Request) bool) *gate {
	g := &gate{match: match, arrived: make(chan struct{}), opened: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gates = append(p.gates, g)
	return g
}

// await waits until a request stands at the gate.
func (g *gate) await(t *testing.T) {
	t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(patience):
		t.Fatalf("no such request to the API server within %s", patience)
	}
}

// pass waits at the gate of the request, if there is one, and tells whether the request may go on.
func (p *apiProxy) pass(r *http.Request) bool {
	p.mu.Lock()
	var found *gate
	for i, g := range p.gates {
		if g.match(r) {
			found = g
			p.gates = append(p.gates[:i], p.gates[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	if found == nil {
		return true
	}
	close(found.arrived)
	select {
	case <-found.opened:
		return true
	case <-p.closed:
		return false
	}
}

// slowDown makes watches of Secrets freezable.
func (p *apiProxy) slowDown(r *http.Response) error {
	request := r.Request.URL
	if strings.HasSuffix(request.Path, "/secrets") && request.Query().Get("watch") != "" {
		r.Body = &freezable{ReadCloser: r.Body, news: &p.secretNews}
	}
	return nil
}

// freezable is a body that delivers nothing while news is locked.
type freezable struct {
	io.ReadCloser
	news *sync.RWMutex
}

func (f *freezable) Read(b []byte) (int, error) {
	n, err := f.ReadCloser.Read(b)
	f.news.RLock()
	defer f.news.RUnlock()
	return n, err
}
