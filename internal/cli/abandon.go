// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// abandonOptions are those of `abandon`.
type abandonOptions struct {
	single
	attempt string
}

func newAbandonCommand(e *Environment) *cobra.Command {
	o := &abandonOptions{single: single{Environment: e}}
	cmd := &cobra.Command{
		Use:   "abandon NAME [ATTEMPT]",
		Short: "Give up an attempt that waits for an approval that never comes",
		Long: "Give up the open attempt, by the annotation " + v1alpha1.AnnotationAbandonAttempt + ". The operator looks whether it has bought a\n" +
			"certificate all the same, revokes or reports what it finds, and goes on with a new attempt.\n\n" +
			"Decline the request at the vendor first: an approval later on would issue a certificate whose key nobody gets.",
		Example:           example(`kubectl devicecert abandon gateway-17 --wait`),
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: e.completeOne,
		RunE:              run(o),
	}
	o.steering.addFlags(cmd, "the attempt is closed")
	o.steering.addYesFlag(cmd)
	return cmd
}

// Complete reads the names.
func (o *abandonOptions) Complete(args []string) error {
	if len(args) > 1 {
		o.attempt = args[1]
	}
	return o.single.Complete(args)
}

// Run gives the attempt up.
func (o *abandonOptions) Run(ctx context.Context) error {
	s, c, err := o.read(ctx)
	if err != nil {
		return err
	}
	open := c.Status.Attempt
	switch {
	case open == nil:
		return fmt.Errorf("%s has no open attempt to give up; it is %s", title(c), stateOf(c, o.Clock.Now()).words())
	case o.attempt != "" && o.attempt != open.ID:
		return fmt.Errorf("the open attempt of %s is %s, not %s: leave the id out, or copy it from `kubectl devicecert status`", title(c), clean(open.ID), o.attempt)
	}
	now := o.Clock.Now()
	question := fmt.Sprintf("Attempt %s of %s is given up, and a new one may cost a certificate", clean(open.ID), when(open.StartedAt.Time, now))
	if open.RequestID == "" {
		question = fmt.Sprintf("Attempt %s of %s does not wait for an approval, and the operator closes it by itself; given up now, it may have bought a certificate that is found too late",
			clean(open.ID), when(open.StartedAt.Time, now))
	}
	if err := o.confirm(o.steering.yes, question); err != nil {
		return err
	}
	if err := o.request(ctx, s, c, v1alpha1.AnnotationAbandonAttempt, open.ID, "given up", abandoned(c.DeepCopy())); err != nil || o.steering.wait {
		return err
	}
	o.say(c, "attempt %s is given up; the operator closes it in a moment", clean(open.ID))
	return nil
}

// abandoned judges whether the attempt that was open is closed.
func abandoned(before *v1alpha1.DeviceCertificate) judge {
	return func(c *v1alpha1.DeviceCertificate) (ending, string) {
		if open := c.Status.Attempt; c.UID == before.UID && (open == nil || open.ID != before.Status.Attempt.ID) {
			for _, orphan := range c.Status.Orphans {
				if orphan.AttemptID == before.Status.Attempt.ID {
					return succeeded, fmt.Sprintf("given up; what it may have bought is listed as an orphan (%s): kubectl devicecert status %s -n %s", orphan.Outcome, c.Name, c.Namespace)
				}
			}
			return succeeded, "given up; nothing was bought by it"
		}
		if c.UID != before.UID || c.DeletionTimestamp != nil {
			return failed, "it was deleted"
		}
		return goesOn, ""
	}
}
