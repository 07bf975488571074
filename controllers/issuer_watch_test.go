// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// patience is how long may take what comes about within a second, on a machine with much else to do.
const patience = time.Minute

// startManager runs the issuer controllers as the manager does, until the test ends.
func (d *issuerDesk) startManager() {
	d.t.Helper()
	mgr, err := ctrl.NewManager(rest.CopyConfig(apiServer), ctrl.Options{
		Scheme: d.client.Scheme(), Metrics: server.Options{BindAddress: "0"}, Logger: logr.Discard(),
		Cache: cache.Options{
			ReaderFailOnMissingInformer: true,
			DefaultNamespaces:           map[string]cache.Config{d.namespace: {}, d.operator: {}},
			ByObject:                    map[client.Object]cache.ByObject{&corev1.Secret{}: {Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelWatch: "true"})}},
		},
	})
	d.must(err)
	d.reconciler.Client, d.reconciler.Reader, d.reconciler.WatchSecrets = mgr.GetClient(), mgr.GetAPIReader(), true
	skip := true
	d.must(d.reconciler.SetupWithManager(d.t.Context(), mgr, controller.Options{SkipNameValidation: &skip}))
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	d.t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			d.t.Errorf("manager: %v", err)
		}
	})
}

func TestALabelledCredentialTakesEffectWithinSeconds(t *testing.T) {
	g := NewWithT(t)
	d := newIssuerDesk(t)
	d.startManager()
	id := d.issuer()
	cluster := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}, Spec: v1alpha1.ClusterDeviceIssuerSpec{IssuerSpec: d.spec()}}
	d.must(d.client.Create(t.Context(), cluster))
	t.Cleanup(func() { _ = d.client.Delete(context.Background(), cluster) })
	clusterID := issuerOf(cluster).issuer().ID
	reason := func() []string {
		var reasons []string
		for _, object := range []issuerObject{d.object(id), d.object(clusterID)} {
			ready := apimeta.FindStatusCondition(object.status.Conditions, v1alpha1.ConditionReady)
			if ready == nil {
				return nil
			}
			reasons = append(reasons, ready.Reason)
		}
		return reasons
	}
	g.Eventually(reason, patience).Should(Equal([]string{v1alpha1.ReasonCredentialMissing, v1alpha1.ReasonCredentialMissing}))
	for _, namespace := range []string{d.namespace, d.operator} {
		d.must(d.client.Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "digicert", Labels: map[string]string{v1alpha1.LabelWatch: "true"}},
			StringData: map[string]string{"token": token},
		}))
	}
	g.Eventually(reason, patience).Should(Equal([]string{v1alpha1.ReasonConnected, v1alpha1.ReasonConnected}))
	// Somebody rewrites the Secret without end: what it holds is what counts.
	probes := d.requests()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "digicert"}}
	for n := range 100 {
		d.must(d.client.Patch(t.Context(), secret, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"touched":"%d"}}}`, n))))
	}
	d.must(d.client.Patch(t.Context(), secret, client.RawPatch(types.MergePatchType, []byte(`{"data":null}`))))
	g.Eventually(reason, patience).Should(HaveExactElements(v1alpha1.ReasonCredentialMissing, v1alpha1.ReasonConnected), "only this issuer is affected")
	g.Expect(d.requests()).To(BeNumerically("<=", probes+2), "the vendor is not asked for each touch")
}

func TestAnIssuerIsReconciledWhenItsAccountAsks(t *testing.T) {
	g := NewWithT(t)
	d := newIssuerDesk(t)
	d.token(token)
	d.startManager()
	id := d.issuer()
	g.Eventually(func() bool { return d.reconciler.Accounts.State(id).Ready }, patience).Should(BeTrue())
	d.token("wrong") // not labelled, and read again in four minutes at the earliest
	d.reconciler.Ask(id)
	g.Eventually(func() string { return d.reconciler.Accounts.State(id).Reason }, patience).Should(Equal(v1alpha1.ReasonCredentialRefused))
	d.must(d.client.Delete(t.Context(), d.object(id).Object))
	g.Eventually(func() bool { return d.reconciler.Accounts.State(id).Known }, patience).Should(BeFalse())
}
