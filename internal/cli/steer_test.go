// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// annotation is what the plugin wrote.
func (w *world) annotation(name, key string) string {
	w.Helper()
	return w.get(name).Annotations[key]
}

func TestRenewAsksByAnnotation(t *testing.T) {
	w := newWorld(t, "renew")
	w.certificate("gateway-1", ready(30), func(c *v1alpha1.DeviceCertificate) { c.Labels = map[string]string{"site": "north"} })
	w.certificate("gateway-2", ready(85), failing(v1alpha1.ReasonRefused, "refused"), func(c *v1alpha1.DeviceCertificate) { c.Labels = map[string]string{"site": "north"} })
	w.golden("renew", w.plugin("renew", "gateway-1"))
	if got := w.annotation("gateway-1", v1alpha1.AnnotationRenewRequestedAt); got != "2030-06-01T12:00:00Z" {
		t.Errorf("%s: %s", v1alpha1.AnnotationRenewRequestedAt, got)
	}
	if got := w.annotation("gateway-1", v1alpha1.AnnotationRetryRequestedAt); got != "" {
		t.Errorf("nothing failed, and a retry is asked for: %s", got)
	}
	before := w.get("gateway-2")
	w.wants(w.plugin("renew", "-l", "site=north"), 0, "renew/gateway-1", "renew/gateway-2")
	if got := w.annotation("gateway-1", v1alpha1.AnnotationRenewRequestedAt); got != "2030-06-01T12:00:01Z" {
		t.Errorf("the second wish within a second: %s", got)
	}
	after := w.get("gateway-2")
	if after.Annotations[v1alpha1.AnnotationRetryRequestedAt] == "" {
		t.Error("a failing renewal stays backed off")
	}
	if after.Generation != before.Generation || after.Status.ObservedGeneration != before.Status.ObservedGeneration {
		t.Error("spec or status were written")
	}
	w.wants(w.plugin("renew", "gateway-1", "--all"), 1, "not both")
	w.wants(w.plugin("renew"), 1, "say which DeviceCertificates")
	w.wants(w.plugin("renew", "gateway-1", "--timeout", "0s"), 1, "--timeout")
	w.wants(w.plugin("renew", "-l", "site in"), 1, "no label selector")
}

// A wish that is dated before the certificate counts as handled, and nothing would happen.
func TestARenewalIsDatedAfterTheCertificateWhateverTheClockHereSays(t *testing.T) {
	w := newWorld(t, "dated")
	w.certificate("gateway-1", ready(30))
	w.must(api.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "gateway-1-tls", Namespace: w.namespace, Annotations: map[string]string{v1alpha1.AnnotationIssuedAt: "2030-06-01T13:00:00Z"},
	}}))
	w.wants(w.plugin("renew", "gateway-1"), 0)
	if got := w.annotation("gateway-1", v1alpha1.AnnotationRenewRequestedAt); got != "2030-06-01T13:00:01Z" {
		t.Errorf("the clock here is an hour late: %s", got)
	}
	// Who may not read the Secret has the API server's clock.
	user := w.as("dated-user", least)
	user.clock = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	user.wants(user.plugin("renew", "gateway-1"), 0)
	got, err := time.Parse(time.RFC3339, w.annotation("gateway-1", v1alpha1.AnnotationRenewRequestedAt))
	if err != nil || time.Since(got).Abs() > time.Hour {
		t.Errorf("the clock here is years late: %s, %v", got, err)
	}
}

