// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

var floodSize = flag.Int("flood", 150, "how many objects one tenant creates at once in the flood test")

// mostBody is the largest answer to an order that the operator reads.
const mostBody = 256 << 10

// mostMemory is what the manager may use at its peak, whatever a tenant or the vendor does.
const mostMemory = 128 << 20

func TestOneTenantsFloodAndBombsDoNotDisturbAnother(t *testing.T) {
	const aliceToken = "alice-token"
	w := newWorld(t, func(c *simulator.Config) {
		c.APIKeys = append(c.APIKeys, simulator.APIKey{Name: "alice", Key: aliceToken})
	})
	mallory, alice := w.newTenant(), w.newTenant()
	shared := w.clusterIssuer(w.namespace, v1alpha1.Grant{})
	manager := w.startManager("--namespaces=" + w.namespace + "," + mallory.namespace + "," + alice.namespace)
	shop := through(v1alpha1.KindClusterDeviceIssuer, shared.Name)
	var renewing []string
	for i := range 3 {
		renewing = append(renewing, fmt.Sprint("renewing-", i))
		w.certificate(renewing[i], shop, func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	}
	for _, name := range renewing {
		w.awaitReady(name)
	}
	mallory.connectsForBombs()
	mallory.floods(*floodSize, shop)
	serials := map[string]string{}
	for _, name := range renewing {
		serials[name] = w.get(name).Status.SerialNumber
	}
	// Whoever comes last waits for one of the flood, not for all of it, and whoever has an account of its own for none.
	alice.connectAs("own", aliceToken)
	ordered := time.Now()
	for name, issuer := range map[string]func(*v1alpha1.DeviceCertificate){"late": shop, "apart": through(v1alpha1.KindDeviceIssuer, "own")} {
		alice.order(name, issuer, func(c *v1alpha1.DeviceCertificate) { c.Spec.CertificateAttributes[0].Value = new(commonName(name)) })
	}
	for _, name := range []string{"late", "apart"} {
		alice.awaitReady(name)
		t.Logf("%s was ready after %s", name, time.Since(ordered).Round(time.Second))
	}
	if bought := mallory.certificatesOfTheFlood(); bought >= *floodSize {
		t.Errorf("the late certificate came after all %d of the flood", bought)
	} else {
		t.Logf("%d of %d certificates of the flood came before the late one", bought, *floodSize)
	}
	mallory.dropsBombs(fourteenBombs())
	for _, name := range renewing {
		w.await(name, "renewed in the flood", 2*patience, renewed(serials[name]))
		w.wasNeverWithout(name)
	}
	peak := manager.peakMemory(t)
	t.Logf("the manager's peak is %d MiB", peak>>20)
	if peak > mostMemory {
		t.Errorf("the manager's peak is %d MiB, more than %d MiB", peak>>20, mostMemory>>20)
	}
}

// wasNeverWithout checks that each certificate of that name was issued before the one before it expired, and that the last is valid.
func (w *world) wasNeverWithout(name string) {
	w.Helper()
	entries := w.vendor.ledger(commonName(name))
	for i, e := range entries[1:] {
		if before := entries[i].NotAfter; e.IssuedAt.After(before) {
			w.Errorf("%s was renewed at %s, after its certificate had expired at %s", name, e.IssuedAt, before)
		}
	}
	if last := w.get(name).Status.NotAfter; last == nil || time.Now().After(last.Time) {
		w.Errorf("%s has expired at %s", name, last)
	}
	w.Logf("%s was issued %d certificates, each before the last had expired", name, len(entries))
}

// bomb is an answer that is far larger than any certificate, and how many there are of it.
type bomb struct {
	fault simulator.Fault
	count int
}

// fourteenBombs are dropped at once.
func fourteenBombs() []bomb {
	return []bomb{
		{simulator.Fault{Action: simulator.ActionGzipBomb}, 4},
		{simulator.Fault{Action: simulator.ActionHugeBody}, 5},
		{simulator.Fault{Action: simulator.ActionHugeBody, Bytes: mostBody}, 5},
	}
}

// connectsForBombs makes an issuer that may have them all under way.
func (t *tenant) connectsForBombs() {
	t.Helper()
	t.connectAs("bombs", otherToken, func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Limits = v1alpha1.IssuerLimits{RequestsPerSecond: 100, Burst: 100, MaxConcurrent: 14}
	})
	t.ordersABomb("harmless") // one has to succeed before several are tried at once
	t.awaitReady("harmless")
}

func (t *tenant) ordersABomb(name string) {
	t.Helper()
	t.order(name, through(v1alpha1.KindDeviceIssuer, "bombs"), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.EnrollmentProfileID, c.Spec.CertificateAttributes[0].Value = profileMTLS, new(commonName(name))
	})
}

// dropsBombs orders them, and lets them go off when all are under way.
func (t *tenant) dropsBombs(bombs []bomb) {
	t.Helper()
	armed := map[string]int{}
	var total int
	for _, b := range bombs {
		b.fault.Hold, b.fault.Match = true, simulator.Match{Operation: simulator.OperationEnroll, ProfileID: profileMTLS, Times: b.count}
		armed[t.vendor.misbehave(b.fault)] = b.count
		for range b.count {
			t.ordersABomb(fmt.Sprint("bomb-", total))
			total++
		}
	}
	for id, count := range armed {
		t.vendor.awaitHits(id, count)
	}
	for id := range armed {
		t.vendor.forgive(id)
	}
	eventually(t.T, patience, "all bombs have gone off", func(context.Context) (bool, error) {
		var under int
		for _, r := range t.vendor.requests("") {
			if _, met := armed[r.FaultID]; met && !r.Done {
				under++
			}
		}
		return under == 0, nil
	})
}

func (t *tenant) floods(count int, edit func(*v1alpha1.DeviceCertificate)) {
	t.Helper()
	slots := make(chan struct{}, 16)
	var pending sync.WaitGroup
	for i := range count {
		slots <- struct{}{}
		pending.Go(func() {
			defer func() { <-slots }()
			name := fmt.Sprintf("flood-%05d", i)
			c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: t.namespace, Name: name}}
			edit(c)
			c.Spec.EnrollmentProfileID = profileLong
			c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: new(commonName(name))}}
			if err := t.Create(t.ctx, c); err != nil {
				t.Error(err)
			}
		})
	}
	pending.Wait()
}

func (t *tenant) certificatesOfTheFlood() int {
	t.Helper()
	var n int
	for _, e := range t.vendor.ledger("") {
		if strings.HasPrefix(e.CommonName, "flood-") {
			n++
		}
	}
	return n
}

// peakMemory is a process's peak resident set in bytes.
func (p *process) peakMemory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if size, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(size), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("this system does not tell a process's peak memory")
	return 0
}
