// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// ID names an issuer object.
type ID struct {
	Kind v1alpha1.IssuerKind
	// Namespace is empty for a ClusterDeviceIssuer.
	Namespace string
	Name      string
}

// String is the ID for messages and as a seed of jitter.
func (id ID) String() string {
	if id.Namespace == "" {
		return string(id.Kind) + " " + id.Name
	}
	return string(id.Kind) + " " + id.Namespace + "/" + id.Name
}

// Options are what a Registry needs from its surroundings; all fields but Log and UserAgent are required.
type Options struct {
	Clock clock.WithDelayedExecution
	// Wake is told that a waiting DeviceCertificate may try again. It must not block and must not call the Registry.
	Wake func(types.NamespacedName)
	// Probe asks the issuer controller to reconcile an issuer now. It must not block and must not call the Registry.
	Probe func(ID)
	Log   logr.Logger
	// UserAgent is sent to the vendor.
	UserAgent string
	// Hosts may receive credentials.
	Hosts HostPolicy
	// Observe is told of every request to a host that has ended, Waited how long a purchase waited for the leave it was just given.
	// Neither may block or call the Registry. Nil: nobody is told.
	Observe func(host string, e trustmanager.Exchange)
	Waited  func(host string, d time.Duration)
}

// Registry holds the accounts of all issuers. It is safe for concurrent use and none of its methods blocks but Call.
type Registry struct {
	options Options

	mu       sync.Mutex
	accounts map[ID]*account
	gates    map[gateKey]*gate
	waiters  map[types.NamespacedName]*waiter
	arrivals uint64 // numbers the waiters in the order they came

	// To be told once mu is released.
	wakes  []types.NamespacedName
	probes []ID
}

// NewRegistry returns a Registry that knows no issuer.
func NewRegistry(o Options) *Registry {
	if o.Observe == nil {
		o.Observe = func(string, trustmanager.Exchange) {}
	}
	if o.Waited == nil {
		o.Waited = func(string, time.Duration) {}
	}
	return &Registry{
		options:  o,
		accounts: map[ID]*account{},
		gates:    map[gateKey]*gate{},
		waiters:  map[types.NamespacedName]*waiter{},
	}
}

// Remove forgets an issuer that was deleted. Requests under way end; who waits for it goes on waiting, in case it returns.
func (r *Registry) Remove(id ID) {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok {
		return
	}
	a.known = false
	if a.gate != nil {
		a.gate.depart(a)
	}
	r.connect(a, Connection{}, nil)
	r.forgetIfIdle(a)
}

// Withdraw takes a DeviceCertificate out of all heaps: it is gone, or has nothing to buy any more. A token that was kept for it goes
// to the next.
func (r *Registry) Withdraw(key types.NamespacedName) {
	r.mu.Lock()
	defer r.release()
	w, ok := r.waiters[key]
	if !ok {
		return
	}
	r.drop(w)
	r.dispatch(w.lane.account.gate)
}

// State is what is known of an issuer at one moment.
type State struct {
	// Known: the issuer controller has seen the issuer. While false all other fields but RequestTimeout and InventoryLag, which are
	// the defaults, are zero.
	Known bool
	// Ready: the issuer can be bought from. It is also true when a single request may try whether an obstacle is gone; Reason and
	// Message then still say what the obstacle was.
	Ready     bool
	Suspended bool
	// Reason and Message say why the issuer is not ready; Reason is one of the reasons of the API. Both are empty if all is well.
	Reason, Message string
	// RetryAt is when one request may try whether the obstacle is gone; zero when only a probe or a change can tell.
	RetryAt time.Time
	// Host is the vendor's, as the issuer's spec names it.
	Host string
	// Version changes with the issuer object, its spec and its credential.
	Version string
	// CanEnroll, CanSearch and CanRevoke are what the credential was seen to be able to do. Only a No is sure.
	CanEnroll v1alpha1.CapabilityState
	CanSearch bool
	CanRevoke bool
	// CanSpecify: the credential may read enrollment specifications.
	CanSpecify v1alpha1.CapabilityState
	// RequestTimeout is the deadline of one request.
	RequestTimeout time.Duration
	// InventoryLag is how long the vendor's inventory may take to show a new certificate.
	InventoryLag time.Duration
	// Skew is the vendor's clock minus ours, if SkewKnown.
	Skew      time.Duration
	SkewKnown bool
	// IssuancesPerDay is the budget that the issuer shares with all of its host and credential, 0 for none; IssuedToday is what of it
	// this issuer has bought or is about to. BudgetExceeded: somebody was told today to wait for another day.
	IssuancesPerDay, IssuedToday int
	BudgetExceeded               bool
	// InFlight counts the requests under way, Waiting those that wait for a lease.
	InFlight, Waiting int
	// CircuitOpen: nothing is bought, but for single trials, because the last purchases or probes failed.
	CircuitOpen bool
	// RecoveredAt is when that ended last in this process; zero for never.
	RecoveredAt time.Time
}

// State returns what is known of an issuer now.
func (r *Registry) State(id ID) State {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok || !a.known {
		return State{RequestTimeout: DefaultRequestTimeout, InventoryLag: DefaultInventoryLag}
	}
	return a.state(r.options.Clock.Now())
}

// Blocked returns the profiles an issuer does not buy from until somebody acts, in a stable order.
func (r *Registry) Blocked(id ID) []v1alpha1.BlockedProfile {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok {
		return nil
	}
	return a.lanes.blocked()
}

// release unlocks and then tells the surroundings what they have to know.
func (r *Registry) release() {
	wakes, probes := r.wakes, r.probes
	r.wakes, r.probes = nil, nil
	r.mu.Unlock()
	for _, key := range wakes {
		r.options.Wake(key)
	}
	for _, id := range probes {
		r.options.Probe(id)
	}
}

// account returns the account of an issuer, known or not. The lock is held.
func (r *Registry) account(id ID) *account {
	a, ok := r.accounts[id]
	if !ok {
		a = &account{id: id, lanes: lanes{}}
		r.accounts[id] = a
	}
	return a
}

// forgetIfIdle drops the place that was kept for an unknown issuer when nobody waits for it. The lock is held.
func (r *Registry) forgetIfIdle(a *account) {
	if !a.known && a.waiting() == 0 {
		delete(r.accounts, a.id)
	}
}
