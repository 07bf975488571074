// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

func TestARestartAsksTheVendorNothingUntilSomebodyBuys(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	d.acquire(id).Done(account.Outcome{Issued: true})
	d.reconcile(id)
	asked, version := d.requests(), d.object(id).GetResourceVersion()

	d.restart()
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	if d.requests() != asked || d.object(id).GetResourceVersion() != version {
		t.Errorf("%d requests to the vendor after a restart, and the status written: %t; want neither", d.requests()-asked, d.object(id).GetResourceVersion() != version)
	}
	request := account.Request{Key: types.NamespacedName{Namespace: d.namespace, Name: "gateway"}, ProfileID: profileLong, Format: v1alpha1.FormatPEM}
	lease, wait := d.reconciler.Accounts.Acquire(id, request)
	if lease != nil || wait.Reason != v1alpha1.ReasonIssuerNotReady {
		t.Errorf("bought from a credential that this process has not tried; waits for %s", wait.Reason)
	}
	if got := <-d.asked; got != id {
		t.Errorf("%s was asked for", got)
	}
	d.reconcile(id)
	d.acquire(id).Done(account.Outcome{Unused: true})
	if d.requests() != asked+1 {
		t.Errorf("%d requests to the vendor, want the one that tries the credential", d.requests()-asked)
	}
}

func TestACredentialThatChangedWhileTheOperatorWasDownIsTried(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	d.token(searchlessToken)
	d.restart()
	asked := d.requests()
	d.reconcile(id)
	if d.requests() != asked+1 || d.status(id).Capabilities.Search != v1alpha1.CapabilityNo {
		t.Errorf("%d requests, search: %s", d.requests()-asked, d.status(id).Capabilities.Search)
	}
}

func TestAClientCertificateIsLookedAtWhenItEndsAndCostsNoRequest(t *testing.T) {
	d := newIssuerDesk(t)
	d.reconciler.WatchSecrets = true
	pair, ok := d.vendor.ClientCertificate("operator")
	if !ok {
		t.Fatal("the simulator has no client certificate")
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "digicert", Labels: map[string]string{v1alpha1.LabelWatch: "true"}}}
	secret.Type, secret.StringData = corev1.SecretTypeTLS, encodePair(t, pair)
	d.must(d.client.Create(t.Context(), secret))
	id := d.issuer(func(s *v1alpha1.IssuerSpec) {
		s.Auth = v1alpha1.IssuerAuth{ClientCertificate: &v1alpha1.ClientCertificateAuth{SecretRef: v1alpha1.SecretReference{Name: "digicert"}, URL: d.running.ClientAuthURL}}
	})
	d.clock.SetTime(pair.Leaf.NotAfter.Add(-10 * time.Minute))
	again := d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	if again > 10*time.Minute {
		t.Errorf("the certificate ends in ten minutes, and is looked at again after %s", again)
	}
	asked := d.requests()
	d.clock.Step(again)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, v1alpha1.ConditionStalled)
	if lease, _ := d.tryAcquire(id); lease != nil || d.requests() != asked {
		t.Errorf("%d requests with a certificate that has ended, and a lease: %t", d.requests()-asked, lease != nil)
	}
}

func TestAWatchedCredentialIsNotReadEveryFiveMinutes(t *testing.T) {
	d := newIssuerDesk(t)
	d.reconciler.WatchSecrets = true
	d.token(token)
	id := d.issuer()
	if again := d.reconcile(id); again > 5*time.Minute {
		t.Errorf("a credential without the label is read again after %s", again)
	}
	secret := &corev1.Secret{}
	d.must(d.client.Get(t.Context(), types.NamespacedName{Namespace: d.namespace, Name: "digicert"}, secret))
	secret.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	d.must(d.client.Update(t.Context(), secret))
	if again := d.reconcile(id); again < time.Hour {
		t.Errorf("a labelled credential is read again after %s", again)
	}
	d.update(id, func(o issuerObject) {
		o.spec.CABundle, o.spec.CABundleRef = "", &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindConfigMap, Name: "ca", Key: "ca.crt"}
	})
	d.must(d.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "ca"}, Data: map[string]string{"ca.crt": d.vendor.TLSCertificate()},
	}))
	if again := d.reconcile(id); again > 5*time.Minute {
		t.Errorf("an issuer with a ConfigMap, which is not watched, is read again after %s", again)
	}
}
