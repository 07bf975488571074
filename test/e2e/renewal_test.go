// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestARenewalReplacesKeyAndCertificateInOneWriteAndReadyStaysTrue(t *testing.T) {
	w := newWorld(t)
	w.connect()
	secrets := record[*corev1.Secret](w, &corev1.SecretList{})
	certificates := record[*v1alpha1.DeviceCertificate](w, &v1alpha1.DeviceCertificateList{})
	w.startManager()
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.EnrollmentProfileID = profileShort
		c.Spec.Renewal.RenewBeforePercentage = new(int32(85)) // of a minute: it is renewed after some nine seconds
	})
	first := w.awaitReady("gateway")
	second := w.await("gateway", "renewed", patience, renewed(first.Status.SerialNumber))
	w.await("gateway", "renewed again", patience, renewed(second.Status.SerialNumber))

	var bought []string
	for _, e := range w.vendor.ledger(commonName("gateway")) {
		bought = append(bought, e.SerialNumber)
		if len(bought) > 1 && e.Kind != "renew" {
			t.Errorf("%s was bought by %s, want renew", e.SerialNumber, e.Kind)
		}
		if e.Status != issued {
			t.Errorf("%s is %s at the vendor, want %s", e.SerialNumber, e.Status, issued)
		}
	}
	stored := verifyVersions(t, secrets.of("gateway"))
	if diff := cmp.Diff(bought[:len(stored)], stored); diff != "" || len(stored) < 3 {
		t.Errorf("want one version of the Secret for each certificate that was bought (-bought +stored):\n%s", diff)
	}

	versions := certificates.of("gateway")
	from := slices.IndexFunc(versions, ready)
	for _, c := range versions[from:] {
		if got := kstatus(t, c); !ready(c) || got != status.CurrentStatus {
			t.Errorf("version %s: Ready %+v, kstatus %s", c.ResourceVersion, condition(c.Status.Conditions, v1alpha1.ConditionReady), got)
		}
		if c.Status.NotAfter == nil || c.Status.RenewalTime == nil || !c.Status.RenewalTime.Before(c.Status.NotAfter) {
			t.Errorf("version %s: renewal at %v of a certificate that ends at %v", c.ResourceVersion, c.Status.RenewalTime, c.Status.NotAfter)
		}
	}
}

func TestADeletedSecretGivesExactlyOneNewCertificate(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	first := w.awaitReady("gateway")
	w.must(env.admin.Delete(w.ctx, w.secret("gateway")))
	w.await("gateway", "issued again", patience, renewed(first.Status.SerialNumber))
	if number := verifyPair(t, w.secret("gateway")); number == first.Status.SerialNumber {
		t.Errorf("the new Secret holds the old certificate %s", number)
	}
	w.wantBought(commonName("gateway"), 2)
}

func TestAnEmptiedSecretIsFilledAgain(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	first := w.awaitReady("gateway")
	w.editSecret("gateway", func(s *corev1.Secret) { s.Data["tls.key"] = []byte("lost") })
	w.await("gateway", "issued again", patience, renewed(first.Status.SerialNumber))
	verifyPair(t, w.secret("gateway"))
	w.wantBought(commonName("gateway"), 2)
}
