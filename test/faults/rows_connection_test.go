// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/address"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

// connectionRows are about the way to the vendor.
func connectionRows() []row {
	return []row{
		{id: "S1", name: "the vendor's name does not resolve", run: func(w *world) {
			unreachable(w, func(i *v1alpha1.DeviceIssuer) { i.Spec.URL = "https://vendor.invalid" }, "--allowed-hosts=127.0.0.1,vendor.invalid")
		}},
		{id: "S2", name: "the connection is refused", run: connectionRefused},
		{id: "S3", name: "the vendor's certificate is of an unknown CA", run: func(w *world) {
			stranger := w.addVendor()
			unreachable(w, func(i *v1alpha1.DeviceIssuer) { i.Spec.CABundle = stranger.server.TLSCertificate() })
		}},
		{id: "S11", name: "a hundred interim answers", run: interimAnswers},
		{id: "S14", name: "the vendor is down while twenty wait", run: outage},
		{id: "S15", name: "half of the requests fail", variant: true, run: flapping},
	}
}

// unreachable connects an issuer that cannot reach its vendor, sees that nothing is sent and nobody is blamed, and mends it.
func unreachable(w *world, spoil func(*v1alpha1.DeviceIssuer), args ...string) {
	w.startManager(args...)
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(token)})
	i := w.issuer(issuerName, w.vendor())
	good := i.Spec
	spoil(i)
	w.must(env.admin.Create(w.ctx, i))
	w.mark()
	w.certificate(gateway)
	w.awaitIssuer("not ready", func(i *v1alpha1.DeviceIssuer) bool {
		ready := apimeta.FindStatusCondition(i.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Status == "False" && ready.Reason == v1alpha1.ReasonUnreachable && strings.Contains(ready.Message, "check")
	})
	if got := w.vendor().server.Requests(); len(got) != 0 {
		w.Errorf("I10: the vendor was sent %d requests", len(got))
	}
	_, err := live.Edit(w.ctx, env.admin, w.key(issuerName), func(i *v1alpha1.DeviceIssuer) { i.Spec = good })
	w.must(err)
	w.awaitReady(gateway)
	w.wantBought(1)
}

func (w *world) awaitIssuer(what string, is func(*v1alpha1.DeviceIssuer) bool) {
	w.Helper()
	eventually(w.T, "the issuer is "+what, func(context.Context) (bool, error) {
		i := found(w, &v1alpha1.DeviceIssuer{ObjectMeta: w.meta(issuerName)})
		return i != nil && is(i), nil
	})
}

// door is a TCP relay that can be shut, so that connections are refused, and opened again.
type door struct {
	address, target string
	mu              sync.Mutex
	listener        net.Listener
}

// open listens and passes connections on.
func (d *door) open() error {
	listener, err := net.Listen("tcp", d.address)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listener = listener
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go d.relay(from)
		}
	}()
	return nil
}

func (d *door) relay(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", d.target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { _, _ = io.Copy(to, from) }() // either end closing ends both
	_, _ = io.Copy(from, to)
}

func (d *door) shut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listener.Close()
}

// connectionRefused shuts the door to the vendor while a certificate is wanted.
func connectionRefused(w *world) {
	target, err := url.Parse(w.vendor().running.URL)
	w.must(err)
	free, err := address.Free()
	w.must(err)
	d := &door{address: free, target: target.Host}
	w.must(d.open())
	w.Cleanup(func() { _ = d.shut() })
	w.startManager()
	w.connect(issuerName, w.vendor(), func(i *v1alpha1.DeviceIssuer) { i.Spec.URL = "https://" + d.address })
	w.mark()
	w.must(d.shut())
	for _, name := range []string{"a", "b", "c"} {
		w.certificate(name)
	}
	w.await("a", "told that nothing was bought", func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.Failures != nil && c.Status.Attempt == nil
	})
	w.wantBought(0)
	w.must(d.open())
	for _, name := range []string{"a", "b", "c"} {
		w.retry(name)
		w.awaitReady(name)
	}
	w.wantBought(3)
}

// interimAnswers are endured, or end as a lost answer.
func interimAnswers(w *world) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionInformational, Bytes: 100}))
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(1, 2)
	w.wantRevoked(len(w.ledger()) - 1)
}

// outage lets the vendor answer nothing but 503 while many want certificates: few requests are made, and all are served afterwards.
func outage(w *world) {
	w.begin()
	w.must(w.vendor().server.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	w.eachOfBurst(func(name string) { w.certificate(name) })
	w.awaitIssuer("not ready", func(i *v1alpha1.DeviceIssuer) bool {
		return apimeta.IsStatusConditionFalse(i.Status.Conditions, v1alpha1.ConditionReady)
	})
	const most = 5 + inFlight // what opens the circuit, and what was under way
	if got := len(w.boughtSince()); got > most {
		w.Errorf("I5: %d requests to buy in an outage, want at most %d", got, most)
	}
	w.must(w.vendor().server.SetSwitches(simulator.Switches{}))
	w.eachOfBurst(func(name string) { w.awaitReady(name) })
	w.wantBought(burst)
}

// flapping lets every other request fail before it commits, ten times.
func flapping(w *world) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{
		Match:  simulator.Match{Every: 2, Times: burst / 2},
		Action: simulator.ActionRespond, Response: simulator.Response{Status: http.StatusInternalServerError},
	}))
	w.eachOfBurst(func(name string) { w.certificate(name) })
	w.eachOfBurst(func(name string) { w.awaitReady(name) })
	w.wantBought(burst)
	perObject := map[string]int{}
	for _, r := range w.boughtSince() {
		perObject[r.CommonName]++
	}
	for name, n := range perObject {
		if n > 6 {
			w.Errorf("I5: %d requests for %s", n, name)
		}
	}
}
