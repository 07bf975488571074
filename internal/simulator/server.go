// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Server is one simulated account. It is safe for concurrent use.
type Server struct {
	profiles    map[string]Profile
	now         func() time.Time
	log         *slog.Logger
	ledger      *ledger
	authority   authority
	transport   authority // serving and client certificates; nothing a device ever sees
	clients     map[string]tls.Certificate
	credentials credentials
	keys        *keyPool
	faults      *faultBook
	requests    *requestLog

	mu       sync.Mutex
	switches Switches

	closing     chan struct{} // closed by interrupt
	interrupted sync.Once
}

// New validates the configuration, opens the ledger, and creates the certificate authorities if the ledger has none.
// The caller closes the Server.
func New(config Config) (*Server, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("simulator configuration: %w", err)
	}
	s := &Server{
		profiles: map[string]Profile{},
		now:      config.Now,
		log:      config.Logger,
		clients:  map[string]tls.Certificate{},
		faults:   newFaultBook(),
		requests: newRequestLog(),
		switches: config.Switches,
		closing:  make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, p := range config.Profiles {
		s.profiles[p.ID] = p.withDefaults()
	}
	var err error
	if s.ledger, err = openLedger(config.LedgerPath); err != nil {
		return nil, err
	}
	if err := s.prepareAuthorities(config); err != nil {
		return nil, errors.Join(err, s.ledger.close())
	}
	s.keys = newKeyPool(config.KeyPool, s.closing)
	return s, nil
}

func (s *Server) prepareAuthorities(config Config) error {
	var err error
	if s.authority, err = storedAuthority(s.ledger, "Simulated Device", deviceSpan(s.now())); err != nil {
		return err
	}
	if s.transport, err = storedAuthority(s.ledger, "Simulator TLS", transportSpan()); err != nil {
		return err
	}
	s.credentials, err = newCredentials(config, s.generateClient)
	return err
}

// generateClient issues a client certificate, or finds the one issued before a restart.
func (s *Server) generateClient(name string) (*x509.Certificate, error) {
	text, err := s.ledger.material("client/"+name, func() ([]byte, error) {
		client, err := s.transport.endpoint(pkix.Name{CommonName: name}, nil, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return nil, err
		}
		return client.encode()
	})
	if err != nil {
		return nil, err
	}
	client, _, err := decodeSigner(text)
	if err != nil {
		return nil, err
	}
	s.clients[name] = tls.Certificate{
		Certificate: [][]byte{client.certificate.Raw, s.transport.issuing.certificate.Raw},
		PrivateKey:  client.key,
		Leaf:        client.certificate,
	}
	return client.certificate, nil
}

// Close drops held requests and closes the ledger. Stop what Start returned first.
func (s *Server) Close() error {
	s.interrupt()
	return s.ledger.close()
}

// interrupt drops the requests that faults hold, delay or slow down.
func (s *Server) interrupt() { s.interrupted.Do(func() { close(s.closing) }) }

// Handler serves the vendor's API, for a TLS listener that asks for no client certificate.
func (s *Server) Handler() http.Handler { return s.routes() }

// ClientCertificate returns the certificate and key of a configured client certificate with generate: true.
func (s *Server) ClientCertificate(name string) (tls.Certificate, bool) {
	certificate, ok := s.clients[name]
	return certificate, ok
}

// RootCertificate is the PEM root above every device certificate.
func (s *Server) RootCertificate() string { return certificatePEM(s.authority.root.certificate) }

// TLSCertificate is the PEM root to trust for connections to the simulator.
func (s *Server) TLSCertificate() string { return certificatePEM(s.transport.root.certificate) }

// Ledger returns every certificate ever issued, oldest first, with its status now.
func (s *Server) Ledger() []Entry { return s.ledger.all(s.now()) }

// Requests returns the latest requests, oldest first. Secrets in them are masked.
func (s *Server) Requests() []Request { return s.requests.all() }

// Switches returns the present settings.
func (s *Server) Switches() Switches {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.switches
}

// SetSwitches replaces all settings.
func (s *Server) SetSwitches(switches Switches) error {
	if err := switches.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.switches = switches
	return nil
}

// RevokeSerial revokes a certificate as if somebody did it in the vendor's portal.
func (s *Server) RevokeSerial(serial, reason string) error {
	entry, ok := s.ledger.find(serial)
	if !ok {
		return notFound("certificate %s does not exist", serial)
	}
	return s.revokeEntry(entry.CertificateID, reason)
}

// Summary counts certificates by some key.
type Summary struct {
	// Issued counts every certificate ever issued.
	Issued int `json:"issued"`
	// Revoked counts the revoked ones.
	Revoked int `json:"revoked"`
	// Live counts those neither revoked nor expired.
	Live int `json:"live"`
	// Unanswered counts those whose answer did not leave whole.
	Unanswered int `json:"unanswered"`
}

// Summaries are the counts of the whole ledger.
type Summaries struct {
	Total        Summary            `json:"total"`
	ByCommonName map[string]Summary `json:"byCommonName"`
	ByProfile    map[string]Summary `json:"byProfile"`
}

// Summary counts the ledger, to prove that nothing was issued twice.
func (s *Server) Summary() Summaries {
	sums := Summaries{ByCommonName: map[string]Summary{}, ByProfile: map[string]Summary{}}
	for _, e := range s.Ledger() {
		sums.Total = sums.Total.with(e)
		sums.ByCommonName[e.CommonName] = sums.ByCommonName[e.CommonName].with(e)
		sums.ByProfile[e.ProfileID] = sums.ByProfile[e.ProfileID].with(e)
	}
	return sums
}

func (s Summary) with(e Entry) Summary {
	s.Issued++
	switch e.Status {
	case statusRevoked:
		s.Revoked++
	case statusIssued:
		s.Live++
	}
	if !e.Answered {
		s.Unanswered++
	}
	return s
}
