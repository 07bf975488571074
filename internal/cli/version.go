// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// operatorName is what the operator's Deployment is labelled as, by whatever way it was installed.
const operatorName = "devicecert-operator"

// versionOptions are those of `version`.
type versionOptions struct {
	*Environment
	report report
	client bool
}

func newVersionCommand(e *Environment) *cobra.Command {
	o := &versionOptions{Environment: e}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of plugin, operator and kinds",
		Args:  cobra.NoArgs,
		RunE:  run(o),
	}
	cmd.Flags().BoolVar(&o.client, "client", false, "only the plugin's, without asking the cluster")
	o.report.addFlags(cmd)
	return cmd
}

// Complete does nothing: the flags say it all.
func (o *versionOptions) Complete([]string) error { return nil }

// Validate looks at the format.
func (o *versionOptions) Validate() error { return o.report.validate() }

// versions are what runs where. What cannot be found out is said in words.
type versions struct {
	Plugin   string `json:"plugin"`
	Operator string `json:"operator,omitempty"`
	Kinds    string `json:"kinds,omitempty"`
}

// Run prints them.
func (o *versionOptions) Run(ctx context.Context) error {
	v := versions{Plugin: o.Version}
	if !o.client {
		s, err := o.connect()
		if err != nil {
			return err
		}
		_, v.Operator = s.operatorVersion(ctx)
		_, v.Kinds = s.apiVersion(ctx)
	}
	if printed, err := o.report.print(v, o.Out); printed || err != nil {
		return err
	}
	fmt.Fprintf(o.Out, "plugin    %s\n", v.Plugin)
	if !o.client {
		fmt.Fprintf(o.Out, "operator  %s\nkinds     %s\n", v.Operator, v.Kinds)
	}
	return nil
}

// operatorVersion names the images of the operator's Deployments, and how many replicas are ready.
func (s *session) operatorVersion(ctx context.Context) (health, string) {
	list := &appsv1.DeploymentList{}
	if err := s.List(ctx, list, client.MatchingLabels{"app.kubernetes.io/name": operatorName}); err != nil {
		return unknown, "the cluster's Deployments: " + unreadable(err)
	}
	verdict := healthy
	var seen []string
	for _, d := range list.Items {
		if d.Status.ReadyReplicas == 0 {
			verdict = dubious
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			seen = append(seen, fmt.Sprintf("%s in %s/%s, %d of %d ready", c.Image, d.Namespace, d.Name, d.Status.ReadyReplicas, replicas(&d)))
		}
	}
	if len(seen) == 0 {
		return dubious, "no Deployment is labelled app.kubernetes.io/name=" + operatorName
	}
	return verdict, strings.Join(seen, "; ")
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// apiVersion names the versions of the kinds that the cluster serves. It is a problem if the plugin's is not among them.
func (s *session) apiVersion(ctx context.Context) (health, string) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := s.Get(ctx, client.ObjectKey{Name: "devicecertificates." + v1alpha1.SchemeGroupVersion.Group}, crd); err != nil {
		return unknown, "the definition of DeviceCertificate: " + unreadable(err)
	}
	var names []string
	for _, v := range crd.Spec.Versions {
		if v.Served {
			names = append(names, v.Name)
		}
	}
	verdict := healthy
	if !slices.Contains(names, v1alpha1.SchemeGroupVersion.Version) {
		verdict = unhealthy
	}
	return verdict, v1alpha1.SchemeGroupVersion.Group + "/" + strings.Join(names, ", ")
}
