// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// A decision is a row of the tables of Decide.
type decision struct {
	name     string
	snapshot *Snapshot
	action   Action
	reason   string
	// after is how long after now to look again; zero for never. Purchases are done at once and not asked.
	after time.Duration
	// failing and says are of the plan's Failing and Message.
	failing bool
	says    string
}

func (d decision) check(t *testing.T) {
	t.Helper()
	p := Decide(d.snapshot)
	if p.Action != d.action || p.Reason != d.reason {
		t.Fatalf("%s (%s), want %s (%s): %s", p.Action, p.Reason, d.action, d.reason, p.Message)
	}
	var after time.Duration
	if !p.Due.IsZero() {
		after = p.Due.Sub(now)
	}
	if after != d.after && !p.Buys() {
		t.Errorf("looks again after %s, want %s", after, d.after)
	}
	if p.Failing != d.failing {
		t.Errorf("failing is %t, want %t", p.Failing, d.failing)
	}
	if !strings.Contains(p.Message, d.says) {
		t.Errorf("message %q does not say %q", p.Message, d.says)
	}
}

func checkAll(t *testing.T, decisions []decision) {
	t.Helper()
	for _, d := range decisions {
		t.Run(d.name, func(t *testing.T) { d.check(t) })
	}
}

// All at once, then without the first of them, and so on: what is answered last waits for everything before it.
func TestTheEarlierCheckWins(t *testing.T) {
	type cause struct {
		name   string
		action Action
		reason string
		change change
	}
	causes := []cause{
		{"in flight", ActionWait, v1alpha1.ReasonIssuing, inFlightNow},
		{"deleted", ActionFinalize, v1alpha1.ReasonTerminating, deletedAgo(time.Hour)},
		{"attempt open", ActionWait, v1alpha1.ReasonResolving, open},
		{"foreign Secret", ActionBlock, v1alpha1.ReasonSecretConflict, func(s *Snapshot) { s.Secret.State = SecretForeign }},
		{"suspended", ActionNone, v1alpha1.ReasonSuspended, suspendedByUser},
		{"issuer missing", ActionWait, v1alpha1.ReasonIssuerNotFound, func(s *Snapshot) { s.Issuer.Found = false }},
		{"issuer suspended", ActionWait, v1alpha1.ReasonSuspended, issuerSuspended},
		{"issuer unknown", ActionWait, v1alpha1.ReasonIssuerNotReady, issuerUnknown},
		{"issuer down", ActionWait, v1alpha1.ReasonIssuerNotReady, issuerDown},
		{"not granted", ActionBlock, v1alpha1.ReasonNotGranted, denied},
		{"problem", ActionBlock, v1alpha1.ReasonInvalidSpec, problem},
		{"backing off", ActionWait, v1alpha1.ReasonUnreachable, failed(v1alpha1.AttemptRenew, v1alpha1.ReasonUnreachable)},
		{"due", ActionRenew, v1alpha1.ReasonRenewing, due},
		{"nothing", ActionNone, v1alpha1.ReasonStored, func(*Snapshot) {}},
	}
	for i, c := range causes {
		t.Run(c.name, func(t *testing.T) {
			s := stored()
			for _, later := range causes[i:] {
				later.change(s)
			}
			if p := Decide(s); p.Action != c.action || p.Reason != c.reason {
				t.Errorf("%s (%s), want %s (%s): %s", p.Action, p.Reason, c.action, c.reason, p.Message)
			}
		})
	}
}

func TestWhatIsFreeIsDoneAlthoughAPurchaseMustWait(t *testing.T) {
	waits := map[string]change{
		"issuer missing": issuerMissing, "issuer suspended": issuerSuspended, "issuer down": issuerDown, "not granted": denied,
		"backing off": failed(v1alpha1.AttemptRenew, v1alpha1.ReasonUnreachable), "expired under Disabled": func(s *Snapshot) { expired(s); renewalDisabled(s) },
	}
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			s := stored(due, wait, outOfSync)
			if p := Decide(s); p.Action != ActionRender {
				t.Errorf("an edit of outputs is not rendered: %s (%s)", p.Action, p.Reason)
			}
			s.Secret.InSync = true
			if p := Decide(s); p.Action != ActionWait && p.Action != ActionBlock {
				t.Errorf("after it was rendered the purchase does not wait: %s (%s)", p.Action, p.Reason)
			}
		})
	}
	t.Run("a new Secret name while the issuer is down", func(t *testing.T) {
		s := stored(renamed, issuerDown)
		s.Previous.NotAfter = now.Add(10 * day)
		if p := Decide(s); p.Action != ActionRender {
			t.Errorf("the pair is not written under the new name: %s (%s)", p.Action, p.Reason)
		}
	})
}

