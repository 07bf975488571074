// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

func TestATokenThatMayNotBuyIsReportedAfterItsFirstRefusal(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(buylessToken)
	id := d.issuer()
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	lease := d.acquire(id)
	_, err := lease.Client().Enroll(t.Context(), trustmanager.KeyRequest{ProfileID: profileLong, PrivateKeyFormat: "pem"})
	lease.Done(account.Outcome{Err: err})
	d.reconcile(id) // the account asked for it: the probe succeeds
	message := d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonCredentialRefused, v1alpha1.ConditionStalled)
	if !strings.Contains(message, "permission to enroll") || d.status(id).Capabilities.Enroll != v1alpha1.CapabilityNo {
		t.Errorf("message = %q, capabilities = %+v", message, d.status(id).Capabilities)
	}
	before := d.requests()
	d.clock.Step(time.Minute)
	d.reconcile(id)
	if d.requests() != before {
		t.Error("a credential that works but may not buy was probed again")
	}
}

func TestWhatAnswersOrdersAndIsNotTheVendorIsNotTakenForAMissingPermission(t *testing.T) {
	for name, tc := range map[string]struct {
		fault        simulator.Response
		reason, also string
		says         string
	}{
		"a web page":     {simulator.Response{Status: 400, Shape: simulator.ShapeHTML}, v1alpha1.ReasonUnreachable, v1alpha1.ConditionReconciling, "what answers orders is not its API"},
		"no licence":     {simulator.Response{Status: 402, Code: "no_licence"}, v1alpha1.ReasonCredentialRefused, v1alpha1.ConditionStalled, "check the account's licences"},
		"a licence used": {simulator.Response{Status: 422, Code: "license_limit_reached"}, v1alpha1.ReasonCredentialRefused, v1alpha1.ConditionStalled, "check the account's licences"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newIssuerDesk(t)
			d.token(token)
			id := d.issuer()
			d.reconcile(id)
			_, err := d.vendor.AddFault(simulator.Fault{
				Match: simulator.Match{Operation: simulator.OperationEnroll}, Action: simulator.ActionRespond, Response: tc.fault,
			})
			d.must(err)
			lease := d.acquire(id)
			_, err = lease.Client().Enroll(t.Context(), trustmanager.KeyRequest{ProfileID: profileLong, PrivateKeyFormat: "pem"})
			lease.Done(account.Outcome{Err: err})
			d.reconcile(id) // the probe succeeds
			message := d.wantCondition(id, metav1.ConditionFalse, tc.reason, tc.also)
			if !strings.Contains(message, tc.says) || strings.Contains(message, "permission") {
				t.Errorf("message = %q, want it to say %q and nothing of permissions", message, tc.says)
			}
		})
	}
}

func TestAVendorThatIsDownIsTriedAgainUntilItAnswers(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	d.must(d.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeDrop}))
	id := d.issuer()
	again := d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonUnreachable, v1alpha1.ConditionReconciling)
	version := d.object(id).GetResourceVersion()
	d.clock.Step(again)
	d.reconcile(id)
	if d.object(id).GetResourceVersion() != version {
		t.Error("each failed probe writes the status")
	}
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.clock.Step(time.Minute)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestAVendorThatStaysDownIsAskedOnceAMinute(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	d.must(d.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	id := d.issuer()
	for down := time.Duration(0); down < time.Hour; {
		again := d.reconcile(id)
		if again > 66*time.Second {
			t.Fatalf("after %s of outage the vendor is asked again after %s", down, again)
		}
		d.clock.Step(again)
		down += again
	}
	if d.requests() > 65 {
		t.Errorf("%d requests in an hour", d.requests())
	}
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestFailuresOfPurchasesAreReportedAndProbed(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	d.must(d.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	for range 5 {
		d.acquire(id).Done(account.Outcome{Err: &trustmanager.Error{Op: "enroll", Delivery: trustmanager.Ambiguous, Actor: trustmanager.Nobody, HTTPStatus: 502}})
	}
	if got := <-d.asked; got != id {
		t.Fatalf("asked for %v", got)
	}
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonUnreachable, v1alpha1.ConditionReconciling)
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.clock.Step(time.Hour) // longer than any pause the vendor asks for
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	d.acquire(id)
}

func TestABlockedProfileIsShownAndSurvivesARestartUntilTheSpecChanges(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	blocked := v1alpha1.BlockedProfile{ProfileID: profileLong, Format: v1alpha1.FormatPEM, Reason: v1alpha1.ReasonUnverified, Message: "the key does not match: mend the profile"}
	d.acquire(id).Done(account.Outcome{Fatal: &blocked})
	d.reconcile(id)
	if diff := cmp.Diff([]v1alpha1.BlockedProfile{blocked}, d.status(id).BlockedProfiles); diff != "" {
		t.Errorf("blockedProfiles (-want +got):\n%s", diff)
	}
	d.restart()
	d.reconcile(id)
	if got := d.reconciler.Accounts.Blocked(id); len(got) != 1 {
		t.Errorf("after a restart: %v", got)
	}
	d.update(id, func(o issuerObject) { o.spec.Limits.Burst = 21 })
	d.reconcile(id)
	if got := d.status(id).BlockedProfiles; len(got) != 0 {
		t.Errorf("after the spec changed: %v", got)
	}
}

func TestAClockThatIsOffIsShownAndStopsBuying(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	d.must(d.vendor.SetSwitches(simulator.Switches{DateSkew: simulator.Duration(10 * time.Minute)}))
	id := d.issuer()
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonClockSkew, v1alpha1.ConditionStalled)
	got := d.status(id).ClockSkewSeconds
	if got == nil || *got < 595 || *got > 605 {
		t.Errorf("clockSkewSeconds = %v, want about 600", got)
	}
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.clock.Step(5 * time.Minute)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	if got := d.status(id).ClockSkewSeconds; got != nil {
		t.Errorf("clockSkewSeconds = %d, want none", *got)
	}
}

func TestJudgeReadsTheOutcomeOfAProbe(t *testing.T) {
	refused := func(status int, code string, actor trustmanager.Actor) error {
		return &trustmanager.Error{Op: "search", Delivery: trustmanager.Refused, Actor: actor, HTTPStatus: status, Code: code}
	}
	for name, tc := range map[string]struct {
		err      error
		accepted bool
		search   v1alpha1.CapabilityState
		reason   string
	}{
		"answered":                 {nil, true, v1alpha1.CapabilityYes, ""},
		"the vendor's 403":         {refused(http.StatusForbidden, "access_denied", trustmanager.Issuer), true, v1alpha1.CapabilityNo, ""},
		"a gateway's 403":          {refused(http.StatusForbidden, "", trustmanager.Issuer), false, "", v1alpha1.ReasonCredentialRefused},
		"401":                      {refused(http.StatusUnauthorized, "invalid_api_key", trustmanager.Issuer), false, "", v1alpha1.ReasonCredentialRefused},
		"429":                      {refused(http.StatusTooManyRequests, "", trustmanager.Time), false, "", v1alpha1.ReasonProbing},
		"5xx":                      {&trustmanager.Error{Delivery: trustmanager.Ambiguous, Actor: trustmanager.Nobody, HTTPStatus: 503}, false, "", v1alpha1.ReasonUnreachable},
		"no turn within the limit": {context.DeadlineExceeded, false, "", v1alpha1.ReasonProbing},
	} {
		got := judge(tc.err)
		if got.accepted != tc.accepted || got.search != tc.search || got.reason != tc.reason {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
