// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// eventBound is how long writing an event may take whoever tells of it.
const eventBound = 5 * time.Second

// Recorder writes events of what went well at once, each on its own, and hands everything else to a broadcaster. A broadcaster remembers
// each event for six minutes, so that repeated ones become a series: right for failures, which are repeated, but not for ten thousand
// issuances, each of which is told once. It would also take a second renewal within that time for the first one repeated.
type Recorder struct {
	// EventRecorder takes failures, and what could not be written.
	events.EventRecorder
	Client client.Client
	Clock  clock.PassiveClock
	// Name is that of the reporting controller.
	Name string
}

// Eventf implements events.EventRecorder.
func (r *Recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	if kind == corev1.EventTypeNormal && related == nil && r.write(regarding, reason, action, fmt.Sprintf(note, args...)) == nil {
		return
	}
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, note, args...)
}

func (r *Recorder) write(regarding runtime.Object, reason, action, note string) error {
	about, err := reference.GetReference(r.Client.Scheme(), regarding)
	if err != nil {
		return fmt.Errorf("refer to the object of an event: %w", err)
	}
	now := r.Clock.Now()
	host, _ := os.Hostname()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: about.Namespace, Name: util.GenerateEventName(about.Name, now.UnixNano())},
		EventTime:  metav1.NewMicroTime(now), Type: corev1.EventTypeNormal, Reason: reason, Action: action, Note: note, Regarding: *about,
		ReportingController: r.Name, ReportingInstance: r.Name + "-" + host,
	}
	ctx, cancel := context.WithTimeout(context.Background(), eventBound)
	defer cancel()
	if err := r.Client.Create(ctx, event); err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}
