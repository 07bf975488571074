// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

const (
	// renewalTimeout is the lifetime of the short-lived certificate: by then it must have been renewed.
	renewalTimeout = 90 * time.Second
	lookInterval   = 250 * time.Millisecond
	// saySoEvery is how often a wait says that it goes on.
	saySoEvery = 5 * time.Second
)

// watchRenewal waits for the short-lived certificate's successor and sees that Ready never left True on the way.
func (d *demo) watchRenewal(ctx context.Context) error {
	before, err := d.readShortLived(ctx)
	if err != nil {
		return err
	}
	if before.Status.RenewalTime == nil {
		return fmt.Errorf("%s has no status.renewalTime", shortLived)
	}
	due := before.Status.RenewalTime.Time
	saidAt := time.Time{}
	var now *v1alpha1.DeviceCertificate
	err = wait.PollUntilContextTimeout(ctx, lookInterval, renewalTimeout, true, func(ctx context.Context) (bool, error) {
		if now, err = d.readShortLived(ctx); err != nil {
			return false, err
		}
		ready := apimeta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionTrue {
			return false, fmt.Errorf("%s is not Ready while it is renewed", shortLived)
		}
		if time.Since(saidAt) >= saySoEvery {
			saidAt = time.Now()
			d.screen.note("serial %s, Ready=True, due for renewal %s", shortSerial(now.Status.SerialNumber), fromNow(due))
		}
		return now.Status.SerialNumber != before.Status.SerialNumber, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the renewal: %w", err)
	}
	if readySince(before) != readySince(now) {
		return fmt.Errorf("%s was not Ready for a moment while it was renewed", shortLived)
	}
	held, err := d.unpack(ctx, now)
	if err != nil {
		return err
	}
	verdict, err := d.judge().check(ctx, held)
	if err != nil {
		return fmt.Errorf("the renewed Secret does not hold what it should: %w", err)
	}
	d.screen.note("serial %s, Ready=True all the time since it was first stored", shortSerial(now.Status.SerialNumber))
	d.screen.note("the Secret's new content: %s", verdict)
	return nil
}

func (d *demo) readShortLived(ctx context.Context) (*v1alpha1.DeviceCertificate, error) {
	c := &v1alpha1.DeviceCertificate{}
	err := d.cluster.Get(ctx, client.ObjectKey{Namespace: sampleNamespace, Name: shortLived}, c)
	return c, err
}

// readySince is when Ready last changed between True and False.
func readySince(c *v1alpha1.DeviceCertificate) time.Time {
	ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return time.Time{}
	}
	return ready.LastTransitionTime.UTC()
}

func fromNow(t time.Time) string {
	left := time.Until(t).Round(time.Second)
	if left <= 0 {
		return "now"
	}
	return "in " + left.String()
}
