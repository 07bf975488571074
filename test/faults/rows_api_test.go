// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"net/http"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

func apiRows() []row {
	return []row{
		{id: "K3", name: "the Secret is somebody else's", run: foreignSecret},
		{id: "K8", name: "401 when the certificate is to be stored", run: func(w *world) { storeRefused(w, http.StatusUnauthorized, 3) }},
		{id: "K9", name: "403 for a while when the certificate is to be stored", run: func(w *world) { storeRefused(w, http.StatusForbidden, 5) }},
		{id: "K10", name: "the quota is exhausted", run: quotaExhausted},
		{id: "K11", name: "the namespace is being deleted before the purchase", run: func(w *world) { namespaceDeleted(w, rehearsed(), 0) }},
		{id: "K11", name: "the namespace is being deleted before the store", run: func(w *world) { namespaceDeleted(w, stored(), 1) }},
		{id: "K12", name: "the Secret is deleted before the store", run: secretDeletedBeforeStore},
		{id: "K13", name: "the keystores are too large", run: tooLarge},
		{id: "K14", name: "the Secret is immutable", run: immutable},
		{id: "K14", name: "the Secret is of another type", run: otherType},
		{id: "K18", name: "the report is refused for a while", run: reportRefused},
	}
}

func foreignSecret(w *world) {
	w.begin()
	foreign := w.createSecret(gateway, map[string][]byte{"application": []byte("data")})
	w.certificate(gateway)
	w.awaitStalled(gateway, v1alpha1.ReasonSecretConflict)
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	if s := w.secret(gateway); s == nil || s.ResourceVersion != foreign.ResourceVersion {
		w.Errorf("the foreign Secret was touched: %+v", s)
	}
}

func storeRefused(w *world, code, times int) {
	w.begin()
	match := stored()
	match.Times = times
	w.proxy().Add(apiproxy.Fault{Match: match, Action: apiproxy.Respond, Status: code})
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
}

func quotaExhausted(w *world) {
	w.begin()
	quota := &corev1.ResourceQuota{ObjectMeta: w.meta("full")}
	quota.Spec.Hard = corev1.ResourceList{"count/secrets": resource.MustParse("1")} // the issuer's credential is there already
	w.must(env.admin.Create(w.ctx, quota))
	eventually(w.T, "the quota is enforced", func(ctx context.Context) (bool, error) {
		err := env.admin.Create(ctx, &corev1.Secret{ObjectMeta: w.meta("probe")}, client.DryRunAll)
		return apierrors.IsForbidden(err), nil
	})
	w.certificate(gateway)
	w.awaitStalled(gateway, v1alpha1.ReasonSecretRefused)
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)

	w.must(env.admin.Delete(w.ctx, quota))
	w.retry(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
}

// namespaceDeleted deletes the namespace just before a write.
func namespaceDeleted(w *world, before apiproxy.Match, bought int) {
	w.begin()
	w.deleteNamespaceAt(before, apiproxy.BeforeCommit)
	w.certificate(gateway)
	eventually(w.T, "the certificate is gone", func(context.Context) (bool, error) { return w.find(gateway) == nil, nil })
	w.awaitQuiet()
	w.wantBought(bought)
	for _, e := range w.ledger() {
		if e.Status != statusRevoked {
			w.Errorf("K11: %s is valid at the vendor, and its key is nowhere", e.SerialNumber)
		}
	}
}

// deleteNamespaceAt deletes the case's namespace in the middle of a write, and lets that go on when the namespace is terminating.
func (w *world) deleteNamespaceAt(at apiproxy.Match, stage apiproxy.Stage) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	w.proxy().Add(apiproxy.Fault{Match: at, Stage: stage, Do: func() {
		w.do("delete the namespace", env.admin.Delete(w.ctx, namespace))
		w.do("see it terminating", wait.PollUntilContextTimeout(w.ctx, pollInterval, patience, true, func(ctx context.Context) (bool, error) {
			err := env.admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
			return namespace.Status.Phase == corev1.NamespaceTerminating || err != nil, client.IgnoreNotFound(err)
		}))
	}})
}

func secretDeletedBeforeStore(w *world) {
	w.beginIssued()
	w.proxy().Add(apiproxy.Fault{Match: stored(), Do: func() {
		w.do("delete the Secret", env.admin.Delete(w.ctx, &corev1.Secret{ObjectMeta: w.meta(gateway)}))
	}})
	w.requestRenewal(gateway)
	replaced(w)
	w.wantBought(1)
}

func tooLarge(w *world) {
	w.begin()
	w.createSecret("password", map[string][]byte{"password": []byte("changeit")})
	withKeystore := stored()
	withKeystore.Body, withKeystore.Times = regexp.MustCompile("keystore.p12"), -1
	refusal := w.proxy().Add(apiproxy.Fault{Match: withKeystore, Action: apiproxy.Respond, Status: http.StatusRequestEntityTooLarge, Reason: string(metav1.StatusReasonRequestEntityTooLarge)})
	w.certificate(gateway, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Outputs = &v1alpha1.Outputs{PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "password", Key: "password"}}}
	})
	<-refusal.Met()
	w.awaitReady(gateway)
	w.awaitQuiet()
	w.wantBought(1)
	if s := w.secret(gateway); s == nil || s.Data["keystore.p12"] != nil {
		w.Error("want a Secret without the keystore")
	}
}

func immutable(w *world) {
	w.beginIssued()
	w.editSecret(gateway, func(s *corev1.Secret) { s.Immutable = new(true) })
	w.requestRenewal(gateway)
	w.await(gateway, "failing to renew", func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.Failures != nil && c.Status.Failures.Reason == v1alpha1.ReasonSecretRefused
	})
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	w.wantIntact()
}

func otherType(w *world) {
	w.begin()
	w.must(env.admin.Create(w.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: gateway, Annotations: map[string]string{v1alpha1.AnnotationAdoptableBy: gateway}},
		Type:       corev1.SecretTypeOpaque,
	}))
	w.certificate(gateway)
	w.awaitStalled(gateway, v1alpha1.ReasonSecretRefused)
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
}

func reportRefused(w *world) {
	w.begin()
	report := closing()
	report.Times = 5
	w.proxy().Add(apiproxy.Fault{Match: report, Action: apiproxy.Respond, Status: http.StatusInternalServerError})
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
}
