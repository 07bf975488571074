// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

const (
	// sweepBound is the longest one sweep may take, waiting for the account's tokens included.
	sweepBound = time.Hour
	// unusableRecheck is how soon a due sweep looks again whether its account can be asked.
	unusableRecheck = 5 * time.Minute
	// surveyDelay gathers the changes of a burst of objects into one look at all of them.
	surveyDelay = 30 * time.Second
	// longestSurveySleep notices a clock that was set.
	longestSurveySleep = 6 * time.Hour
	// sweepWorkers is how many issuers of a kind are swept at a time.
	sweepWorkers = 2
)

// SweepReconciler compares the vendor's inventory with the cluster, once a day for each issuer and each profile in use: it finds certificates
// that nobody accounts for, and those of ours that somebody revoked. It keeps its calendar on the issuer's status, where it also counts the
// orphans of the issuer's objects; a restart asks the vendor nothing.
type SweepReconciler struct {
	// Certificates lends its clients and accounts, and its ways to read Secrets and to revoke.
	Certificates *DeviceCertificateReconciler
}

// SetupWithManager registers one controller for each issuer kind.
func (r *SweepReconciler) SetupWithManager(mgr ctrl.Manager) error {
	for kind, object := range map[v1alpha1.IssuerKind]client.Object{
		v1alpha1.KindDeviceIssuer:        &v1alpha1.DeviceIssuer{},
		v1alpha1.KindClusterDeviceIssuer: &v1alpha1.ClusterDeviceIssuer{},
	} {
		usable := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return readySays(e.ObjectOld) != readySays(e.ObjectNew) }}
		err := ctrl.NewControllerManagedBy(mgr).
			Named("sweep-"+strings.ToLower(string(kind))).
			For(object, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, usable))).
			Watches(&v1alpha1.DeviceCertificate{}, surveyLater(kind)).
			WithOptions(controller.Options{MaxConcurrentReconciles: sweepWorkers}).
			Complete(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
				return r.reconcile(ctx, account.ID{Kind: kind, Namespace: request.Namespace, Name: request.Name})
			}))
		if err != nil {
			return fmt.Errorf("set up the sweep of %ss: %w", kind, err)
		}
	}
	return nil
}

// surveyLater asks for a look at the issuer of an object that is new, gone or has other orphans, once for all that change in a while.
func surveyLater(kind v1alpha1.IssuerKind) handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	later := func(o client.Object, q queue) {
		c, ok := o.(*v1alpha1.DeviceCertificate)
		if id := accountOf(c); ok && id.Kind == kind {
			q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: id.Namespace, Name: id.Name}}, surveyDelay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { later(e.Object, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { later(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, ok := e.ObjectOld.(*v1alpha1.DeviceCertificate)
			after, same := e.ObjectNew.(*v1alpha1.DeviceCertificate)
			if ok && same && surveyable(before) == surveyable(after) && apiequality.Semantic.DeepEqual(before.Status.Orphans, after.Status.Orphans) {
				return
			}
			later(e.ObjectNew, q)
		},
	}
}

// surveyable is what the calendar depends on of an object, but for its orphans.
func surveyable(c *v1alpha1.DeviceCertificate) string {
	restored := c.Status.Issued == nil && c.Status.SerialNumber != ""
	return fmt.Sprint(c.Spec.IssuerRef, c.Spec.EnrollmentProfileID, restored)
}

// accountOf is the account that an object names.
func accountOf(c *v1alpha1.DeviceCertificate) account.ID {
	if c == nil {
		return account.ID{}
	}
	id := account.ID{Kind: c.Spec.IssuerRef.Kind, Namespace: c.Namespace, Name: c.Spec.IssuerRef.Name}
	if id.Kind == v1alpha1.KindClusterDeviceIssuer {
		id.Namespace = ""
	}
	return id
}

// reconcile counts the issuer's orphans, keeps its calendar, and sweeps the one profile that has been due longest.
func (r *SweepReconciler) reconcile(ctx context.Context, id account.ID) (reconcile.Result, error) {
	c := r.Certificates
	object, err := getIssuer(ctx, c.Client, id)
	if err != nil || !c.Issuers.Matches(labels.Set(object.GetLabels())) {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	fleet, err := r.cachedFleet(ctx, id)
	if err != nil {
		return reconcile.Result{}, err
	}
	state := c.Accounts.State(id)
	usable := state.Known && state.Ready && !state.Suspended && state.CanSearch && object.GetDeletionTimestamp() == nil
	due, _ := plan.DueSweep(r.schedule(object, fleet, state), c.Clock.Now())
	if due >= 0 && usable {
		// A cache that lags behind this process's own report must not make it sweep again.
		if object, err = getIssuer(ctx, c.Reader, id); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
	}
	base, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return reconcile.Result{}, fmt.Errorf("%s cannot be copied", id)
	}
	object.status.Sweeps = r.schedule(object, fleet, state)
	due, _ = plan.DueSweep(object.status.Sweeps, c.Clock.Now())
	swept := due >= 0 && usable
	if swept {
		object.status.Sweeps[due] = r.sweep(ctx, object, id, object.status.Sweeps[due])
		if fleet, err = r.cachedFleet(ctx, id); err != nil {
			return reconcile.Result{}, err
		}
	}
	object.status.Orphans = plan.CountOrphans(fleet)
	if !apiequality.Semantic.DeepEqual(issuerOf(base).status, object.status) {
		if err := c.Client.Status().Patch(ctx, object.Object, client.MergeFrom(base)); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(fmt.Errorf("report the sweep of %s: %w", id, err))
		}
	}
	if swept {
		return reconcile.Result{RequeueAfter: time.Second}, nil // to count what the cache did not show yet
	}
	return r.again(object.status.Sweeps, usable), nil
}

