// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// fail lets n purchases end with err.
func (d *desk) fail(id ID, n int, err error) {
	d.t.Helper()
	for range n {
		d.lease(id, request("failing")).Done(Outcome{Err: err})
	}
}

func TestFiveDisturbancesInARowStopBuyingAndAskForOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		d.prove(issuerA)
		d.fail(issuerA, 4, disturbance())
		d.lease(issuerA, request("between")).Done(Outcome{Issued: true})
		d.fail(issuerA, 4, disturbance())
		wantProbed(t, d)
		another := d.lease(issuerA, request("another"))
		d.fail(issuerA, 1, disturbance())
		another.Done(Outcome{Err: disturbance()})
		wantProbed(t, d, issuerA)
		if state := d.State(issuerA); state.Ready || state.Reason != v1alpha1.ReasonUnreachable || !state.RetryAt.IsZero() {
			t.Errorf("State = %+v, want Unreachable until a probe", state)
		}
		if wait := d.waits(issuerA, request("a")); wait.Reason != v1alpha1.ReasonIssuerNotReady {
			t.Errorf("Reason = %s, want IssuerNotReady", wait.Reason)
		}
		advance(24 * time.Hour)
		wantWoken(t, d)
	})
}

func TestAFailedProbeLeavesTheCircuitOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		d.fail(issuerA, 5, disturbance())
		wantProbed(t, d, issuerA)
		_ = d.call(issuerA, disturbance())
		d.update(issuerA, connection())
		wantProbed(t, d)
		if d.State(issuerA).Ready {
			t.Error("ready after a failed probe")
		}
	})
}

func TestAnAnsweredProbeLetsBuyingRampUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Limits.MaxConcurrent = 8
		d.update(issuerA, c)
		d.prove(issuerA)
		d.fail(issuerA, 5, disturbance())
		for _, name := range "abcdefghijklmnop" {
			d.waits(issuerA, request(string(name)))
		}
		if err := d.call(issuerA, nil); err != nil {
			t.Fatal(err)
		}
		var inFlight []*Lease
		for _, bound := range []int{1, 2, 4, 8} {
			for _, name := range d.takeWoken() {
				inFlight = append(inFlight, d.lease(issuerA, request(name)))
			}
			if len(inFlight) != bound {
				t.Fatalf("%d in flight, want %d", len(inFlight), bound)
			}
			inFlight[0].Done(Outcome{Issued: true})
			inFlight = inFlight[1:]
		}
	})
}

func TestAnIssuersFailureStopsBuyingAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		failure error
		reason  string
	}{
		"401": {refusal(http.StatusUnauthorized), v1alpha1.ReasonCredentialRefused},
		"403": {refusal(http.StatusForbidden), v1alpha1.ReasonCredentialRefused},
		"402": {refusal(http.StatusPaymentRequired), v1alpha1.ReasonCredentialRefused},
		"TLS": {&trustmanager.Error{Op: "enroll", Delivery: trustmanager.NotSent, Actor: trustmanager.Issuer}, v1alpha1.ReasonUnreachable},
		"redirect": {&trustmanager.Error{Op: "enroll", Delivery: trustmanager.Ambiguous, Actor: trustmanager.Issuer, HTTPStatus: 302},
			v1alpha1.ReasonUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.update(issuerA, connection())
				d.fail(issuerA, 1, tc.failure)
				wantProbed(t, d, issuerA)
				if state := d.State(issuerA); state.Ready || state.Reason != tc.reason {
					t.Errorf("State = %+v, want %s", state, tc.reason)
				}
			})
		})
	}
}

func TestWhatSaysNothingAboutTheConnectionDoesNotStopIt(t *testing.T) {
	for name, failure := range map[string]error{
		"the user's mistake": &trustmanager.Error{Op: "enroll", Delivery: trustmanager.Refused, Actor: trustmanager.User, HTTPStatus: 400},
		"our own shutdown":   context.Canceled,
		"no vendor involved": errors.New("conflict"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.update(issuerA, connection())
				d.fail(issuerA, 10, failure)
				if state := d.State(issuerA); !state.Ready || state.Reason != "" {
					t.Errorf("State = %+v", state)
				}
			})
		})
	}
}

