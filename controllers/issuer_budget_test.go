// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

// withBudget limits what is bought in a day.
func withBudget(perDay int32) func(*v1alpha1.IssuerSpec) {
	return func(s *v1alpha1.IssuerSpec) { s.Limits.IssuancesPerDay = perDay }
}

// spend buys until there is no lease any more, and answers how often that succeeded and what it waits for then.
func (d *issuerDesk) spend(id account.ID) (int, account.Wait) {
	d.t.Helper()
	for n := range 1000 {
		lease, wait := d.tryAcquire(id)
		if lease == nil {
			return n, wait
		}
		lease.Done(account.Outcome{Issued: true})
	}
	d.t.Fatal("there is no end to the leases")
	return 0, account.Wait{}
}

func TestTheBudgetIsOnTheIssuersStatusAndSurvivesARestart(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer(withBudget(60))
	d.reconcile(id)
	if d.status(id).Budget != nil {
		t.Error("something was reserved although nobody waits")
	}
	for range 15 {
		d.acquire(id).Done(account.Outcome{Issued: true})
	}
	today := d.clock.Now().UTC().Format(time.DateOnly)
	if diff := cmp.Diff(&v1alpha1.IssuerBudget{Day: today, Reserved: 18}, d.status(id).Budget); diff != "" {
		t.Fatalf("the budget on record (-want +got):\n%s", diff)
	}
	d.restart()
	d.reconcile(id)
	spent, wait := d.spend(id)
	if spent != 42 || wait.Reason != v1alpha1.ReasonBudgetExceeded {
		t.Errorf("%d were bought after the restart, want what was not on record of 60; then it waits for %s", spent, wait.Reason)
	}
	d.reconcile(id)
	if !apimeta.IsStatusConditionTrue(d.status(id).Conditions, v1alpha1.ConditionBudgetExceeded) {
		t.Error("the issuer does not say that its budget is used up")
	}
	d.clock.Step(24 * time.Hour)
	if spent, _ = d.spend(id); spent != 60 {
		t.Errorf("%d were bought on the next day, want 60", spent)
	}
}

func TestNobodyReservesFromAStaleIssuer(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer(withBudget(60))
	d.reconcile(id)
	stale := d.object(id)
	d.acquire(id).Done(account.Outcome{Issued: true}) // another process, as far as the next one knows
	d.restart()
	d.reconcile(id)
	d.reconciler.Accounts.Await(id, account.Request{Key: client.ObjectKeyFromObject(stale), ProfileID: profileLong, Format: v1alpha1.FormatPEM})
	before := d.status(id).Budget.Reserved
	d.reconciler.Client = interceptor.NewClient(newClient(t), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			if issuer, ok := object.(*v1alpha1.DeviceIssuer); ok {
				stale.Object.(*v1alpha1.DeviceIssuer).DeepCopyInto(issuer)
				return nil
			}
			return c.Get(ctx, key, object, opts...)
		},
	})
	result, err := d.reconciler.reconcile(t.Context(), id)
	if err != nil || result.RequeueAfter != cacheLag {
		t.Errorf("%+v, %v, want it to come back once the cache has caught up", result, err)
	}
	if after := d.status(id).Budget.Reserved; after != before {
		t.Errorf("%d are on record after %d", after, before)
	}
}

// fleet makes the controller see certificates whose renewals are due after these delays.
func (d *issuerDesk) fleet(due ...time.Duration) {
	d.t.Helper()
	var items []v1alpha1.DeviceCertificate
	for i, delay := range due {
		c := v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: fmt.Sprint("c", i)}}
		c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"}
		c.Status.RenewalTime = timeOf(d.clock.Now().Add(delay))
		items = append(items, c)
	}
	suspended, deleted, manual := items[0], items[0], items[0]
	suspended.Spec.Suspend, deleted.DeletionTimestamp, manual.Status.RenewalTime = true, timeOf(d.clock.Now()), nil
	items = append(items, suspended, deleted, manual)
	d.reconciler.Roster.reader = interceptor.NewClient(newClient(d.t), interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			if certificates, ok := list.(*v1alpha1.DeviceCertificateList); ok {
				certificates.Items = items
			}
			return nil
		},
	})
}

func TestTheForecastIsWrittenRarely(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	hours := func(n int) time.Duration { return time.Duration(n) * time.Hour }
	d.fleet(-time.Hour, time.Minute, hours(20), hours(30), hours(24*6), hours(24*30))
	d.reconcile(id)
	got := *d.status(id).Forecast
	got.ObservedAt = metav1.Time{}
	want := v1alpha1.RenewalForecast{Certificates: 6, Overdue: 1, NextHour: 2, NextDay: 3, NextWeek: 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the forecast (-want +got):\n%s", diff)
	}
	version := d.object(id).GetResourceVersion()
	for _, step := range []struct {
		after time.Duration
		fleet []time.Duration
		write bool
	}{
		{2 * time.Minute, []time.Duration{time.Minute}, false},
		{time.Hour, []time.Duration{-time.Hour, time.Minute, hours(20), hours(30), hours(24 * 6), hours(24 * 30)}, false},
		{2 * time.Minute, []time.Duration{time.Minute}, true},
		{2 * time.Minute, []time.Duration{hours(20), hours(20)}, false},
	} {
		d.clock.Step(step.after)
		d.fleet(step.fleet...)
		d.reconcile(id)
		if now := d.object(id).GetResourceVersion(); (now != version) != step.write {
			t.Errorf("after %s, with %v: written %t", step.after, step.fleet, now != version)
		} else {
			version = now
		}
	}
}

func TestNewCertificatesLeaveTheForecastItsShare(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	d.clock.SetTime(account.DayOf(d.clock.Now()).Add(12 * time.Hour))
	id := d.issuer(withBudget(20))
	due := make([]time.Duration, 15)
	d.fleet(append(due, 13*time.Hour)...)
	if spent, wait := d.spend(id); spent != 5 || wait.Reason != v1alpha1.ReasonBudgetExceeded {
		t.Errorf("%d new certificates were bought, want 5 of 20 as 15 renewals fall due today; then it waits for %s", spent, wait.Reason)
	}
}
