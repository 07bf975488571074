// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRedirectsAreNotFollowedAndLeakNothing(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, target := range map[string]func(other, own string) string{
			"to another host":   func(other, _ string) string { return other + "/iot/api/v1/certificate" },
			"to plain http":     func(other, _ string) string { return strings.Replace(other, "https:", "http:", 1) },
			"on the same host":  func(_, own string) string { return own + "/elsewhere" },
			"nowhere":           func(_, _ string) string { return "" },
			"to an invalid URL": func(_, _ string) string { return "https://[::1" },
		} {
			t.Run(http.StatusText(status)+" "+name, func(t *testing.T) {
				other := newVendor(t, answeringJSON(200, issuedAnswer))
				var v *vendor
				v = newVendor(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", target(other.URL, v.URL))
					w.WriteHeader(status)
				})
				roots := v.roots()
				roots.AddCert(other.Certificate())
				_, err := newTestClient(t, v.URL, roots).Enroll(t.Context(), testKeyRequest())
				if diff := cmp.Diff(verdict{Ambiguous, Issuer, status}, verdictOf(mustFail(t, err))); diff != "" {
					t.Errorf("verdict (-want +got):\n%s", diff)
				}
				if got := len(other.recorded()); got != 0 {
					t.Errorf("the other host saw %d requests", got)
				}
				if got := len(v.recorded()); got != 1 {
					t.Errorf("the vendor saw %d requests, want 1", got)
				}
			})
		}
	}
}

func TestCookiesAreNotKept(t *testing.T) {
	v := newVendor(t, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "x"})
		_, _ = io.WriteString(w, `{"records":[]}`)
	})
	client := v.client(t)
	for range 2 {
		if _, err := client.Search(t.Context(), SearchQuery{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := v.recorded()[1].header.Get("Cookie"); got != "" {
		t.Errorf("the second request carries cookie %q", got)
	}
}

func TestAServerThatCannotBeTrustedIsSentNothing(t *testing.T) {
	trusted := newCertificate(t, nil)
	cases := map[string]struct {
		config *tls.Config
		roots  *tls.Certificate // nil means the server's own
	}{
		"unknown CA": {&tls.Config{Certificates: []tls.Certificate{newCertificate(t, nil)}}, &trusted},
		"another host": {&tls.Config{Certificates: []tls.Certificate{newCertificate(t, func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"one.digicert.com"}
		})}}, nil},
		"expired": {&tls.Config{Certificates: []tls.Certificate{newCertificate(t, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = c.NotBefore.Add(-48*time.Hour), c.NotAfter.Add(-48*time.Hour)
		})}}, nil},
		"TLS 1.1 only": {&tls.Config{Certificates: []tls.Certificate{trusted}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var bytesRead atomic.Int64
			v := newRawVendor(t, tc.config, func(conn net.Conn, _ int) {
				n, _ := io.Copy(io.Discard, conn)
				bytesRead.Add(n)
			})
			roots := v.roots
			if tc.roots != nil {
				roots = x509.NewCertPool()
				leaf, err := x509.ParseCertificate(tc.roots.Certificate[0])
				if err != nil {
					t.Fatal(err)
				}
				roots.AddCert(leaf)
			}
			_, err := newTestClient(t, v.url, roots).Enroll(t.Context(), testKeyRequest())
			if diff := cmp.Diff(verdict{NotSent, Issuer, 0}, verdictOf(mustFail(t, err))); diff != "" {
				t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
			}
			if bytesRead.Load() != 0 {
				t.Errorf("the server read %d bytes", bytesRead.Load())
			}
			if strings.Contains(err.Error(), "current time") {
				t.Errorf("the text changes with the clock: %v", err)
			}
		})
	}
}

