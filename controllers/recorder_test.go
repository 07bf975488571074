// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestEveryIssuanceIsToldOnItsOwnAndFailuresInSeries(t *testing.T) {
	c := newClient(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "events-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	cert := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "gateway", UID: "uid", ResourceVersion: "1"}}
	series := events.NewFakeRecorder(10)
	now := clocktesting.NewFakePassiveClock(time.Now())
	r := &Recorder{EventRecorder: series, Client: c, Clock: now, Name: "operator"}
	r.Eventf(cert, nil, corev1.EventTypeNormal, "Renewed", "Renew", "serial %s", "01")
	now.SetTime(now.Now().Add(time.Minute))
	r.Eventf(cert, nil, corev1.EventTypeNormal, "Renewed", "Renew", "serial %s", "02")
	r.Eventf(cert, nil, corev1.EventTypeWarning, "Refused", "Renew", "no")
	list := &eventsv1.EventList{}
	if err := c.List(t.Context(), list, client.InNamespace(namespace.Name)); err != nil {
		t.Fatal(err)
	}
	notes := map[string]int{}
	for _, e := range list.Items {
		notes[e.Regarding.Kind+" "+string(e.Regarding.UID)+" "+e.Type+" "+e.Reason+" "+e.Action+" "+e.ReportingController+": "+e.Note]++
	}
	want := map[string]int{
		"DeviceCertificate uid Normal Renewed Renew operator: serial 01": 1,
		"DeviceCertificate uid Normal Renewed Renew operator: serial 02": 1,
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := <-series.Events; got != "Warning Refused no" || len(series.Events) > 0 {
		t.Errorf("the broadcaster got %q and %d more", got, len(series.Events))
	}

	r.Client = interceptor.NewClient(c, interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
		return errors.New("connection refused")
	}})
	r.Eventf(cert, nil, corev1.EventTypeNormal, "Renewed", "Renew", "serial %s", "03")
	if got := <-series.Events; got != "Normal Renewed serial 03" {
		t.Errorf("the broadcaster, which tries for minutes, got %q of what could not be written", got)
	}
}
