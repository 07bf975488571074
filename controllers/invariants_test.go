// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// evidence is what a test has seen that must be judged at its end.
type evidence struct {
	mu sync.Mutex
	// keys are fragments of every private key that was stored.
	keys []string
	// faults are states of objects that nobody may ever see.
	faults []string
	// released are ids of certificates that nobody has to account for, by the test's own doing.
	released []string
}

// processLog is what all operators of this package's tests have logged, at the highest verbosity.
var processLog textLog

type textLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *textLog) add(prefix, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintln(&l.text, prefix, args) // a Builder never fails to write
}

// since is what was logged after the first n bytes.
func (l *textLog) since(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()[n:]
}

func (l *textLog) size() int { return len(l.since(0)) }

// witness looks at a Secret the operator has just written: it must hold a whole pair at every version.
func (w *world) witness(name string) {
	secret := &corev1.Secret{}
	if err := w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, secret); err != nil {
		return // somebody deleted it meanwhile
	}
	w.evidence.mu.Lock()
	defer w.evidence.mu.Unlock()
	if secret.Type == corev1.SecretTypeTLS {
		if _, err := tls.X509KeyPair(secret.Data[v1alpha1.KeyCertificate], secret.Data[v1alpha1.KeyPrivateKey]); err != nil {
			w.evidence.faults = append(w.evidence.faults, fmt.Sprintf("Secret %s at version %s: %v", name, secret.ResourceVersion, err))
		}
	}
	w.evidence.keys = append(w.evidence.keys, fragments(secret.Data[v1alpha1.KeyPrivateKey])...)
}

// witnessIntent looks at an object that has just recorded what is about to be bought: nobody may take the record away by deleting it.
func (w *world) witnessIntent(name string) {
	c := &v1alpha1.DeviceCertificate{}
	if err := w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, c); err != nil {
		return // somebody deleted it meanwhile
	}
	w.evidence.mu.Lock()
	defer w.evidence.mu.Unlock()
	if c.Status.Attempt != nil && !controllerutil.ContainsFinalizer(c, v1alpha1.Finalizer) {
		w.evidence.faults = append(w.evidence.faults, fmt.Sprintf("attempt %s of %s is on record without the finalizer that keeps the record", c.Status.Attempt.ID, name))
	}
}

// fragments are the lines of a PEM key, without the first, which all keys of a kind share.
func fragments(keyPEM []byte) []string {
	lines := strings.Split(strings.TrimSpace(string(keyPEM)), "\n")
	if len(lines) < 4 {
		return nil
	}
	return lines[2 : len(lines)-1]
}

// release takes certificates out of the accounting, where the test itself lost track of them.
func (w *world) release(ids ...string) {
	w.evidence.released = append(w.evidence.released, ids...)
}

// checkInvariants holds at the end of every test, whatever it did.
func (w *world) checkInvariants() {
	w.t.Helper()
	certificates, secrets := &v1alpha1.DeviceCertificateList{}, &corev1.SecretList{}
	w.must(w.client.List(w.ctx, certificates, client.InNamespace(w.namespace)))
	w.must(w.client.List(w.ctx, secrets, client.InNamespace(w.namespace)))
	for _, fault := range w.evidence.faults {
		w.t.Errorf("this was visible: %s", fault)
	}
	for i := range secrets.Items {
		w.checkPair(&secrets.Items[i])
	}
	for _, e := range w.vendor.Ledger() {
		if problem := w.account(e, certificates.Items, secrets.Items); problem != "" {
			w.t.Errorf("certificate %s (%s, %s, bought with credential %s): %s", e.SerialNumber, e.CommonName, e.Status, e.Credential, problem)
		}
	}
	for i := range certificates.Items {
		w.checkStatus(&certificates.Items[i], secrets.Items)
	}
	w.checkSecrecy(certificates)
}

// checkPair sees to it that no Secret of the operator holds half a pair.
func (w *world) checkPair(s *corev1.Secret) {
	w.t.Helper()
	if s.Annotations[v1alpha1.AnnotationCertificateName] == "" || s.Type != corev1.SecretTypeTLS {
		return
	}
	if _, err := tls.X509KeyPair(s.Data[v1alpha1.KeyCertificate], s.Data[v1alpha1.KeyPrivateKey]); err != nil {
		w.t.Errorf("Secret %s: %v", s.Name, err)
	}
}