func TestFailuresBeforeTheRequestAreNotSent(t *testing.T) {
	t.Run("connection refused", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		_, err = newTestClient(t, "https://"+listener.Addr().String(), nil).Enroll(t.Context(), testKeyRequest())
		if diff := cmp.Diff(verdict{NotSent, Nobody, 0}, verdictOf(mustFail(t, err))); diff != "" {
			t.Errorf("verdict (-want +got):\n%s", diff)
		}
	})
	for name, serve := range map[string]func(net.Conn){
		"handshake stalls":              func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"closed in the handshake":       func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) },
		"closed at once without a byte": func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			address := newTCPServer(t, serve)
			_, err := newTestClient(t, "https://"+address, nil, withDeadline(shortDeadline)).Enroll(t.Context(), testKeyRequest())
			if diff := cmp.Diff(verdict{NotSent, Nobody, 0}, verdictOf(mustFail(t, err))); diff != "" {
				t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
			}
		})
	}
	t.Run("plain HTTP server", func(t *testing.T) {
		server := httptest.NewServer(answeringJSON(200, issuedAnswer))
		defer server.Close()
		server.Config.ErrorLog = silentLog()
		_, err := newTestClient(t, strings.Replace(server.URL, "http:", "https:", 1), nil).Enroll(t.Context(), testKeyRequest())
		if diff := cmp.Diff(verdict{NotSent, Issuer, 0}, verdictOf(mustFail(t, err))); diff != "" {
			t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
		}
	})
}

// newTCPServer serves plain TCP connections and returns its address.
func newTCPServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func TestAForbiddenDestinationIsNotDialled(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	reason := errors.New("loopback is not allowed")
	var dialled string
	client := v.client(t, func(cfg *Config) {
		cfg.DialControl = func(_, address string, _ syscall.RawConn) error {
			dialled = address
			return reason
		}
	})
	_, err := client.Enroll(t.Context(), testKeyRequest())
	failure := mustFail(t, err)
	if diff := cmp.Diff(verdict{NotSent, Issuer, 0}, verdictOf(failure)); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if !failure.DestinationForbidden() || !errors.Is(err, reason) {
		t.Errorf("error %v does not show that the destination is forbidden", err)
	}
	if want := strings.TrimPrefix(v.URL, "https://"); dialled != want {
		t.Errorf("the control saw address %q, want %q", dialled, want)
	}
	if len(v.recorded()) != 0 {
		t.Error("the vendor saw the request")
	}
}

func TestAnAllowedDestinationIsReached(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	client := v.client(t, func(cfg *Config) {
		cfg.DialControl = func(string, string, syscall.RawConn) error { return nil }
	})
	if _, err := client.Enroll(t.Context(), testKeyRequest()); err != nil {
		t.Error(err)
	}
}

func TestAClientCertificateIsPresentedWithoutAnAPIKey(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	certificate := newCertificate(t, nil)
	client := v.client(t, func(cfg *Config) { cfg.Credential = Credential{ClientCertificate: &certificate} })
	if _, err := client.Enroll(t.Context(), testKeyRequest()); err != nil {
		t.Fatal(err)
	}
	request := v.recorded()[0]
	if request.peerCerts != 1 {
		t.Errorf("the vendor saw %d client certificates, want 1", request.peerCerts)
	}
	for _, name := range []string{"X-Api-Key", "X-Passcode"} {
		if _, present := request.header[name]; present {
			t.Errorf("%s is sent beside a client certificate", name)
		}
	}
}

