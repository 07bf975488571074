// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

// mutant is the operator without one of its safeguards.
type mutant struct {
	name string
	// why says which promise breaks.
	why   string
	edits []edit
	// tests must fail.
	tests tests
}

// edit is a change of the source. file holds find exactly once; replace takes its place.
type edit struct{ file, find, replace string }

// tests are those of a package whose names match.
type tests struct{ of, named string }

// The packages whose tests kill mutants.
const (
	processes = "./test/faults"
	steps     = "./controllers"
	decisions = "./internal/plan"
	accounts  = "./internal/account"
	client    = "./internal/trustmanager"
	checks    = "./internal/certs"
	flags     = "./cmd/manager"
)

// rows are cases of the fault table, run with whole processes.
func rows(named string) tests {
	return tests{processes, "TestEveryRowOfTheFaultTableHolds/(" + named + ")"}
}

func in(pkg, named string) tests { return tests{pkg, named} }

// crashes are the tests in which a process ends at every step of the protocol.
const crashes = "^TestAProcessThatEndsAnywhereLosesOneCertificateAtMostAndSaysWhich$"

func mutants() []mutant {
	return concat(beforeTheRequest(), theRequest(), afterTheAnswer(), lostAnswers(), endings())
}

func concat(groups ...[]mutant) []mutant {
	var all []mutant
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

func beforeTheRequest() []mutant {
	const intent = "	return p.recordIntent(ctx)\n"
	return []mutant{
		{"no-intent", "a request leaves without a record", []edit{
			{"controllers/issue.go", intent, "	p.intentAt = p.r.Clock.Now()\n	return nil\n"},
		}, in(steps, crashes)},
		{"intent-after-the-request", "a crash in between forgets a certificate", []edit{
			{"controllers/issue.go", intent, "	p.intentAt = p.r.Clock.Now()\n	return nil\n"},
			{"controllers/issue.go", "	issued, err := p.send(ctx)\n", "	issued, err := p.send(ctx)\n	if p.recordIntent(ctx) != nil {\n		return\n	}\n"},
		}, in(steps, crashes)},
		{"intent-without-fence", "a stale or second manager buys again", []edit{
			{
				"controllers/issue.go", "err := p.r.Client.Status().Patch(ctx, p.cert, statusPatch{base})",
				"err := p.r.Client.Status().Patch(ctx, p.cert, client.MergeFrom(base))",
			},
		}, in(steps, "^(TestAStaleCertificateBuysNothing|TestTwoOperatorsAtOnceBuyOneCertificate|TestAnEditBetweenLookingAndTheIntentBuysOnlyWhatIsWantedNow)$")},
		{"no-rehearsal", "a Secret that cannot be written costs a certificate", []edit{
			{"controllers/issue.go", "if err := p.rehearse(ctx); err != nil {", "if err := error(nil); err != nil {"},
		}, in(steps, "^TestWhatTheAPIServerWouldNotStoreIsNotBought$")},
		{"no-finalizer", "a deletion takes the record of an open attempt with it", []edit{
			{"controllers/issue.go", "if controllerutil.AddFinalizer(p.cert, v1alpha1.Finalizer) {", "if false && controllerutil.AddFinalizer(p.cert, v1alpha1.Finalizer) {"},
		}, in(steps, "^(TestADeletedCertificateIsRevokedIfThatIsAskedFor|TestAFirstCertificateTakesSixRequestsAndARenewalFive)$")},
		{"no-foreign-owner", "somebody else's Secret is overwritten", []edit{
			{"internal/plan/decide.go", "if s.Secret.State != SecretForeign {", "if s.Secret.State == SecretForeign || true {"},
		}, in(steps, "^TestSomebodyElsesSecretIsLeftAloneAndNothingIsBought$")},
		{"buys-for-a-label", "an edit that costs nothing costs a certificate", []edit{
			{"internal/plan/hash.go", "KeyType: spec.PrivateKey.KeyType,\n", "KeyType: spec.PrivateKey.KeyType + spec.Secret.Labels[\"team\"],\n"},
		}, in(steps, "^TestOnlyWhatIsBoughtCostsACertificate$")},
		{"buys-for-a-new-hash", "an upgrade buys the whole fleet again", []edit{
			{"internal/plan/decide.go", "return s.IssuanceHash != \"\" && !answers(s, stored) && sameHashVersion(stored.IssuanceHash, s.IssuanceHash)",
				"return s.IssuanceHash != \"\" && !answers(s, stored)"},
		}, in(decisions, "^(TestWhatDoesNotCostACertificate|TestWhenACertificateIsEnrolled)$")},
		{"no-replacement-wait", "a Secret deleted in a loop costs without end", []edit{
			{"internal/plan/gates.go", "if !s.Now.Before(until) || until.Sub(s.Now) > maxReplacementWait {", "if true {"},
		}, in(steps, "^TestASecretThatIsDeletedAgainAndAgainIsNotBoughtWithoutEnd$")},
		{"no-back-off", "a refused request is repeated at once, for ever", []edit{
			{"internal/plan/gates.go", "if f == nil || f.NextTime == nil || !s.Now.Before(f.NextTime.Time) || mended(s, f, want) {", "if f == nil || f.NextTime == nil || true || mended(s, f, want) {"},
		}, in(decisions, "^TestAFailureHoldsThePurchaseBack$")},
		{"no-canary", "a vendor that answers otherwise costs the fleet and not one certificate", []edit{
			{"internal/account/lane.go", "	if !l.proven && l.canary {\n		return nil\n", "	if false {\n		return nil\n"},
		}, in(accounts, "^TestOnlyOneRequestIsInFlightUntilAProfileHasIssued$")},
	}
}

func theRequest() []mutant {
	return []mutant{
		{"late-request", "a process that slept wakes up and buys for an attempt that another one has resolved", []edit{
			{"controllers/issue.go", "if ctx.Err() != nil || p.r.Clock.Since(p.intentAt) > intentValidity {", "if ctx.Err() != nil {"},
		}, in(steps, "^TestAProcessThatSleptAfterItsIntentSendsNothing$")},
		{"request-after-the-lease", "a process that lost its lease buys", []edit{
			{"controllers/issue.go", "if ctx.Err() != nil || p.r.Clock.Since(p.intentAt) > intentValidity {", "if p.r.Clock.Since(p.intentAt) > intentValidity {"},
		}, in(steps, "^TestALostLeaseStopsTheRequestButNotTheStore$")},
		{"repeated-request", "a lost answer is asked for again at once", []edit{
			{"controllers/issue.go", "	if err != nil {\n		p.lease.Done(account.Outcome{Err: err})\n", "	if err != nil {\n		issued, err = p.lease.Client().Enroll(ctx, request)\n	}\n	if err != nil {\n		p.lease.Done(account.Outcome{Err: err})\n"},
		}, in(steps, "^(TestAnAnswerThatIsLostIsResolvedBeforeAnythingElseIsBought|TestAServerErrorIsResolvedBeforeTheNextRequest)$")},
		{"follows-redirects", "the credential goes wherever an answer points", []edit{
			{"internal/trustmanager/request.go", "response, err := c.transport(call).RoundTrip(request)", "response, err := (&http.Client{Transport: c.transport(call)}).Do(request)"},
		}, in(client, "^TestRedirectsAreNotFollowedAndLeakNothing$")},
		{"5xx-is-a-refusal", "a certificate issued behind a broken gateway is forgotten", []edit{
			{"internal/trustmanager/classify.go", "case status >= 400 && status <= 499:", "case status >= 400:"},
		}, in(steps, "^TestAServerErrorIsResolvedBeforeTheNextRequest$")},
	}
}

func afterTheAnswer() []mutant {
	return []mutant{
		{"no-verification", "an unusable certificate is shown", []edit{
			{"controllers/issue.go", "if len(fatal) > 0 {", "if len(fatal) > 1000 {"},
		}, in(steps, "^TestAnUnusableAnswerCostsOneCertificateAndNoMoreOfTheProfile$")},
		{"store-before-verification", "an unusable certificate is shown for a moment", []edit{
			{"controllers/issue.go", "	content, warnings, err := p.verify(ctx, issued)\n", "	content, warnings, err := p.verify(ctx, issued)\n	if err != nil && content.Bundle.Leaf != nil {\n		_, _ = p.store(ctx, content)\n	}\n"},
		}, in(steps, "^TestAnUnusableAnswerCostsOneCertificateAndNoMoreOfTheProfile$")},
		{"closed-before-the-store", "a crash before the store forgets a certificate", []edit{
			{"controllers/issue.go", "	stored, err := p.store(ctx, content)\n", "	p.r.conclude(ctx, p.scope, p.attempt.ID, func(status *v1alpha1.DeviceCertificateStatus) { status.Attempt = nil })\n	stored, err := p.store(ctx, content)\n"},
		}, in(steps, crashes)},
		{"two-writes", "between two writes key and certificate do not fit", []edit{
			{"controllers/store.go", "	fence(ac, target.uid, target.resourceVersion)\n	ctx, cancel", "	half, _, _ := tlssecret.Render(content, layout)\n	half.Data[v1alpha1.KeyPrivateKey] = []byte(\"later\")\n	fence(half, target.uid, target.resourceVersion)\n	if err := r.Client.Apply(ctx, half, fieldOwner, client.ForceOwnership); err != nil {\n		return facts{}, err\n	}\n	fence(ac, string(*half.UID), *half.ResourceVersion)\n	ctx, cancel"},
		}, in(steps, "^TestARenewalIsOneWriteAndLosesNothing$")},
		{"store-without-fence", "a Secret that somebody else made meanwhile is overwritten", []edit{
			{"controllers/store.go", "	fence(ac, target.uid, target.resourceVersion)\n", ""},
		}, in(steps, "^TestAPairSomebodyElseMadeMeanwhileIsNotOverwritten$")},
		{"panicky-store", "the first refusal loses the key", []edit{
			{"controllers/store.go", "if namespaceTerminating(err) ||", "if true || namespaceTerminating(err) ||"},
		}, in(steps, "^(TestAStoreThatFailsIsRepeatedUntilTheKeyLands|TestARefusalThatIsMendedInTimeCostsNothing)$")},
		{"no-look-at-what-was-written", "a webhook that strips the key goes unnoticed", []edit{
			{"controllers/store.go", "	if !stored.Usable() {\n		return facts{}, errTampered", "	if false {\n		return facts{}, errTampered"},
		}, in(steps, "^TestAWebhookThatStripsTheKeyIsNoticed$")},
		{"report-without-fence", "a slow process overwrites what another has resolved", []edit{
			{"controllers/status.go", "	metav1 \"k8s.io/apimachinery/pkg/apis/meta/v1\"\n", "	metav1 \"k8s.io/apimachinery/pkg/apis/meta/v1\"\n	\"sigs.k8s.io/controller-runtime/pkg/client\"\n"},
			{"controllers/status.go", "err := r.Client.Status().Patch(ctx, s.cert, statusPatch{observed})", "err := r.Client.Status().Patch(ctx, s.cert, client.MergeFrom(observed))"},
		}, in(steps, "^TestAReportThatComesLateDoesNotUndoWhatAnotherProcessFound$")},
		{"old-certificate-is-a-renewal", "a vendor that answers with the predecessor starts a loop", []edit{
			{"internal/certs/check.go", "if SameSerial(SerialString(leaf), want.PredecessorSerial) {", "if false && SameSerial(SerialString(leaf), want.PredecessorSerial) {"},
		}, in(checks, "^TestCheckFatal$")},
	}
}

func lostAnswers() []mutant {
	return []mutant{
		{"resolve-without-waiting", "another process may still be storing what is revoked", []edit{
			{"controllers/resolve.go", "	case q.r.Clock.Now().Before(q.settledAt(state)):\n", "	case false:\n"},
			{"internal/plan/decide.go", "		!s.Now.Before(s.SettlesAt):\n", "		true:\n"},
		}, in(steps, "^TestAnAnswerThatIsLostIsResolvedBeforeAnythingElseIsBought$")},
		{"no-search", "a lost answer is forgotten", []edit{
			{"controllers/resolve.go", "	return q.search(ctx, id, state)\n", "	return nil\n"},
		}, in(steps, crashes)},
		{"no-revocation-of-orphans", "a lost key's certificate stays valid", []edit{
			{"controllers/resolve.go", "for _, c := range verdict.Revoke {", "for _, c := range verdict.Revoke[:0] {"},
		}, in(steps, crashes)},
		{"no-look-at-the-secret", "what was stored after all is taken for lost, and what it replaced is forgotten", []edit{
			{"controllers/resolve.go", "if err != nil || live.AttemptID != q.attempt.ID || !live.Usable() {", "if true || live.Usable() {"},
		}, in(steps, "^TestAProcessThatEndsDuringARenewalNeverHarmsWhatIsStored$")},
		{"revocation-without-proof", "somebody else's certificate is revoked", []edit{
			{"internal/plan/verdict.go", "if policy == v1alpha1.OrphansRevoke && agreeing == 1 && len(v.Revoke) == 0 {", "if agreeing >= 1 {"},
		}, in(decisions, "^TestOnlyProvenOrphansAreRevoked$")},
		{"revokes-what-is-in-use", "the certificate of another object is revoked", []edit{
			{"controllers/inventory.go", "return byID && c.CertificateID", "return false && byID && c.CertificateID"},
			{"controllers/inventory.go", " || bySerial && c.Serial", " && bySerial && c.Serial"},
			{"controllers/inventory.go", " || byFingerprint\n", " && byFingerprint\n"},
		}, in(steps, "^TestWhatAnotherCertificateHoldsIsNoCandidate$")},
		{"predecessor-by-name", "a forged status has somebody else's certificate revoked", []edit{
			{"controllers/revoke.go", "leaf != nil && certs.FingerprintSHA256(leaf) == p.FingerprintSHA256 {", "leaf != nil && p.FingerprintSHA256 != \"\" {"},
			{"controllers/revoke.go", "	\"github.com/devicecert/devicecert-operator/internal/certs\"\n", ""},
		}, in(steps, "^TestAForgedPredecessorIsNotRevoked$")},
	}
}

func endings() []mutant {
	return []mutant{
		{"no-drain", "a stopping process loses the answer it waits for", []edit{
			{"cmd/manager/run.go", "left := flights.Drain(drain); left > 0", "left := 0; left > 0 || drain == nil"},
		}, rows("C16")},
		{"no-look-at-the-live-object", "a stale list finalises another object", []edit{
			{"controllers/finalize.go", "if apierrors.IsNotFound(err) || err == nil && live.UID != s.cert.UID {", "if apierrors.IsNotFound(err) {"},
			{"controllers/finalize.go", "	if live.ResourceVersion != s.cert.ResourceVersion {\n", "	if false {\n"},
		}, rows("W4")},
		{"no-revocation-on-delete", "the policy is not carried out", []edit{
			{"controllers/finalize.go", "all := s.cert.Spec.Revocation.OnDelete == v1alpha1.RevocationRevoke", "all := s.cert.Spec.Revocation.OnDelete == \"\""},
		}, in(steps, "^TestADeletedCertificateIsRevokedIfThatIsAskedFor$")},
		{"revocation-forgotten-at-the-start", "a predecessor whose issuer is connected late stays valid", []edit{
			{"internal/plan/revocation.go", "	if len(due) == 0 {\n		return Plan{}, false\n", "	if len(due) == 0 || !s.Issuer.Known {\n		return Plan{}, false\n"},
		}, in(steps, "^TestAPredecessorIsRevokedAlsoWhenItsIssuerIsConnectedAfterTheStart$")},
		{"deletes-any-secret", "a deletion takes somebody else's Secret along", []edit{
			{"controllers/finalize.go", "if secret.Annotations[v1alpha1.AnnotationCertificateName] != s.cert.Name || secret.Annotations[v1alpha1.AnnotationCertificateUID] != string(s.cert.UID) {", "if false {"},
		}, in(steps, "^TestDeletionLeavesASecretThatIsNotItsOwn$")},
		{"endless-finalizer", "a vendor that stays down holds an object for ever", []edit{
			{"controllers/finalize.go", "err != nil && plan.FinalizePatience(&s.snapshot) {", "err != nil {"},
		}, in(steps, "^TestARevocationOnDeletionDoesNotWaitForEver$")},
		{"loud-log", "the log shows private keys", []edit{
			{"cmd/manager/options.go", "const firstRevealingLevel = 8", "const firstRevealingLevel = 100"},
		}, in(flags, "^TestFlagsThatCannotBeMeantAreRefusedInOneLine$")},
	}
}
