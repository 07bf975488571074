// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// The priorities of the queue, few because each is a series of workqueue_depth. What has nothing to do at a start or a resync comes last,
// at handler.LowPriority.
const (
	// priorityWoken: a token is kept for the object, for seconds only.
	priorityWoken   = 40
	priorityExpired = 30
	priorityDue     = 20
	priorityNew     = 10
	priorityUsual   = 0
)

// priorityOf is how urgent an object is at an instant, as far as its status tells.
func priorityOf(c *v1alpha1.DeviceCertificate, at time.Time) int {
	status := &c.Status
	switch {
	case c.DeletionTimestamp != nil || c.Spec.Suspend:
		return priorityUsual
	case status.NotAfter != nil && !at.Before(status.NotAfter.Time):
		return priorityExpired
	case status.RenewalTime != nil && !at.Before(status.RenewalTime.Time):
		return priorityDue
	case status.NotAfter == nil:
		return priorityNew
	default:
		return priorityUsual
	}
}

// requests is a controller's queue.
type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]

// byUrgency queues DeviceCertificates, the most urgent first, and notes how far the watch has come. What changes while an object is in flight,
// which is for the most part what the flight writes, needs no turn: nothing is done about it before the flight lands, and then it wakes the
// object. The cache has taken the change in by then.
func (r *DeviceCertificateReconciler) byUrgency() handler.EventHandler {
	add := func(q requests, object client.Object, nothingNew bool) {
		now, priority := r.Clock.Now(), priorityUsual
		r.progress.saw(r.watchOf(object.GetNamespace()), object.GetResourceVersion(), now)
		if r.Flights.InFlight(object.GetUID()) {
			return
		}
		if c, ok := object.(*v1alpha1.DeviceCertificate); ok {
			priority = priorityOf(c, now)
		}
		if nothingNew && priority == priorityUsual {
			priority = handler.LowPriority
		}
		addWithPriority(q, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)}, priority)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q requests) { add(q, e.Object, e.IsInInitialList) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q requests) {
			add(q, e.ObjectNew, e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion())
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q requests) { add(q, e.Object, false) },
	}
}

// addWithPriority queues a request. A queue without priorities takes it as it comes.
func addWithPriority(q requests, request reconcile.Request, priority int) {
	if prioritized, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		prioritized.AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, request)
		return
	}
	q.Add(request)
}

// prioritized gives a result that comes back later the priority its object will have then: without one it would keep that of this
// request, such as that of a start.
func prioritized(result reconcile.Result, c *v1alpha1.DeviceCertificate, now time.Time) reconcile.Result {
	if result.RequeueAfter > 0 {
		priority := priorityOf(c, now.Add(result.RequeueAfter))
		result.Priority = &priority
	}
	return result
}

// urgentFirst moves what is urgent to the front of the queue when this process begins to lead. A standby's queue holds every object with
// the urgency it had when it was last looked at, which may be days ago. One that leads right after its start has just looked.
func (r *DeviceCertificateReconciler) urgentFirst(ctx context.Context) error {
	const young = time.Minute
	if r.Clock.Since(r.began) >= young {
		r.queueUrgent(ctx)
	}
	return nil
}

// queueUrgent queues what is urgent by now, the soonest expiry first.
func (r *DeviceCertificateReconciler) queueUrgent(ctx context.Context) {
	now := r.Clock.Now()
	var urgent []*v1alpha1.DeviceCertificate
	err := r.Roster.Each(ctx, "", func(c *v1alpha1.DeviceCertificate) {
		if priorityOf(c, now) > priorityUsual {
			urgent = append(urgent, c)
		}
	})
	if err != nil {
		return // only the cache is read, and this process is about to end
	}
	slices.SortStableFunc(urgent, func(a, b *v1alpha1.DeviceCertificate) int {
		return ptr.Deref(a.Status.NotAfter, metav1.Time{}).Compare(ptr.Deref(b.Status.NotAfter, metav1.Time{}).Time)
	})
	for _, c := range urgent {
		r.queue.addAt(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)}, priorityOf(c, now))
	}
}
