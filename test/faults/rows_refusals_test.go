// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// refusalRows are about what the vendor's statuses and its inventory say.
func refusalRows() []row {
	rows := []row{
		{id: "H2", name: "401: the account's matter, not each object's", run: func(w *world) { accountRefused(w, http.StatusUnauthorized, "") }},
		{id: "H2", name: "403", variant: true, run: func(w *world) { accountRefused(w, http.StatusForbidden, "") }},
		{id: "H16", name: "402: no licences are left", run: func(w *world) { accountRefused(w, http.StatusPaymentRequired, "license_exhausted") }},
		{id: "H16", name: "422 with the code of a quota", variant: true, run: func(w *world) { accountRefused(w, http.StatusUnprocessableEntity, "seat_quota_exceeded") }},
		{id: "S13", name: "407 of a proxy", variant: true, run: func(w *world) { accountRefused(w, http.StatusProxyAuthRequired, "") }},
		{id: "H3", name: "403 that says throttled", run: disguisedThrottle},
		{id: "H8", name: "429 while twenty wait: all pause", run: throttledTogether},
		{id: "H10", name: "503 with Retry-After on the search for a lost answer", run: func(w *world) { searchFails(w, 1) }},
		{id: "H12", name: "the vendor holds the request for approval", vendor: manualApproval, run: pendingApproval},
		{id: "H13", name: "the inventory is eight seconds behind", vendor: slowInventory, run: lateInventory},
		{id: "H14", name: "the inventory is down for long", variant: true, run: func(w *world) { searchFails(w, -1) }},
		{id: "R9", name: "a renewal answers without a key", run: func(w *world) { unusableRenewal(w, simulator.ActionMissingKey) }},
		{id: "R9", name: "a renewal answers with another key", variant: true, run: func(w *world) { unusableRenewal(w, simulator.ActionWrongKey) }},
		{id: "R12", name: "the certificate is revoked at issue", run: revokedAtIssue},
		{id: "T4", name: "the vendor's clock is four minutes ahead", run: func(w *world) {
			accepted(w, simulator.Fault{Action: simulator.ActionLeafNotYetValid, Delay: simulator.Duration(4 * time.Minute)})
		}},
	}
	for _, code := range []int{http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone, http.StatusUnsupportedMediaType} {
		rows = append(rows, row{id: "H6", name: fmt.Sprint(code), variant: code != http.StatusGone, run: func(w *world) { refused(w, code) }})
	}
	return rows
}

// accountRefused is an account that may not buy for a while: of five objects few ask, and all are served when the user says that it is
// mended.
func accountRefused(w *world, status int, code string) {
	w.begin()
	id := w.misbehave(w.vendor(), simulator.Fault{
		Match:  simulator.Match{Operation: simulator.OperationAny, Times: -1},
		Action: simulator.ActionRespond, Response: simulator.Response{Status: status, Code: code, Message: "no"},
	})
	const several = 5
	for i := range several {
		w.certificate(fmt.Sprint(gateway, "-", i))
	}
	w.await(gateway+"-0", "waiting for its issuer", func(c *v1alpha1.DeviceCertificate) bool {
		ready := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Status == metav1.ConditionFalse && c.Status.Attempt == nil && c.Status.ObservedGeneration == c.Generation
	})
	w.awaitCalm(several)
	// The first one tries, an unauthorized answer is forgiven once, and a refusal before the circuit is open takes the one beside it along.
	if got := len(w.boughtSince()); got > 3 {
		w.Errorf("I5: %d requests to buy from an account that may not", got)
	}
	w.release(id)
	w.touchCredential()
	for i := range several {
		w.retry(fmt.Sprint(gateway, "-", i))
		w.awaitReady(fmt.Sprint(gateway, "-", i))
	}
	w.wantBought(several)
}

// awaitCalm waits until the objects of a row have said their word; probes may go on.
func (w *world) awaitCalm(objects int) {
	w.Helper()
	for i := range objects {
		w.await(fmt.Sprint(gateway, "-", i), "seen", func(c *v1alpha1.DeviceCertificate) bool {
			return c.Status.ObservedGeneration == c.Generation && c.Status.Attempt == nil
		})
	}
}

// boughtSince are the requests since the mark that would cost a certificate.
func (w *world) boughtSince() []simulator.Request {
	var all []simulator.Request
	for _, call := range w.calls() {
		if buys(call) && !call.Time.Before(w.marked) {
			all = append(all, call)
		}
	}
	return all
}

// touchCredential gives the issuer's credential a new version, as somebody does who has mended the account.
func (w *world) touchCredential() {
	w.Helper()
	w.editSecret(issuerName, func(s *corev1.Secret) {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, "mended", "yes")
		metav1.SetMetaDataLabel(&s.ObjectMeta, v1alpha1.LabelWatch, "true")
	})
}

