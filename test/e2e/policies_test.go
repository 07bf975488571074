// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestDeletionKeepsOrDeletesTheSecretAsThePolicySays(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("kept")
	w.certificate("deleted", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete })
	for _, name := range []string{"kept", "deleted"} {
		w.awaitReady(name)
		w.must(env.admin.Delete(w.ctx, w.get(name)))
		w.awaitGone(&v1alpha1.DeviceCertificate{ObjectMeta: w.meta(name)})
	}
	verifyPair(t, w.secret("kept"))
	err := env.admin.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: "deleted"}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the Secret with deletionPolicy Delete is still there (%v)", err)
	}
	w.wantBought("", 2)
}

func TestAKeptSecretIsTakenUpAgainWithoutBuying(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway")
	first := w.awaitReady("gateway")
	w.must(env.admin.Delete(w.ctx, first))
	w.awaitGone(first)
	w.certificate("gateway")
	if again := w.awaitReady("gateway"); again.Status.SerialNumber != first.Status.SerialNumber {
		t.Errorf("serial %s, want %s", again.Status.SerialNumber, first.Status.SerialNumber)
	}
	w.wantBought("", 1)
}

func TestASuspendedCertificateIsNotBoughtUntilItIsResumed(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true })
	w.certificate("other")
	w.await("gateway", "suspended", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionSuspended).Status == "True"
	})
	w.awaitReady("other") // so much time has passed
	w.wantBought(commonName("gateway"), 0)
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = false })
	w.awaitReady("gateway")
	w.wantBought(commonName("gateway"), 1)
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true })
	c := w.await("gateway", "suspended and ready", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return ready(c) && condition(c.Status.Conditions, v1alpha1.ConditionSuspended).Status == "True"
	})
	if got := kstatus(t, c); got != status.CurrentStatus {
		t.Errorf("kstatus %s: what is stored is valid, suspended or not", got)
	}
	w.must(env.admin.Delete(w.ctx, c))
	w.awaitGone(c)
}

func TestASuspendedIssuerBuysNothingUntilItIsResumed(t *testing.T) {
	w := newWorld(t)
	w.connect(func(i *v1alpha1.DeviceIssuer) { i.Spec.Suspend = true })
	w.startManager()
	w.certificate("gateway")
	c := w.await("gateway", "suspended by its issuer", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionSuspended).Status == "True"
	})
	if got := kstatus(t, c); got != status.InProgressStatus {
		t.Errorf("kstatus %s", got)
	}
	w.wantBought("", 0)
	w.editIssuer(func(i *v1alpha1.DeviceIssuer) { i.Spec.Suspend = false })
	w.awaitReady("gateway")
	w.wantBought("", 1)
}

func TestASecretOfSomebodyElseIsNeverTouched(t *testing.T) {
	w := newWorld(t)
	w.connect()
	foreign := w.createSecret("gateway", map[string][]byte{"application": []byte("data")})
	w.startManager()
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete })
	c := w.await("gateway", "blocked by the foreign Secret", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonSecretConflict
	})
	if got := kstatus(t, c); got != status.FailedStatus {
		t.Errorf("kstatus %s", got)
	}
	w.must(env.admin.Delete(w.ctx, c))
	w.awaitGone(c)
	if after := w.secret("gateway"); after.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("the foreign Secret was written: version %s, want %s", after.ResourceVersion, foreign.ResourceVersion)
	}
	w.wantBought("", 0)
}

func TestANamespaceWithCertificatesIsDeletedWhole(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	for i := range 3 {
		w.certificate(fmt.Sprint("gateway-", i))
	}
	for i := range 3 {
		w.awaitReady(fmt.Sprint("gateway-", i))
	}
	namespace := &corev1.Namespace{}
	namespace.Name = w.namespace
	w.must(env.admin.Delete(w.ctx, namespace))
	w.awaitGone(namespace)
	w.wantBought("", 3)
}

// awaitGone waits until an object does not exist any more.
func (w *world) awaitGone(o client.Object) {
	w.Helper()
	since := time.Now()
	eventually(w.T, patience, fmt.Sprintf("%T %s is gone", o, o.GetName()), func(ctx context.Context) (bool, error) {
		err := env.admin.Get(ctx, client.ObjectKeyFromObject(o), o)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	w.Logf("%s was gone after %s", o.GetName(), time.Since(since).Round(time.Millisecond))
}