func TestRenewAsksBeforeItCostsMuch(t *testing.T) {
	w := newWorld(t, "cost")
	for i := range 6 {
		w.certificate(fmt.Sprintf("camera-%d", i), ready(30))
	}
	asked := func() (n int) {
		for i := range 6 {
			if w.annotation(fmt.Sprintf("camera-%d", i), v1alpha1.AnnotationRenewRequestedAt) != "" {
				n++
			}
		}
		return n
	}
	w.golden("renew-cost", w.plugin("renew", "--all"))
	w.input = "no\n"
	w.wants(w.plugin("renew", "--all"), 1, "This costs 6 certificates. Go on? [y/N]", "nothing was done")
	if n := asked(); n != 0 {
		t.Errorf("%d renewals are asked for without consent", n)
	}
	w.input = "y\n"
	w.wants(w.plugin("renew", "--all"), 0, "[y/N]", "cost/camera-5: a renewal is asked for")
	if n := asked(); n != 6 {
		t.Errorf("%d renewals are asked for, want 6", n)
	}
	w.input = ""
	w.wants(w.plugin("renew", "--all", "--yes"), 0)
	w.wants(w.plugin("renew", "--all", "--ask-above", "6"), 0)
}

// handled is what the operator writes when it has renewed.
func handled(serial string) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		ready(0)(c)
		c.Status.SerialNumber, c.Status.Failures = serial, nil
		c.Status.LastHandledRenewRequest = c.Annotations[v1alpha1.AnnotationRenewRequestedAt]
		c.Status.LastHandledRetryRequest = c.Annotations[v1alpha1.AnnotationRetryRequestedAt]
	}
}

func TestRenewWaitsUntilTheNewCertificateIsStored(t *testing.T) {
	w := newWorld(t, "line-1")
	w.certificate("gateway-1", ready(30))
	w.operator("gateway-1", v1alpha1.AnnotationRenewRequestedAt, handled("0A18"))
	w.golden("renew-wait", w.plugin("renew", "gateway-1", "--wait"))

	w.certificate("gateway-2", ready(85), failing(v1alpha1.ReasonRefused, "refused before"))
	w.operator("gateway-2", v1alpha1.AnnotationRenewRequestedAt, handled("0A19"))
	w.certificate("gateway-3", ready(30))
	w.operator("gateway-3", v1alpha1.AnnotationRenewRequestedAt, failing(v1alpha1.ReasonNotGranted, "not granted any more"))
	w.wants(w.plugin("renew", "gateway-2", "gateway-3", "--wait"), 1,
		"line-1/gateway-2: renewed: serial 0A19, valid to 2030-08-30", "line-1/gateway-3: not renewed: not granted any more", "[2/2]", "error: 1 of 2 were not renewed")
}

func TestAWaitOnATerminalHasABar(t *testing.T) {
	w := newWorld(t, "bar")
	w.terminal = true
	w.certificate("gateway-1", ready(30))
	w.operator("gateway-1", v1alpha1.AnnotationRenewRequestedAt, handled("0A18"))
	w.wants(w.plugin("renew", "gateway-1", "--wait"), 0, "renewed: serial 0A18", "1 of 1 renewed")
}

func TestAWaitEndsWhenNothingWillHappen(t *testing.T) {
	w := newWorld(t, "hopeless")
	w.certificate("suspended", ready(30), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Suspend = true
		c.Status.Conditions = append(c.Status.Conditions, trueCondition(v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended, "spec.suspend is true: nothing is bought"))
	})
	w.golden("renew-suspended", w.plugin("renew", "suspended", "--wait"))
	w.wants(w.plugin("renew", "suspended"), 0, "nothing happens until somebody acts: spec.suspend is true")

	w.certificate("deleted", ready(30))
	w.operator("deleted", v1alpha1.AnnotationRenewRequestedAt, func(c *v1alpha1.DeviceCertificate) {
		if err := api.Delete(t.Context(), c.DeepCopy()); err != nil {
			t.Error(err)
		}
	})
	w.wants(w.plugin("renew", "deleted", "--wait"), 1, "it was deleted")

	w.certificate("ignored", ready(30))
	w.wants(w.plugin("renew", "ignored", "--wait", "--timeout", "1s"), 1, "not renewed after 1s", "hopeless/ignored: the operator has not taken notice")

	w.certificate("outage", ready(30))
	w.operator("outage", v1alpha1.AnnotationRenewRequestedAt, func(c *v1alpha1.DeviceCertificate) {
		failing(v1alpha1.ReasonBackingOff, "the vendor could not be reached")(c)
		c.Status.Failures.Terminal = false
	})
	w.wants(w.plugin("renew", "outage", "--wait", "--timeout", "3s"), 1,
		"hopeless/outage: failed, and tried again on 2030-06-01 18:00 UTC (in 6h): the vendor could not be reached", "not renewed after 3s")
}

