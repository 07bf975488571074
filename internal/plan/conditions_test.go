// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/gitops"
)

// kit judges by the files that users of Argo CD and Flux apply.
var kit = sync.OnceValues(func() (*gitops.Kit, error) { return gitops.Load("../../config/gitops") })

// kstatusOf is what kstatus makes of the conditions. Argo CD and Flux must agree.
func kstatusOf(t rapid.TB, s *Snapshot, conditions []metav1.Condition) status.Status {
	t.Helper()
	c := s.Certificate.DeepCopy()
	c.Status.Conditions, c.Status.ObservedGeneration = conditions, c.Generation
	content, err := gitops.Content(c, "DeviceCertificate")
	if err != nil {
		t.Fatal(err)
	}
	judges, err := kit()
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := judges.Agreed(content)
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

// summarize writes conditions as "Ready=False(Expired) Stalled".
func summarize(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		switch {
		case c.Type == v1alpha1.ConditionReady:
			out = append(out, fmt.Sprintf("%s=%s(%s)", c.Type, c.Status, c.Reason))
		case c.Status == metav1.ConditionTrue:
			out = append(out, c.Type)
		default:
			out = append(out, c.Type+"="+string(c.Status))
		}
	}
	slices.Sort(out)
	return out
}

func asksToRevoke(serial string) change {
	return annotated(v1alpha1.AnnotationRevokeRequested, serial+"/key_compromise")
}

func TestTheWishToRevokeIsAnsweredUntilItIsTakenBack(t *testing.T) {
	s := stored(superseded(time.Hour))
	says := func() string {
		s.Certificate.Status.Conditions = Conditions(s, Decide(s))
		c := apimeta.FindStatusCondition(s.Certificate.Status.Conditions, v1alpha1.ConditionRevocationRequested)
		if c == nil {
			return ""
		}
		return string(c.Status) + " " + c.Reason
	}
	for _, step := range []struct {
		what string
		then func()
		want string
	}{
		{"nothing is asked", func() {}, ""},
		{"the predecessor is to be revoked", func() { asksToRevoke("0a16")(s) }, "True Revoking"},
		{"it is revoked", func() { s.Certificate.Status.Superseded = nil }, "True Revoked"},
		{"nothing more happens", func() {}, "True Revoked"},
		{"another is asked for, which nobody knows", func() { asksToRevoke("0a1")(s) }, "False UnknownSerial"},
		{"what is no serial number is asked for", func() { asksToRevoke("all of them")(s) }, "False UnknownSerial"},
		{"the one stored is asked for", func() { asksToRevoke("0A17")(s) }, "True Revoking"},
		{"its successor is on its way", func() {
			s.Certificate.Status.Attempt = &v1alpha1.Attempt{ID: "attempt", PredecessorSerial: "0A17"}
			s.Secret = Secret{State: SecretAbsent, Name: s.Secret.Name}
		}, "True Revoking"},
		{"the annotation is gone", func() { delete(s.Certificate.Annotations, v1alpha1.AnnotationRevokeRequested) }, ""},
	} {
		step.then()
		if got := says(); got != step.want {
			t.Errorf("%s: the condition is %q, want %q", step.what, got, step.want)
		}
	}
}

