// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// The fences: whatever is stale ends in a 409 before the request leaves, never in a second certificate.

const (
	rehearsal = "patch secrets (dry run)"
	intent    = "patch devicecertificates/status"
)

func TestASecretThatTheCacheDoesNotShowYetEndsInAConflictBeforeBuying(t *testing.T) {
	w := newWorld(t)
	w.connect()
	proxy := startAPIProxy(t)
	manager := w.launchManager(proxy.kubeconfig)
	manager.awaitLog(t, "Starting workers", controllerCount)
	w.awaitReason(issuerName, v1alpha1.ReasonConnected)

	proxy.secretNews.Lock()
	defer proxy.secretNews.Unlock()
	s := &corev1.Secret{ObjectMeta: w.meta("gateway"), Data: map[string][]byte{"application": []byte("data")}}
	s.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	w.must(env.admin.Create(w.ctx, s))
	w.certificate("gateway")
	w.await("gateway", "blocked by the foreign Secret", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonSecretConflict
	})
	if w.conflicts(rehearsal) == 0 {
		t.Error("the rehearsal met no conflict: the cache was not stale")
	}
	if got := w.vendor.bought(""); got != 0 {
		t.Errorf("%d requests to buy", got)
	}
}

func TestAManagerWithAnOldSecretInItsCacheDoesNotRenewAgain(t *testing.T) {
	w := newWorld(t, func(c *simulator.Config) { c.Profiles[1].Validity = simulator.Duration(3 * time.Minute) })
	w.connect()
	proxy := startAPIProxy(t)
	sleeper := w.launchManager(proxy.kubeconfig)
	sleeper.awaitLog(t, "Starting workers", controllerCount)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.EnrollmentProfileID = profileShort
		c.Spec.Renewal.RenewBeforePercentage = new(int32(90)) // it is renewed every 18 seconds
	})
	first := w.awaitReady("gateway")

	// One manager stops in the middle of everything, as on a machine that is suspended. Another one renews.
	sleeper.signal(t, syscall.SIGSTOP)
	proxy.secretNews.Lock()
	second := w.startManager()
	w.await("gateway", "renewed", patience, renewed(first.Status.SerialNumber))
	second.kill()
	// The first one wakes up and takes what is in its cache for the truth: the old certificate, which is due.
	sleeper.signal(t, syscall.SIGCONT)
	eventually(t, patience, "the stale manager meets a conflict", func(context.Context) (bool, error) { return w.conflicts(rehearsal) > 0, nil })
	proxy.secretNews.Unlock()

	predecessors := map[string]bool{}
	for _, e := range w.vendor.ledger("") {
		if predecessors[e.PredecessorID] {
			t.Errorf("%s was renewed twice: %s", e.PredecessorID, describe(w.vendor.ledger("")))
		}
		predecessors[e.PredecessorID] = true
	}
	verifyPair(t, w.secret("gateway"))
}

func TestAConcurrentEditEndsInAConflictBeforeBuying(t *testing.T) {
	w := newWorld(t)
	w.connect()
	proxy := startAPIProxy(t)
	manager := w.launchManager(proxy.kubeconfig)
	manager.awaitLog(t, "Starting workers", controllerCount)
	w.awaitReason(issuerName, v1alpha1.ReasonConnected)

	gate := proxy.hold(rehearsalOf("gateway"))
	w.certificate("gateway")
	gate.await(t)
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.CertificateAttributes[0].Value = new(commonName("edited")) })
	close(gate.opened)
	w.awaitReady("gateway")
	w.wantBought(commonName("gateway"), 0)
	w.wantBought(commonName("edited"), 1)
	if w.conflicts(intent) == 0 {
		t.Error("the intent met no conflict: the edit came too late to prove anything")
	}
}

func TestOfTwoManagersAtTheSameCertificateOneMeetsAConflictBeforeBuying(t *testing.T) {
	w := newWorld(t)
	w.connect()
	var gates []*gate
	for range 2 {
		proxy := startAPIProxy(t)
		manager := w.launchManager(proxy.kubeconfig)
		manager.awaitLog(t, "Starting workers", controllerCount)
		gates = append(gates, proxy.hold(rehearsalOf("gateway")))
	}
	w.awaitReason(issuerName, v1alpha1.ReasonConnected)
	w.certificate("gateway")
	for _, g := range gates {
		g.await(t) // both are about to buy
	}
	for _, g := range gates {
		close(g.opened)
	}
	w.awaitReady("gateway")
	eventually(t, patience, "one of them meets a conflict", func(context.Context) (bool, error) {
		return w.conflicts(intent)+w.conflicts(rehearsal) > 0, nil
	})
	if got := w.vendor.bought(""); got != 1 {
		t.Errorf("%d requests to buy, want 1", got)
	}
}

func TestTwoManagersWithoutLeaderElectionBuyEachCertificateOnce(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.startManager()
	const count = 20
	for i := range count {
		w.certificate(fmt.Sprint("gateway-", i))
	}
	for i := range count {
		w.awaitReady(fmt.Sprint("gateway-", i))
	}
	w.wantBought("", count)
	for i := range count {
		name := fmt.Sprint("gateway-", i)
		if number := verifyPair(t, w.secret(name)); number != w.vendor.ledger(commonName(name))[0].SerialNumber {
			t.Errorf("%s holds %s", name, number)
		}
	}
}