func TestWhenACertificateIsEnrolled(t *testing.T) {
	checkAll(t, []decision{
		{name: "the first", snapshot: fresh(), action: ActionEnroll, reason: v1alpha1.ReasonIssuing},
		{name: "the first, of an object never given a Secret", snapshot: fresh(renewalDisabled), action: ActionEnroll, reason: v1alpha1.ReasonIssuing},
		{
			name: "the Secret is gone", snapshot: fresh(func(s *Snapshot) { s.Certificate.Status.CertificateID = "cert-1" }),
			action: ActionEnroll, reason: v1alpha1.ReasonSecretMissing,
		},
		{name: "the Secret is broken", snapshot: stored(broken), action: ActionEnroll, reason: v1alpha1.ReasonSecretBroken, says: "no tls.key"},
		{name: "the adoptable Secret is broken", snapshot: stored(adoptable, broken), action: ActionEnroll, reason: v1alpha1.ReasonSecretBroken},
		{name: "the spec changed", snapshot: stored(specChanged), action: ActionEnroll, reason: v1alpha1.ReasonOutOfDate},
		{name: "the spec changed under Disabled", snapshot: stored(specChanged, renewalDisabled), action: ActionEnroll, reason: v1alpha1.ReasonOutOfDate},
		{name: "the stored one was revoked as an orphan", snapshot: stored(revokedAsOrphan), action: ActionEnroll, reason: v1alpha1.ReasonRevoked},
		{
			name: "the user wants the stored one revoked", snapshot: stored(annotated(v1alpha1.AnnotationRevokeRequested, "0a17/key_compromise")),
			action: ActionEnroll, reason: v1alpha1.ReasonRevoked,
		},
		{
			name: "renamed, but the old Secret is broken", snapshot: stored(renamed, func(s *Snapshot) { s.Previous.Broken = "cut" }),
			action: ActionEnroll, reason: v1alpha1.ReasonSecretMissing,
		},
		{
			name: "renamed, but the old Secret is somebody else's", snapshot: stored(renamed, func(s *Snapshot) { s.Previous.State = SecretForeign }),
			action: ActionEnroll, reason: v1alpha1.ReasonSecretMissing,
		},
	})
}

func TestWhatDoesNotCostACertificate(t *testing.T) {
	checkAll(t, []decision{
		{name: "nothing to do", snapshot: stored(), action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())},
		{name: "nothing to do under Disabled", snapshot: stored(renewalDisabled), action: ActionNone, reason: v1alpha1.ReasonStored, after: 60 * day},
		{
			name: "a hash of another version", snapshot: stored(func(s *Snapshot) { s.Secret.IssuanceHash = "v0:other" }),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored()),
		},
		{
			name: "a hash that was wiped", snapshot: stored(func(s *Snapshot) { s.Secret.IssuanceHash = "" }),
			action: ActionRender, reason: v1alpha1.ReasonRendering, after: untilRenewal(stored()),
		},
		{
			name: "the very request it was bought with, whatever its names mean today", snapshot: stored(askedByName, func(s *Snapshot) { s.Secret.IssuanceHash = "v1:ids of then" }),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored()),
		},
		{
			name: "a word that was bought as an id and is known as a name by now", snapshot: stored(func(s *Snapshot) { s.Secret.IssuanceHash, s.RequestHash = "v1:as spelt", "v1:as spelt" }),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored()),
		},
		{
			name: "the same in other words, which are noted", snapshot: stored(func(s *Snapshot) { s.RequestHash = "v1:other words" }),
			action: ActionRender, reason: v1alpha1.ReasonRendering, after: untilRenewal(stored()),
		},
		{name: "noted words", snapshot: stored(askedByName), action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())},
		{
			name: "an issuer that is gone", snapshot: stored(issuerMissing, func(s *Snapshot) { s.IssuanceHash = "" }),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored()),
		},
		{name: "a wiped status", snapshot: stored(func(s *Snapshot) { s.Certificate.Status = v1alpha1.DeviceCertificateStatus{} }),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())},
		{name: "outputs, labels, passwords", snapshot: stored(outOfSync), action: ActionRender, reason: v1alpha1.ReasonRendering, after: untilRenewal(stored())},
		{name: "a new Secret name", snapshot: stored(renamed), action: ActionRender, reason: v1alpha1.ReasonRendering, after: untilRenewal(stored())},
		{name: "adoption", snapshot: stored(adoptable), action: ActionRender, reason: v1alpha1.ReasonRendering, after: untilRenewal(stored())},
		{
			name: "a new Secret name whose Secret is broken", snapshot: stored(renamed, func(s *Snapshot) { s.Secret = pair("gateway-17-tls"); broken(s) }),
			action: ActionRender, reason: v1alpha1.ReasonRendering, after: untilRenewal(stored()),
		},
		{
			name: "outputs while the encryption certificate is missing", snapshot: stored(outOfSync, problem),
			action: ActionRender, reason: v1alpha1.ReasonRendering, after: untilRenewal(stored()),
		},
		{
			name: "outputs the API server refuses", snapshot: stored(refusedSecret),
			action: ActionBlock, reason: v1alpha1.ReasonSecretRefused, after: reread, says: "immutable",
		},
		{name: "another's orphan", snapshot: stored(revokedAsOrphan, func(s *Snapshot) { s.Secret.CertificateID = "cert-2" }),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())},
		{name: "an orphan that was only reported", snapshot: stored(revokedAsOrphan, func(s *Snapshot) { s.Certificate.Status.Orphans[0].Outcome = v1alpha1.OrphanReported }),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())},
		{name: "a revocation of somebody else's serial", snapshot: stored(annotated(v1alpha1.AnnotationRevokeRequested, "FFFF/key_compromise")),
			action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())},
	})
}

