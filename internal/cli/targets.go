// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// targets are the DeviceCertificates a verb is about: named ones, those a selector picks, or all.
type targets struct {
	names         []string
	selector      string
	fields        string
	all           bool
	allNamespaces bool
}

// addFlags registers how to pick several.
func (t *targets) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&t.selector, "selector", "l", "", "those with these labels, such as team=edge")
	cmd.Flags().StringVar(&t.fields, "field-selector", "", "those with these fields, such as spec.issuerRef.name=digicert or spec.enrollmentProfileID=IOT_…")
	cmd.Flags().BoolVarP(&t.allNamespaces, "all-namespaces", "A", false, "in all namespaces")
}

func (t *targets) addAllFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&t.all, "all", false, "all of the namespace, or with -A of the cluster")
}

// complete takes names as they are written elsewhere, too: dcert/gateway.
func (t *targets) complete(args []string) {
	for _, arg := range args {
		if kind, name, found := strings.Cut(arg, "/"); found && isDeviceCertificate(kind) {
			arg = name
		}
		t.names = append(t.names, arg)
	}
}

func isDeviceCertificate(kind string) bool {
	return slices.Contains([]string{"dcert", "devicecertificate", "devicecertificates", "devicecertificate.devicecert.io", "devicecertificates.devicecert.io"}, strings.ToLower(kind))
}

// validate wants exactly one way of picking.
func (t *targets) validate() error {
	selected := t.selector != "" || t.fields != ""
	switch {
	case len(t.names) > 0 && (selected || t.all):
		return errors.New("name DeviceCertificates, or pick them with -l or --all, not both")
	case len(t.names) > 0 && t.allNamespaces:
		return errors.New("a name is in one namespace: say which with -n instead of -A")
	case len(t.names) == 0 && !selected && !t.all:
		return errors.New("say which DeviceCertificates: by name, by -l label=value, or --all; `kubectl devicecert list` shows them")
	}
	if _, err := labels.Parse(t.selector); err != nil {
		return fmt.Errorf("-l %q is no label selector, such as team=edge: %w", t.selector, err)
	}
	if _, err := fields.ParseSelector(t.fields); err != nil {
		return fmt.Errorf("--field-selector %q is no field selector, such as spec.issuerRef.name=digicert: %w", t.fields, err)
	}
	return nil
}

// find reads the objects. None at all is an error: a mistyped selector must not look like success.
func (t *targets) find(ctx context.Context, s *session) ([]v1alpha1.DeviceCertificate, error) {
	if len(t.names) > 0 {
		return t.get(ctx, s)
	}
	list, err := t.list(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("no DeviceCertificate of %s is meant by that", t.place(s))
	}
	return list.Items, nil
}

func (t *targets) place(s *session) string {
	if t.allNamespaces {
		return "any namespace"
	}
	return "namespace " + s.namespace
}

func (t *targets) get(ctx context.Context, s *session) ([]v1alpha1.DeviceCertificate, error) {
	found := make([]v1alpha1.DeviceCertificate, 0, len(t.names))
	for _, name := range t.names {
		c, err := s.certificate(ctx, name)
		if err != nil {
			return nil, err
		}
		found = append(found, *c)
	}
	return found, nil
}

// list reads what the selectors pick, page by page.
func (t *targets) list(ctx context.Context, s *session) (*v1alpha1.DeviceCertificateList, error) {
	labelled, err := labels.Parse(t.selector)
	if err != nil {
		return nil, err
	}
	fielded, err := fields.ParseSelector(t.fields)
	if err != nil {
		return nil, err
	}
	options := &client.ListOptions{LabelSelector: labelled, FieldSelector: fielded, Limit: 500}
	if !t.allNamespaces {
		options.Namespace = s.namespace
	}
	all := &v1alpha1.DeviceCertificateList{}
	for {
		page := &v1alpha1.DeviceCertificateList{}
		if err := s.List(ctx, page, options); err != nil {
			return nil, explain(err, "list the DeviceCertificates of "+t.place(s))
		}
		all.ListMeta, all.Items = page.ListMeta, append(all.Items, page.Items...)
		if options.Continue = page.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// certificate reads one DeviceCertificate.
func (s *session) certificate(ctx context.Context, name string) (*v1alpha1.DeviceCertificate, error) {
	c := &v1alpha1.DeviceCertificate{}
	err := s.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, c)
	if apierrors.IsNotFound(err) && !unknownKind(err) {
		return nil, fmt.Errorf("there is no DeviceCertificate %s in namespace %s; `kubectl devicecert list -A` shows those that are", name, s.namespace)
	}
	return c, explain(err, "read DeviceCertificate "+name)
}

// title is an object's name with its namespace.
func title(c *v1alpha1.DeviceCertificate) string { return c.Namespace + "/" + c.Name }

// chosen is what the verbs share that are about any number of DeviceCertificates.
type chosen struct {
	*Environment
	targets targets
}

// addFlags lets the user choose, by name too.
func (o *chosen) addFlags(cmd *cobra.Command) {
	cmd.ValidArgsFunction = o.completeCertificates
	o.targets.addFlags(cmd)
	o.targets.addAllFlag(cmd)
}

// Complete reads the names.
func (o *chosen) Complete(args []string) error {
	o.targets.complete(args)
	return nil
}

// Validate wants to know which.
func (o *chosen) Validate() error { return o.targets.validate() }

// read connects and reads the objects.
func (o *chosen) read(ctx context.Context) (*session, []v1alpha1.DeviceCertificate, error) {
	s, err := o.connect()
	if err != nil {
		return nil, nil, err
	}
	found, err := o.targets.find(ctx, s)
	return s, found, err
}
