// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	// DefaultRequestTimeout is the deadline of one request where the issuer names none.
	DefaultRequestTimeout = 60 * time.Second
	// DefaultInventoryLag is how long the vendor's inventory may take to show a new certificate where the issuer does not say.
	DefaultInventoryLag = 5 * time.Minute
)

// Limits bound the requests of everything that shares a host and credential. Where several issuers share them, the smallest value
// of each holds: a limit is a promise to the vendor or to whoever pays. Values below one count as one, but for IssuancesPerDay.
type Limits struct {
	RequestsPerSecond int
	Burst             int
	MaxConcurrent     int
	// IssuancesPerDay bounds what is bought in a day of UTC; 0 means no bound.
	IssuancesPerDay int
}

// Connection is what the issuer controller has found out about an issuer.
type Connection struct {
	// UID and Generation are the issuer object's.
	UID        string
	Generation int64
	// Host is the vendor's as spec.url names it; it stands for the account whatever way in is used.
	Host string
	// URL is where requests go: spec.url, or its mutual TLS twin.
	URL string
	// Credential is empty while there is no usable one. No client is made then, and Ready must be false.
	Credential trustmanager.Credential
	// CredentialVersion identifies the credential and the CA certificates without giving them away. A new one makes a new client.
	CredentialVersion string
	// RootCAs vouch for the host; nil means the system's roots.
	RootCAs *x509.CertPool
	// ProxyURL is the forward proxy; nil means none.
	ProxyURL *url.URL
	Limits   Limits
	// RequestTimeout and InventoryLag default as DefaultRequestTimeout and DefaultInventoryLag do; a negative lag means none.
	RequestTimeout time.Duration
	InventoryLag   time.Duration
	// Suspended: nothing is bought.
	Suspended bool
	// Ready: the credential was accepted, or cannot be tried. Reason and Message say why not.
	Ready           bool
	Reason, Message string
	// Untried: that it is ready was found out by an earlier process. As soon as somebody wants to buy, Options.Probe asks for the issuer,
	// and nothing is bought before an Update without it.
	Untried bool
	// CanEnroll, CanSearch, CanRevoke and CanSpecify are what the credential was seen to be able to do, in other processes too.
	CanEnroll, CanSearch, CanRevoke, CanSpecify v1alpha1.CapabilityState
	// Blocked are the profiles that were blocked when this process started. Only the first Update of an issuer looks at them.
	Blocked []v1alpha1.BlockedProfile
	// Reservation is what the issuer's status tells of the budget. Every Update looks at it: another process may have written it.
	Reservation Reservation
}

// Update tells what became of an issuer. A changed spec or credential makes a new client; requests under way end with the old one.
// A credential that is only proven anew keeps its client, circuit and skew.
//
// The error is a *HostError if --allowed-hosts does not admit the URL or --allowed-proxies the proxy, and otherwise says which part of the connection is unusable.
// The issuer then has no client and is not ready.
func (r *Registry) Update(id ID, c Connection) error {
	r.mu.Lock()
	defer r.release()
	a := r.account(id)
	first := !a.known
	client, err := a.client, error(nil)
	if a.client == nil || a.version() != c.Version() {
		client, err = r.newClient(c)
	}
	if err != nil {
		c.Ready, c.Reason, c.Message = false, v1alpha1.ReasonInvalidSpec, err.Error()
		if _, forbidden := errors.AsType[*HostError](err); forbidden {
			c.Reason = v1alpha1.ReasonHostForbidden
		}
	}
	r.connect(a, c, client)
	if first {
		a.known = true
		a.lanes.block(a, c.Blocked)
	}
	r.dispatch(a.gate)
	return err
}

// connect puts an account on a connection. The lock is held.
func (r *Registry) connect(a *account, c Connection, client *trustmanager.Client) {
	if client != a.client {
		r.replaceClient(a, client)
	}
	if a.connection.UID != c.UID || a.connection.Generation != c.Generation {
		a.lanes.unblock()
	}
	old := a.gate
	a.connection, a.wanted = c, false
	a.budget.adopt(c.Reservation, r.options.Clock.Now())
	r.attach(a)
	if old != a.gate {
		r.dispatch(old)
	}
}

// replaceClient starts a new epoch: what is learned with the old client no longer counts. The lock is held.
func (r *Registry) replaceClient(a *account, client *trustmanager.Client) {
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	r.takeBack(a)
	a.client = client
	a.epoch++
	a.circuit = circuit{}
	a.allowance = 0
	a.canSpecify = ""
	a.lanes.disprove()
}

// newClient makes the client of a connection; nil when it has no credential.
func (r *Registry) newClient(c Connection) (*trustmanager.Client, error) {
	if err := r.options.Hosts.Check(c.URL); err != nil {
		return nil, err
	}
	if err := r.options.Hosts.CheckProxy(c.ProxyURL); err != nil {
		return nil, err
	}
	if c.Credential == (trustmanager.Credential{}) && !c.Ready {
		return nil, nil
	}
	client, err := trustmanager.New(trustmanager.Config{
		BaseURL:        c.URL,
		Credential:     c.Credential,
		RootCAs:        c.RootCAs,
		ProxyURL:       c.ProxyURL,
		DialControl:    r.options.Hosts.DialControl(c.ProxyURL),
		RequestTimeout: c.timeout(),
		UserAgent:      r.options.UserAgent,
		Now:            r.options.Clock.Now,
		Observe:        func(e trustmanager.Exchange) { r.options.Observe(c.Host, e) },
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the vendor: %w", err)
	}
	return client, nil
}

// Version identifies the issuer object, its spec and its credential.
func (c Connection) Version() string {
	return fmt.Sprintf("%s.%d.%s", c.UID, c.Generation, c.CredentialVersion)
}

func (c Connection) timeout() time.Duration {
	if c.RequestTimeout <= 0 {
		return DefaultRequestTimeout
	}
	return c.RequestTimeout
}

func (c Connection) inventoryLag() time.Duration {
	if c.InventoryLag == 0 {
		return DefaultInventoryLag
	}
	return max(c.InventoryLag, 0)
}

// probeable tells whether a request that costs nothing shows that the credential is accepted: a passcode can only buy.
func (c Connection) probeable() bool { return c.Credential.Passcode == "" }

// gateKey identifies what the vendor counts requests by. The digest never leaves the process.
type gateKey struct {
	url        string
	credential [sha256.Size]byte
}

func (c Connection) gateKey(baseURL string) gateKey {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q %q", len(c.Credential.APIToken), c.Credential.APIToken, c.Credential.Passcode)
	if certificate := c.Credential.ClientCertificate; certificate != nil {
		fmt.Fprint(h, hex.EncodeToString(certificate.Certificate[0]))
	}
	return gateKey{url: baseURL, credential: [sha256.Size]byte(h.Sum(nil))}
}
