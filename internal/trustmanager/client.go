// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// DefaultRequestTimeout is the deadline of one call when Config names none.
	DefaultRequestTimeout = 60 * time.Second

	// DefaultMaxBodyBytes is the largest answer read when Config names no limit.
	// The largest honest one is a search page: 100 records of a leaf and two CA
	// certificates, some 8 KiB each with RSA 4096, hence below 1 MiB. Twice that
	// leaves room and keeps a dozen hostile answers in parallel harmless.
	DefaultMaxBodyBytes = 2 << 20

	maxMaxBodyBytes = 64 << 20

	// maxIssuedBytes bounds the answer to a request that changes something: a chain of ten
	// certificates with RSA 8192, and again the same beside the key in base64, is below 128 KiB.
	// Reading and decoding costs eight times as much memory, and many answers may come at once.
	maxIssuedBytes = 256 << 10

	defaultUserAgent = "devicecert-operator"
)

// Config says where the vendor is and how to reach it. The zero value of every
// field but BaseURL and Credential is usable.
type Config struct {
	// BaseURL is scheme and host, e.g. "https://one.digicert.com"; see
	// [ParseBaseURL] for what is accepted. With a client certificate it must be the
	// vendor's mTLS host; see [ClientAuthURL].
	BaseURL string

	// Credential authenticates every call. Exactly one of its fields is set.
	Credential Credential

	// RootCAs verifies the vendor's server certificate; nil means the system's roots.
	// There is no way to turn verification off.
	RootCAs *x509.CertPool

	// ProxyURL is an http or https forward proxy, asked to CONNECT; nil means none.
	// HTTP_PROXY and its relatives in the environment are never used. An https proxy
	// cannot be combined with a client certificate, because it could ask for it.
	ProxyURL *url.URL

	// DialControl is called after name resolution and before each connection is
	// opened (it is [net.Dialer.Control]), with the address that would be dialled: the
	// vendor's, or the proxy's if there is one. An error forbids the destination;
	// see [Error.DestinationForbidden]. Nil allows every destination.
	DialControl func(network, address string, conn syscall.RawConn) error

	// RequestTimeout is the absolute deadline of one call, from name resolution to the
	// last byte of the answer. Default: DefaultRequestTimeout.
	RequestTimeout time.Duration

	// UserAgent is the User-Agent header; default "devicecert-operator".
	UserAgent string

	// MaxBodyBytes is the largest answer accepted, up to 64 MiB. Default:
	// DefaultMaxBodyBytes.
	MaxBodyBytes int64

	// Now is the clock for Retry-After dates, for the skew against the vendor's Date
	// header and for [Exchange.Duration]; default time.Now. Deadlines use the runtime's
	// timers.
	Now func() time.Time

	// Observe is told of every call that made a request, after it has ended and before
	// its caller knows. It must not block. Nil: nobody is told.
	Observe func(Exchange)
}

// Exchange is one request to the vendor as it is counted: nothing in it was written
// by the vendor or is secret.
type Exchange struct {
	// Op is the operation: enroll, renew, search, revoke or specification.
	Op string

	// HTTPStatus is the status of the answer; 0 when there was none.
	HTTPStatus int

	// Duration is the time from the name's resolution to the last byte of the answer.
	Duration time.Duration
}

// Client calls the vendor with one credential. It is safe for concurrent use and
// must be made by [New].
type Client struct {
	baseURL        *url.URL
	authenticate   func(http.Header)
	pooled         *http.Transport // reads: connections are kept and reused
	fresh          *http.Transport // writes: one connection per request
	requestTimeout time.Duration
	userAgent      string
	maxBodyBytes   int64
	now            func() time.Time
	observe        func(Exchange)
	secrets        []string // never to appear in an error

	skew atomic.Pointer[time.Duration]
}

// New checks the configuration and returns a client. It opens no connection. Its
// errors name the field at fault and never show a credential.
func New(cfg Config) (*Client, error) {
	base, err := ParseBaseURL(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if err := cfg.Credential.validate(); err != nil {
		return nil, err
	}
	if err := validateProxy(cfg.ProxyURL, cfg.Credential.ClientCertificate); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if cfg.RequestTimeout < 0 {
		return nil, errors.New("request timeout must not be negative")
	}
	if cfg.MaxBodyBytes < 0 || cfg.MaxBodyBytes > maxMaxBodyBytes {
		return nil, fmt.Errorf("body limit must be between 0 and %d bytes", maxMaxBodyBytes)
	}
	if !isHeaderValue(cfg.UserAgent) {
		return nil, errors.New("user agent must consist of printable ASCII characters")
	}
	return &Client{
		baseURL:        base,
		authenticate:   cfg.Credential.authenticate,
		pooled:         newTransport(cfg),
		fresh:          withoutReuse(newTransport(cfg)),
		requestTimeout: cfg.RequestTimeout,
		userAgent:      cfg.UserAgent,
		maxBodyBytes:   cfg.MaxBodyBytes,
		now:            cfg.Now,
		observe:        cfg.Observe,
		secrets:        append(cfg.Credential.secrets(), proxySecrets(cfg.ProxyURL)...),
	}, nil
}

func (cfg Config) withDefaults() Config {
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.MaxBodyBytes == 0 {
		cfg.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = defaultUserAgent
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Exchange) {}
	}
	return cfg
}

// CloseIdleConnections closes kept connections; calls in flight go on. Call it when
// the client is replaced, for example after its credential was rotated.
func (c *Client) CloseIdleConnections() {
	c.pooled.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}

// BaseURL returns the normalised base URL: scheme and lower-case host, and the port
// unless it is 443.
func (c *Client) BaseURL() string { return c.baseURL.String() }

// Skew returns by how much the vendor's clock was ahead of ours (negative: behind)
// when it last answered, and whether it has answered with a Date header at all. The
// header has a resolution of one second. The value is the vendor's word: bound what
// you let it decide.
func (c *Client) Skew() (skew time.Duration, known bool) {
	last := c.skew.Load()
	if last == nil {
		return 0, false
	}
	return *last, true
}

// Format shows the client as its base URL alone, whatever the verb.
func (c *Client) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "trustmanager.Client("+c.baseURL.String()+")")
}

var _ fmt.Formatter = (*Client)(nil)

// tlsConfig is the same for the vendor and, should it speak TLS, the proxy.
func tlsConfig(cfg Config) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs}
	if cfg.Credential.ClientCertificate != nil {
		config.Certificates = []tls.Certificate{*cfg.Credential.ClientCertificate}
	}
	return config
}
