// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// How one process takes over from another in the middle of a fill. How long that takes is logged and not judged: see
// docs/performance.md.

// handover is a leader, a standby and a fleet whose fill has begun.
type handover struct {
	*world
	leader, standby *process
	fleet           []string
}

const (
	requesting = "requesting a certificate"
	// fleetSize and fillRate make a fill take some seconds.
	fleetSize      = 40
	fillRate       = 10
	fillConcurrent = 8
)

// beginFill stops when the leader has bought some, and has others on their way.
func beginFill(t *testing.T) *handover {
	w := newWorld(t)
	w.connect(func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Limits = v1alpha1.IssuerLimits{RequestsPerSecond: fillRate, Burst: fillRate, MaxConcurrent: fillConcurrent}
		i.Spec.Orphans.Policy = v1alpha1.OrphansRevoke
	})
	h := &handover{world: w, leader: w.launchManager(env.operatorKubeconfig, "--leader-elect")}
	h.leader.awaitLog(t, "Starting workers", controllerCount)
	h.standby = w.launchManager(env.operatorKubeconfig, "--leader-elect")
	h.standby.awaitLog(t, "Attempting to acquire leader lease", 1)
	for i := range fleetSize {
		h.fleet = append(h.fleet, fmt.Sprintf("gateway-%02d", i))
		w.certificate(h.fleet[i])
	}
	h.leader.awaitLog(t, requesting, fleetSize/3)
	if strings.Contains(h.standby.log(), requesting) {
		t.Error("the standby bought while the other one led")
	}
	return h
}

// awaitFilled waits until the whole fleet is ready and nothing is open any more, and tells how long the standby took to go on.
func (h *handover) awaitFilled(stopped time.Time) {
	h.Helper()
	h.standby.awaitLog(h.T, requesting, 1)
	goesOn := time.Since(stopped)
	for _, name := range h.fleet {
		h.await(name, "ready and closed", resolvePatience, renewed(""))
	}
	h.Logf("the standby went on after %s; the fleet of %d was filled after %s", goesOn.Round(pollInterval), fleetSize, time.Since(stopped).Round(pollInterval))
}

// wantAccounted compares the vendor's ledger with what is stored: each certificate is in use once, or was lost with its key, which is on
// record, and revoked. It answers how many were lost.
func (h *handover) wantAccounted() int {
	h.Helper()
	var lost int
	for _, name := range h.fleet {
		c := h.get(name)
		number := verifyPair(h.T, h.secret(name))
		for _, e := range h.vendor.ledger(commonName(name)) {
			recorded := slices.ContainsFunc(c.Status.Orphans, func(o v1alpha1.Orphan) bool {
				return o.CertificateID == e.CertificateID && o.Outcome == v1alpha1.OrphanRevoked
			})
			switch inUse := certs.SameSerial(e.SerialNumber, number); {
			case inUse && e.Status == issued && !recorded:
			case !inUse && e.Status == revoked && recorded:
				lost++
			default:
				h.Errorf("%s: %s is %s at the vendor; the Secret holds %s, orphans are %+v", name, e.SerialNumber, e.Status, number, c.Status.Orphans)
			}
		}
	}
	return lost
}

// leaseName is the name of a lease that only some namespaces compete for.
var leaseName = regexp.MustCompile(`devicecert-operator-[0-9a-f]{8}`)

// holder is who holds the lease that both compete for; empty for nobody.
func (h *handover) holder() string {
	h.Helper()
	lease := &coordinationv1.Lease{}
	h.must(env.admin.Get(h.ctx, client.ObjectKey{Namespace: operatorNamespace, Name: leaseName.FindString(h.leader.log())}, lease))
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

func TestALeaderThatIsToldToStopHandsItsFillOverWithoutALoss(t *testing.T) {
	h := beginFill(t)
	stopped := time.Now()
	if code := h.leader.terminate(t); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	h.awaitFilled(stopped)
	if lost := h.wantAccounted(); lost > 0 {
		t.Errorf("%d certificates were lost", lost)
	}
	h.wantBought("", fleetSize)
	// The last one has nobody to hand over to: its lease lies there, free for whoever comes.
	if h.holder() == "" {
		t.Error("the standby leads without the lease")
	}
	if code := h.standby.terminate(t); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	if holder := h.holder(); holder != "" {
		t.Errorf("%s has ended and still holds the lease", holder)
	}
}

func TestALeaderThatIsKilledInAFillLosesWhatWasOnItsWayAndNothingElse(t *testing.T) {
	h := beginFill(t)
	stopped := time.Now()
	h.leader.kill()
	h.awaitFilled(stopped)
	lost := h.wantAccounted()
	if lost > fillConcurrent {
		t.Errorf("%d certificates were lost, and at most %d can have been on their way", lost, fillConcurrent)
	}
	h.wantBought("", fleetSize+lost)
}

func TestALeaderThatSleepsLongerThanItsLeaseBuysNothingTwiceWhenItWakes(t *testing.T) {
	h := beginFill(t)
	stopped := time.Now()
	h.leader.signal(t, syscall.SIGSTOP)
	h.standby.awaitLog(t, requesting, 1)
	// It wakes in the midst of the other one's work, with turns it was given and answers that have waited for it.
	h.leader.signal(t, syscall.SIGCONT)
	h.awaitFilled(stopped)
	eventually(t, patience, "the one that slept has noticed that it leads no more", func(context.Context) (bool, error) { return !h.leader.alive(), nil })
	lost := h.wantAccounted()
	if lost > fillConcurrent {
		t.Errorf("%d certificates were lost, and at most %d can have been on their way", lost, fillConcurrent)
	}
	h.wantBought("", fleetSize+lost)
}
