// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// acknowledgeOptions are those of `acknowledge`.
type acknowledgeOptions struct {
	single
	ids []string
	all bool
}

func newAcknowledgeCommand(e *Environment) *cobra.Command {
	// It costs nothing to wait until the operator has taken notice, and the annotation has room for one wish.
	o := &acknowledgeOptions{single: single{Environment: e, steering: steering{wait: true}}}
	cmd := &cobra.Command{
		Use:     "acknowledge NAME [ID...]",
		Aliases: []string{"ack"},
		Short:   "Take orphans off the list once they are taken care of",
		Long: "Take orphans off the list, by the annotation " + v1alpha1.AnnotationAcknowledgeOrphan + ". An orphan is a certificate whose private key\n" +
			"was lost. Look it up in the vendor's inventory and revoke it there first: this verb forgets it, and does nothing else.\n\n" +
			"The id is that of the certificate or of the attempt. It can be left out where there is one orphan alone.",
		Example: example(`
			kubectl devicecert acknowledge gateway-17
			kubectl devicecert acknowledge gateway-17 --all`),
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: o.completeOrphans,
		RunE:              run(o),
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "all orphans of the certificate")
	cmd.Flags().DurationVar(&o.steering.timeout, "timeout", time.Minute, "how long to wait for the operator to take notice")
	return cmd
}

// Complete reads name and ids.
func (o *acknowledgeOptions) Complete(args []string) error {
	o.ids = args[1:]
	return o.single.Complete(args)
}

// Validate refuses ids beside --all.
func (o *acknowledgeOptions) Validate() error {
	if o.all && len(o.ids) > 0 {
		return errors.New("name ids, or say --all, not both")
	}
	return o.single.Validate()
}

// Run acknowledges one orphan after the other: the annotation has room for one.
func (o *acknowledgeOptions) Run(ctx context.Context) error {
	s, c, err := o.read(ctx)
	if err != nil {
		return err
	}
	if err := o.pick(c); err != nil {
		return err
	}
	for _, id := range o.ids {
		if err := o.request(ctx, s, c, v1alpha1.AnnotationAcknowledgeOrphan, id, "acknowledged", acknowledged(c.DeepCopy(), id)); err != nil {
			return err
		}
	}
	return nil
}

// pick decides which orphans are meant.
func (o *acknowledgeOptions) pick(c *v1alpha1.DeviceCertificate) error {
	known := orphanIDs(c)
	switch {
	case len(known) == 0:
		return fmt.Errorf("%s has no orphans", title(c))
	case o.all:
		o.ids = known
	case len(o.ids) == 0 && len(known) > 1:
		return fmt.Errorf("%s has %d orphans: say which by id (%s), or --all", title(c), len(known), enumerate(known))
	case len(o.ids) == 0:
		o.ids = known
	}
	for _, id := range o.ids {
		if !hasOrphan(c, id) {
			return fmt.Errorf("%s has no orphan %s; it has %s", title(c), id, enumerate(known))
		}
	}
	return nil
}

// orphanIDs are the ids by which orphans are acknowledged: the certificate's where it is known.
func orphanIDs(c *v1alpha1.DeviceCertificate) []string {
	var ids []string
	for _, orphan := range c.Status.Orphans {
		id := orphan.CertificateID
		if id == "" {
			id = orphan.AttemptID
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, clean(id))
		}
	}
	return ids
}

func hasOrphan(c *v1alpha1.DeviceCertificate, id string) bool {
	return slices.ContainsFunc(c.Status.Orphans, func(o v1alpha1.Orphan) bool { return o.CertificateID == id || o.AttemptID == id })
}

// acknowledged judges whether the operator has taken the orphan off the list.
func acknowledged(before *v1alpha1.DeviceCertificate, id string) judge {
	return func(c *v1alpha1.DeviceCertificate) (ending, string) {
		switch {
		case c.UID != before.UID:
			return failed, "it was deleted"
		case !hasOrphan(c, id):
			return succeeded, "orphan " + id + " is off the list"
		}
		return goesOn, ""
	}
}

// completeOrphans offers a name, then the ids of its orphans.
func (o *acknowledgeOptions) completeOrphans(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return o.completeOne(cmd, args, begun)
	}
	s, err := o.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := s.certificate(cmd.Context(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(orphanIDs(c), func(id string) bool { return slices.Contains(args[1:], id) }), cobra.ShellCompDirectiveNoFileComp
}
