// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// renewedBehindTheWatch is a world whose operator has just renewed a certificate, and whose cache shows the object as it was before.
func renewedBehindTheWatch(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.advance(2 * time.Minute)
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.clock.Now().UTC().Format(time.RFC3339))
	w.api.on(apiRule{step: "cached DeviceCertificate", act: serve(w.get("gateway"))})
	w.settle()
	if issued := w.issued(); issued != 2 {
		t.Fatalf("%d certificates were issued, want 2", issued)
	}
	return w
}

// brings lets the watch bring an object, as it was at some version.
func (w *world) brings(version string) {
	w.operator.progress.saw(w.operator.watchOf(w.namespace), version, w.clock.Now())
}

func TestAWatchThatLagsIsWaitedForWithoutReadingLive(t *testing.T) {
	g := NewWithT(t)
	w := renewedBehindTheWatch(t)
	for second := range 30 { // in which the watch brings what others wrote long before
		w.brings(strconv.Itoa(1 + second))
		w.wakeAll()
		w.pass(time.Second)
	}
	g.Expect(w.api.count("live DeviceCertificate")).To(BeZero())
	g.Expect(w.posts()).To(Equal(2))

	w.api.clear() // the watch has caught up
	w.brings(w.get("gateway").ResourceVersion)
	w.wakeAll()
	w.pass(time.Minute)
	g.Expect(w.api.count("live DeviceCertificate")).To(BeZero())
	g.Expect(w.posts()).To(Equal(2))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAWatchThatStandsStillIsReadPast(t *testing.T) {
	g := NewWithT(t)
	w := renewedBehindTheWatch(t)
	w.brings("1")
	w.wakeAll()
	w.pass(lagPatience - time.Second)
	g.Expect(w.api.count("live DeviceCertificate")).To(BeZero())
	w.brings("1") // again, as at a resync
	w.pass(2 * time.Second)
	g.Expect(w.api.count("live DeviceCertificate")).To(BeNumerically(">", 0))
	w.pass(time.Minute)
	g.Expect(w.posts()).To(Equal(2))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAWatchThatHasLostAnEventIsReadPastAtOnce(t *testing.T) {
	g := NewWithT(t)
	w := renewedBehindTheWatch(t)
	w.brings(w.get("gateway").ResourceVersion)
	w.wakeAll()
	w.settle()
	g.Expect(w.api.count("live DeviceCertificate")).To(Equal(1))
	g.Expect(w.posts()).To(Equal(2))
}

func TestTheProgressOfOneWatchSaysNothingOfAnother(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		served []string
		want   mark
	}{
		"one watch for all":             {nil, mark{version: 7, at: w.clock.Now()}},
		"a watch for each of those two": {[]string{"a", "b"}, mark{}},
	} {
		r := &DeviceCertificateReconciler{Clock: w.clock, Namespaces: c.served, Flights: NewFlights()}
		moved := aged("moved", w.clock.Now(), time.Hour, time.Minute)
		moved.Namespace, moved.ResourceVersion = "a", "7"
		q := priorityqueue.New[reconcile.Request]("progress")
		r.byUrgency().Create(t.Context(), event.CreateEvent{Object: moved}, q)
		q.ShutDown()
		if diff := cmp.Diff(c.want, r.progress.of(r.watchOf("b")), cmp.AllowUnexported(mark{})); diff != "" {
			t.Errorf("%s: what is known of b's (-want +got):\n%s", name, diff)
		}
	}
}