// schedule is the issuer's calendar as it should be. A credential that cannot search has none, and one that is not connected yet keeps the
// one it has.
func (r *SweepReconciler) schedule(object issuerObject, fleet []*v1alpha1.DeviceCertificate, state account.State) []v1alpha1.Sweep {
	switch {
	case !state.Known:
		return object.status.Sweeps
	case !state.CanSearch:
		return nil
	}
	return plan.ScheduleSweeps(object.status.Sweeps, fleet, r.Certificates.Clock.Now(), string(object.GetUID()))
}

// again is when to look again.
func (r *SweepReconciler) again(sweeps []v1alpha1.Sweep, usable bool) reconcile.Result {
	now := r.Certificates.Clock.Now()
	due, next := plan.DueSweep(sweeps, now)
	switch {
	case due >= 0 && usable: // since a moment ago
		return reconcile.Result{RequeueAfter: time.Second}
	case due >= 0:
		return reconcile.Result{RequeueAfter: unusableRecheck}
	case next.IsZero():
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: min(max(next.Sub(now), time.Second), longestSurveySleep)}
}

// cachedFleet are the objects that name an issuer, read only.
func (r *SweepReconciler) cachedFleet(ctx context.Context, id account.ID) ([]*v1alpha1.DeviceCertificate, error) {
	var found []*v1alpha1.DeviceCertificate
	err := r.Certificates.Roster.ofIssuer(ctx, id.Kind, id.Namespace, id.Name, func(c *v1alpha1.DeviceCertificate) { found = append(found, c) })
	return found, err
}

// belonging picks objects without copying them.
func belonging(all []v1alpha1.DeviceCertificate, wanted func(*v1alpha1.DeviceCertificate) bool) []*v1alpha1.DeviceCertificate {
	var picked []*v1alpha1.DeviceCertificate
	for i := range all {
		if wanted(&all[i]) {
			picked = append(picked, &all[i])
		}
	}
	return picked
}

// sweep carries one sweep out and answers with its entry in the calendar.
func (r *SweepReconciler) sweep(ctx context.Context, object issuerObject, id account.ID, entry v1alpha1.Sweep) v1alpha1.Sweep {
	c, seed := r.Certificates, string(object.GetUID())
	ctx, cancel := context.WithTimeout(ctx, sweepBound)
	defer cancel()
	s := &sweep{r: c, id: id, issuer: object.issuer(), profileID: entry.ProfileID, began: c.Clock.Now()}
	s.log = ctrl.Log.WithName("sweep").WithValues("issuer", id.String(), "profile", entry.ProfileID)
	if err := s.run(ctx); err != nil {
		s.log.Info("the sweep of the inventory failed and is repeated later", "error", err.Error())
		return plan.FailSweep(entry, c.Clock.Now(), truncate("the sweep failed and is repeated: "+err.Error()), seed)
	}
	s.log.Info("the inventory was swept", "records", s.records, "reported", s.reported, "revoked", s.revoked)
	return plan.EndSweep(entry, s.began, s.records, truncate(strings.Join(s.remarks, "; ")), seed)
}

// write changes the status of an object as it is now. One that is gone, or another of its name, needs nothing.
func (s *sweep) write(ctx context.Context, c *v1alpha1.DeviceCertificate, edit func(*v1alpha1.DeviceCertificateStatus)) error {
	const tries = 5
	var err error
	for range tries {
		live := &v1alpha1.DeviceCertificate{}
		if err = s.r.Reader.Get(ctx, client.ObjectKeyFromObject(c), live); err != nil || live.UID != c.UID {
			return client.IgnoreNotFound(err)
		}
		base := live.DeepCopy()
		edit(&live.Status)
		if apiequality.Semantic.DeepEqual(base.Status, live.Status) {
			return nil
		}
		err = s.r.Client.Status().Patch(ctx, live, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		if !apierrors.IsConflict(err) {
			return client.IgnoreNotFound(err)
		}
	}
	return fmt.Errorf("write what was found of %s/%s: %w", c.Namespace, c.Name, err)
}