func untilRenewal(s *Snapshot) time.Duration {
	at, _ := RenewalTime(s.Certificate, s.Secret)
	return at.Sub(now)
}

func TestWhenACertificateIsRenewed(t *testing.T) {
	ask := func(at time.Time) change {
		return annotated(v1alpha1.AnnotationRenewRequestedAt, at.Format(time.RFC3339))
	}
	handledBySecret := func(s *Snapshot) {
		s.Secret.HandledRenewRequest = s.Certificate.Annotations[v1alpha1.AnnotationRenewRequestedAt]
	}
	handledByStatus := func(s *Snapshot) {
		s.Certificate.Status.LastHandledRenewRequest = s.Certificate.Annotations[v1alpha1.AnnotationRenewRequestedAt]
	}
	hour := metav1.Duration{Duration: time.Hour}
	idle := decision{action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())}
	row := func(d decision, name string, s *Snapshot) decision {
		d.name, d.snapshot = name, s
		return d
	}
	renewed := decision{action: ActionRenew, reason: v1alpha1.ReasonRenewing}
	asked := decision{action: ActionRenew, reason: v1alpha1.ReasonRenewRequested}
	checkAll(t, []decision{
		row(renewed, "due", stored(due)),
		row(renewed, "a second after it became due", stored(func(s *Snapshot) { s.Now = now.Add(untilRenewal(s)) })),
		row(decision{action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored())}, "a second before it becomes due", stored(func(s *Snapshot) {
			s.Now = now.Add(untilRenewal(s) - time.Second)
		})),
		row(decision{action: ActionRenew, reason: v1alpha1.ReasonExpired}, "expired", stored(expired)),
		row(decision{action: ActionNone, reason: v1alpha1.ReasonStored, after: 10 * day}, "due under Disabled", stored(due, renewalDisabled)),
		row(decision{action: ActionBlock, reason: v1alpha1.ReasonExpired, says: v1alpha1.AnnotationRenewRequestedAt}, "expired under Disabled", stored(expired, renewalDisabled)),
		row(decision{action: ActionBlock, reason: v1alpha1.ReasonExpired, says: "Disabled"}, "expired under Disabled without an issuer", stored(expired, renewalDisabled, issuerMissing)),
		row(asked, "asked for", stored(ask(now))),
		row(asked, "asked for under Disabled", stored(ask(now), renewalDisabled)),
		row(decision{action: ActionRenew, reason: v1alpha1.ReasonExpired}, "asked for under Disabled after it expired", stored(expired, ask(now), renewalDisabled)),
		row(asked, "asked for in the far future, once", stored(ask(now.AddDate(900, 0, 0)))),
		row(idle, "asked for in the far future, and handled", stored(ask(now.AddDate(900, 0, 0)), handledBySecret)),
		row(idle, "asked for before it was issued", stored(ask(now.Add(-31*day)))),
		row(idle, "asked for in the second it was issued", stored(ask(now.Add(-30*day)))),
		row(idle, "asked for, and the Secret says handled", stored(ask(now), handledBySecret)),
		row(idle, "asked for, and the status says handled", stored(ask(now), handledByStatus)),
		row(idle, "asked for in no known time", stored(annotated(v1alpha1.AnnotationRenewRequestedAt, "please"))),
		row(idle, "asked for with an empty value", stored(annotated(v1alpha1.AnnotationRenewRequestedAt, ""))),
		row(decision{action: ActionNone, reason: v1alpha1.ReasonSuspended, after: 60 * day}, "asked for while suspended", stored(ask(now), suspendedByUser)),
		row(decision{action: ActionRenew, reason: v1alpha1.ReasonRenewing}, "due while the Secret is out of sync: one write does both", stored(due, outOfSync)),
		row(decision{action: ActionNone, reason: v1alpha1.ReasonStored, after: untilRenewal(stored(func(s *Snapshot) { s.Certificate.Spec.Renewal.RenewBefore = &hour }))},
			"renewBefore counts from the end", stored(func(s *Snapshot) { s.Certificate.Spec.Renewal.RenewBefore = &hour })),
	})
}

