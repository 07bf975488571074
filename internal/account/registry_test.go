// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

var (
	issuerA = ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: "edge", Name: "a"}
	issuerB = ID{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "b"}
)

const profile = "IOT_00000000-0000-0000-0000-000000000001"

// desk is a Registry and what it told its surroundings.
type desk struct {
	*Registry
	t *testing.T

	mu     sync.Mutex
	woken  []string
	probed []ID
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	hosts, err := ParseHostPolicy("", "", "")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t}
	d.Registry = NewRegistry(Options{
		Clock: clock.RealClock{}, Log: logr.Discard(), Hosts: hosts,
		Wake: func(key types.NamespacedName) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.woken = append(d.woken, key.Name)
		},
		Probe: func(id ID) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.probed = append(d.probed, id)
		},
	})
	return d
}

// advance lets time pass in a synctest bubble, where nobody really waits.
func advance(d time.Duration) { <-time.After(d) }

// takeWoken returns who was woken since the last call.
func (d *desk) takeWoken() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	woken := d.woken
	d.woken = nil
	return woken
}

func (d *desk) takeProbed() []ID {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	probed := d.probed
	d.probed = nil
	return probed
}

// connection is one that works, with limits that do not get in the way.
func connection() Connection {
	return Connection{
		UID: "uid", Generation: 1, Host: "one.digicert.com", URL: "https://one.digicert.com",
		Credential: trustmanager.Credential{APIToken: "token"}, CredentialVersion: "v1",
		Limits: Limits{RequestsPerSecond: 1000, Burst: 1000, MaxConcurrent: 100},
		Ready:  true, CanSearch: v1alpha1.CapabilityYes,
	}
}

func (d *desk) update(id ID, c Connection) {
	d.t.Helper()
	if err := d.Update(id, c); err != nil {
		d.t.Fatalf("Update: %v", err)
	}
}

// prove makes the profile's canary succeed, so that it is not in the way of what a test is about.
func (d *desk) prove(id ID) {
	d.t.Helper()
	d.lease(id, request("canary")).Done(Outcome{Issued: true})
	d.takeProbed()
}

func request(name string) Request {
	return Request{Key: types.NamespacedName{Namespace: "edge", Name: name}, ProfileID: profile, Format: v1alpha1.FormatPEM}
}

func expiring(name string, expires time.Time) Request {
	r := request(name)
	r.Expires = expires
	return r
}

func (d *desk) lease(id ID, req Request) *Lease {
	d.t.Helper()
	lease, wait := d.Acquire(id, req)
	if lease == nil {
		d.t.Fatalf("%s got no lease: %+v", req.Key.Name, wait)
	}
	return lease
}

func (d *desk) waits(id ID, req Request) Wait {
	d.t.Helper()
	lease, wait := d.Acquire(id, req)
	if lease != nil {
		d.t.Fatalf("%s got a lease, want it to wait", req.Key.Name)
	}
	if wait.Reason == "" || wait.Message == "" {
		d.t.Fatalf("%s waits without saying why: %+v", req.Key.Name, wait)
	}
	return wait
}

func wantWoken(t *testing.T, d *desk, want ...string) {
	t.Helper()
	if got := d.takeWoken(); !slices.Equal(got, want) {
		t.Fatalf("woken: %v, want %v", got, want)
	}
}

func wantProbed(t *testing.T, d *desk, want ...ID) {
	t.Helper()
	if got := d.takeProbed(); !slices.Equal(got, want) {
		t.Fatalf("probes asked for: %v, want %v", got, want)
	}
}

// Failures as the client reports them.
func disturbance() error {
	return &trustmanager.Error{Op: "enroll", Delivery: trustmanager.Ambiguous, Actor: trustmanager.Nobody, HTTPStatus: 502}
}

func refusal(status int) error {
	return &trustmanager.Error{Op: "enroll", Delivery: trustmanager.Refused, Actor: trustmanager.Issuer, HTTPStatus: status, Code: "access_denied"}
}

func throttle(after time.Duration) error {
	return &trustmanager.Error{Op: "enroll", Delivery: trustmanager.Refused, Actor: trustmanager.Time, HTTPStatus: 429, RetryAfter: after}
}

func fatal() *v1alpha1.BlockedProfile {
	return &v1alpha1.BlockedProfile{ProfileID: profile, Format: v1alpha1.FormatPEM, Reason: v1alpha1.ReasonUnverified, Message: "the key does not match: fix the profile"}
}

// call makes a request that buys nothing and ends with err.
func (d *desk) call(id ID, err error) error {
	return d.Call(context.Background(), id, func(context.Context, *trustmanager.Client) error { return err })
}

func TestLeasesGoToTheSoonestExpiryAndThenInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, now := newDesk(t), time.Now()
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		d.prove(issuerA)
		held := d.lease(issuerA, request("holder"))
		d.waits(issuerA, request("new-1"))
		d.waits(issuerA, request("new-2"))
		d.waits(issuerA, expiring("in-a-week", now.Add(7*24*time.Hour)))
		d.waits(issuerA, expiring("expired", now.Add(-time.Hour)))
		d.waits(issuerA, expiring("in-a-day", now.Add(24*time.Hour)))
		for _, next := range []string{"expired", "in-a-day", "in-a-week", "new-1", "new-2"} {
			held.Done(Outcome{Issued: true})
			wantWoken(t, d, next)
			held = d.lease(issuerA, request(next))
		}
	})
}

func TestALateButMoreUrgentRequestOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits = Limits{RequestsPerSecond: 1, Burst: 1, MaxConcurrent: 10}
		d.update(issuerA, c)
		d.prove(issuerA)
		d.waits(issuerA, request("first"))
		advance(500 * time.Millisecond)
		d.waits(issuerA, expiring("urgent", time.Now()))
		advance(500 * time.Millisecond)
		wantWoken(t, d, "urgent")
	})
}

func TestARequestMovesUpWhenItsCertificateExpiresSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, now := newDesk(t), time.Now()
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		d.prove(issuerA)
		held := d.lease(issuerA, request("holder"))
		d.waits(issuerA, expiring("a", now.Add(time.Hour)))
		d.waits(issuerA, expiring("b", now.Add(2*time.Hour)))
		d.waits(issuerA, expiring("b", now.Add(time.Minute)))
		held.Done(Outcome{Issued: true})
		wantWoken(t, d, "b")
	})
}

func TestAnUnclaimedGrantGoesToTheNextAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		d.prove(issuerA)
		held := d.lease(issuerA, request("holder"))
		d.waits(issuerA, request("absent"))
		d.waits(issuerA, request("present"))
		held.Done(Outcome{Issued: true})
		wantWoken(t, d, "absent")
		advance(grantFor - time.Millisecond)
		wantWoken(t, d)
		advance(time.Millisecond)
		wantWoken(t, d, "present")
		d.lease(issuerA, request("present"))
		d.waits(issuerA, request("absent"))
	})
}

func TestAWithdrawnGrantGoesToTheNextAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		d.prove(issuerA)
		held := d.lease(issuerA, request("holder"))
		d.waits(issuerA, request("gone"))
		d.waits(issuerA, request("next"))
		held.Done(Outcome{Issued: true})
		wantWoken(t, d, "gone")
		d.Withdraw(request("gone").Key)
		wantWoken(t, d, "next")
		if got := d.State(issuerA).Waiting; got != 1 {
			t.Errorf("Waiting = %d, want 1", got)
		}
	})
}

func TestAnUnusedLeaseGivesItsTokenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits = Limits{RequestsPerSecond: 1, Burst: 1, MaxConcurrent: 10}
		d.update(issuerA, c)
		lease := d.lease(issuerA, request("a"))
		lease.Done(Outcome{Unused: true})
		lease.Done(Outcome{Unused: true})
		d.lease(issuerA, request("b")).Done(Outcome{Issued: true})
		d.waits(issuerA, request("c"))
	})
}

func TestAWaiterOfAnotherProfileGivesUpItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.Await(issuerA, request("a"))
		other := request("a")
		other.ProfileID = "IOT_other"
		d.Await(issuerA, other)
		if got := d.State(issuerA); got.Known {
			t.Errorf("State of an issuer nobody has seen: %+v", got)
		}
		d.update(issuerA, connection())
		wantWoken(t, d, "a")
		if got := d.State(issuerA).Waiting; got != 1 {
			t.Errorf("Waiting = %d, want 1", got)
		}
		d.lease(issuerA, other)
	})
}

func TestIssuersWithOneCredentialShareTheStrictestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		d.update(issuerA, c)
		d.prove(issuerA)
		c.UID, c.Limits.MaxConcurrent = "other", 2
		d.update(issuerB, c)
		d.prove(issuerB)
		d.lease(issuerA, request("a1"))
		d.lease(issuerB, request("b1"))
		if wait := d.waits(issuerA, request("a2")); wait.Reason != v1alpha1.ReasonRateLimited {
			t.Errorf("Reason = %s, want RateLimited", wait.Reason)
		}
		d.Remove(issuerB)
		wantWoken(t, d, "a2")
	})
}

func TestIssuersWithDifferentCredentialsDoNotShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		d.lease(issuerA, request("a"))
		c.Credential.APIToken = "another"
		d.update(issuerB, c)
		d.lease(issuerB, request("b"))
	})
}

func TestARotatedCredentialLeavesRequestsUnderWayAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		d.update(issuerA, c)
		d.prove(issuerA)
		before := d.State(issuerA).Version
		lease := d.lease(issuerA, request("a"))
		old := lease.Client()
		c.Credential.APIToken, c.CredentialVersion = "new", "v2"
		d.update(issuerA, c)
		if lease.Client() != old || lease.Version() != before {
			t.Error("the lease changed its client")
		}
		if after := d.State(issuerA).Version; after == before {
			t.Error("State.Version did not change with the credential")
		}
		lease.Done(Outcome{Err: refusal(401)})
		if state := d.State(issuerA); !state.Ready {
			t.Errorf("a refusal of the old credential stopped the new one: %+v", state)
		}
		if d.lease(issuerA, request("b")).Client() == old {
			t.Error("the new lease has the old client")
		}
	})
}

