// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"maps"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

func secretRows() []row {
	return []row{
		{id: "X2", name: "the Secret is deleted as often as it appears", run: deletedAgainAndAgain},
		{id: "X3", name: "tls.key is edited", run: func(w *world) {
			damaged(w, func(s *corev1.Secret) { s.Data["tls.key"] = []byte("no key") })
		}},
		{id: "X3", name: "tls.key and tls.crt are swapped with another pair", run: swappedPair},
		{id: "X4", name: "labels and annotations are stripped", run: stripped},
		{id: "X6", name: "the Secret is of an object that is gone", run: deletedOwner},
		{id: "X6", name: "a Secret whose owner agrees is taken over", run: adopted},
		{id: "X8", name: "two objects name the same Secret", run: twoOfOneSecret},
		{id: "X9", name: "the Secret is renamed", run: renamed},
		{id: "X10", name: "a backup is restored: new UIDs, no statuses, old Secrets", run: restored},
	}
}

func deletedAgainAndAgain(w *world) {
	w.beginIssued()
	end := time.Now().Add(20 * time.Second)
	eventually(w.T, "the time is over", func(ctx context.Context) (bool, error) {
		err := env.admin.Delete(ctx, &corev1.Secret{ObjectMeta: w.meta(gateway)})
		return time.Now().After(end), client.IgnoreNotFound(err)
	})
	if got := len(w.purchases(gateway)); got < 1 || got > 4 {
		w.Errorf("I5: %d certificates were bought in 20 seconds for a Secret that is deleted all the time", got)
	}
}

// tamper edits the Secret as a user would, and remembers that what it shows then is not the operator's doing.
func (w *world) tamper(change func(*corev1.Secret)) {
	w.Helper()
	w.tampered[w.editSecret(gateway, change).ResourceVersion] = true
}

func damaged(w *world, change func(*corev1.Secret)) {
	w.beginIssued()
	w.tamper(change)
	replaced(w)
	w.wantBought(1)
}

func swappedPair(w *world) {
	w.beginIssued()
	w.certificate("other")
	w.awaitReady("other")
	w.mark()
	other := w.secret("other").Data
	w.tamper(func(s *corev1.Secret) { s.Data = maps.Clone(other) })
	w.awaitSecret(gateway, "its own again", func(s *corev1.Secret) bool {
		serial, problem := inspect(s, w.roots())
		return problem == nil && serial != w.ledger()[1].SerialNumber
	})
	replaced(w)
	w.wantBought(1)
}

func stripped(w *world) {
	w.beginIssued()
	w.tamper(func(s *corev1.Secret) {
		delete(s.Labels, v1alpha1.LabelWatch)
		delete(s.Annotations, v1alpha1.AnnotationContentDigest)
	})
	w.awaitSecret(gateway, "labelled again", func(s *corev1.Secret) bool {
		return s.Labels[v1alpha1.LabelWatch] != "" && s.Annotations[v1alpha1.AnnotationContentDigest] != ""
	})
	w.awaitReady(gateway)
	w.wantBought(0)
	w.wantIntact()
}

func deletedOwner(w *world) {
	w.begin()
	foreign := &corev1.Secret{ObjectMeta: w.meta(gateway), Data: map[string][]byte{"application": []byte("data")}}
	foreign.Annotations = map[string]string{v1alpha1.AnnotationCertificateName: "somebody-else", v1alpha1.AnnotationCertificateUID: "00000000-0000-0000-0000-000000000000"}
	w.must(env.admin.Create(w.ctx, foreign))
	w.certificate(gateway)
	w.awaitStalled(gateway, v1alpha1.ReasonSecretConflict)
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	if s := w.secret(gateway); s == nil || s.ResourceVersion != foreign.ResourceVersion {
		w.Errorf("the foreign Secret was touched: %+v", s)
	}
}

func adopted(w *world) {
	w.begin()
	w.must(env.admin.Create(w.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: gateway, Annotations: map[string]string{v1alpha1.AnnotationAdoptableBy: gateway}},
		Type:       corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": {}, "tls.key": {}},
	}))
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
}

func twoOfOneSecret(w *world) {
	w.beginIssued()
	w.certificate("second", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = gateway })
	w.awaitStalled("second", v1alpha1.ReasonSecretConflict)
	w.awaitQuiet()
	w.wantBought(0)
	w.wantIntact()
}

func renamed(w *world) {
	w.beginIssued()
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "renamed" })
	w.awaitSecret("renamed", "the same certificate", func(s *corev1.Secret) bool {
		serial, problem := inspect(s, w.roots())
		return problem == nil && serial == w.before
	})
	w.awaitReady(gateway)
	w.wantBought(0)
}

func restored(w *world) {
	w.beginIssued()
	w.killManager()
	c, s := w.find(gateway), w.secret(gateway)
	finalizers := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	w.must(env.admin.Patch(w.ctx, c.DeepCopy(), finalizers))
	w.must(env.admin.Delete(w.ctx, c.DeepCopy()))
	w.must(env.admin.Delete(w.ctx, s.DeepCopy()))
	for _, object := range []client.Object{s, c} {
		object.SetUID("")
		object.SetResourceVersion("")
		object.SetFinalizers(nil)
		object.SetManagedFields(nil)
		w.must(env.admin.Create(w.ctx, object))
	}
	w.startManager()
	if serial := w.awaitReady(gateway); serial != w.before {
		w.Errorf("serial %s, want %s", serial, w.before)
	}
	w.awaitQuiet()
	w.wantBought(0)
	w.wantIntact()
}

