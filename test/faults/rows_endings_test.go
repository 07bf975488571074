// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"maps"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

// endingRows are about processes that end or starve, namespaces that go, and credentials that change meanwhile.
func endingRows() []row {
	rows := []row{
		{id: "C15", name: "killed while the vendor sends a body without end", run: killedByBomb},
		{id: "C17", name: "SIGTERM, and the vendor takes longer than the grace", run: terminatedTooEarly},
		{id: "O3", name: "the manager gets a twentieth of the processor", variant: true, run: starved},
		{id: "O4", name: "SIGQUIT with a key in hand: the dump holds none", run: dumped},
		{id: "O7", name: "the kubeconfig is missing: one clear line", run: fileMissing},
		{id: "U12", name: "the credential is replaced while the request is under way", vendor: twoKeys, run: credentialReplaced},
		{id: "U12", name: "the credential is emptied while the request is under way", run: credentialEmptied},
		{id: "X5", name: "somebody else writes another pair into the Secret all the time", run: contested},
	}
	for _, at := range []struct {
		name  string
		match apiproxy.Match
		stage apiproxy.Stage
	}{
		{"before the finalizer", apiproxy.Match{Verb: "patch", Resource: "devicecertificates"}, apiproxy.BeforeCommit},
		{"after the finalizer", apiproxy.Match{Verb: "patch", Resource: "devicecertificates"}, apiproxy.AfterCommit},
		{"after the rehearsal", rehearsed(), apiproxy.AfterCommit},
		{"before the intent", intended(), apiproxy.BeforeCommit},
		{"after the intent", intended(), apiproxy.AfterCommit},
		{"after the store", stored(), apiproxy.AfterCommit},
		{"before the report", closing(), apiproxy.BeforeCommit},
	} {
		rows = append(rows, row{id: "X12", name: "the namespace is deleted " + at.name, variant: at.stage == apiproxy.BeforeCommit, run: func(w *world) {
			namespaceGone(w, at.match, at.stage)
		}})
	}
	return rows
}

// namespaceGone deletes the namespace at a step: nothing stays behind in it, and what was bought was stored or is revoked.
func namespaceGone(w *world, at apiproxy.Match, stage apiproxy.Stage) {
	w.begin()
	w.deleteNamespaceAt(at, stage)
	w.certificate(gateway)
	eventually(w.T, "the certificate is gone", func(context.Context) (bool, error) { return w.find(gateway) == nil && len(w.versions.names()) > 0, nil })
	eventually(w.T, "the namespace is gone", func(ctx context.Context) (bool, error) {
		err := env.admin.Get(ctx, client.ObjectKey{Name: w.namespace}, &corev1.Namespace{})
		return err != nil, client.IgnoreNotFound(err)
	})
	w.awaitQuiet()
	w.wantBought(0, 1)
}

// killedByBomb ends the process while it reads an answer that is far too long. The next one is not poisoned by it.
func killedByBomb(w *world) {
	w.begin()
	id := w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionHugeBody}))
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	w.killManager()
	w.startManager()
	w.awaitReady(gateway)
	w.wantBought(2)
	w.wantRevoked(1)
}

// terminatedTooEarly lets the process go before the answer comes: the next one resolves the attempt.
func terminatedTooEarly(w *world) {
	w.startManager("--shutdown-timeout=1s")
	w.connect(issuerName, w.vendor(), patientIssuer)
	w.mark()
	id := w.heldEnroll()
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	w.manager.signal(syscall.SIGTERM)
	w.awaitEnd(w.manager)
	w.release(id)
	w.startManager()
	w.awaitReady(gateway)
	w.wantBought(2)
	w.wantRevoked(1)
}

// starved stops the manager for most of the time.
func starved(w *world) {
	w.begin()
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	manager := w.manager
	go func() {
		defer close(done)
		defer manager.signal(syscall.SIGCONT)
		for ctx.Err() == nil {
			manager.signal(syscall.SIGSTOP)
			pause(ctx, 190*time.Millisecond)
			manager.signal(syscall.SIGCONT)
			pause(ctx, 10*time.Millisecond)
		}
	}()
	for _, name := range []string{"a", "b", "c"} {
		w.certificate(name)
		w.awaitReady(name)
	}
	cancel()
	<-done
	w.wantBought(3)
}

