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
	p := &apiProxy{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport:      transport,
		FlushInterval:  -1,
		ModifyResponse: p.slowDown,
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p.pass(r)
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
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

// hold keeps the next request back that matches: wait for arrived, then close opened.
func (p *apiProxy) hold(match func(*http.Request) bool) *gate {
	g := &gate{match: match, arrived: make(chan struct{}), opened: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gates = append(p.gates, g)
	return g
}

// pass waits at the gate of the request, if there is one.
func (p *apiProxy) pass(r *http.Request) {
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
		return
	}
	close(found.arrived)
	select {
	case <-found.opened:
	case <-r.Context().Done():
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

// rehearsalOf matches the dry run of writing that Secret.
func rehearsalOf(name string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/secrets/"+name) && r.URL.Query().Get("dryRun") != ""
	}
}