func TestACredentialThatMaySearchButNotBuyIsTriedAgainAfterSixHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, start := newDesk(t), time.Now()
		d.update(issuerA, connection())
		d.fail(issuerA, 1, refusal(http.StatusForbidden))
		d.waits(issuerA, request("a"))
		d.waits(issuerA, request("b"))
		wantProbed(t, d, issuerA)
		for range 3 {
			_ = d.call(issuerA, nil) // the probe succeeds
		}
		wantProbed(t, d, issuerA)
		state := d.State(issuerA)
		if state.Ready || state.CanEnroll != v1alpha1.CapabilityNo || !state.RetryAt.Equal(start.Add(6*time.Hour)) {
			t.Fatalf("State = %+v", state)
		}
		if !strings.Contains(state.Message, "permission to enroll") {
			t.Errorf("Message = %q does not say which permission is missing", state.Message)
		}
		advance(6 * time.Hour)
		wantWoken(t, d, "a")
		if !d.State(issuerA).Ready {
			t.Error("not ready when a trial is due")
		}
		trial := d.lease(issuerA, request("a"))
		d.waits(issuerA, request("b"))
		trial.Done(Outcome{Err: refusal(http.StatusForbidden)})
		advance(6*time.Hour - time.Second)
		wantWoken(t, d)
		advance(time.Second)
		wantWoken(t, d, "b")
		d.lease(issuerA, request("b")).Done(Outcome{Issued: true})
		if state := d.State(issuerA); !state.Ready || state.Reason != "" || state.CanEnroll != v1alpha1.CapabilityYes {
			t.Errorf("State after a successful trial = %+v", state)
		}
	})
}

func TestAUsersRetryOrANewCredentialEndsTheSixHours(t *testing.T) {
	for name, end := range map[string]func(*desk){
		"retry": func(d *desk) {
			retry := request("a")
			retry.Retry = true
			d.lease(issuerA, retry)
		},
		"credential": func(d *desk) {
			c := connection()
			c.CredentialVersion = "v2"
			d.update(issuerA, c)
			d.lease(issuerA, request("a"))
		},
		"generation": func(d *desk) {
			c := connection()
			c.Generation = 2
			d.update(issuerA, c)
			d.lease(issuerA, request("a"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.update(issuerA, connection())
				d.fail(issuerA, 1, refusal(http.StatusForbidden))
				_ = d.call(issuerA, nil)
				d.waits(issuerA, request("a"))
				end(d)
			})
		})
	}
}

func TestARefusalOfOneProfileDoesNotStopAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		d.prove(issuerA)
		other := request("intruder")
		other.ProfileID = "IOT_forbidden"
		d.lease(issuerA, other).Done(Outcome{Err: refusal(http.StatusForbidden)})
		if state := d.State(issuerA); !state.Ready {
			t.Fatalf("State = %+v", state)
		}
		d.fail(issuerA, 1, refusal(http.StatusForbidden)) // a profile it could buy from
		if d.State(issuerA).Ready {
			t.Error("ready although the permission was withdrawn")
		}
	})
}

func TestAnUnauthorizedAnswerIsForgivenOnceIfTheProbeSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		d.fail(issuerA, 1, refusal(http.StatusUnauthorized))
		_ = d.call(issuerA, nil)
		if !d.State(issuerA).Ready {
			t.Fatal("the first 401 was held against it")
		}
		d.fail(issuerA, 1, refusal(http.StatusUnauthorized))
		_ = d.call(issuerA, nil)
		if state := d.State(issuerA); state.Ready || state.CanEnroll != v1alpha1.CapabilityNo {
			t.Errorf("State = %+v, want it held", state)
		}
	})
}

func TestARefusedSearchDoesNotStopBuying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		d.update(issuerA, c)
		_ = d.call(issuerA, refusal(http.StatusForbidden))
		if !d.State(issuerA).Ready {
			t.Error("a 403 on search stopped buying")
		}
		_ = d.call(issuerA, refusal(http.StatusUnauthorized))
		if d.State(issuerA).Ready {
			t.Error("a 401 of a credential that can search did not stop buying")
		}
		c.Credential, c.CredentialVersion, c.CanSearch = trustmanager.Credential{Passcode: "passcode"}, "v2", v1alpha1.CapabilityNo
		d.update(issuerA, c)
		_ = d.call(issuerA, refusal(http.StatusUnauthorized))
		if !d.State(issuerA).Ready {
			t.Error("a 401 on search of a passcode stopped buying")
		}
	})
}

