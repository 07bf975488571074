// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// verb is what every command does: see doc.go.
type verb interface {
	Complete(args []string) error
	Validate() error
	Run(ctx context.Context) error
}

// NewCommand is `kubectl devicecert` with all its verbs.
func NewCommand(e *Environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-devicecert",
		Short: "See and steer device certificates",
		Long: "See and steer the certificates that devicecert-operator keeps in Secrets.\n\n" +
			"It talks to the Kubernetes API alone, and steers by annotations. You need to get, list, watch and patch devicecertificates,\n" +
			"as the role edit of a namespace allows; whatever else you may not read, it says so and goes on without.",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl devicecert"},
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Version:           e.Version,
	}
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.ErrOut)
	e.Flags.AddFlags(root.PersistentFlags())
	hideAllBut(root.PersistentFlags(), "namespace", "context", "kubeconfig")
	_ = root.RegisterFlagCompletionFunc("namespace", e.completeNamespaces) // it fails only for flags that are not there
	look := &cobra.Group{ID: "look", Title: "Look:"}
	steer := &cobra.Group{ID: "steer", Title: "Steer:"}
	prepare := &cobra.Group{ID: "prepare", Title: "Prepare:"}
	root.AddGroup(look, steer, prepare)
	for group, commands := range map[*cobra.Group][]*cobra.Command{
		look:    {newStatusCommand(e), newListCommand(e), newInspectCommand(e), newDoctorCommand(e)},
		steer:   {newRenewCommand(e), newRetryCommand(e), newAbandonCommand(e), newAcknowledgeCommand(e), newRevokeCommand(e)},
		prepare: {newPlanCommand(e), newProfileCommand(e)},
	} {
		for _, c := range commands {
			c.GroupID = group.ID
			root.AddCommand(c)
		}
	}
	root.AddCommand(newCompletionCommand(e), newVersionCommand(e))
	return root
}

// run is a verb as cobra wants it.
func run(v verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := v.Complete(args); err != nil {
			return err
		}
		if err := v.Validate(); err != nil {
			return fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())
		}
		return v.Run(cmd.Context())
	}
}

// hideAllBut keeps kubectl's many flags out of the help. They work all the same.
func hideAllBut(flags *pflag.FlagSet, shown ...string) {
	flags.VisitAll(func(f *pflag.Flag) { f.Hidden = f.Hidden || !slices.Contains(shown, f.Name) })
}

func hide(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if f := flags.Lookup(name); f != nil {
			f.Hidden = true
		}
	}
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeCertificates offers the names of DeviceCertificates that are not on the command line yet.
func (e *Environment) completeCertificates(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := e.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := (&targets{}).list(cmd.Context(), s)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	now := e.Clock.Now()
	for i := range list.Items {
		if c := &list.Items[i]; !slices.Contains(args, c.Name) {
			names = append(names, cobra.CompletionWithDesc(c.Name, stateOf(c, now).words()))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOne offers names for the first argument alone.
func (e *Environment) completeOne(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.completeCertificates(cmd, args, begun)
}

// completeNamespaces offers the namespaces that have DeviceCertificates.
func (e *Environment) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := e.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := (&targets{allNamespaces: true}).list(cmd.Context(), s)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return namespacesOf(list.Items), cobra.ShellCompDirectiveNoFileComp
}

func namespacesOf(items []v1alpha1.DeviceCertificate) []string {
	var names []string
	for i := range items {
		names = append(names, items[i].Namespace)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