func TestRetryEndsABackOff(t *testing.T) {
	w := newWorld(t, "retry")
	w.certificate("gateway-1", stalled(v1alpha1.ReasonRefused, "refused"), func(c *v1alpha1.DeviceCertificate) {
		next := at(now.Add(time.Hour))
		c.Status.Failures = &v1alpha1.Failures{Count: 1, NextTime: &next, Reason: v1alpha1.ReasonRefused, Message: "refused", Terminal: true}
	})
	w.certificate("gateway-2", ready(30))
	w.golden("retry", w.plugin("retry", "--all"))
	if got := w.annotation("gateway-1", v1alpha1.AnnotationRetryRequestedAt); got != "2030-06-01T12:00:00Z" {
		t.Errorf("%s: %s", v1alpha1.AnnotationRetryRequestedAt, got)
	}
	w.wants(w.plugin("retry", "gateway-2"), 0, "retry/gateway-2: nothing to retry, it is ready")
	if got := w.annotation("gateway-2", v1alpha1.AnnotationRetryRequestedAt); got != "" {
		t.Errorf("a retry of nothing is asked for: %s", got)
	}
	w.operator("gateway-1", v1alpha1.AnnotationRetryRequestedAt, handled("0A18"))
	w.wants(w.plugin("retry", "gateway-1", "--wait"), 0, "retry/gateway-1: ready: serial 0A18")
}

func TestAbandonGivesTheOpenAttemptUp(t *testing.T) {
	w := newWorld(t, "abandon")
	w.certificate("gateway-1", stalled(v1alpha1.ReasonPendingApproval, "the vendor holds request 77 for approval"), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Attempt = attempt("dddd")
		c.Status.Attempt.RequestID = "77"
	})
	w.certificate("gateway-2", ready(30))
	w.wants(w.plugin("abandon", "gateway-2"), 1, "has no open attempt", "it is ready")
	w.wants(w.plugin("abandon", "gateway-1", "eeee"), 1, "the open attempt of abandon/gateway-1 is dddd, not eeee")
	w.golden("abandon-asks", w.plugin("abandon", "gateway-1"))
	w.input = "\n"
	w.wants(w.plugin("abandon", "gateway-1"), 1, "nothing was done")
	if got := w.annotation("gateway-1", v1alpha1.AnnotationAbandonAttempt); got != "" {
		t.Errorf("given up without consent: %s", got)
	}
	w.operator("gateway-1", v1alpha1.AnnotationAbandonAttempt, func(c *v1alpha1.DeviceCertificate) {
		c.Status.Attempt = nil
		c.Status.Orphans = []v1alpha1.Orphan{{AttemptID: "dddd", ProfileID: profileA, WindowStart: at(now), WindowEnd: at(now), Outcome: v1alpha1.OrphanReported}}
	})
	w.wants(w.plugin("abandon", "gateway-1", "dddd", "--yes", "--wait"), 0, "listed as an orphan (Reported)")
	if got := w.annotation("gateway-1", v1alpha1.AnnotationAbandonAttempt); got != "dddd" {
		t.Errorf("%s: %s", v1alpha1.AnnotationAbandonAttempt, got)
	}
}

