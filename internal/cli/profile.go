// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/profile"
)

// profileOptions are those of `profile`.
type profileOptions struct {
	*Environment
	id, name, issuer  string
	operatorNamespace string
}

// operatorNamespace is where config/default and the chart put the operator, and ClusterDeviceIssuers publish.
const operatorNamespace = "devicecert-system"

func newProfileCommand(e *Environment) *cobra.Command {
	o := &profileOptions{Environment: e}
	cmd := &cobra.Command{
		Use:   "profile [IOT_…]",
		Short: "List published enrollment profiles, or write a certificate of one to fill in",
		Long: "List the enrollment profiles whose specification an issuer publishes (spec.publishProfiles), or write a DeviceCertificate of one of\n" +
			"them, with what the profile wants in its comments. Fill in what is empty; the API server refuses it as long as something is.",
		Example: example(`
			kubectl devicecert profile
			kubectl devicecert profile IOT_00000000-0000-0000-0000-000000000001 --name gateway-17 > gateway-17.yaml`),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeProfiles,
		RunE:              run(o),
	}
	cmd.Flags().StringVar(&o.name, "name", "", "the name of the DeviceCertificate")
	cmd.Flags().StringVar(&o.issuer, "issuer", "", "the issuer, where several publish the profile: its name, or Kind/name")
	cmd.Flags().StringVar(&o.operatorNamespace, "operator-namespace", operatorNamespace, "where ClusterDeviceIssuers publish")
	return cmd
}

// Complete reads the id.
func (o *profileOptions) Complete(args []string) error {
	o.id = strings.Join(args, "")
	return nil
}

// Validate refuses a name without a profile.
func (o *profileOptions) Validate() error {
	if o.id == "" && o.name != "" {
		return errors.New("--name is for one profile: say which")
	}
	return nil
}

// published is a profile's specification, and who published it when.
type published struct {
	*profile.Specification
	issuer v1alpha1.IssuerReference
	at     time.Time
}

// Run lists or writes.
func (o *profileOptions) Run(ctx context.Context) error {
	s, err := o.connect()
	if err != nil {
		return err
	}
	found, remarks, err := s.published(ctx, o.id, o.operatorNamespace)
	if err != nil {
		return err
	}
	for _, remark := range remarks {
		fmt.Fprintln(o.ErrOut, remark)
	}
	if o.issuer != "" {
		found = slices.DeleteFunc(found, func(p published) bool { return o.issuer != p.issuer.Name && o.issuer != issuerName(p.issuer) })
	}
	switch {
	case len(found) == 0:
		return errors.New("no such profile is published here: let the owner of the issuer list it in spec.publishProfiles; if it is listed, the issuer's condition ProfilesUnpublished says what is in the way")
	case o.id == "":
		o.list(found)
		return nil
	case len(found) > 1:
		return fmt.Errorf("several issuers publish it: choose one by --issuer %s, or --issuer %s", issuerName(found[0].issuer), issuerName(found[1].issuer))
	}
	o.write(found[0], s.namespace)
	return nil
}

func issuerName(ref v1alpha1.IssuerReference) string { return string(ref.Kind) + "/" + ref.Name }

// published reads the specifications that issuers of the namespace and cluster-wide ones have published; of one profile, if an id is given.
// remarks say what could not be read.
func (s *session) published(ctx context.Context, id, operatorNamespace string) (found []published, remarks []string, err error) {
	labelled := client.ListOption(client.HasLabels{v1alpha1.LabelProfile})
	if id != "" {
		labelled = client.MatchingLabels{v1alpha1.LabelProfile: id}
	}
	namespaces := []string{s.namespace, operatorNamespace}
	for _, namespace := range slices.Compact(namespaces) {
		list := &corev1.ConfigMapList{}
		if err := s.List(ctx, list, client.InNamespace(namespace), labelled); err != nil {
			if why := unreadable(err); namespace == operatorNamespace && namespace != s.namespace {
				remarks = append(remarks, fmt.Sprintf("Profiles of cluster-wide issuers are left out; of namespace %s: %s", namespace, why))
				continue
			}
			return nil, nil, explain(err, "list the ConfigMaps of namespace "+namespace)
		}
		for i := range list.Items {
			one, err := publishedIn(&list.Items[i])
			if err != nil {
				remarks = append(remarks, fmt.Sprintf("ConfigMap %s/%s is left out: %v", namespace, list.Items[i].Name, err))
				continue
			}
			found = append(found, one)
		}
	}
	slices.SortFunc(found, func(a, b published) int {
		return cmp.Or(cmp.Compare(a.ProfileID, b.ProfileID), cmp.Compare(issuerName(a.issuer), issuerName(b.issuer)))
	})
	return found, remarks, nil
}

func publishedIn(c *corev1.ConfigMap) (published, error) {
	specification, err := profile.Parse([]byte(c.Data[v1alpha1.KeySpecification]))
	if err != nil {
		return published{}, err
	}
	kind, name, _ := strings.Cut(c.Annotations[v1alpha1.AnnotationIssuer], "/")
	at, _ := time.Parse(time.RFC3339, c.Annotations[v1alpha1.AnnotationPublishedAt])
	specification.ProfileID = c.Labels[v1alpha1.LabelProfile]
	return published{Specification: specification, issuer: v1alpha1.IssuerReference{Kind: v1alpha1.IssuerKind(kind), Name: name}, at: at}, nil
}

func (o *profileOptions) list(found []published) {
	var rows [][]cell
	for _, p := range found {
		rows = append(rows, []cell{
			{text: p.ProfileID}, {text: clean(issuerName(p.issuer))}, {text: orNone(clean(strings.Join(p.KeyTypes, ",")))},
			{text: orNone(demanded(p.CertificateAttributes))}, {text: orNone(demanded(p.DeviceAttributes))}, {text: relative(p.at, o.Clock.Now())},
		})
	}
	o.table([]string{"PROFILE", "ISSUER", "KEY TYPES", "CERTIFICATE NEEDS", "DEVICE NEEDS", "READ"}, rows)
}

func demanded(attributes []profile.Attribute) string {
	var ids []string
	for _, a := range attributes {
		if a.Demanded() {
			ids = append(ids, a.ID)
		}
	}
	return clean(strings.Join(ids, ","))
}

// completeProfiles offers the ids.
func (o *profileOptions) completeProfiles(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := o.connect()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, _, _ := s.published(cmd.Context(), "", o.operatorNamespace)
	var ids []string
	for _, p := range found {
		ids = append(ids, cobra.CompletionWithDesc(p.ProfileID, issuerName(p.issuer)))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
