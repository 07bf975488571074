// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// maxClockSkew is how far this process's clock may be from the API server's when something is bought: as far as from the vendor's. An
// attempt that is dated wrongly would be searched for at the wrong time, should its answer be lost.
const maxClockSkew = 5 * time.Minute

// misdated tells whether the intent that was just recorded bears a time that the API server's clock contradicts.
func (p *purchase) misdated() bool {
	at := p.r.writtenAt(p.cert)
	return !at.IsZero() && at.Sub(p.attempt.StartedAt.Time).Abs() > maxClockSkew
}

// writtenAt is when the API server wrote the object last, by its own clock, as its answer to the write tells; zero when it does not.
func writtenAt(c *v1alpha1.DeviceCertificate) time.Time {
	var last time.Time
	for _, entry := range c.ManagedFields {
		if entry.Time != nil && entry.Time.After(last) && entry.Operation == metav1.ManagedFieldsOperationUpdate {
			last = entry.Time.Time
		}
	}
	return last
}

const (
	// clockInterval is how often the clock is looked at, jumpTolerance how far the time of day may run away from the time that has passed
	// until then: no correction of a clock that is kept in time is that large.
	clockInterval = 30 * time.Second
	jumpTolerance = time.Minute
)

// reading is what time it was, and how long the process had run by the clock that its timers go by. That one stands still while the
// machine is suspended, and never jumps.
type reading struct {
	wall    time.Time
	running time.Duration
}

// readClock is a reading of a clock whose times bear both.
func (r *DeviceCertificateReconciler) readClock() reading {
	now := r.Clock.Now()
	return reading{wall: now.Round(0), running: now.Sub(r.began)}
}

// jumpTo is how far the time of day has run away between two readings.
func (a reading) jumpTo(b reading) time.Duration {
	return b.wall.Sub(a.wall) - (b.running - a.running)
}

// watchClock looks again at what a machine that was suspended, migrated or set has made urgent: the timers of those objects know nothing
// of it, and would come by hours late.
func (r *DeviceCertificateReconciler) watchClock(ctx context.Context) error {
	last := r.readClock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.Clock.After(clockInterval):
			last = r.compareClocks(ctx, last, r.readClock())
		}
	}
}

func (r *DeviceCertificateReconciler) compareClocks(ctx context.Context, last, now reading) reading {
	if jump := last.jumpTo(now); jump.Abs() > jumpTolerance {
		ctrl.Log.WithName("clock").Info("the clock has jumped; what is due by now is looked at again", "by", jump.String())
		r.queueUrgent(ctx)
	}
	return now
}