func disguisedThrottle(w *world) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{
		Action: simulator.ActionRespond, Response: simulator.Response{Status: http.StatusForbidden, Code: "throttled", Message: "Throttled: try again later"},
	}))
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
	w.wantPurchases(gateway, 2)
}

// throttledTogether lets the first of many be told to wait three seconds.
func throttledTogether(w *world) {
	w.beginIssued() // so that the profile is proven, and they go side by side
	const pause = 3 * time.Second
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{
		Action: simulator.ActionRespond, Response: simulator.Response{Status: http.StatusTooManyRequests, RetryAfter: fmt.Sprint(int(pause.Seconds()))},
	}))
	w.eachOfBurst(func(name string) { w.certificate(name) })
	w.eachOfBurst(func(name string) { w.awaitReady(name) })
	w.wantBought(burst)
	requests := w.boughtSince()
	during := 0
	for _, r := range requests[1:] {
		if r.Time.Sub(requests[0].Time) < pause-100*time.Millisecond {
			during++
		}
	}
	if during > inFlight {
		w.Errorf("I5: %d requests in the pause the vendor asked for, want those at most that were under way", during)
	}
}

// searchFails loses an answer and lets the search for it fail: once, or until the vendor is mended. Nothing is bought meanwhile.
func searchFails(w *world, times int) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionDrop, Stage: simulator.StageAfterCommit}))
	id := w.misbehave(w.vendor(), simulator.Fault{
		Match:  simulator.Match{Operation: simulator.OperationSearch, CommonName: w.commonName(gateway), Times: times},
		Action: simulator.ActionRespond, Response: simulator.Response{Status: http.StatusServiceUnavailable, RetryAfter: "1"},
	})
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	if times < 0 {
		const often = 3
		eventually(w.T, "the search has failed a few times", func(context.Context) (bool, error) { return w.vendor().hits(id) >= often, nil })
		w.wantPurchases(gateway, 1)
		if c := w.find(gateway); c.Status.Attempt == nil {
			w.Error("I6: the attempt was closed although nobody knows what became of it")
		}
		w.release(id)
	}
	w.awaitReady(gateway)
	w.wantBought(2)
	w.wantRevoked(1)
}

func manualApproval(c *simulator.Config) { c.Switches.Approval = "manual" }

// pendingApproval is asked for once, whatever happens, until somebody gives it up.
func pendingApproval(w *world) {
	w.begin()
	w.certificate(gateway)
	w.awaitStalled(gateway, v1alpha1.ReasonPendingApproval)
	w.killManager()
	w.startManager()
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Labels = map[string]string{"team": "edge"} })
	w.awaitQuiet()
	w.wantPurchases(gateway, 1)
	w.must(w.vendor().server.SetSwitches(simulator.Switches{Approval: "auto"}))
	attempt := w.find(gateway).Status.Attempt.ID
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.AnnotationAbandonAttempt, attempt)
	})
	w.retry(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
	w.wantPurchases(gateway, 2)
}

func slowInventory(c *simulator.Config) {
	c.Switches.InventoryLag = simulator.Duration(8 * time.Second)
}

// lateInventory finds a lost certificate although the inventory shows it late, because the issuer says how late.
func lateInventory(w *world) {
	w.startManager()
	w.connect(issuerName, w.vendor(), func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Orphans.InventoryLag = &metav1.Duration{Duration: 10 * time.Second}
	})
	w.mark()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionDrop, Stage: simulator.StageAfterCommit}))
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(2)
	w.wantRevoked(1)
}

// unusableRenewal never takes the place of what is there.
func unusableRenewal(w *world, action simulator.Action) {
	w.beginIssued()
	w.misbehave(w.vendor(), simulator.Fault{Match: simulator.Match{Operation: simulator.OperationRenew}, Action: action})
	w.requestRenewal(gateway)
	w.await(gateway, "failing to renew", func(c *v1alpha1.DeviceCertificate) bool { return c.Status.Failures != nil && c.Status.Attempt == nil })
	w.awaitQuiet()
	w.wantBought(1)
	w.wantRevoked(1)
	w.wantIntact()
	w.retry(gateway)
	replaced(w)
	w.wantBought(2)
}

// revokedAtIssue costs one certificate and no loop.
func revokedAtIssue(w *world) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionRevokedAtIssue}))
	w.certificate(gateway)
	w.await(gateway, "seen", func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.Attempt == nil && c.Status.ObservedGeneration == c.Generation
	})
	w.awaitQuiet()
	w.wantBought(1)
}