// account says what is wrong with the books: every certificate the operator bought is in a Secret, a recorded predecessor, revoked,
// expired, reported, or of an attempt that is still open. What somebody else bought is not touched.
func (w *world) account(e simulator.Entry, certificates []v1alpha1.DeviceCertificate, secrets []corev1.Secret) string {
	stored := slices.ContainsFunc(secrets, func(s corev1.Secret) bool {
		return s.Annotations[v1alpha1.AnnotationCertificateID] == e.CertificateID
	})
	switch {
	case slices.Contains(w.evidence.released, e.CertificateID):
		return ""
	case e.Credential != ours && e.Status == "REVOKED":
		return "the operator revoked what somebody else bought"
	case e.Credential != ours:
		return ""
	case stored && e.Status == "REVOKED":
		return "it is revoked, and in a Secret"
	case stored || e.Status != "ISSUED":
		return ""
	}
	for _, c := range certificates {
		if i := c.Status.Issued; i != nil && i.CertificateID == e.CertificateID && i.SerialNumber == e.SerialNumber {
			return "" // the last one that was stored, on record although its Secret is gone
		}
		for _, s := range c.Status.Superseded {
			if s.CertificateID == e.CertificateID && s.SerialNumber == e.SerialNumber {
				return ""
			}
		}
		for _, o := range c.Status.Orphans {
			window := o.CertificateID == "" && o.CommonName == e.CommonName && o.ProfileID == e.ProfileID
			if o.CertificateID == e.CertificateID && o.Outcome != v1alpha1.OrphanRevoked || window {
				return ""
			}
		}
		if a := c.Status.Attempt; a != nil && a.CommonName == e.CommonName && a.ProfileID == e.ProfileID {
			return ""
		}
	}
	return "nobody accounts for it"
}

// checkStatus compares a status with the Secret it speaks of.
func (w *world) checkStatus(c *v1alpha1.DeviceCertificate, secrets []corev1.Secret) {
	w.t.Helper()
	conditions := c.Status.Conditions
	if apimeta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled) && apimeta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling) {
		w.t.Errorf("%s is Stalled and Reconciling", c.Name)
	}
	ready := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != "True" || ready.ObservedGeneration != c.Generation {
		return
	}
	i := slices.IndexFunc(secrets, func(s corev1.Secret) bool { return s.Name == c.Status.SecretName })
	if i < 0 {
		w.t.Errorf("%s is Ready without a Secret", c.Name)
		return
	}
	stored := tlssecret.Read(&secrets[i])
	if stored.Broken != nil {
		w.t.Errorf("%s is Ready: %v", c.Name, stored.Broken)
		return
	}
	if c.Status.CertificateID != stored.CertificateID || !c.Status.NotAfter.Time.Equal(stored.Bundle.Leaf.NotAfter) {
		w.t.Errorf("%s: the status speaks of certificate %s until %s, and the Secret holds %s until %s",
			c.Name, c.Status.CertificateID, c.Status.NotAfter, stored.CertificateID, stored.Bundle.Leaf.NotAfter)
	}
	if w.clock.Now().After(stored.Bundle.Leaf.NotAfter) {
		w.t.Errorf("%s is Ready, and its certificate has expired", c.Name)
	}
}

// checkSecrecy looks for private keys where none may be.
func (w *world) checkSecrecy(certificates *v1alpha1.DeviceCertificateList) {
	w.t.Helper()
	text, err := json.Marshal(certificates)
	w.must(err)
	for where, text := range map[string]string{"a DeviceCertificate": string(text), "an event": strings.Join(w.events.notes, "\n"), "the log": processLog.since(w.logged)} {
		if strings.Contains(text, "PRIVATE KEY-----") {
			w.t.Errorf("%s holds a private key", where)
		}
		for _, fragment := range w.evidence.keys {
			if strings.Contains(text, fragment) {
				w.t.Errorf("%s holds a part of a private key", where)
			}
		}
	}
}

// kstatus is what kstatus, and with it GitOps tools, make of an object.
func (w *world) kstatus(name string) status.Status {
	w.t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w.get(name))
	w.must(err)
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	w.must(err)
	return result.Status
}

// shows is a condition in short, such as "True Stored"; empty when it is absent.
func (w *world) shows(name, condition string) string {
	w.t.Helper()
	c := apimeta.FindStatusCondition(w.get(name).Status.Conditions, condition)
	if c == nil {
		return ""
	}
	return string(c.Status) + " " + c.Reason
}

// message is a condition's.
func (w *world) message(name, condition string) string {
	w.t.Helper()
	if c := apimeta.FindStatusCondition(w.get(name).Status.Conditions, condition); c != nil {
		return c.Message
	}
	return ""
}