// pause ends after a while, or with the context.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// dumped asks the process for the stacks of its goroutines between store and report.
func dumped(w *world) {
	w.begin()
	hanging := w.proxy().Add(apiproxy.Fault{Match: closing(), Action: apiproxy.Hang})
	w.certificate(gateway)
	<-hanging.Met()
	w.manager.signal(syscall.SIGQUIT)
	w.awaitEnd(w.manager)
	log := w.manager.log()
	if !strings.Contains(log, "goroutine ") {
		w.Error("there is no dump in the log")
	}
	for _, secret := range append(traces(w.secret(gateway)), token) {
		if strings.Contains(log, secret) {
			w.Errorf("I4: the dump holds %q", secret)
		}
	}
	hanging.Remove()
	w.startManager()
	w.awaitReady(gateway)
	w.wantBought(1)
}

func fileMissing(w *world) {
	p := w.launchManager(filepath.Join(w.TempDir(), "nowhere"))
	w.awaitEnd(p)
	if code := p.ExitCode(); code != 1 {
		w.Errorf("exit status %d, want 1", code)
	}
	if log := strings.TrimSpace(p.log()); !strings.Contains(log, "find a cluster") || strings.Contains(log, "goroutine ") {
		w.Errorf("the log says %q", log)
	}
}

// otherToken is the key a credential is rotated to.
const otherToken = "other-token"

func twoKeys(c *simulator.Config) {
	c.APIKeys = append(c.APIKeys, simulator.APIKey{Name: "other", Key: otherToken})
}

// replaceCredential writes another value into the issuer's credential, which is watched.
func (w *world) replaceCredential(value string) {
	w.Helper()
	w.editSecret(issuerName, func(s *corev1.Secret) {
		metav1.SetMetaDataLabel(&s.ObjectMeta, v1alpha1.LabelWatch, "true")
		s.Data["credential"] = []byte(value)
	})
}

func credentialReplaced(w *world) {
	w.begin()
	id := w.heldEnroll()
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	w.replaceCredential(otherToken)
	eventually(w.T, "the new credential is tried", func(context.Context) (bool, error) {
		for _, r := range w.vendor().server.Requests() {
			if r.Credential == "other" {
				return true, nil
			}
		}
		return false, nil
	})
	w.release(id)
	w.before = w.awaitReady(gateway)
	w.wantBought(1)
	w.requestRenewal(gateway)
	replaced(w)
	requests := w.purchases(gateway)
	if last := requests[len(requests)-1]; last.Credential != "other" {
		w.Errorf("the renewal was bought with credential %q", last.Credential)
	}
	w.wantBought(2)
}

func credentialEmptied(w *world) {
	w.begin()
	id := w.heldEnroll()
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	w.replaceCredential("")
	w.awaitIssuer("not ready", func(i *v1alpha1.DeviceIssuer) bool {
		return len(i.Status.Conditions) > 0 && i.Status.Conditions[0].Status == metav1.ConditionFalse
	})
	w.release(id)
	w.before = w.awaitReady(gateway)
	w.requestRenewal(gateway)
	w.awaitQuiet()
	w.wantBought(1)
	w.wantIntact()
	w.replaceCredential(token)
	replaced(w)
	w.wantBought(2)
}

// contested lets another writer put another certificate's pair into the Secret again and again: what that costs is bounded.
func contested(w *world) {
	w.beginIssued()
	w.certificate("other")
	w.awaitReady("other")
	w.mark()
	foreign := w.secret("other").Data
	w.spoilt = func(s *corev1.Secret) bool {
		return s.Name == gateway && string(s.Data["tls.key"]) == string(foreign["tls.key"])
	}
	end := time.Now().Add(15 * time.Second)
	eventually(w.T, "the time is over", func(context.Context) (bool, error) {
		w.editSecret(gateway, func(s *corev1.Secret) { s.Data = maps.Clone(foreign) })
		return time.Now().After(end), nil
	})
	if got := len(w.purchases(gateway)); got > 4 {
		w.Errorf("I5: %d certificates were bought in 15 seconds for a Secret that somebody else keeps overwriting", got)
	}
}
