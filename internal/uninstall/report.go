// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package uninstall

import (
	"context"
	"fmt"
	"strings"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// reportKey is the key of the report in its ConfigMap.
const reportKey = "left-behind.txt"

// maxReport bounds the report to what a ConfigMap holds.
const maxReport = 900 << 10

// leftovers says, a line each, what nobody will do once the operator is gone.
func leftovers(held []v1alpha1.DeviceCertificate) []string {
	var lines []string
	for i := range held {
		c := &held[i]
		add := func(format string, args ...any) {
			lines = append(lines, c.Namespace+"/"+c.Name+": "+fmt.Sprintf(format, args...))
		}
		if a := c.Status.Attempt; a != nil {
			add("attempt %s of %s is open: a certificate may exist whose key nobody has; search %s for profile %s, common name %q, device %q",
				a.ID, a.StartedAt.UTC().Format("2006-01-02T15:04:05Z"), a.Host, a.ProfileID, a.CommonName, a.DeviceID)
		}
		for _, o := range c.Status.Orphans {
			if o.Outcome != v1alpha1.OrphanRevoked {
				add("orphan of attempt %s is not taken care of: certificate %q, serial %q, profile %s, common name %q", o.AttemptID, o.CertificateID, o.SerialNumber, o.ProfileID, o.CommonName)
			}
		}
		if c.Spec.Revocation.OnSupersede == v1alpha1.RevocationRevoke {
			for _, s := range c.Status.Superseded {
				add("predecessor with serial %s will not be revoked", s.SerialNumber)
			}
		}
		if c.DeletionTimestamp.IsZero() {
			continue
		}
		if c.Spec.Revocation.OnDelete == v1alpha1.RevocationRevoke {
			add("is being deleted, and its certificate with serial %s will not be revoked", c.Status.SerialNumber)
		}
		if c.Spec.Secret.DeletionPolicy == v1alpha1.DeletionDelete {
			add("is being deleted, and its Secret %s will stay", c.Status.SecretName)
		}
	}
	return lines
}

// report writes the lines where they outlive the operator.
func report(ctx context.Context, o Options, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	text := strings.Join(lines, "\n") + "\n"
	if _, err := fmt.Fprint(o.Out, text); err != nil {
		return err
	}
	if len(text) > maxReport {
		text = strings.ToValidUTF8(text[:maxReport], "") + "\n... more is in this job's log and in the statuses of the objects\n"
	}
	ac := corev1ac.ConfigMap(o.Report, o.Namespace).
		WithLabels(map[string]string{"app.kubernetes.io/name": "devicecert-operator"}).
		WithData(map[string]string{reportKey: text})
	if err := o.Client.Apply(ctx, ac, client.FieldOwner("devicecert-operator-uninstall"), client.ForceOwnership); err != nil {
		return fmt.Errorf("write down what is left behind in ConfigMap %s/%s: %w", o.Namespace, o.Report, err)
	}
	_, err := fmt.Fprintf(o.Out, "all of this is in ConfigMap %s/%s\n", o.Namespace, o.Report)
	return err
}
