// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// askAbove is how many certificates a command may cost without a question.
const askAbove = 5

// several is what the verbs share that steer any number of DeviceCertificates: which, whether to ask first, and the wait.
type several struct {
	chosen
	steering steering
	askAbove int

	// done is what the certificates will be, and cost what that takes, with a place for how many.
	done, cost string
	// pick leaves those to which there is nothing to do.
	pick func([]v1alpha1.DeviceCertificate) []v1alpha1.DeviceCertificate
	// request annotates one, which it was given as it was before, and tells how to judge what becomes of it.
	request func(ctx context.Context, s *session, before, c *v1alpha1.DeviceCertificate) (judge, error)
	// asked is what is said of one that is not waited for.
	asked func(*v1alpha1.DeviceCertificate) string
}

// command gives a verb its flags.
func (o *several) command(cmd *cobra.Command, waitsFor string) *cobra.Command {
	cmd.RunE = run(o)
	o.addFlags(cmd)
	o.steering.addFlags(cmd, waitsFor)
	o.steering.addYesFlag(cmd)
	cmd.Flags().IntVar(&o.askAbove, "ask-above", askAbove, "ask before it costs more certificates than this")
	return cmd
}

// Validate wants to know which, and how long to wait.
func (o *several) Validate() error {
	return errors.Join(o.chosen.Validate(), o.steering.validate())
}

// Run asks for what the verb does, of one after the other.
func (o *several) Run(ctx context.Context) error {
	s, found, err := o.read(ctx)
	if err != nil {
		return err
	}
	if found = o.pick(found); len(found) > o.askAbove {
		if err := o.confirm(o.steering.yes, fmt.Sprintf(o.cost, count(len(found), "certificate"))); err != nil {
			return err
		}
	}
	w := o.newWait(s, o.done, o.steering.timeout)
	for i := range found {
		before := found[i].DeepCopy()
		j, err := o.request(ctx, s, before, &found[i])
		if err != nil {
			return errors.Join(err, fmt.Errorf("%d of %d were asked for before that", i, len(found)))
		}
		w.add(before, j)
		if !o.steering.wait {
			o.say(before, "%s", o.asked(before))
		}
	}
	if !o.steering.wait || len(found) == 0 {
		return nil
	}
	return w.run(ctx)
}

// seeStatus is where to look for what becomes of a wish.
func seeStatus(c *v1alpha1.DeviceCertificate) string {
	return fmt.Sprintf("see what becomes of it: kubectl devicecert status %s -n %s", c.Name, c.Namespace)
}
