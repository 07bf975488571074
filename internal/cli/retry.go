// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func newRetryCommand(e *Environment) *cobra.Command {
	o := &several{chosen: chosen{Environment: e}, done: "ready", cost: "This costs up to %s"}
	o.pick, o.request = o.pickFailed, o.requestRetry
	o.asked = func(c *v1alpha1.DeviceCertificate) string { return "a retry is asked for; " + seeStatus(c) }
	return o.command(&cobra.Command{
		Use:   "retry NAME...",
		Short: "Try again now what has failed, instead of waiting",
		Long: "End a back-off now, by the annotation " + v1alpha1.AnnotationRetryRequestedAt + ". Use it when what was wrong has been put right:\n" +
			"the operator notices most repairs by itself, but not a changed enrollment profile at the vendor.",
		Example: example(`
			kubectl devicecert retry gateway-17 --wait
			kubectl devicecert retry --all -A`),
	}, "the certificates are ready, or fail again")
}

// pickFailed leaves those that wait, and says why of others that were named.
func (o *several) pickFailed(found []v1alpha1.DeviceCertificate) []v1alpha1.DeviceCertificate {
	var waits []v1alpha1.DeviceCertificate
	for i := range found {
		switch c := &found[i]; {
		case retryable(c):
			waits = append(waits, *c)
		case len(o.targets.names) > 0:
			o.say(c, "nothing to retry, it is %s", stateOf(c, o.Clock.Now()).words())
		}
	}
	if len(waits) == 0 {
		fmt.Fprintln(o.Out, "Nothing waits for a retry.")
	}
	return waits
}

// requestRetry sets the annotation.
func (o *several) requestRetry(ctx context.Context, s *session, before, c *v1alpha1.DeviceCertificate) (judge, error) {
	now := o.Clock.Now()
	value := s.fresh(now, time.Time{}, c.Status.LastHandledRetryRequest, c.Annotations[v1alpha1.AnnotationRetryRequestedAt])
	return retried(before, value, now), s.annotate(ctx, c, map[string]string{v1alpha1.AnnotationRetryRequestedAt: value})
}

// retryable tells whether a retry could bring anything forward: something failed, or waits. One that waits for an approval is ended by
// `abandon` alone.
func retryable(c *v1alpha1.DeviceCertificate) bool {
	if a := c.Status.Attempt; a != nil && a.RequestID != "" || c.DeletionTimestamp != nil {
		return false
	}
	return c.Status.Failures != nil || concern(c).Type != ""
}

// retried judges whether the retry that was asked for by value has succeeded.
func retried(before *v1alpha1.DeviceCertificate, value string, now time.Time) judge {
	return func(c *v1alpha1.DeviceCertificate) (ending, string) {
		st := &c.Status
		if st.Attempt == nil && st.Failures == nil && concern(c).Type == "" {
			return succeeded, "ready: " + describeIssued(st, now)
		}
		if c.Annotations[v1alpha1.AnnotationRetryRequestedAt] != value {
			return failed, "somebody changed the annotation " + v1alpha1.AnnotationRetryRequestedAt + " meanwhile; ask again"
		}
		return progressOf(before, c, now)
	}
}
