// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// aged is an object whose certificate expires and is due after those delays; zero for no certificate.
func aged(name string, now time.Time, expires, due time.Duration) *v1alpha1.DeviceCertificate {
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}}
	if expires != 0 {
		c.Status.NotAfter, c.Status.RenewalTime = timeOf(now.Add(expires)), timeOf(now.Add(due))
	}
	return c
}

func TestAStartDoesWhatIsUrgentFirst(t *testing.T) {
	now := time.Now()
	fleet := []*v1alpha1.DeviceCertificate{
		aged("valid", now, time.Hour, time.Minute), aged("new", now, 0, 0), aged("due", now, time.Hour, -time.Minute), aged("expired", now, -time.Minute, -time.Hour),
	}
	for _, resync := range []bool{false, true} {
		q := priorityqueue.New[reconcile.Request]("test")
		byUrgent := (&DeviceCertificateReconciler{Clock: clocktesting.NewFakeClock(now), Flights: NewFlights()}).byUrgency()
		for _, c := range fleet {
			if resync {
				byUrgent.Update(t.Context(), event.UpdateEvent{ObjectOld: c, ObjectNew: c}, q)
			} else {
				byUrgent.Create(t.Context(), event.CreateEvent{Object: c, IsInInitialList: true}, q)
			}
		}
		edited := aged("edited", now, time.Hour, time.Minute)
		edited.ResourceVersion = "2"
		byUrgent.Update(t.Context(), event.UpdateEvent{ObjectOld: aged("edited", now, 0, 0), ObjectNew: edited}, q)
		byUrgent.Delete(t.Context(), event.DeleteEvent{Object: aged("deleted", now, time.Hour, time.Minute)}, q)
		var wakes wakeQueue
		if err := wakes.start(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		wakes.add(reconcile.Request{NamespacedName: types.NamespacedName{Name: "granted"}})
		var order []string
		for range 7 {
			request, _, _ := q.GetWithPriority()
			order = append(order, request.Name)
		}
		q.ShutDown()
		slices.Sort(order[4:6]) // of the same priority
		if diff := cmp.Diff([]string{"granted", "expired", "due", "new", "deleted", "edited", "valid"}, order); diff != "" {
			t.Errorf("resync %t: the order (-want +got):\n%s", resync, diff)
		}
	}
}

func TestAStandbyThatTakesOverDoesWhatHasBecomeUrgentFirst(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	fleet := []*v1alpha1.DeviceCertificate{
		aged("valid", clock.Now(), 90*time.Hour, 60*time.Hour), aged("due-by-then", clock.Now(), 72*time.Hour, 24*time.Hour), aged("expired-by-then", clock.Now(), 47*time.Hour, 24*time.Hour),
	}
	r := &DeviceCertificateReconciler{Clock: clock, Flights: NewFlights()}
	r.Client = interceptor.NewClient(newClient(t), interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			for _, c := range fleet {
				certificates, ok := list.(*v1alpha1.DeviceCertificateList)
				if !ok {
					return errors.New("only certificates are looked for")
				}
				certificates.Items = append(certificates.Items, *c)
			}
			return nil
		},
	})
	r.Roster = &Roster{reader: r.Client}
	q := priorityqueue.New[reconcile.Request]("standby")
	defer q.ShutDown()
	if err := r.queue.start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	warm := r.byUrgency()
	for _, c := range fleet {
		warm.Create(t.Context(), event.CreateEvent{Object: c, IsInInitialList: true}, q)
	}
	clock.Step(48 * time.Hour)
	if err := r.urgentFirst(t.Context()); err != nil {
		t.Fatal(err)
	}
	var order []string
	for range fleet {
		request, _, _ := q.GetWithPriority()
		order = append(order, request.Name)
	}
	if diff := cmp.Diff([]string{"expired-by-then", "due-by-then", "valid"}, order); diff != "" {
		t.Errorf("the order (-want +got):\n%s", diff)
	}
}

func TestAnObjectComesBackWithTheUrgencyItWillHave(t *testing.T) {
	now := time.Now()
	c := aged("c", now, time.Hour, time.Minute)
	for after, want := range map[time.Duration]int{time.Second: priorityUsual, time.Minute: priorityDue, time.Hour: priorityExpired} {
		result := prioritized(reconcile.Result{RequeueAfter: after}, c, now)
		if result.Priority == nil || *result.Priority != want {
			t.Errorf("after %s: priority %v, want %d", after, result.Priority, want)
		}
	}
	if result := prioritized(reconcile.Result{}, c, now); result.Priority != nil {
		t.Error("a result that does not come back has a priority")
	}
	if handler.LowPriority >= priorityUsual {
		t.Error("a start would not come last")
	}
}