func objectRows() []row {
	return []row{
		{id: "U2", name: "the spec changes while the request is under way", run: editedInFlight},
		{id: "U3", name: "thirty edits in a row", run: manyEdits},
		{id: "U4", name: "edits of what costs nothing", run: freeEdits},
		{id: "U5", name: "a bad edit is taken back", run: badEditTakenBack},
		{id: "U7", name: "deleted before the request", run: func(w *world) { deletedAt(w, intended(), apiproxy.AfterCommit) }},
		{id: "U7", name: "deleted while the request is under way", run: deletedInFlight},
		{id: "U7", name: "deleted before the store", run: func(w *world) { deletedAt(w, stored(), apiproxy.BeforeCommit) }},
		{id: "U7", name: "deleted after the store", run: func(w *world) { deletedAt(w, stored(), apiproxy.AfterCommit) }},
		{id: "U9", name: "suspended while the request is under way", run: suspendedInFlight},
		{id: "U11", name: "a renewal is asked for thirty times", run: manyRenewals},
		{id: "U13", name: "the issuer is deleted", run: issuerDeleted},
	}
}

func editedInFlight(w *world) {
	w.begin()
	id := w.heldEnroll()
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	eventually(w.T, "the vendor has issued", func(context.Context) (bool, error) { return len(w.ledger()) > 0, nil })
	w.before = w.ledger()[0].SerialNumber
	changeUnit(w)
	w.release(id)
	replaced(w)
	w.wantBought(2)
	w.wantRevoked(0)
}

func manyEdits(w *world) {
	w.beginIssued()
	for i := range 30 {
		w.edit(gateway, func(c *v1alpha1.DeviceCertificate) {
			c.Spec.CertificateAttributes = []v1alpha1.Attribute{
				c.Spec.CertificateAttributes[0], {ID: "subject.organization_unit", Value: new(string(rune('a' + i%2)))},
			}
		})
	}
	replaced(w)
	w.awaitQuiet()
	if got := len(w.purchases(gateway)); got > 3 {
		w.Errorf("I5: %d purchases for thirty edits in a row", got)
	}
}

func freeEdits(w *world) {
	w.beginIssued()
	for _, change := range []func(*v1alpha1.DeviceCertificate){
		func(c *v1alpha1.DeviceCertificate) { c.Labels = map[string]string{"team": "edge"} },
		func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Renewal.RenewBefore = &metav1.Duration{Duration: 24 * time.Hour}
		},
		func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Secret.Outputs = &v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM}}
		},
		func(c *v1alpha1.DeviceCertificate) { c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke },
	} {
		w.edit(gateway, change)
		w.awaitReady(gateway)
	}
	w.awaitQuiet()
	w.wantBought(0)
	w.wantIntact()
}

func badEditTakenBack(w *world) {
	w.beginIssued()
	good, before := w.find(gateway).Spec, w.secret(gateway)
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: "no.such_field", Value: new("x")})
	})
	w.awaitStalled(gateway, v1alpha1.ReasonRefused)
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec = good })
	w.awaitReady(gateway)
	w.awaitQuiet()
	w.wantBought(0)
	if diff := cmp.Diff(before, w.secret(gateway)); diff != "" {
		w.Errorf("the Secret has changed (-before +after):\n%s", diff)
	}
}

// deletedAt deletes the object in the middle of a write.
func deletedAt(w *world, at apiproxy.Match, stage apiproxy.Stage) {
	w.begin()
	w.proxy().Add(apiproxy.Fault{Match: at, Stage: stage, Do: func() {
		w.do("delete the certificate", env.admin.Delete(w.ctx, &v1alpha1.DeviceCertificate{ObjectMeta: w.meta(gateway)}))
	}})
	w.certificate(gateway)
	w.awaitGone()
	w.awaitQuiet()
	w.wantBought(0, 1)
}

func (w *world) awaitGone() {
	w.Helper()
	eventually(w.T, "the certificate is gone", func(context.Context) (bool, error) { return w.find(gateway) == nil && len(w.versions.names()) > 0, nil })
}

func deletedInFlight(w *world) {
	w.begin()
	id := w.heldEnroll()
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	deleteCertificate(w)
	w.release(id)
	w.awaitGone()
	w.awaitQuiet()
	w.wantBought(1)
}

func suspendedInFlight(w *world) {
	w.begin()
	id := w.heldEnroll()
	w.certificate(gateway)
	w.awaitHit(w.vendor(), id)
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true })
	w.release(id)
	w.awaitReady(gateway)
	w.requestRenewal(gateway)
	w.awaitQuiet()
	w.wantPurchases(gateway, 1)
}

func manyRenewals(w *world) {
	w.beginIssued()
	for range 30 {
		w.requestRenewal(gateway)
	}
	replaced(w)
	w.awaitQuiet()
	if got := len(w.purchases(gateway)); got > 3 {
		w.Errorf("I5: %d renewals for thirty requests in a row", got)
	}
}

func issuerDeleted(w *world) {
	w.beginIssued()
	w.must(env.admin.Delete(w.ctx, &v1alpha1.DeviceIssuer{ObjectMeta: w.meta(issuerName)}))
	w.awaitQuiet()
	w.wantIntact()
	deleteCertificate(w)
	w.awaitGone()
	w.wantBought(0)
	if err := env.admin.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: gateway}, &corev1.Secret{}); apierrors.IsNotFound(err) {
		w.Error("the Secret went with the object, though it is to be retained")
	}
}
