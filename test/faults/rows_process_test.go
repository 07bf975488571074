// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

func processRows() []row {
	return []row{
		{id: "C16", name: "SIGTERM during a request: it is stored, and the process exits with zero", run: terminatedMidRequest},
		{id: "W11", name: "a restart with issued certificates calls and writes nothing", run: restartedIdle},
		{id: "L1", name: "the lease is lost during a request: it is stored, and nothing new begins", run: leaseLost},
		{id: "L3", name: "a leader sleeps with an answer in hand, and wakes when another has gone on", run: leaderSleeps},
		{id: "L6", name: "two managers without leader election", run: twoManagers},
		{id: "O5", name: "at the highest log level no key is logged", run: loudest},
	}
}

// terminatedMidRequest has the vendor take longer than a stopping leader keeps its lease: certificates on their way have --shutdown-timeout.
func terminatedMidRequest(w *world) {
	w.startManager()
	w.connect(issuerName, w.vendor(), func(i *v1alpha1.DeviceIssuer) { i.Spec.RequestTimeout = &metav1.Duration{Duration: 30 * time.Second} })
	w.mark()
	id := w.misbehave(w.vendor(), simulator.Fault{
		Match:  simulator.Match{Operation: simulator.OperationEnroll},
		Action: simulator.ActionDelay, Stage: simulator.StageAfterCommit, Delay: simulator.Duration(8 * time.Second),
	})
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	w.manager.signal(syscall.SIGTERM)
	w.awaitEnd(w.manager)
	if code := w.manager.ExitCode(); code != 0 {
		w.Errorf("exit status %d, want 0", code)
	}
	w.awaitReady(gateway)
	w.wantBought(1)
}

func (w *world) awaitEnd(p *process) {
	w.Helper()
	eventually(w.T, "the manager has ended", func(context.Context) (bool, error) { return !p.alive(), nil })
}

func restartedIdle(w *world) {
	w.begin()
	w.eachOfBurst(func(name string) { w.certificate(name) })
	w.eachOfBurst(func(name string) { w.awaitReady(name) })
	w.awaitQuiet()
	w.killManager()
	w.mark()
	calls := len(w.calls())
	w.startManager()
	w.certificate("newcomer") // it is served after those that have lain there
	w.awaitReady("newcomer")
	w.awaitQuiet()
	for _, e := range w.since() {
		if strings.HasPrefix(e.Name, gateway) {
			w.Errorf("I12: %s %s was written after a restart", e, e.Name)
		}
	}
	if got := len(w.calls()) - calls; got != 1 {
		w.Errorf("I12: %d calls after a restart, want that for the newcomer alone", got)
	}
}

// patientIssuer lets requests take longer than a lease lasts.
func patientIssuer(i *v1alpha1.DeviceIssuer) {
	i.Spec.RequestTimeout = &metav1.Duration{Duration: 30 * time.Second}
}

func leaseLost(w *world) {
	first := w.launchManager(w.kubeconfig, "--leader-elect")
	w.connect(issuerName, w.vendor(), patientIssuer)
	w.mark()
	id := w.heldEnroll()
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	w.proxy().Add(apiproxy.Fault{Match: apiproxy.Match{Verb: "update", Resource: "leases", Times: -1}, Action: apiproxy.Respond, Status: http.StatusInternalServerError})
	first.awaitLog(w.T, "Failed to renew lease", 1)
	w.certificate("newcomer")
	w.release(id)
	w.awaitEnd(first)
	w.wantPurchases("newcomer", 0)
	w.awaitReady(gateway)

	_, kubeconfig := w.addProxy()
	w.launchManager(kubeconfig, "--leader-elect")
	w.awaitReady("newcomer")
	w.wantBought(2)
}

func leaderSleeps(w *world) {
	first := w.launchManager(w.kubeconfig, "--leader-elect")
	w.connect(issuerName, w.vendor())
	w.mark()
	woken := make(chan struct{})
	asleep := w.proxy().Add(apiproxy.Fault{Match: stored(), Do: func() {
		first.signal(syscall.SIGSTOP)
		<-woken
	}})
	w.certificate(gateway)
	<-asleep.Met()

	_, kubeconfig := w.addProxy()
	w.launchManager(kubeconfig, "--leader-elect")
	w.awaitReady(gateway)
	first.signal(syscall.SIGCONT)
	close(woken)
	w.awaitEnd(first) // it has lost its lease
	w.awaitReady(gateway)
	w.wantBought(2)
	live := 0
	for _, e := range w.ledger() {
		if e.Status != statusRevoked {
			live++
		}
	}
	if live != 1 {
		w.Errorf("%d certificates are valid at the vendor, want the one in use", live)
	}
}

func twoManagers(w *world) {
	w.begin()
	_, kubeconfig := w.addProxy()
	w.launchManager(kubeconfig).awaitLog(w.T, "Starting workers", controllerCount)
	w.eachOfBurst(func(name string) { w.certificate(name) })
	w.eachOfBurst(func(name string) { w.awaitReady(name) })
	w.wantBought(burst)
}

func loudest(w *world) {
	tooLoud := w.launchManager(w.kubeconfig, "--zap-log-level=8")
	w.awaitEnd(tooLoud)
	if code := tooLoud.ExitCode(); code != 1 {
		w.Errorf("I4: a level at which the Kubernetes client logs Secrets ends with status %d, want 1", code)
	}
	manager := w.startManager("--zap-log-level=7", "--zap-devel")
	w.connect(issuerName, w.vendor())
	w.certificate(gateway)
	w.awaitReady(gateway)
	log := manager.log()
	for _, secret := range append(traces(w.secret(gateway)), token) {
		if strings.Contains(log, secret) {
			w.Errorf("I4: the log holds %q", secret)
		}
	}
}

// traces are the spellings in which the private key of a Secret could appear somewhere: lines of PEM, the bytes in hex and in base64.
func traces(s *corev1.Secret) []string {
	text := s.Data["tls.key"]
	found := []string{base64.StdEncoding.EncodeToString(text)[:64]}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			found = append(found, line)
		}
	}
	if block, _ := pem.Decode(text); block != nil {
		const window = 16
		middle := block.Bytes[len(block.Bytes)/3:][:window]
		found = append(found, hex.EncodeToString(middle), strings.ToUpper(hex.EncodeToString(middle)))
	}
	return found
}
