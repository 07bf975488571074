// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

// from is a request of some namespace.
func from(namespace string, n int) Request {
	r := request(fmt.Sprint(namespace, "-", n))
	r.Key = types.NamespacedName{Namespace: namespace, Name: r.Key.Name}
	return r
}

// inTurn serves one waiter after the other and tells in which order.
func (d *desk) inTurn(id ID, waiting []Request) []string {
	d.t.Helper()
	for _, r := range waiting {
		d.waits(id, r)
	}
	var order []string
	for range waiting {
		advance(time.Second)
		for _, name := range d.takeWoken() {
			i := slices.IndexFunc(waiting, func(r Request) bool { return r.Key.Name == name })
			d.lease(id, waiting[i]).Done(Outcome{Issued: true})
			order = append(order, name)
		}
	}
	return order
}

func slowly() Connection {
	c := connection()
	c.Limits = Limits{RequestsPerSecond: 1, Burst: 1, MaxConcurrent: 1}
	return c
}

func TestNamespacesTakeTurnsWithTheirFirstCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerB, slowly())
		d.prove(issuerB)
		var waiting []Request
		for n := range 4 {
			waiting = append(waiting, from("flood", n))
		}
		waiting = append(waiting, from("small", 0), from("small", 1), from("other", 0))
		renewal := from("flood", 9)
		renewal.Expires = time.Now().Add(time.Hour)
		waiting = append(waiting, renewal)
		want := []string{"flood-9", "flood-0", "small-0", "other-0", "flood-1", "small-1", "flood-2", "flood-3"}
		if diff := cmp.Diff(want, d.inTurn(issuerB, waiting)); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestALateNamespaceWaitsForOneRequestOfEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerB, slowly())
		d.prove(issuerB)
		for n := range 1000 {
			d.waits(issuerB, from("flood", n))
		}
		for served := range 50 {
			advance(time.Second)
			for range d.takeWoken() {
				d.lease(issuerB, from("flood", served)).Done(Outcome{Issued: true})
			}
		}
		d.waits(issuerB, from("late", 0))
		advance(2 * time.Second)
		woken := d.takeWoken()
		for _, name := range woken {
			if name != "late-0" {
				d.Withdraw(types.NamespacedName{Namespace: "flood", Name: name})
			}
		}
		advance(2 * time.Second)
		if woken = append(woken, d.takeWoken()...); !slices.Contains(woken, "late-0") {
			t.Errorf("woken were %v, and not the only request of its namespace", woken)
		}
	})
}

func TestOrdersThatCameAndWentLeaveNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerB, slowly())
		d.prove(issuerB)
		for n := range 1000 {
			r := from("flapping", n)
			d.waits(issuerB, r)
			d.Withdraw(r.Key)
		}
		if queues := d.account(issuerB).turns.queues; len(queues) != 0 {
			t.Errorf("remembered are %v", queues)
		}
		order := d.inTurn(issuerB, []Request{from("steady", 0), from("steady", 1), from("flapping", 0)})
		if want := []string{"steady-0", "flapping-0", "steady-1"}; !slices.Equal(order, want) {
			t.Errorf("order is %v, want %v", order, want)
		}
	})
}
