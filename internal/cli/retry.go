// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// retryOptions are those of `retry`.
type retryOptions struct {
	*Environment
	targets  targets
	steering steering
	askAbove int
}

func newRetryCommand(e *Environment) *cobra.Command {
	o := &retryOptions{Environment: e}
	cmd := &cobra.Command{
		Use:   "retry NAME...",
		Short: "Try again now what has failed, instead of waiting",
		Long: "End a back-off now, by the annotation " + v1alpha1.AnnotationRetryRequestedAt + ". Use it when what was wrong has been put right:\n" +
			"the operator notices most repairs by itself, but not a changed enrollment profile at the vendor.",
		Example: example(`
			kubectl devicecert retry gateway-17 --wait
			kubectl devicecert retry --all -A`),
		ValidArgsFunction: e.completeCertificates,
		RunE:              run(o),
	}
	o.targets.addFlags(cmd)
	o.targets.addAllFlag(cmd)
	o.steering.addFlags(cmd, "the certificates are ready, or fail again")
	o.steering.addYesFlag(cmd)
	cmd.Flags().IntVar(&o.askAbove, "ask-above", askAbove, "ask before it costs more certificates than this")
	return cmd
}

// Complete reads the names.
func (o *retryOptions) Complete(args []string) error {
	o.targets.complete(args)
	return nil
}

// Validate wants to know which.
func (o *retryOptions) Validate() error {
	return errors.Join(o.targets.validate(), o.steering.validate())
}

// Run asks for the retries of those that wait.
func (o *retryOptions) Run(ctx context.Context) error {
	s, err := o.connect()
	if err != nil {
		return err
	}
	found, err := o.targets.find(ctx, s)
	if err != nil {
		return err
	}
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
		return nil
	}
	if len(waits) > o.askAbove {
		if err := o.confirm(o.steering.yes, fmt.Sprintf("This costs up to %s", count(len(waits), "certificate"))); err != nil {
			return err
		}
	}
	return o.retry(ctx, s, waits)
}

func (o *retryOptions) retry(ctx context.Context, s *session, waits []v1alpha1.DeviceCertificate) error {
	w := o.newWait(s, "ready", o.steering.timeout)
	for i := range waits {
		before, now := waits[i].DeepCopy(), o.Clock.Now()
		value := s.fresh(now, time.Time{}, before.Status.LastHandledRetryRequest, before.Annotations[v1alpha1.AnnotationRetryRequestedAt])
		if err := s.annotate(ctx, &waits[i], map[string]string{v1alpha1.AnnotationRetryRequestedAt: value}); err != nil {
			return errors.Join(err, fmt.Errorf("%d of %d were asked for before that", i, len(waits)))
		}
		w.add(before, retried(before, value, now))
		if !o.steering.wait {
			o.say(before, "a retry is asked for; see what becomes of it: kubectl devicecert status %s -n %s", before.Name, before.Namespace)
		}
	}
	if !o.steering.wait {
		return nil
	}
	return w.run(ctx)
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
