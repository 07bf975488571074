// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"
)

const readHeaderTimeout = 10 * time.Second

// Addresses say where to listen, as host:port; port 0 picks a free one. An empty address leaves that listener out.
type Addresses struct {
	// API is the vendor's API with API keys and passcodes.
	API string
	// ClientAuth is the vendor's API with TLS client certificates; at the vendor it is another host name.
	ClientAuth string
	// Admin is the simulator's own API, plain HTTP without a credential: keep it on loopback.
	Admin string
	// Hosts are further DNS names and IP addresses for the serving certificate. localhost and the loopback addresses are
	// in it always.
	Hosts []string
}

// Running is a Server that listens.
type Running struct {
	// URL, ClientAuthURL and AdminURL are the base URLs, without a trailing slash; empty for a listener left out.
	URL, ClientAuthURL, AdminURL string

	interrupt func()
	errors    *log.Logger // what net/http has to say, such as failed handshakes
	servers   []*http.Server
	failed    chan error
}

// Start listens and serves in the background. The caller ends it with Stop, before Server.Close.
func (s *Server) Start(addresses Addresses) (*Running, error) {
	api, err := s.TLSConfig(addresses.Hosts...)
	if err != nil {
		return nil, err
	}
	clientAuth := api.Clone()
	clientAuth.ClientAuth = tls.RequestClientCert
	running := &Running{interrupt: s.interrupt, errors: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn), failed: make(chan error, 3)}
	for _, listener := range []struct {
		address string
		tls     *tls.Config
		handler http.Handler
		url     *string
	}{
		{addresses.API, api, s.Handler(), &running.URL},
		{addresses.ClientAuth, clientAuth, s.Handler(), &running.ClientAuthURL},
		{addresses.Admin, nil, s.AdminHandler(), &running.AdminURL},
	} {
		if listener.address == "" {
			continue
		}
		url, err := running.serve(listener.address, listener.tls, listener.handler)
		if err != nil {
			return nil, errors.Join(err, running.Stop(context.Background()))
		}
		*listener.url = url
	}
	return running, nil
}

func (r *Running) serve(address string, config *tls.Config, handler http.Handler) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return "", fmt.Errorf("listen on %s: %w", address, err)
	}
	url := "http://" + listener.Addr().String()
	if config != nil {
		url = "https://" + listener.Addr().String()
		listener = tls.NewListener(listener, config)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ErrorLog: r.errors}
	r.servers = append(r.servers, server)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.failed <- err
		}
	}()
	return url, nil
}

// Failed delivers the error of a listener that ended by itself.
func (r *Running) Failed() <-chan error { return r.failed }

// Stop drops requests held by faults, lets the others finish until the context ends, then closes their connections. A
// Server that was stopped is not started again: open another one on the same ledger.
func (r *Running) Stop(ctx context.Context) error {
	r.interrupt()
	var problems []error
	for _, server := range r.servers {
		if err := server.Shutdown(ctx); err != nil {
			problems = append(problems, server.Close())
		}
	}
	return errors.Join(problems...)
}

// TLSConfig is the configuration of the API listener, with a serving certificate for localhost, the loopback addresses and
// the hosts. HTTP/2 is not offered: faults that cut the connection need HTTP/1.1. Trust TLSCertificate to connect. For the
// client certificate listener set ClientAuth to tls.RequestClientCert.
func (s *Server) TLSConfig(hosts ...string) (*tls.Config, error) {
	serving, err := s.transport.endpoint(pkix.Name{CommonName: "simulator"}, append([]string{"localhost", "127.0.0.1", "::1"}, hosts...), x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		Certificates: []tls.Certificate{{
			Certificate: [][]byte{serving.certificate.Raw, s.transport.issuing.certificate.Raw},
			PrivateKey:  serving.key,
		}},
	}, nil
}

// endpoint issues a TLS certificate, valid as long as its issuer: connections are not what the calendar of the simulator
// rehearses.
func (a authority) endpoint(subject pkix.Name, hosts []string, usage x509.ExtKeyUsage) (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, err
	}
	template := &x509.Certificate{
		Subject:               subject,
		NotBefore:             a.issuing.certificate.NotBefore,
		NotAfter:              a.issuing.certificate.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{usage},
		BasicConstraintsValid: true,
	}
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, host)
	}
	certificate, err := a.issuing.sign(template, key.Public())
	return signer{certificate: certificate, key: key}, err
}
