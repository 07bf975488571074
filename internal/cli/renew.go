// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func newRenewCommand(e *Environment) *cobra.Command {
	o := &several{chosen: chosen{Environment: e}, done: "renewed", cost: "This costs %s"}
	o.pick = func(all []v1alpha1.DeviceCertificate) []v1alpha1.DeviceCertificate { return all }
	o.request, o.asked = o.requestRenewal, renewalAsked
	return o.command(&cobra.Command{
		Use:   "renew NAME...",
		Short: "Renew certificates now; each costs one",
		Long: "Renew certificates now, by the annotation " + v1alpha1.AnnotationRenewRequestedAt + ". Each costs a certificate.\n\n" +
			"The old one stays valid and in its Secret until the new one is stored. A renewal that is failing is also tried again at once.",
		Example: example(`
			kubectl devicecert renew gateway-17 --wait
			kubectl devicecert renew -l site=north --yes`),
	}, "the new certificates are stored, or fail to be")
}

// requestRenewal sets the annotation, and the one that ends a back-off where there is one.
func (o *several) requestRenewal(ctx context.Context, s *session, before, c *v1alpha1.DeviceCertificate) (judge, error) {
	now := o.Clock.Now()
	value := s.fresh(now, s.issuedAt(ctx, c), c.Status.LastHandledRenewRequest, c.Annotations[v1alpha1.AnnotationRenewRequestedAt])
	annotations := map[string]string{v1alpha1.AnnotationRenewRequestedAt: value}
	if c.Status.Failures != nil {
		annotations[v1alpha1.AnnotationRetryRequestedAt] = s.fresh(now, time.Time{}, c.Status.LastHandledRetryRequest)
	}
	return renewal(before, value, now), s.annotate(ctx, c, annotations)
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

// renewalAsked tells at once what a wait would end with.
func renewalAsked(c *v1alpha1.DeviceCertificate) string {
	if why := blocked(c); why != "" && c.Status.Failures == nil {
		return "a renewal is asked for, and nothing happens until somebody acts: " + clean(why)
	}
	return "a renewal is asked for; " + seeStatus(c)
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