func TestConditionsAndWhatOthersMakeOfThem(t *testing.T) {
	refused := failed(v1alpha1.AttemptRenew, v1alpha1.ReasonRefused)
	for _, row := range []struct {
		situation string
		snapshot  *Snapshot
		want      []string
		kstatus   status.Status
	}{
		{"first issue due", fresh(), []string{"Issuing", "Ready=False(Issuing)", "Reconciling"}, status.InProgressStatus},
		{"first issue in flight", fresh(inFlightNow), []string{"Issuing", "Ready=False(Issuing)", "Reconciling"}, status.InProgressStatus},
		{"first issue, issuer down", fresh(issuerDown), []string{"Issuing", "Ready=False(IssuerNotReady)", "Reconciling"}, status.InProgressStatus},
		{"first issue, no issuer", fresh(issuerMissing), []string{"Issuing", "Ready=False(IssuerNotFound)", "Reconciling"}, status.InProgressStatus},
		{
			"first issue, backing off", fresh(failed(v1alpha1.AttemptEnroll, v1alpha1.ReasonUnreachable)),
			[]string{"Issuing", "Ready=False(Unreachable)", "Reconciling"}, status.InProgressStatus,
		},
		{"first issue, answer lost", fresh(open), []string{"Issuing", "Ready=False(Resolving)", "Reconciling"}, status.InProgressStatus},
		{"first issue refused", fresh(failed(v1alpha1.AttemptEnroll, v1alpha1.ReasonRefused)), []string{"Ready=False(RefusedByVendor)", "Stalled"}, status.FailedStatus},
		{"first issue pending approval", fresh(pending), []string{"Ready=False(PendingApproval)", "Stalled"}, status.FailedStatus},
		{"first issue not granted", fresh(denied), []string{"Ready=False(NotGranted)", "Stalled"}, status.FailedStatus},
		{"first issue with an invalid spec", fresh(problem), []string{"Ready=False(InvalidSpec)", "Stalled"}, status.FailedStatus},
		{"the Secret is somebody else's", fresh(foreignSecret), []string{"Ready=False(SecretConflict)", "Stalled"}, status.FailedStatus},

		{"stored and valid", stored(), []string{"Ready=True(Stored)", "SecretInSync"}, status.CurrentStatus},
		{"stored, outputs being rendered", stored(outOfSync), []string{"Ready=True(Stored)", "SecretInSync=False"}, status.CurrentStatus},
		{"stored, outputs refused", stored(refusedSecret), []string{"Ready=True(Stored)", "SecretInSync=False"}, status.CurrentStatus},
		{"stored, predecessor being revoked", stored(superseded(25*time.Hour), revokeSuperseded), []string{"Ready=True(Stored)", "SecretInSync"}, status.CurrentStatus},
		{"stored, predecessor left valid", stored(superseded(25*time.Hour), revokeSuperseded, revocationRefused), []string{"Ready=True(Stored)", "RevocationFailing", "SecretInSync"}, status.CurrentStatus},
		{"stored, predecessor left valid until it expired", stored(superseded(25*time.Hour), revokeSuperseded, revocationRefused, predecessorExpired), []string{"Ready=True(Stored)", "SecretInSync"}, status.CurrentStatus},
		{"stored, revocations wanted that cannot be made", stored(revokeSuperseded, cannotRevoke), []string{"Ready=True(Stored)", "RevocationFailing", "SecretInSync"}, status.CurrentStatus},
		{"stored, asked to revoke a predecessor", stored(superseded(time.Hour), asksToRevoke("0a16")), []string{"Ready=True(Stored)", "RevocationRequested", "SecretInSync"}, status.CurrentStatus},
		{"stored, asked to revoke somebody else's", stored(asksToRevoke("ffff")), []string{"Ready=True(Stored)", "RevocationRequested=False", "SecretInSync"}, status.CurrentStatus},
		{"stored, no revocations wanted", stored(cannotRevoke), []string{"Ready=True(Stored)", "SecretInSync"}, status.CurrentStatus},
		{"renewing in the background", stored(due), []string{"Issuing", "Ready=True(Stored)", "SecretInSync"}, status.CurrentStatus},
		{"renewal in flight", stored(due, inFlightNow), []string{"Issuing", "Ready=True(Stored)", "SecretInSync"}, status.CurrentStatus},

		{"renewal refused", stored(expiresIn(20*day), refused), []string{"Ready=True(Stored)", "RenewalFailing", "SecretInSync"}, status.CurrentStatus},
		{"renewal backing off", stored(due, failed(v1alpha1.AttemptRenew, v1alpha1.ReasonUnreachable)), []string{"Issuing", "Ready=True(Stored)", "RenewalFailing", "SecretInSync"}, status.CurrentStatus},
		{"renewal, issuer down", stored(due, issuerDown), []string{"Issuing", "Ready=True(Stored)", "RenewalFailing", "SecretInSync"}, status.CurrentStatus},
		{"renewal, no longer granted", stored(due, denied), []string{"Ready=True(Stored)", "RenewalFailing", "SecretInSync"}, status.CurrentStatus},
		{"renewal, answer lost", stored(open), []string{"Issuing", "Ready=True(Stored)", "RenewalFailing", "SecretInSync"}, status.CurrentStatus},
		{"renewal pending approval", stored(pending), []string{"Ready=True(Stored)", "RenewalFailing", "SecretInSync"}, status.CurrentStatus},

		{"expired, being renewed", stored(expired), []string{"Issuing", "Ready=False(Expired)", "Reconciling", "SecretInSync"}, status.InProgressStatus},
		{"expired, issuer down", stored(expired, issuerDown), []string{"Issuing", "Ready=False(Expired)", "Reconciling", "SecretInSync"}, status.InProgressStatus},
		{"expired, refused", stored(expired, failed(v1alpha1.AttemptEnroll, v1alpha1.ReasonRefused)), []string{"Ready=False(Expired)", "SecretInSync", "Stalled"}, status.FailedStatus},
		{"expired under Disabled", stored(expired, renewalDisabled), []string{"Ready=False(Expired)", "SecretInSync", "Stalled"}, status.FailedStatus},
		{"expired, pending approval", stored(expired, pending), []string{"Ready=False(Expired)", "SecretInSync", "Stalled"}, status.FailedStatus},

		{"spec changed in what costs", stored(specChanged), []string{"Issuing", "Ready=False(OutOfDate)", "Reconciling", "SecretInSync"}, status.InProgressStatus},
		{
			"spec changed, refused", stored(specChanged, failed(v1alpha1.AttemptEnroll, v1alpha1.ReasonRefused)),
			[]string{"Ready=False(OutOfDate)", "SecretInSync", "Stalled"}, status.FailedStatus,
		},
		{"not valid yet", stored(func(s *Snapshot) { s.Secret.NotBefore = now.Add(time.Hour) }), []string{"Ready=False(NotYetValid)", "SecretInSync"}, status.InProgressStatus},
		{"clocks a little apart", stored(func(s *Snapshot) { s.Secret.NotBefore = now.Add(clockTolerance) }), []string{"Ready=True(Stored)", "SecretInSync"}, status.CurrentStatus},
		{"revoked as an orphan", stored(revokedAsOrphan), []string{"Issuing", "Ready=False(Revoked)", "Reconciling", "SecretInSync"}, status.InProgressStatus},
		{"revoked at the vendor, Hold", stored(revokedElsewhere), []string{"Ready=False(Revoked)", "SecretInSync", "Stalled"}, status.FailedStatus},
		{"revoked at the vendor, Hold, expired", stored(expired, revokedElsewhere), []string{"Ready=False(Revoked)", "SecretInSync", "Stalled"}, status.FailedStatus},
		{"revoked at the vendor, Hold, the Secret is gone", stored(revokedElsewhere, secretLost), []string{"Ready=False(Revoked)", "Stalled"}, status.FailedStatus},
		{"revoked at the vendor, Reenroll", stored(revokedElsewhere, reenroll), []string{"Issuing", "Ready=False(Revoked)", "Reconciling", "SecretInSync"}, status.InProgressStatus},
		{"revoked at the vendor and suspended", stored(revokedElsewhere, suspendedByUser), []string{"Ready=False(Revoked)", "SecretInSync", "Suspended"}, status.InProgressStatus},
		{"the Secret is broken", stored(broken), []string{"Issuing", "Ready=False(SecretBroken)", "Reconciling", "SecretInSync=False"}, status.InProgressStatus},

		{"suspended and valid", stored(suspendedByUser), []string{"Ready=True(Stored)", "SecretInSync", "Suspended"}, status.CurrentStatus},
		{"suspended and expired", stored(expired, suspendedByUser), []string{"Ready=False(Expired)", "SecretInSync", "Suspended"}, status.InProgressStatus},
		{"suspended before the first", fresh(suspendedByUser), []string{"Ready=False(Suspended)", "Suspended"}, status.InProgressStatus},
		{"issuer suspended, nothing due", stored(issuerSuspended), []string{"Ready=True(Stored)", "SecretInSync", "Suspended"}, status.CurrentStatus},
		{"issuer suspended, due", stored(due, issuerSuspended), []string{"Issuing", "Ready=True(Stored)", "SecretInSync", "Suspended"}, status.CurrentStatus},
		{"deleted", stored(deletedAgo(0)), []string{"Ready=True(Stored)", "SecretInSync"}, status.TerminatingStatus},
	} {
		t.Run(row.situation, func(t *testing.T) {
			conditions := Conditions(row.snapshot, Decide(row.snapshot))
			slices.Sort(row.want)
			if diff := cmp.Diff(row.want, summarize(conditions)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if got := kstatusOf(t, row.snapshot, conditions); got != row.kstatus {
				t.Errorf("kstatus is %s, want %s", got, row.kstatus)
			}
		})
	}
}

func TestReadySaysWhatIsWrongAndWhatToDo(t *testing.T) {
	for _, row := range []struct {
		snapshot *Snapshot
		want     string
	}{
		{stored(), "key and certificate 0A17 are in Secret gateway-17-tls"},
		{stored(expired, issuerSuspended), "the certificate in the Secret has expired: ClusterDeviceIssuer digicert is suspended; nothing is bought until its spec.suspend is false"},
		{stored(specChanged, denied), "the spec asks for another certificate than the one stored: ask the owner of digicert"},
		{fresh(issuerDown), "ClusterDeviceIssuer digicert is not ready: no route to host (Unreachable); it is tried again by itself"},
	} {
		conditions := Conditions(row.snapshot, Decide(row.snapshot))
		if diff := cmp.Diff(row.want, conditions[0].Message); diff != "" {
			t.Errorf("message (-want +got):\n%s", diff)
		}
	}
}

func TestASecretThatCannotBeUsedIsNotInSync(t *testing.T) {
	s := stored(func(s *Snapshot) { s.Secret.Broken = "it was delivered sealed" }) // yet every byte is what was rendered
	for _, c := range Conditions(s, Decide(s)) {
		if c.Type == v1alpha1.ConditionSecretInSync && c.Status == metav1.ConditionTrue {
			t.Error("it is")
		}
	}
}

// switches are all the ways in which a snapshot can differ from a fresh or stored one. Any combination may occur.
var switches = []change{
	inFlightNow, deletedAgo(0), deletedAgo(time.Hour), withoutFinalizer, open, settled, pending, foreignSecret, adoptable, broken, outOfSync, renamed,
	refusedSecret, specChanged, suspendedByUser, renewalDisabled, issuerMissing, issuerSuspended, issuerUnknown, issuerDown, denied, problem, due, lastSixth,
	expired, expiresIn(20 * day), revokedAsOrphan, revokedElsewhere, reenroll, secretLost, cannotRevoke, superseded(25 * time.Hour), revokeSuperseded,
	annotated(v1alpha1.AnnotationAbandonAttempt, attemptID),
	annotated(v1alpha1.AnnotationRenewRequestedAt, now.Format(time.RFC3339)), annotated(v1alpha1.AnnotationRetryRequestedAt, now.Format(time.RFC3339)),
	annotated(v1alpha1.AnnotationRevokeRequested, "0A17/key_compromise"),
	failed(v1alpha1.AttemptRenew, v1alpha1.ReasonRefused), failed(v1alpha1.AttemptEnroll, v1alpha1.ReasonUnverified), failed(v1alpha1.AttemptEnroll, ""),
	func(s *Snapshot) { s.IssuanceHash = "" }, func(s *Snapshot) { s.Secret.IssuanceHash = "v0:old" },
	func(s *Snapshot) { s.Secret.NotBefore = now.Add(time.Hour) }, func(s *Snapshot) { s.Secret.IssuedAt = time.Time{} },
	func(s *Snapshot) { s.Certificate.Status = v1alpha1.DeviceCertificateStatus{} },
}

func anySnapshot(t *rapid.T) *Snapshot {
	s := fresh()
	if rapid.Bool().Draw(t, "stored") {
		s = stored()
	}
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(switches)-1), 0, 6).Draw(t, "switches") {
		switches[i](s)
	}
	if s.Certificate.Status.Attempt == nil {
		s.SettlesAt = time.Time{}
	}
	return s
}