func TestTheSameCredentialKeepsItsLimiterAcrossUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		lease := d.lease(issuerA, request("a"))
		c.Generation = 2
		d.update(issuerA, c)
		d.waits(issuerA, request("b"))
		lease.Done(Outcome{Issued: true})
		wantWoken(t, d, "b")
	})
}

func TestWhoWaitsForAnIssuerIsWokenWhenItIsReady(t *testing.T) {
	notReady := connection()
	notReady.Ready, notReady.Reason, notReady.Message = false, v1alpha1.ReasonProbing, "being tried"
	suspended := connection()
	suspended.Suspended = true
	for name, tc := range map[string]struct {
		before *Connection
		reason string
	}{
		"unknown":   {nil, v1alpha1.ReasonIssuerNotReady},
		"not ready": {&notReady, v1alpha1.ReasonIssuerNotReady},
		"suspended": {&suspended, v1alpha1.ReasonSuspended},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				if tc.before != nil {
					d.update(issuerA, *tc.before)
				}
				if wait := d.waits(issuerA, request("a")); wait.Reason != tc.reason {
					t.Errorf("Reason = %s, want %s", wait.Reason, tc.reason)
				}
				d.update(issuerA, connection())
				wantWoken(t, d, "a")
				d.lease(issuerA, request("a"))
			})
		})
	}
}

func TestARemovedIssuerKeepsItsWaitersInCaseItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		lease := d.lease(issuerA, request("a"))
		d.waits(issuerA, request("b"))
		d.Remove(issuerA)
		lease.Done(Outcome{Issued: true})
		wantWoken(t, d)
		c.UID = "recreated"
		d.update(issuerA, c)
		wantWoken(t, d, "b")
	})
}

func TestAnIdleRegistryRemembersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.waits(ID{Kind: v1alpha1.KindDeviceIssuer, Name: "never"}, request("a"))
		d.update(issuerA, connection())
		lease := d.lease(issuerA, request("b"))
		d.Remove(issuerA)
		lease.Done(Outcome{Issued: true})
		d.Withdraw(request("a").Key)
		if len(d.accounts)+len(d.gates)+len(d.waiters) != 0 {
			t.Errorf("left: %d accounts, %d gates, %d waiters", len(d.accounts), len(d.gates), len(d.waiters))
		}
	})
}

func TestUpdateRefusesAHostThatIsNotAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.URL = "https://one.digicert.com.evil.example"
		err := d.Update(issuerA, c)
		if _, forbidden := errors.AsType[*HostError](err); !forbidden {
			t.Fatalf("Update = %v, want a *HostError", err)
		}
		if state := d.State(issuerA); state.Ready || state.Reason != v1alpha1.ReasonHostForbidden {
			t.Errorf("State = %+v", state)
		}
		d.waits(issuerA, request("a"))
		if err := d.call(issuerA, nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("Call = %v, want ErrNotConnected", err)
		}
	})
}

func TestUpdateRefusesAProxyThatIsNotAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.ProxyURL = &url.URL{Scheme: "http", Host: "proxy.evil.example:3128"}
		err := d.Update(issuerA, c)
		if _, forbidden := errors.AsType[*HostError](err); !forbidden || !strings.Contains(err.Error(), "--allowed-proxies") {
			t.Fatalf("Update = %v, want a *HostError that names the flag", err)
		}
		if state := d.State(issuerA); state.Ready || state.Reason != v1alpha1.ReasonHostForbidden {
			t.Errorf("State = %+v", state)
		}
		d.waits(issuerA, request("a"))
	})
}

func TestUpdateRefusesAReadyConnectionWithoutCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Credential = trustmanager.Credential{}
		for range 2 {
			if err := d.Update(issuerA, c); err == nil {
				t.Fatal("Update accepted it")
			}
			d.waits(issuerA, request("a"))
		}
	})
}

func TestAllTokensAreUsedAndTheSoonestExpiryComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waiting, perSecond = 1000, 200
		d, start := newDesk(t), time.Now()
		c := connection()
		c.Limits = Limits{RequestsPerSecond: perSecond, Burst: 1, MaxConcurrent: 50}
		d.update(issuerA, c)
		d.prove(issuerA)
		requests := map[string]Request{}
		for i := range waiting {
			// 7 and 1000 are coprime: the order of arrival is not that of expiry.
			name := fmt.Sprintf("c%04d", i*7%waiting)
			requests[name] = expiring(name, start.Add(time.Duration(i*7%waiting)*time.Hour))
			d.waits(issuerA, requests[name])
		}
		var order []string
		for len(order) < waiting {
			advance(time.Millisecond)
			for _, name := range d.takeWoken() {
				order = append(order, name)
				d.lease(issuerA, requests[name]).Done(Outcome{Issued: true})
			}
		}
		if !slices.IsSorted(order) {
			t.Error("certificates were not served by expiry")
		}
		if took, ideal := time.Since(start), time.Second*waiting/perSecond; (took - ideal).Abs() > ideal/100 {
			t.Errorf("%d leases at %d per second took %s, want %s", waiting, perSecond, took, ideal)
		}
	})
}
