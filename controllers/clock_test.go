// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestAClockThatTheAPIServerContradictsBuysNothing(t *testing.T) {
	for name, off := range map[string]time.Duration{"two months ahead": 61 * 24 * time.Hour, "six minutes behind": -6 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.operator.writtenAt = func(*v1alpha1.DeviceCertificate) time.Time { return w.clock.Now().Add(off) }
			w.certificate("gateway")
			w.settle()
			g.Expect(w.posts()).To(BeZero())
			g.Expect(w.get("gateway").Status.Attempt).To(BeNil())
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False BackingOff"))
			g.Expect(w.message("gateway", v1alpha1.ConditionReady)).To(ContainSubstring("correct the clock"))

			w.operator.writtenAt = w.writtenAt
			w.pass(time.Hour)
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(w.posts()).To(Equal(1))
		})
	}
}

func TestTheAnswerToAnIntentTellsTheTimeOfTheAPIServer(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	c := w.certificate("gateway")
	base := c.DeepCopy()
	c.Status.ObservedGeneration = 1
	w.must(w.client.Status().Patch(w.ctx, c, client.MergeFrom(base)))
	at := writtenAt(c)
	g.Expect(at).NotTo(BeTemporally("<", c.CreationTimestamp.Time))

	// What others wrote earlier, and applied, says nothing of this write.
	earlier := metav1.NewTime(at.Add(-time.Hour))
	later := metav1.NewTime(at.Add(time.Hour))
	c.ManagedFields = append(c.ManagedFields,
		metav1.ManagedFieldsEntry{Manager: "editor", Operation: metav1.ManagedFieldsOperationUpdate, Time: &earlier},
		metav1.ManagedFieldsEntry{Manager: "argocd", Operation: metav1.ManagedFieldsOperationApply, Time: &later})
	g.Expect(writtenAt(c)).To(BeTemporally("==", at))
	c.ManagedFields = nil
	g.Expect(writtenAt(c)).To(BeZero())
}

// queueOf gives the operator of a world a queue, which only what looks at the clock fills.
func (w *world) queueOf() requests {
	w.t.Helper()
	q := priorityqueue.New[reconcile.Request](w.namespace)
	w.t.Cleanup(q.ShutDown)
	w.must(w.operator.queue.start(w.ctx, q))
	return q
}

// wakeQueued reconciles what is in the queue, in its order.
func (w *world) wakeQueued(q requests, n int) {
	for range n {
		request, _ := q.Get()
		w.wake(request.NamespacedName)
		q.Done(request)
	}
	w.settle()
}

func TestAMachineThatWasSuspendedForDaysRenewsEachCertificateOnceTheSoonestFirst(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connection.Limits.MaxConcurrent = 1
	w.must(w.accounts.Update(w.issuer, w.connection))
	q := w.queueOf()
	const several = 5
	short := func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort }
	w.certificate("for-long")
	w.settle()
	for i := range several {
		w.certificate(fmt.Sprint("gateway-", several-i), short) // their names are not in the order in which they expire
		w.settle()
		w.clock.Step(2 * time.Second)
	}
	before := w.operator.readClock()
	w.clock.Step(72 * time.Hour) // all that were short have expired; no timer has moved
	after := w.operator.readClock()
	after.running = before.running + clockInterval
	g.Expect(w.operator.compareClocks(w.ctx, before, after)).To(Equal(after))
	w.wakeQueued(q, several)

	g.Expect(w.issued()).To(Equal(1+2*several), "one purchase each, and none for the one that is valid")
	var order []string
	for _, e := range w.vendor.Ledger()[1+several:] {
		order = append(order, e.CommonName)
	}
	var want []string
	for _, e := range w.vendor.Ledger()[1 : 1+several] {
		want = append(want, e.CommonName)
	}
	g.Expect(order).To(Equal(want), "in the order in which they had expired")
	for i := range several {
		g.Expect(w.shows(fmt.Sprint("gateway-", 1+i), v1alpha1.ConditionReady)).To(Equal("True Stored"))
	}
}

func TestAClockThatIsKeptInTimeDisturbsNobody(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	w.settle()
	w.clock.Step(72 * time.Hour)
	q := w.queueOf()
	last := w.operator.readClock()
	for _, slewed := range []time.Duration{0, 2 * time.Second, -2 * time.Second, 50 * time.Second} {
		last = w.operator.compareClocks(w.ctx, last, reading{wall: last.wall.Add(clockInterval + slewed), running: last.running + clockInterval})
	}
	g.Expect(q.Len()).To(BeZero())
	// One that is set back by a day is looked into as well: what is due is due all the same.
	w.operator.compareClocks(w.ctx, last, reading{wall: last.wall.Add(-24 * time.Hour), running: last.running + clockInterval})
	w.wakeQueued(q, 1)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.issued()).To(Equal(2))
}
