// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// edit changes an object as a user would, and lets the watch notice.
func (w *world) edit(name string, change func(*v1alpha1.DeviceCertificate)) {
	w.t.Helper()
	c := w.get(name)
	base := c.DeepCopy()
	change(c)
	w.must(w.client.Patch(w.ctx, c, client.MergeFrom(base)))
	w.wake(client.ObjectKeyFromObject(c))
}

// annotate sets an annotation of an object.
func (w *world) annotate(name, key, value string) {
	w.t.Helper()
	w.edit(name, func(c *v1alpha1.DeviceCertificate) { metav1.SetMetaDataAnnotation(&c.ObjectMeta, key, value) })
}

// editStatus changes a status as a restore or an intruder would.
func (w *world) editStatus(name string, change func(*v1alpha1.DeviceCertificateStatus)) {
	w.t.Helper()
	c := w.get(name)
	base := c.DeepCopy()
	change(&c.Status)
	w.must(w.client.Status().Patch(w.ctx, c, client.MergeFrom(base)))
	w.wake(client.ObjectKeyFromObject(c))
}

// editSecret changes a Secret by hand, and lets the watch notice.
func (w *world) editSecret(name string, change func(*corev1.Secret)) {
	w.t.Helper()
	s := w.secret(name)
	base := s.DeepCopy()
	change(s)
	w.must(w.client.Patch(w.ctx, s, client.MergeFrom(base)))
	w.wakeAll()
}

// deleteSecret deletes a Secret by hand.
func (w *world) deleteSecret(name string) {
	w.t.Helper()
	w.must(w.client.Delete(w.ctx, w.secret(name)))
	w.wakeAll()
}

// hasSecret tells whether a Secret exists.
func (w *world) hasSecret(name string) bool {
	w.t.Helper()
	err := w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, &corev1.Secret{})
	w.must(client.IgnoreNotFound(err))
	return !apierrors.IsNotFound(err)
}

// createSecret makes a Secret that the operator has nothing to do with.
func (w *world) createSecret(name string, data map[string]string, edit ...func(*corev1.Secret)) {
	w.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, StringData: data}
	for _, e := range edit {
		e(s)
	}
	w.must(w.client.Create(w.ctx, s))
}

// stored is the pair in a Secret.
func (w *world) stored(name string) tlssecret.Stored {
	w.t.Helper()
	return tlssecret.Read(w.secret(name))
}

// delete deletes a DeviceCertificate and lets the operator deal with it.
func (w *world) delete(name string) {
	w.t.Helper()
	c := w.get(name)
	w.must(w.client.Delete(w.ctx, c))
	w.wake(client.ObjectKeyFromObject(c))
	w.pass(10 * time.Second)
}

// exists tells whether a DeviceCertificate exists.
func (w *world) exists(name string) bool {
	w.t.Helper()
	err := w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, &v1alpha1.DeviceCertificate{})
	w.must(client.IgnoreNotFound(err))
	return !apierrors.IsNotFound(err)
}

// issued is how many certificates the vendor has issued for the operator, ever.
func (w *world) issued() int {
	var n int
	for _, e := range w.vendor.Ledger() {
		if e.Credential == ours {
			n++
		}
	}
	return n
}

// statuses are the vendor's words for its certificates, oldest first.
func (w *world) statuses() []string {
	var all []string
	for _, e := range w.vendor.Ledger() {
		all = append(all, e.Status)
	}
	return all
}

// asked counts the requests the vendor got of some operations.
func (w *world) asked(operations ...simulator.Operation) int {
	var n int
	for _, r := range w.vendor.Requests() {
		if slices.Contains(operations, r.Operation) {
			n++
		}
	}
	return n
}

// posts counts the requests that buy.
func (w *world) posts() int { return w.asked(simulator.OperationEnroll, simulator.OperationRenew) }

// fault scripts the vendor.
func (w *world) fault(f simulator.Fault) {
	w.t.Helper()
	_, err := w.vendor.AddFault(f)
	w.must(err)
}

// onNext is the fault that the next requests of an operation meet.
func onNext(operation simulator.Operation, times int, action simulator.Action) simulator.Fault {
	return simulator.Fault{Match: simulator.Match{Operation: operation, Times: times}, Action: action}
}

// answering is the fault of a scripted answer.
func answering(operation simulator.Operation, times, code int) simulator.Fault {
	f := onNext(operation, times, simulator.ActionRespond)
	f.Response = simulator.Response{Status: code}
	return f
}

// lost commits and loses the answer.
func lost(operation simulator.Operation) simulator.Fault {
	f := onNext(operation, 1, simulator.ActionDrop)
	f.Stage = simulator.StageAfterCommit
	return f
}

// buyElsewhere enrolls the same name with somebody else's credential, and answers its certificate id.
func (w *world) buyElsewhere(commonName string) string {
	w.t.Helper()
	c, err := trustmanager.New(trustmanager.Config{
		BaseURL: w.vendorURL, Credential: trustmanager.Credential{APIToken: otherToken}, RootCAs: w.roots,
		RequestTimeout: 5 * time.Second, UserAgent: "somebody else", Now: w.clock.Now,
	})
	w.must(err)
	issued, err := c.Enroll(w.ctx, trustmanager.KeyRequest{
		ProfileID: profileLong, PrivateKeyFormat: "pem", IncludeChain: true,
		CertificateAttributes: []trustmanager.Attribute{{ID: attributeCommonName, Value: commonName}},
	})
	w.must(err)
	return issued.CertificateID
}

// now is the fake clock's time as annotations carry it.
func (w *world) now() string { return w.clock.Now().UTC().Format(time.RFC3339) }

// updateIssuer changes the issuer object.
func (w *world) updateIssuer(issuer *v1alpha1.DeviceIssuer, change func()) {
	w.t.Helper()
	w.must(w.client.Get(w.ctx, client.ObjectKeyFromObject(issuer), issuer))
	change()
	w.must(w.client.Update(w.ctx, issuer))
	w.connection.Generation = issuer.Generation // as the issuer controller follows an edit
	w.must(w.accounts.Update(w.issuer, w.connection))
}

// requestOf is the request to reconcile an object.
func requestOf(o client.Object) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)}
}
