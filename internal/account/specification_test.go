// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"crypto/x509"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const askedProfile = "IOT_00000000-0000-0000-0000-000000000001"

// library is a vendor that answers for specifications alone.
type library struct {
	*Registry
	t      *testing.T
	clock  *clocktesting.FakeClock
	vendor *httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
	probed atomic.Int32
}

func newLibrary(t *testing.T) *library {
	t.Helper()
	l := &library{t: t, clock: clocktesting.NewFakeClock(time.Now())}
	l.says(200, `{"fields":[{"id":"subject.common_name","type":"CERTIFICATE"}]}`)
	l.vendor = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Add(1)
		w.Header().Set("Date", l.clock.Now().UTC().Format(http.TimeFormat))
		(*l.answer.Load())(w, r)
	}))
	t.Cleanup(l.vendor.Close)
	hosts, err := ParseHostPolicy("127.0.0.1", "", "")
	if err != nil {
		t.Fatal(err)
	}
	l.Registry = NewRegistry(Options{
		Clock: l.clock, Hosts: hosts, UserAgent: "test", Log: logr.Discard(), Wake: func(types.NamespacedName) {},
		Probe: func(ID) { l.probed.Add(1) },
	})
	l.connect("1", trustmanager.Credential{APIToken: "token"})
	t.Cleanup(func() { l.Remove(issuerA) })
	return l
}

func (l *library) says(status int, body string) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
	l.answer.Store(&h)
}

func (l *library) connect(version string, credential trustmanager.Credential) {
	l.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(l.vendor.Certificate())
	err := l.Update(issuerA, Connection{
		UID: "uid", Generation: 1, Host: "127.0.0.1", URL: l.vendor.URL, Credential: credential, CredentialVersion: version, RootCAs: roots,
		Limits: Limits{RequestsPerSecond: 100, Burst: 100, MaxConcurrent: 4}, RequestTimeout: 5 * time.Second, Ready: true, CanSearch: v1alpha1.CapabilityYes,
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *library) read() *trustmanager.Specification {
	return l.Specification(l.t.Context(), issuerA, askedProfile)
}

func (l *library) wantAsked(want int32, when string) {
	l.t.Helper()
	if got := l.asked.Load(); got != want {
		l.t.Errorf("asked %d times %s, want %d", got, when, want)
	}
}

func TestASpecificationIsReadOncePerCredentialAndRarelyAgain(t *testing.T) {
	l := newLibrary(t)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if s := l.read(); s == nil || s.Fields[0].ID != "subject.common_name" {
				t.Errorf("got %+v", s)
			}
		})
	}
	readers.Wait()
	l.wantAsked(1, "by eight at once")
	l.clock.Step(4 * time.Hour)
	l.read()
	l.wantAsked(1, "within hours")
	l.clock.Step(3 * time.Hour)
	l.read()
	l.wantAsked(2, "after seven hours")
	l.connect("2", trustmanager.Credential{APIToken: "another"})
	l.read()
	l.wantAsked(3, "with another credential")
	if got := l.State(issuerA).CanSpecify; got != v1alpha1.CapabilityYes {
		t.Errorf("capability is %s", got)
	}
}

func TestARefusedPurchaseHasTheSpecificationReadAgainSoon(t *testing.T) {
	l := newLibrary(t)
	l.read()
	for range 100 {
		l.SpecificationDoubted(issuerA, askedProfile)
		l.read()
	}
	l.wantAsked(1, "at once, by a fleet that is refused")
	l.clock.Step(6 * time.Minute)
	l.read()
	l.wantAsked(2, "some minutes later")
	l.SpecificationDoubted(issuerA, "IOT_another")
	l.SpecificationDoubted(ID{Kind: v1alpha1.KindDeviceIssuer, Name: "nobody"}, askedProfile)
}

func TestAVendorWithoutSpecificationsKeepsNobodyFromBuying(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		can    v1alpha1.CapabilityState
		again  time.Duration
	}{
		"forbidden":       {403, `{"errors":[{"code":"access_denied","message":"no"}]}`, v1alpha1.CapabilityNo, 7 * time.Hour},
		"unauthorized":    {401, `{"errors":[{"code":"invalid_api_key","message":"no"}]}`, v1alpha1.CapabilityNo, 7 * time.Hour},
		"unknown profile": {400, `{"errors":[{"code":"invalid_input","message":"no"}]}`, v1alpha1.CapabilityUnknown, 7 * time.Hour},
		"no such page":    {404, `<html>`, v1alpha1.CapabilityNo, 7 * time.Hour},
		"in trouble":      {503, `{}`, v1alpha1.CapabilityUnknown, 6 * time.Minute},
		"nonsense":        {200, `{"fields":7}`, v1alpha1.CapabilityUnknown, 6 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(t)
			l.says(c.status, c.body)
			for i := range int32(10) { // more than the failures that open a circuit
				if s := l.read(); s != nil {
					t.Errorf("got %+v", s)
				}
				l.wantAsked(i+1, "so far")
				l.clock.Step(c.again)
			}
			state := l.State(issuerA)
			if !state.Ready || state.Reason != "" || state.CanSpecify != c.can {
				t.Errorf("the account is %+v, want it ready and the capability %s", state, c.can)
			}
		})
	}
}

func TestAnOldSpecificationIsBetterThanNone(t *testing.T) {
	l := newLibrary(t)
	l.read()
	l.clock.Step(7 * time.Hour)
	l.says(500, "")
	if l.read() == nil {
		t.Error("what was known is forgotten because the vendor is in trouble")
	}
}

func TestAPasscodeIsNotTriedOnSpecifications(t *testing.T) {
	l := newLibrary(t)
	l.connect("2", trustmanager.Credential{Passcode: "passcode"})
	if s := l.read(); s != nil {
		t.Errorf("got %+v", s)
	}
	l.wantAsked(0, "with a passcode")
	if s := l.Specification(t.Context(), ID{Kind: v1alpha1.KindDeviceIssuer, Name: "nobody"}, askedProfile); s != nil {
		t.Errorf("got %+v of an unknown issuer", s)
	}
}

func TestAnIssuerMayGoAndReturnWhileItsSpecificationIsRead(t *testing.T) {
	l := newLibrary(t)
	answer := make(chan struct{})
	proper := *l.answer.Load()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-answer
		proper(w, r)
	})
	l.answer.Store(&h)
	var readers sync.WaitGroup
	asking := func(asked int32) {
		readers.Go(func() { l.read() })
		for l.asked.Load() < asked {
			runtime.Gosched()
		}
	}
	asking(1)
	l.Remove(issuerA)
	l.connect("2", trustmanager.Credential{APIToken: "token"})
	asking(2)
	close(answer)
	readers.Wait()
	if l.read() == nil {
		t.Error("the reading of the issuer that returned is forgotten")
	}
	l.wantAsked(2, "in all")
}

func TestNobodyWaitsForASpecificationForLong(t *testing.T) {
	l := newLibrary(t)
	hang := make(chan struct{})
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang })
	l.answer.Store(&h)
	t.Cleanup(func() { close(hang) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s := l.Specification(ctx, issuerA, askedProfile); s != nil {
		t.Errorf("got %+v", s)
	}
	if state := l.State(issuerA); !state.Ready {
		t.Errorf("the account is %+v", state)
	}
	l.read() // is answered at once, from the word that there is none yet
	l.wantAsked(1, "while the vendor hangs")
}