func TestARenewalThatIsHopelessBecomesAnEnrollment(t *testing.T) {
	refused := failed(v1alpha1.AttemptRenew, v1alpha1.ReasonRefused)
	lost := failed(v1alpha1.AttemptRenew, v1alpha1.ReasonRefused, func(f *v1alpha1.Failures) { f.LostRenewalOf = "cert-1" })
	lostAnother := failed(v1alpha1.AttemptRenew, v1alpha1.ReasonRefused, func(f *v1alpha1.Failures) { f.LostRenewalOf = "cert-0" })
	checkAll(t, []decision{
		{name: "refused early: it may be too early", snapshot: stored(expiresIn(20*day), refused), action: ActionBlock, reason: v1alpha1.ReasonRefused, after: time.Hour, failing: true},
		{name: "refused in the last sixth: enrolled at once", snapshot: stored(lastSixth, refused), action: ActionEnroll, reason: v1alpha1.ReasonRenewing, says: "enrolled"},
		{name: "refused and expired", snapshot: stored(expired, refused), action: ActionEnroll, reason: v1alpha1.ReasonExpired},
		{name: "lost, and its repetition refused: enrolled at once", snapshot: stored(expiresIn(20*day), lost), action: ActionEnroll, reason: v1alpha1.ReasonRenewing},
		{name: "that of an earlier certificate was lost", snapshot: stored(expiresIn(20*day), lostAnother), action: ActionBlock, reason: v1alpha1.ReasonRefused, after: time.Hour, failing: true},
		{
			name: "lost and not yet repeated: renewed once more", action: ActionRenew, reason: v1alpha1.ReasonRenewing,
			snapshot: stored(expiresIn(20*day), failed(v1alpha1.AttemptRenew, v1alpha1.ReasonResolving, func(f *v1alpha1.Failures) { f.LostRenewalOf, f.NextTime = "cert-1", nil })),
		},
		{
			name: "unreachable in the last sixth: still renewed", action: ActionWait, reason: v1alpha1.ReasonUnreachable, after: time.Hour, failing: true,
			snapshot: stored(lastSixth, failed(v1alpha1.AttemptRenew, v1alpha1.ReasonUnreachable)),
		},
		{
			name: "the enrollment is refused too: it waits", action: ActionBlock, reason: v1alpha1.ReasonRefused, after: time.Hour, failing: true,
			snapshot: stored(lastSixth, failed(v1alpha1.AttemptEnroll, v1alpha1.ReasonRefused)),
		},
		{
			name: "nothing to renew by", action: ActionEnroll, reason: v1alpha1.ReasonRenewing,
			snapshot: stored(due, func(s *Snapshot) { s.Secret.CertificateID, s.Secret.Serial = "", "" }),
		},
		{name: "adopted, known by its serial", snapshot: stored(due, func(s *Snapshot) { s.Secret.CertificateID = "" }), action: ActionRenew, reason: v1alpha1.ReasonRenewing},
	})
}

