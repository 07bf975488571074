// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestAPredecessorIsRevokedAfterItsGrace(t *testing.T) {
	grace := func(d time.Duration) change {
		return func(s *Snapshot) { s.Certificate.Spec.Revocation.GracePeriod = &metav1.Duration{Duration: d} }
	}
	asked := annotated(v1alpha1.AnnotationRevokeRequested, "0a16/key_compromise")
	predecessor := func(edit func(*v1alpha1.SupersededCertificate)) change {
		return func(s *Snapshot) { edit(&s.Certificate.Status.Superseded[0]) }
	}
	idle := decision{action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())}
	revoke := decision{action: ActionRevoke, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())}
	row := func(d decision, name string, changes ...change) decision {
		d.name, d.snapshot = name, stored(changes...)
		return d
	}
	later := idle
	later.after = time.Hour
	suspendedRow := decision{action: ActionNone, reason: v1alpha1.ReasonSuspended, after: 60 * day}
	checkAll(t, []decision{
		row(idle, "policy Keep", superseded(25*time.Hour)),
		row(later, "within the grace", superseded(23*time.Hour), revokeSuperseded),
		row(revoke, "after the grace", superseded(24*time.Hour), revokeSuperseded),
		row(revoke, "without grace", superseded(0), revokeSuperseded, grace(0)),
		row(later, "within a grace of two days", superseded(47*time.Hour), revokeSuperseded, grace(48*time.Hour)),
		row(revoke, "asked for under Keep", superseded(0), asked),
		row(revoke, "asked for within the grace", superseded(0), asked, revokeSuperseded),
		row(idle, "another is asked for", superseded(0), annotated(v1alpha1.AnnotationRevokeRequested, "0A15/key_compromise")),
		row(idle, "expired by itself", superseded(25*time.Hour), revokeSuperseded, predecessor(func(c *v1alpha1.SupersededCertificate) { c.NotAfter = metav1.NewTime(now) })),
		row(idle, "refused before: a person decides", superseded(25*time.Hour), revokeSuperseded, predecessor(func(c *v1alpha1.SupersededCertificate) { c.RevocationFailure = "not allowed" })),
		row(revoke, "refused before, and a person asks to try again", superseded(25*time.Hour), revokeSuperseded, annotated(v1alpha1.AnnotationRetryRequestedAt, now.Format(time.RFC3339)),
			predecessor(func(c *v1alpha1.SupersededCertificate) { c.RevocationFailure = "not allowed" })),
		row(revoke, "the issuer is not connected yet: nothing else would look again when it is", superseded(25*time.Hour), revokeSuperseded, issuerUnknown),
		row(suspendedRow, "suspended", superseded(25*time.Hour), revokeSuperseded, suspendedByUser),
	})
}

func TestARenewalComesBeforeTheRevocationOfAPredecessor(t *testing.T) {
	decision{snapshot: stored(due, superseded(25*time.Hour), revokeSuperseded), action: ActionRenew, reason: v1alpha1.ReasonRenewing}.check(t)
}

func TestTheReasonOfARevocationIsTheUsersOrTheSpecs(t *testing.T) {
	for name, c := range map[string]struct {
		annotation string
		spec       v1alpha1.RevocationReason
		want       v1alpha1.RevocationReason
	}{
		"default":                          {"", "", v1alpha1.ReasonCessationOfOperation},
		"of the spec":                      {"", "superseded", "superseded"},
		"asked for":                        {"0a16/key_compromise", "superseded", "key_compromise"},
		"asked for without a reason":       {"0A16", "superseded", "superseded"},
		"asked for another certificate":    {"0A15/key_compromise", "superseded", "superseded"},
		"asked for without a serial":       {"/key_compromise", "superseded", "superseded"},
		"nothing said anywhere, and asked": {"0A16", "", v1alpha1.ReasonCessationOfOperation},
	} {
		t.Run(name, func(t *testing.T) {
			s := stored(annotated(v1alpha1.AnnotationRevokeRequested, c.annotation))
			s.Certificate.Spec.Revocation.Reason = c.spec
			if got := RevocationReason(s.Certificate, "0A16"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatCallsTheVendor(t *testing.T) {
	calls := map[Action]bool{ActionEnroll: true, ActionRenew: true, ActionResolve: true, ActionRevoke: true, ActionFinalize: true}
	for _, a := range []Action{ActionNone, ActionEnroll, ActionRenew, ActionRender, ActionResolve, ActionRevoke, ActionWait, ActionBlock, ActionFinalize} {
		if got := (Plan{Action: a}).CallsVendor(); got != calls[a] {
			t.Errorf("%s: %t, want %t", a, got, calls[a])
		}
	}
}

func TestWhatFollowsWhenSomebodyRevokedTheCertificate(t *testing.T) {
	asked := annotated(v1alpha1.AnnotationRenewRequestedAt, now.Format(time.RFC3339))
	checkAll(t, []decision{
		{name: "Hold", snapshot: stored(revokedElsewhere), action: ActionBlock, reason: v1alpha1.ReasonRevoked, says: v1alpha1.AnnotationRenewRequestedAt},
		{name: "Hold, and a renewal is due", snapshot: stored(revokedElsewhere, due), action: ActionBlock, reason: v1alpha1.ReasonRevoked},
		{name: "Hold, and the Secret is gone", snapshot: stored(revokedElsewhere, secretLost), action: ActionBlock, reason: v1alpha1.ReasonRevoked},
		{name: "Hold, and the Secret is broken", snapshot: stored(revokedElsewhere, broken, func(s *Snapshot) { s.Secret.Serial = "" }), action: ActionBlock, reason: v1alpha1.ReasonRevoked},
		{name: "Hold, and the outputs are out of sync", snapshot: stored(revokedElsewhere, outOfSync), action: ActionRender, reason: v1alpha1.ReasonRendering},
		{name: "Hold, and a person asks for a new one", snapshot: stored(revokedElsewhere, asked), action: ActionEnroll, reason: v1alpha1.ReasonRenewRequested},
		{name: "Hold, and the spec asks for another", snapshot: stored(revokedElsewhere, specChanged), action: ActionEnroll, reason: v1alpha1.ReasonOutOfDate},
		{
			name: "Hold, and a person asks to replace it", action: ActionEnroll, reason: v1alpha1.ReasonRevoked,
			snapshot: stored(revokedElsewhere, annotated(v1alpha1.AnnotationRevokeRequested, "0A17/key_compromise")),
		},
		{name: "Reenroll", snapshot: stored(revokedElsewhere, reenroll), action: ActionEnroll, reason: v1alpha1.ReasonRevoked},
		{name: "Reenroll, and the Secret is gone", snapshot: stored(revokedElsewhere, reenroll, secretLost), action: ActionEnroll, reason: v1alpha1.ReasonRevoked},
		{name: "another one is stored by now", snapshot: stored(revokedElsewhere, renewalDisabled, func(s *Snapshot) { s.Secret.Serial = "0A18" }), action: ActionNone, reason: v1alpha1.ReasonStored, after: 60 * day},
		{name: "the Secret is gone, and the spec asks for another", snapshot: stored(revokedElsewhere, secretLost, specChanged), action: ActionEnroll, reason: v1alpha1.ReasonSecretMissing},
	})
}