func TestAServerThatRefusesTheClientCertificateHasReadNothing(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			config := serverTLS(t)
			config.ClientAuth, config.MaxVersion = tls.RequireAnyClientCert, version
			v := newRawVendor(t, config, func(conn net.Conn, _ int) {
				_ = conn.(*tls.Conn).Handshake()
				_, _ = io.Copy(io.Discard, conn.(*tls.Conn).NetConn()) // let the alert arrive before the close
			})
			_, err := v.client(t).Enroll(t.Context(), testKeyRequest())
			if diff := cmp.Diff(verdict{NotSent, Issuer, 0}, verdictOf(mustFail(t, err))); diff != "" {
				t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestHTTP2IsNotSpokenToAServerThatOffersIt(t *testing.T) {
	v := newVendor(t, answeringJSON(200, `{"records":[],"pem":"PEM"}`))
	client := v.client(t)
	if _, err := client.Enroll(t.Context(), testKeyRequest()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Search(t.Context(), SearchQuery{}); err != nil {
		t.Fatal(err)
	}
	for _, request := range v.recorded() {
		if request.proto != "HTTP/1.1" {
			t.Errorf("%s was sent with %s", request.method, request.proto)
		}
	}
}

func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	client := newTestClient(t, "https://vendor.invalid", nil, withDeadline(2*time.Second))
	// net/http reads the environment once per process, perhaps before this test.
	if client.pooled.Proxy != nil || client.fresh.Proxy != nil {
		t.Error("a transport has a proxy that was not configured")
	}
	_, err := client.Enroll(t.Context(), testKeyRequest())
	if failure := mustFail(t, err); failure.Delivery != NotSent {
		t.Errorf("delivery is %s, want NotSent", failure.Delivery)
	}
	if asked.Load() != 0 {
		t.Error("the proxy of the environment was asked")
	}
}

func TestAConfiguredProxyTunnelsAndSeesNoCredential(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	proxy := newProxy(t)
	client := v.client(t, func(cfg *Config) {
		cfg.ProxyURL = proxy.url(t)
		cfg.ProxyURL.User = url.UserPassword("user", "proxy-password")
	})
	if _, err := client.Enroll(t.Context(), testKeyRequest()); err != nil {
		t.Fatal(err)
	}
	seen := proxy.seen.Load()
	if seen == nil || seen.Method != http.MethodConnect || "https://"+seen.Host != v.URL {
		t.Fatalf("the proxy saw %+v, want CONNECT to %s", seen, v.URL)
	}
	if seen.Header.Get("X-Api-Key") != "" || seen.Header.Get("Proxy-Authorization") == "" {
		t.Errorf("the proxy saw headers %v, want its own authorization only", seen.Header)
	}
}

func TestAProxyThatRefusesMeansNotSent(t *testing.T) {
	for status, actor := range map[int]Actor{403: Issuer, 407: Issuer, 502: Nobody} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			v := newVendor(t, answeringJSON(200, issuedAnswer))
			proxy := newProxy(t)
			proxy.refuse = status
			client := v.client(t, func(cfg *Config) { cfg.ProxyURL = proxy.url(t) })
			_, err := client.Enroll(t.Context(), testKeyRequest())
			if diff := cmp.Diff(verdict{NotSent, actor, 0}, verdictOf(mustFail(t, err))); diff != "" {
				t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
			}
			if len(v.recorded()) != 0 {
				t.Error("the vendor saw the request")
			}
		})
	}
}

func TestAProxyThatIsDownMeansNotSent(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	proxy := newProxy(t)
	proxy.Close()
	client := v.client(t, func(cfg *Config) { cfg.ProxyURL = proxy.url(t) })
	_, err := client.Enroll(t.Context(), testKeyRequest())
	failure := mustFail(t, err)
	if diff := cmp.Diff(verdict{NotSent, Nobody, 0}, verdictOf(failure)); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if !strings.Contains(failure.Message, "proxy") {
		t.Errorf("message %q does not name the proxy", failure.Message)
	}
}

// connectProxy is a forward proxy that tunnels one connection per CONNECT.
type connectProxy struct {
	*httptest.Server
	refuse int
	seen   atomic.Pointer[http.Request]
}

func newProxy(t *testing.T) *connectProxy {
	t.Helper()
	proxy := &connectProxy{}
	proxy.Server = httptest.NewServer(proxy)
	t.Cleanup(proxy.Close)
	return proxy
}

func (p *connectProxy) url(t *testing.T) *url.URL {
	t.Helper()
	parsed, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.seen.Store(r)
	if p.refuse != 0 {
		w.WriteHeader(p.refuse)
		return
	}
	target, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer target.Close()
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(target, client)
		_ = target.Close()
	}()
	_, _ = io.Copy(client, target)
}