func TestAPasscodeIsTriedBySinglePurchasesWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Credential, c.CanSearch = trustmanager.Credential{Passcode: "passcode"}, v1alpha1.CapabilityNo
		d.update(issuerA, c)
		d.fail(issuerA, 1, refusal(http.StatusUnauthorized))
		d.waits(issuerA, request("a"))
		d.waits(issuerA, request("b"))
		shortest := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute}
		for _, delay := range shortest {
			advance(delay - time.Millisecond)
			wantWoken(t, d)
			advance(delay/10 + 2*time.Millisecond)
			wantWoken(t, d, "a")
			trial := d.lease(issuerA, request("a"))
			trial.Done(Outcome{Err: disturbance()})
			d.waits(issuerA, request("a"))
			d.Withdraw(request("b").Key)
		}
		advance(6 * time.Minute)
		d.takeWoken()
		d.takeProbed()
		d.lease(issuerA, request("a")).Done(Outcome{Issued: true})
		if state := d.State(issuerA); !state.Ready || state.Reason != "" {
			t.Errorf("State = %+v", state)
		}
		if got := d.takeProbed(); len(got) == 0 {
			t.Error("nobody was told that the passcode works")
		}
	})
}

func TestAVendorThatAsksForFewerRequestsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, start := newDesk(t), time.Now()
		d.update(issuerA, connection())
		d.prove(issuerA)
		d.fail(issuerA, 1, throttle(90*time.Second))
		wait := d.waits(issuerA, request("a"))
		d.waits(issuerA, request("b"))
		if wait.Reason != v1alpha1.ReasonRateLimited || !wait.Until.Equal(start.Add(90*time.Second)) {
			t.Errorf("Wait = %+v", wait)
		}
		if !d.State(issuerA).Ready {
			t.Error("a throttle made the issuer not ready")
		}
		advance(90*time.Second - time.Millisecond)
		wantWoken(t, d)
		advance(time.Millisecond)
		wantWoken(t, d, "a") // and b only when a has succeeded: the ramp
		d.lease(issuerA, request("a")).Done(Outcome{Issued: true})
		wantWoken(t, d, "b")
	})
}

func TestAThrottleWithoutATimePausesLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		d.prove(issuerA)
		for _, pause := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
			d.fail(issuerA, 1, throttle(0))
			if got := d.waits(issuerA, request("failing")).Until; time.Until(got) != pause {
				t.Errorf("pause until %s, want %s", got, pause)
			}
			advance(pause)
			wantWoken(t, d, "failing")
		}
	})
}

func TestExplainSaysWhatToCheck(t *testing.T) {
	for _, tc := range []struct {
		err    error
		reason string
		check  string
	}{
		{refusal(401), v1alpha1.ReasonCredentialRefused, "not expired"},
		{refusal(403), v1alpha1.ReasonCredentialRefused, "permissions"},
		{refusal(402), v1alpha1.ReasonCredentialRefused, "licences"},
		{disturbance(), v1alpha1.ReasonUnreachable, "status page"},
		{&trustmanager.Error{Delivery: trustmanager.NotSent, Actor: trustmanager.Nobody}, v1alpha1.ReasonUnreachable, "CA bundle"},
		{errors.New("else"), v1alpha1.ReasonUnreachable, "else"},
	} {
		reason, message := Explain(tc.err)
		if reason != tc.reason || !strings.Contains(message, tc.check) {
			t.Errorf("Explain(%v) = %s, %q; want %s and %q", tc.err, reason, message, tc.reason, tc.check)
		}
	}
}

func TestAVendorThatIsDownIsProbedMoreOftenThanACredentialThatIsRefused(t *testing.T) {
	id := ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: "edge", Name: "vendor"}
	for reason, longest := range map[string]time.Duration{v1alpha1.ReasonUnreachable: time.Minute, v1alpha1.ReasonCredentialRefused: 5 * time.Minute} {
		for failures := range 100 {
			want := min(5*time.Second<<min(max(failures-1, 0), 10), longest)
			if got := ProbeBackoff(id, failures, reason); got < want || got > want+want/10 {
				t.Errorf("%s: %s after %d failures, want %s and up to a tenth more", reason, got, failures, want)
			}
		}
	}
}
