// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// askAbove is how many certificates a command may cost without a question.
const askAbove = 5

// renewOptions are those of `renew`.
type renewOptions struct {
	*Environment
	targets  targets
	steering steering
	askAbove int
}

func newRenewCommand(e *Environment) *cobra.Command {
	o := &renewOptions{Environment: e}
	cmd := &cobra.Command{
		Use:   "renew NAME...",
		Short: "Renew certificates now; each costs one",
		Long: "Renew certificates now, by the annotation " + v1alpha1.AnnotationRenewRequestedAt + ". Each costs a certificate.\n\n" +
			"The old one stays valid and in its Secret until the new one is stored. A renewal that is failing is also tried again at once.",
		Example: example(`
			kubectl devicecert renew gateway-17 --wait
			kubectl devicecert renew -l site=north --yes`),
		ValidArgsFunction: e.completeCertificates,
		RunE:              run(o),
	}
	o.targets.addFlags(cmd)
	o.targets.addAllFlag(cmd)
	o.steering.addFlags(cmd, "the new certificates are stored, or fail to be")
	o.steering.addYesFlag(cmd)
	cmd.Flags().IntVar(&o.askAbove, "ask-above", askAbove, "ask before it costs more certificates than this")
	return cmd
}

// Complete reads the names.
func (o *renewOptions) Complete(args []string) error {
	o.targets.complete(args)
	return nil
}

// Validate wants to know which.
func (o *renewOptions) Validate() error {
	return errors.Join(o.targets.validate(), o.steering.validate())
}

// Run asks for the renewals.
func (o *renewOptions) Run(ctx context.Context) error {
	s, err := o.connect()
	if err != nil {
		return err
	}
	found, err := o.targets.find(ctx, s)
	if err != nil {
		return err
	}
	if len(found) > o.askAbove {
		if err := o.confirm(o.steering.yes, fmt.Sprintf("This costs %s", count(len(found), "certificate"))); err != nil {
			return err
		}
	}
	w := o.newWait(s, "renewed", o.steering.timeout)
	for i := range found {
		before := found[i].DeepCopy()
		value, err := o.request(ctx, s, &found[i])
		if err != nil {
			return errors.Join(err, fmt.Errorf("%d of %d were asked for before that", i, len(found)))
		}
		w.add(before, renewal(before, value, o.Clock.Now()))
		if !o.steering.wait {
			o.say(before, "a renewal is asked for%s", o.outlook(before))
		}
	}
	if !o.steering.wait {
		return nil
	}
	return w.run(ctx)
}

// request sets the annotation, and the one that ends a back-off where there is one.
func (o *renewOptions) request(ctx context.Context, s *session, c *v1alpha1.DeviceCertificate) (string, error) {
	now := o.Clock.Now()
	value := s.fresh(now, s.issuedAt(ctx, c), c.Status.LastHandledRenewRequest, c.Annotations[v1alpha1.AnnotationRenewRequestedAt])
	annotations := map[string]string{v1alpha1.AnnotationRenewRequestedAt: value}
	if c.Status.Failures != nil {
		annotations[v1alpha1.AnnotationRetryRequestedAt] = s.fresh(now, time.Time{}, c.Status.LastHandledRetryRequest)
	}
	return value, s.annotate(ctx, c, annotations)
}

// issuedAt is when the stored certificate was stored, as its Secret says; zero where the Secret cannot be read. A wish that is not later
// counts as handled.
func (s *session) issuedAt(ctx context.Context, c *v1alpha1.DeviceCertificate) time.Time {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := s.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: secretName(c)}, meta); err != nil {
		return time.Time{}
	}
	at, _ := time.Parse(time.RFC3339, meta.Annotations[v1alpha1.AnnotationIssuedAt])
	return at
}

// outlook tells at once what a wait would end with.
func (o *renewOptions) outlook(c *v1alpha1.DeviceCertificate) string {
	if why := blocked(c); why != "" && c.Status.Failures == nil {
		return ", and nothing happens until somebody acts: " + clean(why)
	}
	return fmt.Sprintf("; see what becomes of it: kubectl devicecert status %s -n %s", c.Name, c.Namespace)
}

// renewal judges whether the renewal that was asked for by value has happened.
func renewal(before *v1alpha1.DeviceCertificate, value string, now time.Time) judge {
	return func(c *v1alpha1.DeviceCertificate) (ending, string) {
		switch st := &c.Status; {
		case st.LastHandledRenewRequest == value && st.Attempt == nil:
			return succeeded, "renewed: " + describeIssued(st, now)
		case c.Annotations[v1alpha1.AnnotationRenewRequestedAt] != value:
			return failed, "somebody changed the annotation " + v1alpha1.AnnotationRenewRequestedAt + " meanwhile; ask again"
		}
		return progressOf(before, c, now)
	}
}

func describeIssued(st *v1alpha1.DeviceCertificateStatus, now time.Time) string {
	text := "serial " + clean(st.SerialNumber)
	if st.NotAfter != nil {
		text += ", valid to " + when(st.NotAfter.Time, now)
	}
	return text
}
