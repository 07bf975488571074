// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestWhenTheLeaderIsKilledTheOtherReplicaContinues(t *testing.T) {
	w := newWorld(t)
	w.connect()
	replicas := []*process{
		w.launchManager(env.operatorKubeconfig, "--leader-elect"), w.launchManager(env.operatorKubeconfig, "--leader-elect"),
	}
	leads := func(p *process) bool { return strings.Contains(p.log(), "Successfully acquired lease") }
	eventually(t, patience, "one replica leads", func(context.Context) (bool, error) { return leads(replicas[0]) || leads(replicas[1]), nil })
	leader, follower := replicas[0], replicas[1]
	if leads(follower) {
		leader, follower = follower, leader
	}
	names := func(from, to int) []string {
		var list []string
		for i := from; i < to; i++ {
			list = append(list, fmt.Sprint("gateway-", i))
		}
		return list
	}
	for _, name := range names(0, 5) {
		w.certificate(name)
	}
	for _, name := range names(0, 5) {
		w.awaitReady(name)
	}
	if strings.Contains(follower.log(), "requesting a certificate") {
		t.Error("the follower bought")
	}
	leader.kill()
	for _, name := range names(5, 10) {
		w.certificate(name)
	}
	for _, name := range names(5, 10) {
		w.awaitReady(name)
	}
	w.wantBought("", 10)
	if !follower.alive() {
		t.Error("the follower has ended")
	}
}

func TestSIGTERMDuringARequestWaitsStoresAndExitsWithZero(t *testing.T) {
	w := newWorld(t)
	w.connect()
	manager := w.startManager()
	id := w.vendor.misbehave(simulator.Fault{
		Match:  simulator.Match{Operation: simulator.OperationEnroll},
		Action: simulator.ActionDelay, Stage: simulator.StageAfterCommit, Delay: simulator.Duration(3 * time.Second),
	})
	w.certificate("gateway")
	w.vendor.awaitHit(id)
	if code := manager.terminate(t); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	c := w.get("gateway")
	if number := verifyPair(t, w.secret("gateway")); !ready(c) || c.Status.Attempt != nil || c.Status.SerialNumber != number {
		t.Errorf("Secret holds %s, status %+v", number, c.Status)
	}
	w.wantBought("", 1)
}

func TestARestartWithValidCertificatesBuysAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.connect()
	const count = 15
	manager := w.startManager()
	for i := range count {
		w.certificate(fmt.Sprint("gateway-", i))
	}
	for i := range count {
		w.await(fmt.Sprint("gateway-", i), "ready and reported", patience, renewed(""))
	}
	if code := manager.terminate(t); code != 0 {
		t.Errorf("exit status %d, want 0", code)
	}
	before, bought := w.versions(count), w.vendor.bought("")
	audited := len(w.audited())

	w.startManager()
	// The newcomer is served after the others, which have lain there from the start.
	w.certificate("newcomer")
	w.awaitReady("newcomer")
	for i := range count {
		w.await(fmt.Sprint("gateway-", i), "ready", patience, ready)
	}
	if diff := cmp.Diff(before, w.versions(count)); diff != "" {
		t.Errorf("written after the restart (-before +after):\n%s", diff)
	}
	if got := w.vendor.bought(""); got != bought+1 {
		t.Errorf("%d requests to buy, want that of the newcomer alone", got-bought)
	}
	tally(t, "after the restart", w.audited()[audited:])
}

// versions are the resource versions of the first certificates and their Secrets.
func (w *world) versions(count int) map[string]string {
	w.Helper()
	found := map[string]string{}
	for i := range count {
		name := fmt.Sprint("gateway-", i)
		found["certificate "+name] = w.get(name).ResourceVersion
		found["secret "+name] = w.secret(name).ResourceVersion
	}
	return found
}
