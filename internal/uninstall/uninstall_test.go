// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package uninstall

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestWhatNobodyWillDoAnyMoreIsTold(t *testing.T) {
	started := metav1.NewTime(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))
	for name, test := range map[string]struct {
		edit func(*v1alpha1.DeviceCertificate)
		want []string
	}{
		"nothing": {func(*v1alpha1.DeviceCertificate) {}, nil},
		"an open attempt": {func(c *v1alpha1.DeviceCertificate) {
			c.Status.Attempt = &v1alpha1.Attempt{ID: "a-1", StartedAt: started, Host: "one.digicert.com", ProfileID: "IOT_1", CommonName: "gw.example", DeviceID: "gw"}
		}, []string{`edge/gw: attempt a-1 of 2026-01-31T12:00:00Z is open: a certificate may exist whose key nobody has; search one.digicert.com for profile IOT_1, common name "gw.example", device "gw"`}},
		"orphans": {func(c *v1alpha1.DeviceCertificate) {
			c.Status.Orphans = []v1alpha1.Orphan{{AttemptID: "a-1", SerialNumber: "01", ProfileID: "IOT_1", CommonName: "gw", Outcome: v1alpha1.OrphanReported}, {AttemptID: "a-2", Outcome: v1alpha1.OrphanRevoked}}
		}, []string{`edge/gw: orphan of attempt a-1 is not taken care of: certificate "", serial "01", profile IOT_1, common name "gw"`}},
		"a predecessor to be revoked": {func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke
			c.Status.Superseded = []v1alpha1.SupersededCertificate{{IssuedCertificate: v1alpha1.IssuedCertificate{SerialNumber: "02"}}}
		}, []string{"edge/gw: predecessor with serial 02 will not be revoked"}},
		"a predecessor to be kept": {func(c *v1alpha1.DeviceCertificate) {
			c.Status.Superseded = []v1alpha1.SupersededCertificate{{}}
		}, nil},
		"policies of an object that stays": {func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Revocation.OnDelete, c.Spec.Secret.DeletionPolicy = v1alpha1.RevocationRevoke, v1alpha1.DeletionDelete
		}, nil},
		"policies of an object that goes": {func(c *v1alpha1.DeviceCertificate) {
			c.DeletionTimestamp = &started
			c.Spec.Revocation.OnDelete, c.Spec.Secret.DeletionPolicy = v1alpha1.RevocationRevoke, v1alpha1.DeletionDelete
			c.Status.SerialNumber, c.Status.SecretName = "03", "gw-tls"
		}, []string{"edge/gw: is being deleted, and its certificate with serial 03 will not be revoked", "edge/gw: is being deleted, and its Secret gw-tls will stay"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "gw"}}
			test.edit(&c)
			if diff := cmp.Diff(test.want, leftovers([]v1alpha1.DeviceCertificate{c})); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}