func TestAcknowledgeTakesOrphansOffTheListOneByOne(t *testing.T) {
	w := newWorld(t, "acknowledge")
	orphan := func(attemptID, certificateID string) v1alpha1.Orphan {
		return v1alpha1.Orphan{AttemptID: attemptID, CertificateID: certificateID, ProfileID: profileA, WindowStart: at(now), WindowEnd: at(now), Outcome: v1alpha1.OrphanReported}
	}
	w.certificate("gateway-1", ready(30), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Orphans = []v1alpha1.Orphan{orphan("aaaa", "bbbb"), orphan("cccc", "")}
	})
	w.certificate("gateway-2", ready(30))
	w.wants(w.plugin("acknowledge", "gateway-2"), 1, "has no orphans")
	w.wants(w.plugin("acknowledge", "gateway-1"), 1, "has 2 orphans: say which by id (bbbb and cccc), or --all")
	w.wants(w.plugin("acknowledge", "gateway-1", "eeee"), 1, "has no orphan eeee; it has bbbb and cccc")
	w.wants(w.plugin("acknowledge", "gateway-1", "bbbb", "--all"), 1, "not both")
	forget := func(id string) func(*v1alpha1.DeviceCertificate) {
		return func(c *v1alpha1.DeviceCertificate) {
			kept := c.Status.Orphans[:0]
			for _, o := range c.Status.Orphans {
				if o.CertificateID != id && o.AttemptID != id {
					kept = append(kept, o)
				}
			}
			c.Status.Orphans = kept
		}
	}
	w.operator("gateway-1", v1alpha1.AnnotationAcknowledgeOrphan, forget("bbbb"))
	w.golden("acknowledge", w.plugin("acknowledge", "gateway-1", "bbbb"))
	w.wants(w.plugin("ack", "gateway-1", "--timeout", "1s"), 1, "not acknowledged after 1s")
	if got := w.annotation("gateway-1", v1alpha1.AnnotationAcknowledgeOrphan); got != "cccc" {
		t.Errorf("%s: %s", v1alpha1.AnnotationAcknowledgeOrphan, got)
	}
}

func TestRevokeTellsThatItReplacesFirst(t *testing.T) {
	w := newWorld(t, "revoke")
	w.issuer(func(i *v1alpha1.DeviceIssuer) { i.Status.Capabilities.Revoke = v1alpha1.CapabilityNo })
	w.certificate("gateway-1", ready(30), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Superseded = []v1alpha1.SupersededCertificate{
			{IssuedCertificate: v1alpha1.IssuedCertificate{SerialNumber: "0A16", NotAfter: at(now.Add(days(9)))}, SupersededAt: at(now.Add(-days(1)))},
			{IssuedCertificate: v1alpha1.IssuedCertificate{SerialNumber: "0A15", NotAfter: at(now.Add(days(9)))}, SupersededAt: at(now.Add(-days(1))), RevocationFailure: "the vendor refused"},
		}
	})
	w.golden("revoke-asks", w.plugin("revoke", "gateway-1", "--reason", "key_compromise"))
	w.wants(w.plugin("revoke", "gateway-1", "--reason", "boredom"), 1, "none the vendor knows", "key_compromise")
	w.wants(w.plugin("revoke", "gateway-1", "--serial", "0A14"), 1, "serial 0A14 is none of revoke/gateway-1: it has 0A17, 0A16 and 0A15")
	w.wants(w.plugin("revoke", "gateway-1", "--serial", "0A15"), 1, "could not be revoked, and is left to a person: the vendor refused")
	r := w.plugin("revoke", "gateway-1", "--serial", "0a:16")
	w.wants(r, 1, "Serial 0A16 of revoke/gateway-1 is revoked for cessation_of_operation")
	if strings.Contains(r.errors, "bought") {
		t.Errorf("a predecessor costs nothing:\n%s", r.errors)
	}
	w.operator("gateway-1", v1alpha1.AnnotationRevokeRequested, func(c *v1alpha1.DeviceCertificate) {
		if c.Annotations[v1alpha1.AnnotationRevokeRequested] == "0A17/key_compromise" {
			c.Status.SerialNumber = "0A18"
		}
	})
	w.wants(w.plugin("revoke", "gateway-1", "--reason", "key_compromise", "--yes", "--wait"), 0, "serial 0A17 is revoked; in the Secret is serial 0A18")
	w.certificate("gateway-2")
	w.wants(w.plugin("revoke", "gateway-2"), 1, "has no certificate yet")
}
