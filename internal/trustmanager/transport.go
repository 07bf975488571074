// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	dialTimeout            = 10 * time.Second
	tlsHandshakeTimeout    = 10 * time.Second
	idleConnTimeout        = 30 * time.Second
	maxIdleConns           = 4
	maxResponseHeaderBytes = 64 << 10
)

// newTransport returns a transport that shares nothing with http.DefaultTransport:
// verified TLS 1.2 or newer, HTTP/1.1 only, no proxy from the environment, no
// transparent decompression (a gzip bomb inflates a thousandfold), bounded headers.
func newTransport(cfg Config) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: dialControl(cfg.DialControl)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        tlsConfig(cfg),
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdleConns,
		IdleConnTimeout:        idleConnTimeout,
		OnProxyConnectResponse: checkConnectResponse,
	}
	if cfg.ProxyURL != nil {
		transport.Proxy = http.ProxyURL(cfg.ProxyURL)
	}
	return transport
}

// withoutReuse makes every request open, use and close a connection of its own.
func withoutReuse(transport *http.Transport) *http.Transport {
	transport.DisableKeepAlives = true
	return transport
}

func dialControl(control func(network, address string, conn syscall.RawConn) error) func(string, string, syscall.RawConn) error {
	if control == nil {
		return nil
	}
	return func(network, address string, conn syscall.RawConn) error {
		if err := control(network, address, conn); err != nil {
			return &forbiddenDestinationError{err: err}
		}
		return nil
	}
}

// forbiddenDestinationError marks what Config.DialControl returned.
type forbiddenDestinationError struct{ err error }

func (e *forbiddenDestinationError) Error() string {
	return fmt.Sprintf("destination forbidden: %v", e.err)
}

func (e *forbiddenDestinationError) Unwrap() error { return e.err }

// proxyRefusedError is a proxy's answer other than 200 to CONNECT.
type proxyRefusedError struct{ status int }

func (e *proxyRefusedError) Error() string {
	return fmt.Sprintf("the proxy answered %d to CONNECT", e.status)
}

func checkConnectResponse(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode != http.StatusOK {
		return &proxyRefusedError{status: response.StatusCode}
	}
	return nil
}

func validateProxy(proxy *url.URL, clientCertificate *tls.Certificate) error {
	if proxy == nil {
		return nil
	}
	if proxy.Host == "" || (proxy.Scheme != "http" && proxy.Scheme != "https") {
		return errors.New("proxy URL must be http://host:port or https://host:port")
	}
	if proxy.Scheme == "https" && clientCertificate != nil {
		return errors.New("an https proxy could ask for the client certificate: use an http proxy with a client certificate")
	}
	return nil
}

func proxySecrets(proxy *url.URL) []string {
	if proxy == nil || proxy.User == nil {
		return nil
	}
	password, _ := proxy.User.Password()
	return []string{password}
}