func TestAnOpenAttemptIsClosedBeforeAnythingElse(t *testing.T) {
	resolving := decision{action: ActionResolve, reason: v1alpha1.ReasonResolving, failing: true}
	row := func(d decision, name string, s *Snapshot) decision {
		d.name, d.snapshot = name, s
		return d
	}
	landed := resolving
	landed.after = 60 * day // the end of the certificate that it brought
	attempt := func(edit func(*v1alpha1.Attempt)) change {
		return func(s *Snapshot) { edit(s.Certificate.Status.Attempt) }
	}
	waiting := decision{action: ActionWait, reason: v1alpha1.ReasonResolving, after: time.Minute, failing: true}
	blocked := decision{action: ActionBlock, reason: v1alpha1.ReasonPendingApproval, failing: true, says: v1alpha1.AnnotationAbandonAttempt + "=" + attemptID}
	checkAll(t, []decision{
		row(waiting, "it may still have effects", fresh(open)),
		row(resolving, "it can have no more effects", fresh(open, settled)),
		row(resolving, "the clock jumped past it", fresh(open, func(s *Snapshot) { s.Now = now.AddDate(1, 0, 0) })),
		row(waiting, "its start lies in the future of a clock that was set back", fresh(open, attempt(func(a *v1alpha1.Attempt) { a.StartedAt = metav1.NewTime(now.AddDate(5, 0, 0)) }))),
		row(landed, "the Secret carries it", fresh(open, func(s *Snapshot) { s.Secret = pair("gateway-17-tls"); s.Secret.AttemptID = attemptID })),
		row(landed, "the Secret named before carries it", fresh(open, func(s *Snapshot) {
			s.Secret.Name, s.Previous = "gateway-17-new", pair("gateway-17-tls")
			s.Previous.AttemptID = attemptID
		})),
		row(waiting, "another Secret than the attempt's claims to carry it", fresh(open, func(s *Snapshot) { s.Secret = pair("gateway-17-new"); s.Secret.AttemptID = attemptID })),
		row(resolving, "its answer came and is not to be stored", fresh(open, attempt(func(a *v1alpha1.Attempt) { a.CertificateID = "cert-2" }))),
		row(resolving, "the user gave it up", fresh(open, annotated(v1alpha1.AnnotationAbandonAttempt, attemptID))),
		row(waiting, "the user gave up another", fresh(open, annotated(v1alpha1.AnnotationAbandonAttempt, "another"))),
		row(blocked, "it waits for an approval", fresh(pending)),
		row(blocked, "it waits for an approval, long settled", fresh(pending, settled)),
		row(blocked, "it waits for an approval, and the spec changed", fresh(pending, specChanged)),
		row(resolving, "it waits for an approval, and the user gave it up", fresh(pending, annotated(v1alpha1.AnnotationAbandonAttempt, attemptID))),
		row(waiting, "a suspended object", fresh(open, suspendedByUser)),
		row(resolving, "a suspended object, settled", fresh(open, settled, suspendedByUser)),
	})
}

func TestAnOpenAttemptSaysWhatWentWrong(t *testing.T) {
	s := fresh(open)
	s.Certificate.Status.Attempt.Failure = "the connection was cut"
	if p := Decide(s); !strings.HasSuffix(p.Message, ": the connection was cut") {
		t.Errorf("message is %q", p.Message)
	}
}

func TestADeletedObjectBuysNothingAndEnds(t *testing.T) {
	finalize := decision{action: ActionFinalize, reason: v1alpha1.ReasonTerminating}
	row := func(d decision, name string, s *Snapshot) decision {
		d.name, d.snapshot = name, s
		return d
	}
	checkAll(t, []decision{
		row(finalize, "nothing stored", fresh(deletedAgo(0))),
		row(finalize, "stored and due", stored(deletedAgo(0), due)),
		row(finalize, "suspended", stored(deletedAgo(0), suspendedByUser)),
		row(finalize, "without an issuer", stored(deletedAgo(0), issuerMissing)),
		row(finalize, "beside a foreign Secret", fresh(deletedAgo(0), foreignSecret)),
		row(finalize, "waiting for an approval", fresh(deletedAgo(0), pending)),
		row(decision{action: ActionNone, reason: v1alpha1.ReasonTerminating}, "already let go", stored(deletedAgo(0), withoutFinalizer)),
		row(decision{action: ActionWait, reason: v1alpha1.ReasonResolving, after: time.Minute, failing: true}, "attempt open", fresh(deletedAgo(0), open)),
		row(decision{action: ActionResolve, reason: v1alpha1.ReasonResolving, after: FinalizeBound, failing: true}, "attempt settled", fresh(deletedAgo(0), open, settled)),
		row(decision{action: ActionWait, reason: v1alpha1.ReasonResolving, after: time.Second, failing: true}, "attempt open, a second before the bound", fresh(deletedAgo(FinalizeBound-time.Second), open)),
		row(finalize, "attempt open, at the bound", fresh(deletedAgo(FinalizeBound), open)),
		row(decision{action: ActionWait, reason: v1alpha1.ReasonIssuing}, "in flight", fresh(deletedAgo(time.Hour), inFlightNow)),
	})
}

func TestAForeignSecretIsLeftAloneAndLookedAtAgain(t *testing.T) {
	// The operator watches no Secret that is not its own, so only time tells that it went away.
	checkAll(t, []decision{
		{name: "at first issue", snapshot: fresh(foreignSecret), action: ActionBlock, reason: v1alpha1.ReasonSecretConflict, after: reread, says: "belongs to Certificate web"},
		{
			name: "after the spec named another Secret", snapshot: stored(renamed, foreignSecret),
			action: ActionBlock, reason: v1alpha1.ReasonSecretConflict, after: reread, says: v1alpha1.AnnotationAdoptableBy + "=gateway-17",
		},
	})
}

func TestASuspendedObjectIsLeftAsItIs(t *testing.T) {
	for name, changes := range map[string][]change{
		"nothing due": {}, "due": {due}, "out of sync": {outOfSync}, "out of date": {specChanged}, "broken": {broken}, "expired": {expired},
	} {
		t.Run(name, func(t *testing.T) {
			s := stored(append(changes, suspendedByUser)...)
			if p := Decide(s); p.Action != ActionNone || p.Reason != v1alpha1.ReasonSuspended {
				t.Errorf("%s (%s)", p.Action, p.Reason)
			}
		})
	}
	checkAll(t, []decision{{name: "never issued", snapshot: fresh(suspendedByUser), action: ActionNone, reason: v1alpha1.ReasonSuspended}})
}

// Ready speaks of now, so every plan that leaves a valid certificate in place ends at the latest when it expires.
func TestTheEndOfTheCertificateIsNeverSleptThrough(t *testing.T) {
	waits := map[string][]change{
		"attempt open": {open, func(s *Snapshot) { s.SettlesAt = now.Add(time.Hour) }}, "waiting for an approval": {pending},
		"suspended": {suspendedByUser}, "issuer missing": {issuerMissing}, "issuer suspended": {issuerSuspended}, "issuer down": {issuerDown},
		"not granted": {denied}, "backing off": {failed(v1alpha1.AttemptRenew, v1alpha1.ReasonUnreachable)}, "disabled": {renewalDisabled},
		"waiting for its turn": {}, "asked for": {renewalDisabled, annotated(v1alpha1.AnnotationRenewRequestedAt, now.Format(time.RFC3339))},
		"out of date": {specChanged}, "outputs refused": {renewalDisabled, refusedSecret}, "out of sync": {renewalDisabled, outOfSync},
	}
	for name, changes := range waits {
		t.Run(name, func(t *testing.T) {
			s := stored(append(changes, expiresIn(time.Minute))...)
			p := Decide(s)
			if p.Due.IsZero() || p.Due.After(s.Secret.NotAfter) {
				t.Errorf("%s (%s) looks again at %s, after the end at %s", p.Action, p.Reason, p.Due, s.Secret.NotAfter)
			}
		})
	}
}

func TestACertificateOfTheFutureIsLookedAtWhenItBegins(t *testing.T) {
	s := stored(func(s *Snapshot) { s.Secret.NotBefore, s.Secret.IssuedAt = now.Add(time.Hour), now })
	decision{snapshot: s, action: ActionNone, reason: v1alpha1.ReasonStored, after: time.Hour - clockTolerance}.check(t)
}

func TestThereIsNoRenewalTimeWithoutAUsablePairOrWhenDisabled(t *testing.T) {
	for name, s := range map[string]*Snapshot{
		"absent": fresh(), "broken": stored(broken), "foreign": fresh(foreignSecret), "disabled": stored(renewalDisabled),
	} {
		if at, ok := RenewalTime(s.Certificate, s.Secret); ok || !at.IsZero() {
			t.Errorf("%s: %s, %t", name, at, ok)
		}
	}
	percentage := int32(50)
	s := stored(func(s *Snapshot) { s.Certificate.Spec.Renewal.RenewBeforePercentage = &percentage })
	at, ok := RenewalTime(s.Certificate, s.Secret)
	if left := s.Secret.NotAfter.Sub(at); !ok || left < 45*day || left > 45*day+45*day/10 {
		t.Errorf("at 50 %% of ninety days %s are left, want 45 days and up to a tenth more", left)
	}
}