var (
	dateLike   = regexp.MustCompile(`\d{4}-\d{2}-\d{2}|\d{2}:\d{2}`)
	reasonLike = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`) // as the API server checks it
)

func TestConditionsKeepTheirInvariantsInEveryCombination(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t)
		p := Decide(s)
		conditions := Conditions(s, p)
		present := map[string]bool{}
		for _, c := range conditions {
			if present[c.Type] || !slices.Contains(ConditionTypes, c.Type) {
				t.Errorf("%s is there twice or not declared", c.Type)
			}
			present[c.Type] = true
			if c.ObservedGeneration != s.Certificate.Generation {
				t.Errorf("%s speaks of generation %d", c.Type, c.ObservedGeneration)
			}
			if !reasonLike.MatchString(c.Reason) || c.Message == "" {
				t.Errorf("%s has reason %q and message %q", c.Type, c.Reason, c.Message)
			}
			if dateLike.MatchString(c.Message) {
				t.Errorf("%s carries a time: %s", c.Type, c.Message)
			}
		}
		ready := slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
			return c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue
		})
		reconciling, stalled := present[v1alpha1.ConditionReconciling], present[v1alpha1.ConditionStalled]
		switch {
		case !present[v1alpha1.ConditionReady]:
			t.Error("Ready is missing")
		case ready && (reconciling || stalled), reconciling && stalled:
			t.Errorf("Ready is %t, Reconciling %t, Stalled %t", ready, reconciling, stalled)
		case ready && (s.Secret.State != SecretOurs || s.Secret.Broken != "" || !s.Now.Before(s.Secret.NotAfter)):
			t.Error("Ready without a valid certificate in the Secret")
		case !ready && present[v1alpha1.ConditionRenewalFailing]:
			t.Error("RenewalFailing without a valid certificate")
		}
		if got := kstatusOf(t, s, conditions); ready != (got == status.CurrentStatus) && got != status.TerminatingStatus {
			t.Errorf("Ready is %t and kstatus %s", ready, got)
		}
	})
}

func TestConditionsStandStillWhileNothingButTheTimeChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t)
		s.InFlight, s.Certificate.DeletionTimestamp = false, nil // flights and deletions end by themselves
		p := Decide(s)
		before := Conditions(s, p)
		until := 3 * time.Hour
		if !p.Due.IsZero() {
			until = min(until, p.Due.Sub(now)-1)
		}
		s.Now = now.Add(time.Duration(rapid.Int64Range(0, int64(max(until, 0))).Draw(t, "later")))
		if diff := cmp.Diff(before, Conditions(s, Decide(s))); diff != "" {
			t.Errorf("before it is due, %s later (-before +after):\n%s", s.Now.Sub(now), diff)
		}
	})
}

func TestNoCombinationBuysAgainstAVeto(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t)
		p := Decide(s)
		vetoes := map[string]bool{
			"in flight": s.InFlight, "deleted": s.Certificate.DeletionTimestamp != nil, "attempt open": s.Certificate.Status.Attempt != nil,
			"foreign Secret": s.Secret.State == SecretForeign, "suspended": s.Certificate.Spec.Suspend, "issuer suspended": s.Issuer.Suspended,
			"issuer missing": !s.Issuer.Found, "issuer unknown": !s.Issuer.Known, "issuer not ready": !s.Issuer.Ready, "not granted": s.Issuer.Denied != "",
			"problem": s.Problem != nil,
		}
		for name, veto := range vetoes {
			if veto && p.Buys() {
				t.Errorf("%s in spite of: %s", p.Action, name)
			}
		}
		if p.Action == ActionRenew && !held(s).Usable() {
			t.Error("renews what is not there")
		}
		if !p.Due.IsZero() && !p.Due.After(s.Now) {
			t.Errorf("%s (%s) is due again at once: a busy loop", p.Action, p.Reason)
		}
		if p.Action == ActionBlock && p.Message == "" {
			t.Error("blocks without a word")
		}
	})
}
