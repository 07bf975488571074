// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// A lost answer is a certificate whose private key nobody has. These tests lose answers in every way: the manager is killed between
// the vendor's commit and its own write, or the vendor's connection breaks.

// lostAnswer is one way to lose one.
type lostAnswer struct {
	policy    v1alpha1.OrphanPolicy
	operation simulator.Operation
	// killed: the manager dies while it waits; else the vendor drops the connection.
	killed bool
	// once: the vendor refuses to renew a certificate that has a successor.
	once bool
}

func TestALostAnswerEndsInOneUsedCertificateAndNoneForgotten(t *testing.T) {
	enroll, renew := simulator.OperationEnroll, simulator.OperationRenew
	for name, lost := range map[string]lostAnswer{
		"kill before the first certificate is stored, policy Revoke":     {policy: v1alpha1.OrphansRevoke, operation: enroll, killed: true},
		"kill before the first certificate is stored, policy Report":     {policy: v1alpha1.OrphansReport, operation: enroll, killed: true},
		"kill before a renewed certificate is stored, policy Revoke":     {policy: v1alpha1.OrphansRevoke, operation: renew, killed: true},
		"kill before a renewed certificate is stored, policy Report":     {policy: v1alpha1.OrphansReport, operation: renew, killed: true},
		"answer to an enrollment dropped, policy Revoke":                 {policy: v1alpha1.OrphansRevoke, operation: enroll},
		"answer to an enrollment dropped, policy Report":                 {policy: v1alpha1.OrphansReport, operation: enroll},
		"answer to a renewal dropped, policy Revoke":                     {policy: v1alpha1.OrphansRevoke, operation: renew},
		"answer to a renewal dropped where each is renewed once, Report": {policy: v1alpha1.OrphansReport, operation: renew, once: true},
	} {
		t.Run(name, func(t *testing.T) { testLostAnswer(t, lost) })
	}
}

func testLostAnswer(t *testing.T, lost lostAnswer) {
	w := newWorld(t, func(c *simulator.Config) { c.Switches.RefuseSecondRenew = lost.once })
	w.connect(func(i *v1alpha1.DeviceIssuer) { i.Spec.Orphans.Policy = lost.policy })
	manager := w.startManager()
	cn := commonName("gateway")
	used := ""
	if lost.operation == simulator.OperationRenew {
		w.certificate("gateway")
		used = w.awaitReady("gateway").Status.SerialNumber
	}
	certificates := record[*v1alpha1.DeviceCertificate](w, &v1alpha1.DeviceCertificateList{})
	orphan := w.loseAnswer(manager, lost, cn)
	end := w.await("gateway", "resolved and issued", resolvePatience, func(c *v1alpha1.DeviceCertificate) bool {
		return renewed(used)(c) && c.Status.SerialNumber != orphan.SerialNumber
	})

	wantOutcome, wantStatus := v1alpha1.OrphanReported, issued
	if lost.policy == v1alpha1.OrphansRevoke {
		wantOutcome, wantStatus = v1alpha1.OrphanRevoked, revoked
	}
	if len(end.Status.Orphans) != 1 || end.Status.Orphans[0].CertificateID != orphan.CertificateID || end.Status.Orphans[0].Outcome != wantOutcome {
		t.Errorf("orphans %+v, want %s as %s", end.Status.Orphans, orphan.CertificateID, wantOutcome)
	}
	if number := verifyPair(t, w.secret("gateway")); number != end.Status.SerialNumber {
		t.Errorf("Secret holds %s, status says %s", number, end.Status.SerialNumber)
	}
	for _, e := range w.vendor.ledger(cn) {
		want := issued
		if e.SerialNumber == orphan.SerialNumber {
			want = wantStatus
		}
		if e.Status != want {
			t.Errorf("%s is %s at the vendor, want %s", e.SerialNumber, e.Status, want)
		}
	}
	if used == "" {
		w.wantBought(cn, 2)
		return
	}
	w.wantBought(cn, 3)
	for _, c := range certificates.of("gateway") {
		if !ready(c) {
			t.Errorf("version %s: a valid certificate was stored all the time, but Ready is %+v", c.ResourceVersion, condition(c.Status.Conditions, v1alpha1.ConditionReady))
		}
	}
}

// loseAnswer makes the vendor issue one certificate whose answer reaches nobody, and answers with that certificate.
func (w *world) loseAnswer(manager *process, lost lostAnswer, cn string) simulator.Entry {
	w.Helper()
	fault := holdAfterCommit(lost.operation, cn)
	if !lost.killed {
		fault.Action = simulator.ActionDrop
	}
	id := w.vendor.misbehave(fault)
	earlier := len(w.vendor.ledger(cn))
	if lost.operation == simulator.OperationRenew {
		w.requestRenewal("gateway")
	} else {
		w.certificate("gateway")
	}
	orphan := w.vendor.awaitEntry(cn, earlier)
	if lost.killed {
		manager.kill()
		w.vendor.forgive(id)
		w.startManager()
	}
	return orphan
}

func TestAKillBeforeTheStoreWithAPasscodeIssuerIsReportedAsAWindow(t *testing.T) {
	w := newWorld(t)
	w.createSecret("passcode", map[string][]byte{"credential": []byte(goodPasscode)})
	w.issuer(func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Auth = v1alpha1.IssuerAuth{EnrollmentPasscode: &v1alpha1.EnrollmentPasscodeAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "passcode", Key: "credential"}}}
		i.Spec.Orphans.Policy = v1alpha1.OrphansRevoke
	})
	manager := w.startManager()
	cn := commonName("gateway")
	id := w.vendor.misbehave(holdAfterCommit(simulator.OperationEnroll, cn))
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profilePasscode })
	orphan := w.vendor.awaitEntry(cn, 0)
	manager.kill()
	w.vendor.forgive(id)
	w.startManager()
	end := w.await("gateway", "issued", resolvePatience, renewed(""))
	if len(end.Status.Orphans) != 1 {
		t.Fatalf("orphans %+v", end.Status.Orphans)
	}
	o := end.Status.Orphans[0]
	if o.Outcome != v1alpha1.OrphanReported || o.CommonName != cn || o.ProfileID != profilePasscode ||
		orphan.IssuedAt.Before(o.WindowStart.Time) || orphan.IssuedAt.After(o.WindowEnd.Time) {
		t.Errorf("orphan %+v, want a window around %s", o, orphan.IssuedAt)
	}
	w.wantBought(cn, 2)
	verifyPair(t, w.secret("gateway"))
}

func TestAKillBetweenIntentAndCommitCostsNothing(t *testing.T) {
	w := newWorld(t)
	w.connect()
	manager := w.startManager()
	cn := commonName("gateway")
	id := w.vendor.misbehave(simulator.Fault{Match: simulator.Match{CommonName: cn}, Action: simulator.ActionRespond, Response: simulator.Response{Status: 502, Shape: simulator.ShapeHTML}})
	w.certificate("gateway")
	w.vendor.awaitHit(id)
	manager.kill()
	w.startManager()
	end := w.await("gateway", "issued", resolvePatience, renewed(""))
	if len(end.Status.Orphans) != 0 {
		t.Errorf("orphans %+v, though the vendor has issued nothing", end.Status.Orphans)
	}
	w.wantBought(cn, 1)
	eventually(t, patience, "every certificate bought is in use", func(context.Context) (bool, error) { return len(w.live(cn)) == 1, nil })
}
