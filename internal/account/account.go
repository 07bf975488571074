// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"cmp"
	"fmt"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// maxSkew is how far the vendor's clock and ours may be apart. Beyond it nobody can tell whether a certificate is valid.
const maxSkew = 5 * time.Minute

// account is one issuer object. Registry.mu guards it.
type account struct {
	id         ID
	known      bool
	connection Connection
	client     *trustmanager.Client // nil without a usable connection
	epoch      uint64               // counts clients
	gate       *gate                // nil without a client
	lanes      lanes
	turns      turns
	circuit    circuit
	budget     budget
	// allowance bounds leases while the account is ramped up after an outage; zero means no bound.
	allowance int
	// recoveredAt is when the circuit closed last.
	recoveredAt time.Time
	// skewTold: the issuer controller knows that the clocks are too far apart.
	skewTold bool
	// specifications are those of the profiles that were bought from; canSpecify whether the credential may read them.
	specifications map[string]*specification
	canSpecify     v1alpha1.CapabilityState
	// wanted: the issuer controller knows that somebody waits for an untried connection.
	wanted bool
	// inFlight counts leases, calls the requests under way that buy nothing, granted the waiters with a grant.
	inFlight, calls, granted int
}

func (a *account) version() string { return a.connection.Version() }

func (a *account) waiting() int {
	n := a.granted
	for _, l := range a.lanes {
		n += l.count()
	}
	return n
}

// admits tells whether one more of the account's waiters may go, as far as the account is concerned.
func (a *account) admits(now time.Time) bool {
	return a.usable(now) && !a.connection.Untried && a.circuit.admits(now) && (a.allowance == 0 || a.inFlight+a.granted < a.allowance)
}

// usable tells whether a grant, once given, is still good.
func (a *account) usable(now time.Time) bool {
	return a.known && a.client != nil && a.connection.Ready && !a.connection.Suspended && !a.skewed() &&
		(!a.circuit.open || a.circuit.halfOpen(now))
}

// obstacle says why no request of this account may go; ok is false when nothing is in the way.
func (a *account) obstacle() (_ Wait, ok bool) {
	if !a.known {
		return Wait{Reason: v1alpha1.ReasonIssuerNotReady, Message: "the issuer is being connected"}, true
	}
	if a.connection.Suspended {
		return Wait{Reason: v1alpha1.ReasonSuspended, Message: "the issuer is suspended; nothing is bought until its spec.suspend is false"}, true
	}
	reason, message, until := a.trouble()
	switch reason {
	case "":
		return Wait{Reason: v1alpha1.ReasonIssuerNotReady, Message: "the issuer's credential is being tried"}, a.connection.Untried
	case v1alpha1.ReasonClockSkew:
		return Wait{Reason: reason, Message: message}, true
	}
	return Wait{Reason: v1alpha1.ReasonIssuerNotReady, Message: fmt.Sprintf("the issuer is not ready: %s (%s)", message, reason), Until: until}, true
}

// trouble says why the account cannot be used, with a reason for the issuer object; all is well if reason is empty.
func (a *account) trouble() (reason, message string, until time.Time) {
	switch {
	case !a.connection.Ready || a.client == nil:
		return a.connection.Reason, a.connection.Message, time.Time{}
	case a.circuit.open:
		return a.circuit.reason, a.circuit.message, a.circuit.retryAt
	case a.skewed():
		return v1alpha1.ReasonClockSkew, "the operator's clock and the vendor's are more than five minutes apart: correct the clock of the operator's node", time.Time{}
	}
	return "", "", time.Time{}
}

func (a *account) skew() (time.Duration, bool) {
	if a.client == nil {
		return 0, false
	}
	return a.client.Skew()
}

func (a *account) skewed() bool {
	skew, known := a.skew()
	return known && skew.Abs() > maxSkew
}

func (a *account) state(now time.Time) State {
	c := a.connection
	s := State{
		Known: true, Suspended: c.Suspended, Host: c.Host, Version: c.Version(),
		CanEnroll: a.canEnroll(), CanSearch: c.CanSearch != v1alpha1.CapabilityNo, CanRevoke: c.CanRevoke != v1alpha1.CapabilityNo,
		RequestTimeout: c.timeout(), InventoryLag: c.inventoryLag(),
		InFlight: a.inFlight + a.calls, Waiting: a.waiting(), CircuitOpen: a.circuit.open, RecoveredAt: a.recoveredAt,
	}
	s.CanSpecify = cmp.Or(a.canSpecify, c.CanSpecify, v1alpha1.CapabilityUnknown)
	s.Skew, s.SkewKnown = a.skew()
	if a.gate != nil {
		a.gate.roll(now)
		s.IssuancesPerDay, s.IssuedToday, s.BudgetExceeded = a.gate.issuancesPerDay, a.budget.committed, a.budget.told[fresh] || a.budget.told[due]
	}
	s.Reason, s.Message, s.RetryAt = a.trouble()
	s.Ready = s.Reason == "" || c.Ready && a.client != nil && !a.skewed() && a.circuit.halfOpen(now)
	return s
}

func (a *account) canEnroll() v1alpha1.CapabilityState {
	if a.circuit.held {
		return v1alpha1.CapabilityNo
	}
	for _, l := range a.lanes {
		if l.proven {
			return v1alpha1.CapabilityYes
		}
	}
	if a.connection.CanEnroll == v1alpha1.CapabilityYes {
		return v1alpha1.CapabilityYes
	}
	return v1alpha1.CapabilityUnknown
}
