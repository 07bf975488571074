// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"crypto/x509"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

func TestCallsGoWhileNothingMayBeBought(t *testing.T) {
	for name, prepare := range map[string]func(*desk){
		"suspended": func(d *desk) {
			c := connection()
			c.Suspended = true
			d.update(issuerA, c)
		},
		"not ready": func(d *desk) {
			c := connection()
			c.Ready, c.Reason = false, v1alpha1.ReasonProbing
			d.update(issuerA, c)
		},
		"circuit open": func(d *desk) {
			d.update(issuerA, connection())
			d.fail(issuerA, 5, disturbance())
		},
		"profile blocked": func(d *desk) {
			d.update(issuerA, connection())
			d.lease(issuerA, request("canary")).Done(Outcome{Fatal: fatal()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				prepare(d)
				called := false
				err := d.Call(t.Context(), issuerA, func(_ context.Context, c *trustmanager.Client) error {
					called = c.BaseURL() == "https://one.digicert.com"
					return nil
				})
				if err != nil || !called {
					t.Errorf("Call = %v, called with the client: %t", err, called)
				}
			})
		})
	}
}

func TestACallOfAnUnknownIssuerSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		if err := d.call(issuerA, nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("Call = %v, want ErrNotConnected", err)
		}
	})
}

func TestACallWaitsForATokenNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		lease := d.lease(issuerA, request("a"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := d.Call(ctx, issuerA, func(context.Context, *trustmanager.Client) error {
			t.Error("called without a slot")
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call = %v, want DeadlineExceeded", err)
		}
		lease.Done(Outcome{Issued: true})
		if got := d.State(issuerA); got.InFlight != 0 {
			t.Errorf("InFlight = %d, want 0", got.InFlight)
		}
		d.lease(issuerA, request("b"))
	})
}

func TestCallsAndPurchasesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		d.prove(issuerA)
		lease := d.lease(issuerA, request("holder"))
		d.waits(issuerA, request("a"))
		d.waits(issuerA, request("b"))
		order := make(chan string, 10)
		for range 2 {
			go func() {
				_ = d.Call(t.Context(), issuerA, func(context.Context, *trustmanager.Client) error {
					order <- "call"
					return nil
				})
			}()
		}
		synctest.Wait()
		lease.Done(Outcome{Issued: true})
		for range 2 {
			for _, name := range d.takeWoken() {
				order <- name
				d.lease(issuerA, request(name)).Done(Outcome{Issued: true})
			}
		}
		close(order)
		var got []string
		for step := range order {
			got = append(got, step)
		}
		want := []string{"call", "a", "call", "b"}
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("order = %v, want %v", got, want)
			}
		}
	})
}

func TestACallThatWaitsThroughARotationUsesTheNewClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 1
		d.update(issuerA, c)
		lease := d.lease(issuerA, request("holder"))
		used := make(chan *trustmanager.Client, 1)
		go func() {
			_ = d.Call(t.Context(), issuerA, func(_ context.Context, c *trustmanager.Client) error {
				used <- c
				return nil
			})
		}()
		synctest.Wait()
		c.Credential.APIToken, c.CredentialVersion = "new", "v2"
		d.update(issuerA, c)
		lease.Done(Outcome{Issued: true})
		if client := <-used; client == lease.Client() {
			t.Error("the call used the credential that was replaced")
		}
	})
}

// skewedVendor answers searches with a Date that is off by skew.
func skewedVendor(t *testing.T, skew *time.Duration) Connection {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(*skew).UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte(`{"records":[]}`))
	}))
	t.Cleanup(server.Close)
	c := connection()
	c.URL = server.URL
	c.RootCAs = x509.NewCertPool()
	c.RootCAs.AddCert(server.Certificate())
	return c
}

func TestAClockThatIsFarOffStopsBuyingUntilItIsRight(t *testing.T) {
	skew := 10 * time.Minute
	c := skewedVendor(t, &skew)
	d := newDesk(t)
	hosts, err := ParseHostPolicy("127.0.0.1", "", "")
	if err != nil {
		t.Fatal(err)
	}
	d.options.Hosts = hosts
	d.update(issuerA, c)
	search := func() {
		err := d.Call(t.Context(), issuerA, func(ctx context.Context, c *trustmanager.Client) error {
			_, err := c.Search(ctx, trustmanager.SearchQuery{Limit: 1})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	search()
	if wait := d.waits(issuerA, request("a")); wait.Reason != v1alpha1.ReasonClockSkew {
		t.Errorf("Wait = %+v, want ClockSkew", wait)
	}
	state := d.State(issuerA)
	if state.Ready || !state.SkewKnown || (state.Skew-skew).Abs() > 2*time.Second {
		t.Errorf("State = %+v", state)
	}
	skew = 0
	search()
	d.lease(issuerA, request("a"))
	if len(d.probed) != 2 {
		t.Errorf("the issuer controller was told %d times, want when it began and when it ended", len(d.probed))
	}
}

func TestRequestsAndWaitsAreObservedByHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []string
		d := newDesk(t)
		d.options.Waited = func(host string, waited time.Duration) { waits = append(waits, host+" "+waited.String()) }
		id := ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: "edge", Name: "digicert"}
		c := connection()
		c.Limits = Limits{RequestsPerSecond: 1, Burst: 1, MaxConcurrent: 10}
		d.update(id, c)
		d.prove(id)
		if lease, wait := d.Acquire(id, request("second")); lease != nil {
			t.Fatalf("got a lease at once: %v", wait)
		}
		advance(time.Second)
		lease, _ := d.Acquire(id, request("second"))
		if lease == nil {
			t.Fatal("no lease after a second")
		}
		lease.Done(Outcome{Issued: true})
		if want := []string{"one.digicert.com 0s", "one.digicert.com 1s"}; !slices.Equal(waits, want) {
			t.Errorf("waits are %v, want %v", waits, want)
		}
	})
}
