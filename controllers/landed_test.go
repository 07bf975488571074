// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestChangesDuringAFlightAreLookedAtWhenItLands(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	c := w.certificate("gateway")
	w.settle()
	c = w.get(c.Name)
	secret := w.secret(c.Name)
	queued := func() int {
		q := priorityqueue.New[reconcile.Request]("flight")
		defer q.ShutDown()
		w.operator.byUrgency().Update(w.ctx, event.UpdateEvent{ObjectOld: c, ObjectNew: c}, q)
		return q.Len()
	}

	land, landed := make(chan struct{}), make(chan struct{})
	started := w.operator.Flights.Start(logr.Discard(), c.UID, func() { <-land }, func() { close(landed) })
	g.Expect(started).To(BeTrue())
	g.Expect(queued()).To(BeZero(), "a change of the object")
	g.Expect(w.operator.certificatesOfSecret(w.ctx, secret)).To(BeEmpty(), "a change of its Secret")
	lag := w.operator.progress.of("").lag(c.ResourceVersion, w.clock.Now(), w.clock.Now())
	g.Expect(lag).To(BeZero(), "the watch has brought the change")

	close(land)
	<-landed
	g.Expect(queued()).To(Equal(1), "a change of the object after the flight")
	g.Expect(w.operator.certificatesOfSecret(w.ctx, secret)).To(HaveLen(1), "a change of its Secret after the flight")
}
