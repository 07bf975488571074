// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
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

// mostMemory is what the manager may use at its peak, whatever a tenant or the vendor does.
const mostMemory = 128 << 20

func TestOneTenantsFloodAndBombsDoNotDisturbAnother(t *testing.T) {
	w := newWorld(t)
	mallory := w.newTenant()
	shared := w.clusterIssuer(w.namespace, v1alpha1.Grant{})
	manager := w.startManager("--namespaces=" + w.namespace + "," + mallory.namespace)
	through := through(v1alpha1.KindClusterDeviceIssuer, shared.Name)
	var renewing []string
	for i := range 3 {
		renewing = append(renewing, fmt.Sprint("renewing-", i))
		w.certificate(renewing[i], through, func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	}
	first := map[string]string{}
	for _, name := range renewing {
		first[name] = w.awaitReady(name).Status.SerialNumber
	}
	mallory.dropsBombs(14)
	mallory.floods(*floodSize, through)
	// Whoever comes last waits for one of the flood, not for all of it.
	w.certificate("late", through)
	w.awaitReady("late")
	if bought := mallory.certificatesOfTheFlood(); bought >= *floodSize {
		t.Errorf("the late certificate came after all %d of the flood", bought)
	} else {
		t.Logf("%d of %d certificates of the flood came before the late one", bought, *floodSize)
	}
	for _, name := range renewing {
		w.await(name, "renewed in time", 2*patience, func(c *v1alpha1.DeviceCertificate) bool {
			if c.Status.NotAfter != nil && time.Now().After(c.Status.NotAfter.Time) {
				t.Errorf("%s has expired at %s", name, c.Status.NotAfter)
			}
			return renewed(first[name])(c)
		})
	}
	peak := manager.peakMemory(t)
	t.Logf("the manager's peak is %d MiB", peak>>20)
	if peak > mostMemory {
		t.Errorf("the manager's peak is %d MiB, more than %d MiB", peak>>20, mostMemory>>20)
	}
}

// dropsBombs has so many answers at once that are far larger than any certificate, packed and unpacked.
func (t *tenant) dropsBombs(count int) {
	t.Helper()
	t.connectAs("bombs", otherToken, func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Limits = v1alpha1.IssuerLimits{RequestsPerSecond: 100, Burst: 100, MaxConcurrent: int32(count)}
	})
	order := func(name string) {
		t.order(name, through(v1alpha1.KindDeviceIssuer, "bombs"), func(c *v1alpha1.DeviceCertificate) {
			c.Spec.EnrollmentProfileID, c.Spec.CertificateAttributes[0].Value = profileMTLS, new(commonName(name))
		})
	}
	order("harmless") // one has to succeed before several are tried at once
	t.awaitReady("harmless")
	for i := range count {
		action := []simulator.Action{simulator.ActionHugeBody, simulator.ActionGzipBomb}[i%2]
		t.vendor.misbehave(simulator.Fault{Match: simulator.Match{Operation: simulator.OperationEnroll, ProfileID: profileMTLS}, Action: action})
	}
	for i := range count {
		order(fmt.Sprint("bomb-", i))
	}
	for i := range count {
		t.await(fmt.Sprint("bomb-", i), "bombed", patience, func(c *v1alpha1.DeviceCertificate) bool {
			return c.Status.Attempt != nil || c.Status.Failures != nil || ready(c)
		})
	}
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
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
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
