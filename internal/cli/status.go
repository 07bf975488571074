// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// statusOptions are those of `status`.
type statusOptions struct {
	chosen
	print  printing
	events int
}

func newStatusCommand(e *Environment) *cobra.Command {
	o := &statusOptions{chosen: chosen{Environment: e}}
	cmd := &cobra.Command{
		Use:   "status NAME...",
		Short: "Show all there is to a certificate, and what happens next and when",
		Example: example(`
			kubectl devicecert status gateway-17
			kubectl devicecert status -l site=north -A`),
		RunE: run(o),
	}
	o.addFlags(cmd)
	o.print.addFlags(cmd)
	cmd.Flags().IntVar(&o.events, "events", 5, "how many of the last events to show")
	return cmd
}

// Run shows one tree for each object.
func (o *statusOptions) Run(ctx context.Context) error {
	s, found, err := o.read(ctx)
	if err != nil {
		return err
	}
	if o.print.objects() {
		if len(found) == 1 && len(o.targets.names) == 1 {
			return o.print.print(&found[0], o.Out)
		}
		return o.print.print(&v1alpha1.DeviceCertificateList{Items: found}, o.Out)
	}
	for i := range found {
		if i > 0 {
			fmt.Fprintln(o.Out)
		}
		o.tree(s.surroundings(ctx, &found[i], o.events), o.Clock.Now()).write(o.Out)
	}
	return nil
}

// surroundings are what belongs to a DeviceCertificate. What cannot be read is nil, with the reason in words beside it.
type surroundings struct {
	certificate   *v1alpha1.DeviceCertificate
	secret        *corev1.Secret
	secretUnknown string
	issuer        *issuer
	issuerUnknown string
	events        []corev1.Event
	eventsUnknown string
}

// surroundings reads what belongs to a DeviceCertificate, as far as the user may.
func (s *session) surroundings(ctx context.Context, c *v1alpha1.DeviceCertificate, events int) surroundings {
	around := surroundings{certificate: c}
	secret := &corev1.Secret{}
	err := s.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: secretName(c)}, secret)
	if around.secretUnknown = unreadable(err); err == nil {
		around.secret = secret
	}
	around.issuer, err = s.issuer(ctx, c.Namespace, c.Spec.IssuerRef)
	around.issuerUnknown = unreadable(err)
	around.events, err = s.events(ctx, c, events)
	around.eventsUnknown = unreadable(err)
	return around
}

// secretName is where the certificate is or, while there is none, where it will be.
func secretName(c *v1alpha1.DeviceCertificate) string {
	return cmp.Or(c.Status.SecretName, tlssecret.SecretName(c))
}

// missing is what unreadable says of an object that is not there.
const missing = "it does not exist"

// unreadable says why an object could not be read; empty when it could.
func unreadable(err error) string {
	switch {
	case err == nil:
		return ""
	case apierrors.IsForbidden(err):
		return "you are not allowed to read it"
	case apierrors.IsNotFound(err):
		return missing
	default:
		return "it could not be read: " + err.Error()
	}
}

// events are the last ones of an object, newest first.
func (s *session) events(ctx context.Context, c *v1alpha1.DeviceCertificate, most int) ([]corev1.Event, error) {
	if most <= 0 {
		return nil, nil
	}
	list := &corev1.EventList{}
	of := fields.Set{"involvedObject.kind": "DeviceCertificate", "involvedObject.name": c.Name}
	if err := s.List(ctx, list, client.InNamespace(c.Namespace), client.MatchingFieldsSelector{Selector: of.AsSelector()}); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return eventTime(&b).Compare(eventTime(&a)) })
	return list.Items[:min(most, len(list.Items))], nil
}

// eventTime is when an event was seen last, in whichever field its recorder wrote it.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	default:
		return e.EventTime.Time
	}
}
