// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestOnlyOneRequestIsInFlightUntilAProfileHasIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		canary := d.lease(issuerA, request("canary"))
		for _, name := range []string{"a", "b", "c"} {
			if wait := d.waits(issuerA, request(name)); wait.Reason != v1alpha1.ReasonIssuing || wait.Terminal {
				t.Errorf("Wait = %+v, want Issuing", wait)
			}
		}
		other := request("other-format")
		other.Format = v1alpha1.FormatPKCS12
		d.lease(issuerA, other)
		canary.Done(Outcome{Issued: true})
		wantWoken(t, d, "a", "b", "c")
	})
}

func TestACanaryWithoutVerdictIsFollowedByAnother(t *testing.T) {
	for name, outcome := range map[string]Outcome{
		"failed":           {Err: disturbance()},
		"unused":           {Unused: true},
		"pending approval": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				d.update(issuerA, connection())
				canary := d.lease(issuerA, request("canary"))
				d.waits(issuerA, request("a"))
				d.waits(issuerA, request("b"))
				canary.Done(outcome)
				wantWoken(t, d, "a")
			})
		})
	}
}

// blockedDesk has a profile that a fatal verdict has blocked, and one that waits for it.
func blockedDesk(t *testing.T) *desk {
	d := newDesk(t)
	d.update(issuerA, connection())
	d.lease(issuerA, request("canary")).Done(Outcome{Fatal: fatal()})
	wantProbed(t, d, issuerA)
	wait := d.waits(issuerA, request("a"))
	if want := (Wait{Reason: v1alpha1.ReasonProfileBlocked, Message: fatal().Message, Terminal: true}); wait != want {
		t.Fatalf("Wait = %+v, want %+v", wait, want)
	}
	return d
}

func TestThoseWhoWaitForACanaryHearThatItFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.update(issuerA, connection())
		canary := d.lease(issuerA, request("canary"))
		d.waits(issuerA, request("a"))
		d.waits(issuerA, request("b"))
		canary.Done(Outcome{Fatal: fatal()})
		wantWoken(t, d, "a", "b")
		if wait := d.waits(issuerA, request("a")); wait.Reason != v1alpha1.ReasonProfileBlocked || !wait.Terminal {
			t.Errorf("Wait = %+v, want ProfileBlocked", wait)
		}
	})
}

func TestAFatalVerdictBlocksItsProfileAndFormatOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := blockedDesk(t)
		if diff := cmp.Diff([]v1alpha1.BlockedProfile{*fatal()}, d.Blocked(issuerA)); diff != "" {
			t.Errorf("Blocked (-want +got):\n%s", diff)
		}
		if !d.State(issuerA).Ready {
			t.Error("a blocked profile made the whole issuer not ready")
		}
		other := request("other-format")
		other.Format = v1alpha1.FormatDER
		d.lease(issuerA, other)
	})
}

func TestARetryThatSucceedsLiftsTheBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := blockedDesk(t)
		retry := request("retry")
		retry.Retry = true
		lease := d.lease(issuerA, retry)
		second := request("second")
		second.Retry = true
		d.waits(issuerA, second)
		lease.Done(Outcome{Issued: true})
		wantWoken(t, d, "a", "second")
		wantProbed(t, d, issuerA)
		if got := d.Blocked(issuerA); len(got) != 0 {
			t.Errorf("Blocked = %v", got)
		}
	})
}

func TestARetryThatFailsVerificationKeepsTheBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := blockedDesk(t)
		retry := request("retry")
		retry.Retry = true
		d.lease(issuerA, retry).Done(Outcome{Fatal: fatal()})
		wantWoken(t, d)
		if got := d.waits(issuerA, request("a")); !got.Terminal {
			t.Errorf("Wait = %+v, want it terminal", got)
		}
	})
}

func TestANewGenerationLiftsTheBlockAndANewCredentialDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := blockedDesk(t)
		c := connection()
		c.CredentialVersion = "v2"
		d.update(issuerA, c)
		wantWoken(t, d)
		c.Generation = 2
		d.update(issuerA, c)
		wantWoken(t, d, "a")
	})
}

func TestABlockFromBeforeARestartHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		c.Blocked = []v1alpha1.BlockedProfile{*fatal()}
		d.update(issuerA, c)
		if wait := d.waits(issuerA, request("a")); !wait.Terminal {
			t.Errorf("Wait = %+v, want it terminal", wait)
		}
		retry := request("retry")
		retry.Retry = true
		d.lease(issuerA, retry).Done(Outcome{Issued: true})
		d.update(issuerA, c) // the status is written later, and its old word must not count
		if got := d.Blocked(issuerA); len(got) != 0 {
			t.Errorf("Blocked = %v", got)
		}
	})
}

func TestBlockedProfilesAreSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		for _, id := range []string{"IOT_c", "IOT_a", "IOT_b"} {
			c.Blocked = append(c.Blocked, v1alpha1.BlockedProfile{ProfileID: id, Format: v1alpha1.FormatPEM})
		}
		d.update(issuerA, c)
		var got []string
		for _, b := range d.Blocked(issuerA) {
			got = append(got, b.ProfileID)
		}
		if want := []string{"IOT_a", "IOT_b", "IOT_c"}; !slices.Equal(got, want) {
			t.Errorf("Blocked = %v, want %v", got, want)
		}
	})
}

func TestANewCredentialStartsWithACanaryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := connection()
		d.update(issuerA, c)
		d.prove(issuerA)
		under := d.lease(issuerA, request("under-way"))
		c.Credential.APIToken, c.CredentialVersion = "other", "v2"
		d.update(issuerA, c)
		d.lease(issuerA, request("canary"))
		under.Done(Outcome{Issued: true}) // of the old credential: proves nothing
		if wait := d.waits(issuerA, request("a")); wait.Reason != v1alpha1.ReasonIssuing {
			t.Errorf("Wait = %+v, want Issuing", wait)
		}
	})
}
