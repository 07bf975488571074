// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testToken     = "01d5c0ffee_b41f8a2be6f7d9a1d0c3_tok"
	testProfile   = "IOT_00000000-0000-0000-0000-000000000001"
	testCertID    = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
	issuedAnswer  = `{"certificate_request_id":"r-1","status":"AUTO_APPROVED","result":"SUCCESS","certificate_id":"` + testCertID + `","pem":"PEM","private_key":"KEY"}`
	testTimeout   = 10 * time.Second
	shortDeadline = 150 * time.Millisecond
)

// recordedRequest is what a vendor server saw.
type recordedRequest struct {
	method, uri, proto string
	header             http.Header
	body               string
	peerCerts          int
}

// vendor is an HTTPS server that records requests and answers with a handler.
type vendor struct {
	*httptest.Server
	mu       sync.Mutex
	requests []recordedRequest
}

func newVendor(t *testing.T, handler http.HandlerFunc) *vendor {
	t.Helper()
	v := &vendor{}
	v.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		v.mu.Lock()
		v.requests = append(v.requests, recordedRequest{
			method: r.Method, uri: r.RequestURI, proto: r.Proto, header: r.Header.Clone(), body: string(body), peerCerts: len(r.TLS.PeerCertificates),
		})
		v.mu.Unlock()
		handler(w, r)
	}))
	v.Config.ErrorLog = silentLog()
	v.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	v.EnableHTTP2 = true
	v.StartTLS()
	t.Cleanup(v.Close)
	return v
}

func (v *vendor) recorded() []recordedRequest {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]recordedRequest{}, v.requests...)
}

func (v *vendor) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(v.Certificate())
	return pool
}

// client returns a client of the vendor, changed by the given functions.
func (v *vendor) client(t *testing.T, changes ...func(*Config)) *Client {
	t.Helper()
	return newTestClient(t, v.URL, v.roots(), changes...)
}

func newTestClient(t *testing.T, baseURL string, roots *x509.CertPool, changes ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		BaseURL: baseURL, Credential: Credential{APIToken: testToken}, RootCAs: roots, RequestTimeout: testTimeout,
	}
	for _, change := range changes {
		change(&cfg)
	}
	client, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func withDeadline(timeout time.Duration) func(*Config) {
	return func(cfg *Config) { cfg.RequestTimeout = timeout }
}

// answering returns a handler that sends a status, a content type and a body.
func answering(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func answeringJSON(status int, body string) http.HandlerFunc {
	return answering(status, "application/json", body)
}

// rawVendor is a TLS listener that lets a test write any bytes as an answer.
type rawVendor struct {
	url   string
	roots *x509.CertPool
}

// newRawVendor serves each connection with serve, which gets the number of the
// connection, counted from 1. The connection is closed when serve returns.
func newRawVendor(t *testing.T, config *tls.Config, serve func(conn net.Conn, number int)) rawVendor {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	var connections sync.WaitGroup
	connections.Go(func() {
		for number := 1; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() {
				defer conn.Close()
				serve(conn, number)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		connections.Wait()
	})
	pool := x509.NewCertPool()
	if leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0]); err == nil {
		pool.AddCert(leaf)
	}
	return rawVendor{url: "https://" + listener.Addr().String(), roots: pool}
}

// newAnsweringRawVendor reads one request per connection and writes raw bytes.
func newAnsweringRawVendor(t *testing.T, raw string) rawVendor {
	t.Helper()
	return newRawVendor(t, serverTLS(t), func(conn net.Conn, _ int) {
		if readRequest(bufio.NewReader(conn)) != "" {
			_, _ = io.WriteString(conn, raw)
		}
	})
}

func (v rawVendor) client(t *testing.T, changes ...func(*Config)) *Client {
	t.Helper()
	return newTestClient(t, v.url, v.roots, changes...)
}

// readRequest reads a whole request and returns its method, "" if none came.
func readRequest(reader *bufio.Reader) string {
	request, err := http.ReadRequest(reader)
	if err != nil {
		return ""
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return ""
	}
	return request.Method
}

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{newCertificate(t, nil)}}
}

// newCertificate returns a self-signed certificate for 127.0.0.1, changed by change.
func newCertificate(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("generate key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatalf("create certificate: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func testKeyRequest() KeyRequest {
	return KeyRequest{
		ProfileID:             testProfile,
		CertificateAttributes: []Attribute{{ID: "subject.common_name", Value: "gw-17"}},
		DeviceAttributes:      []Attribute{{ID: "DEVICE_IDENTIFIER", Value: "gw-17"}},
		KeyType:               "p_256",
		PrivateKeyFormat:      "pkcs_12",
		PKCS12Password:        "Abc12345xyz",
		IncludeChain:          true,
	}
}

// mustFail returns err as *Error or ends the test.
func mustFail(t *testing.T, err error) *Error {
	t.Helper()
	failure, ok := AsError(err)
	if !ok {
		t.Fatalf("got error %v, want an *Error", err)
	}
	return failure
}

// verdict is what callers decide upon.
type verdict struct {
	Delivery Delivery
	Actor    Actor
	Status   int
}

func verdictOf(e *Error) verdict { return verdict{e.Delivery, e.Actor, e.HTTPStatus} }

// silentLog keeps net/http's servers from reporting the failures that tests provoke.
func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }
