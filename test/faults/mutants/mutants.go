// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

// mutant is the operator without one of its safeguards.
type mutant struct {
	name string
	// why says which promise breaks.
	why string
	// file holds find exactly once; replace takes its place.
	file, find, replace string
	// test must fail.
	test string
}

const (
	plans = "TestWhateverBreaksOnceNothingIsLostAndNothingBoughtTwice/"
	rows  = "TestEveryRowOfTheFaultTableHolds/"
)

func mutants() []mutant {
	return []mutant{
		{
			name: "no-intent", why: "a request leaves without a record", test: plans + "undisturbed/create",
			file: "controllers/issue.go", find: "return p.recordIntent(ctx)", replace: "p.intentAt = p.r.Clock.Now(); return nil",
		},
		{
			name: "no-rehearsal", why: "a Secret that cannot be written costs a certificate", test: rows + "(K10|K14)",
			file: "controllers/issue.go", find: "if err := p.rehearse(ctx); err != nil {", replace: "if err := error(nil); err != nil {",
		},
		{
			name: "no-verification", why: "an unusable certificate is shown", test: rows + "(R3|R4|R7)",
			file: "controllers/issue.go", find: "if len(fatal) > 0 {", replace: "if len(fatal) > 1000 {",
		},
		{
			name: "panicky-store", why: "the first refusal loses the key", test: rows + "(K8|K9)",
			file: "controllers/store.go", find: "if namespaceTerminating(err) ||", replace: "if true || namespaceTerminating(err) ||",
		},
		{
			name: "no-foreign-owner", why: "somebody else's Secret is overwritten", test: rows + "(K3|X6|X8)",
			file: "internal/plan/decide.go", find: "if s.Secret.State != SecretForeign {", replace: "if s.Secret.State == SecretForeign || true {",
		},
		{
			name: "5xx-is-a-refusal", why: "a certificate issued behind a broken gateway is forgotten", test: rows + "H9",
			file: "internal/trustmanager/classify.go", find: "case status >= 400 && status <= 499:", replace: "case status >= 400:",
		},
		{
			name: "no-search", why: "a lost answer is forgotten", test: plans + "create/enroll_1_dropped_after",
			file: "controllers/resolve.go", find: "return q.search(ctx, id, state)", replace: "return nil",
		},
		{
			name: "no-revocation-of-orphans", why: "a lost key's certificate stays valid", test: plans + "create/enroll_1_dropped_after",
			file: "controllers/resolve.go", find: "for _, c := range verdict.Revoke {", replace: "for _, c := range verdict.Revoke[:0] {",
		},
		{
			name: "no-secret-check", why: "a certificate that was stored after all is bought again", test: plans + "create/apply_secrets_1_killed_after",
			file: "controllers/resolve.go", find: "if err != nil || live.AttemptID != q.attempt.ID || !live.Usable() {", replace: "if true {",
		},
		{
			name: "no-drain", why: "a stopping process loses the answer it waits for", test: rows + "C16",
			file: "cmd/manager/run.go", find: "left := flights.Drain(drain); left > 0", replace: "left := 0; left > 0 || drain == nil",
		},
		{
			name: "no-replacement-wait", why: "a Secret deleted in a loop costs without end", test: rows + "X2",
			file: "internal/plan/gates.go", find: "if !s.Now.Before(until) || until.Sub(s.Now) > maxReplacementWait {", replace: "if true {",
		},
		{
			name: "no-live-deletion", why: "a stale list finalises another object", test: rows + "W4",
			file: "controllers/finalize.go", find: "if apierrors.IsNotFound(err) || err == nil && live.UID != s.cert.UID {", replace: "if apierrors.IsNotFound(err) {",
		},
		{
			name: "no-revocation-on-delete", why: "the policy is not carried out", test: plans + "undisturbed/deleted,_revoke",
			file: "controllers/finalize.go", find: "if s.cert.Spec.Revocation.OnDelete == v1alpha1.RevocationRevoke {", replace: "if s.cert.Spec.Revocation.OnDelete == \"\" {",
		},
		{
			name: "loud-log", why: "the log shows private keys", test: rows + "O5",
			file: "cmd/manager/options.go", find: "const firstRevealingLevel = 8", replace: "const firstRevealingLevel = 100",
		},
		{
			name: "intent-without-fence", why: "a stale or second manager buys again", test: rows + "(L6|W3|W1)",
			file: "controllers/issue.go", find: "err := p.r.Client.Status().Patch(ctx, p.cert, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))",
			replace: "err := p.r.Client.Status().Patch(ctx, p.cert, client.MergeFrom(base))",
		},
	}
}
