// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

// controllerCount is how many controllers a manager starts: for certificates, both kinds of issuer and their sweeps.
const controllerCount = 5

// issuerName is the issuer that certificates name unless a test says otherwise.
const issuerName = "digicert"

// world is what one test has to itself: a namespace with an issuer, a vendor, and the managers it starts.
type world struct {
	*testing.T
	ctx       context.Context
	namespace string
	vendor    *vendor
}

// newWorld runs the test side by side with others.
func newWorld(t *testing.T, edit ...func(*simulator.Config)) *world {
	t.Helper()
	t.Parallel()
	w := &world{T: t, ctx: t.Context(), vendor: startVendor(t, edit...)}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	w.must(env.admin.Create(w.ctx, namespace))
	w.namespace = namespace.Name
	return w
}

// in is the same world for a subtest.
func (w *world) in(t *testing.T) *world {
	inner, vendor := *w, *w.vendor
	vendor.t = t
	inner.T, inner.ctx, inner.vendor = t, t.Context(), &vendor
	return &inner
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// startManager runs a manager for this test's namespace, as the shipped service account, and waits until it works.
func (w *world) startManager(args ...string) *process {
	w.Helper()
	p := w.launchManager(env.operatorKubeconfig, args...)
	p.awaitLog(w.T, "Starting workers", controllerCount)
	return p
}

// launchManager does not wait. When the test is over, no secret is in the manager's log.
func (w *world) launchManager(kubeconfig string, args ...string) *process {
	w.Helper()
	p := start(w.T, env.manager, append([]string{
		"--kubeconfig=" + kubeconfig, "--namespaces=" + w.namespace, "--cluster-resource-namespace=" + operatorNamespace,
		"--allowed-hosts=127.0.0.1", "--health-probe-bind-address=0",
	}, args...)...)
	w.Cleanup(func() {
		log := p.log()
		for _, secret := range []string{goodToken, otherToken, goodPasscode, "-----BEGIN", "panic"} {
			if strings.Contains(log, secret) {
				w.Errorf("the manager's log holds %q", secret)
			}
		}
	})
	return p
}

func (w *world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: w.namespace, Name: name}
}

func (w *world) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: w.namespace, Name: name}
}

func (w *world) createSecret(name string, data map[string][]byte) *corev1.Secret {
	w.Helper()
	s := &corev1.Secret{ObjectMeta: w.meta(name), Data: data}
	w.must(env.admin.Create(w.ctx, s))
	return s
}

// issuer creates an issuer with an API token, whose lost answers can be resolved as soon as possible.
func (w *world) issuer(edit ...func(*v1alpha1.DeviceIssuer)) *v1alpha1.DeviceIssuer {
	w.Helper()
	i := &v1alpha1.DeviceIssuer{ObjectMeta: w.meta(issuerName)}
	i.Spec.URL = w.vendor.url
	i.Spec.CABundle = string(w.vendor.file("ca.crt"))
	i.Spec.RequestTimeout = &metav1.Duration{Duration: 5 * time.Second}
	i.Spec.Orphans.InventoryLag = &metav1.Duration{}
	i.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: issuerName, Key: "credential"}}
	for _, e := range edit {
		e(i)
	}
	w.must(env.admin.Create(w.ctx, i))
	return i
}

// connect creates the issuer and its token.
func (w *world) connect(edit ...func(*v1alpha1.DeviceIssuer)) {
	w.Helper()
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(goodToken)})
	w.issuer(edit...)
}

// commonName is what the certificate of that name asks for.
func commonName(name string) string { return name + ".device.example" }

// certificate creates a DeviceCertificate.
func (w *world) certificate(name string, edit ...func(*v1alpha1.DeviceCertificate)) *v1alpha1.DeviceCertificate {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{ObjectMeta: w.meta(name)}
	c.Spec.IssuerRef.Name = issuerName
	c.Spec.EnrollmentProfileID = profileLong
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: new(commonName(name))}}
	for _, e := range edit {
		e(c)
	}
	w.must(env.admin.Create(w.ctx, c))
	return c
}

func (w *world) get(name string) *v1alpha1.DeviceCertificate {
	w.Helper()
	c, err := live.Get[v1alpha1.DeviceCertificate](w.ctx, env.admin, w.key(name))
	w.must(err)
	return c
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	s, err := live.Get[corev1.Secret](w.ctx, env.admin, w.key(name))
	w.must(err)
	return s
}

// edit changes a DeviceCertificate as a user would.
func (w *world) edit(name string, change func(*v1alpha1.DeviceCertificate)) {
	w.Helper()
	_, err := live.Edit(w.ctx, env.admin, w.key(name), change)
	w.must(err)
}

// editIssuer does the same to the issuer.
func (w *world) editIssuer(change func(*v1alpha1.DeviceIssuer)) {
	w.Helper()
	_, err := live.Edit(w.ctx, env.admin, w.key(issuerName), change)
	w.must(err)
}

// editSecret does the same to a Secret.
func (w *world) editSecret(name string, change func(*corev1.Secret)) {
	w.Helper()
	_, err := live.Edit(w.ctx, env.admin, w.key(name), change)
	w.must(err)
}

// annotate sets an annotation of a DeviceCertificate.
func (w *world) annotate(name, key, value string) {
	w.Helper()
	w.edit(name, func(c *v1alpha1.DeviceCertificate) { metav1.SetMetaDataAnnotation(&c.ObjectMeta, key, value) })
}

// requestRenewal asks for a renewal now. The annotation counts in whole seconds, and one of the second of issuing is as old as that.
func (w *world) requestRenewal(name string) {
	w.Helper()
	w.annotate(name, v1alpha1.AnnotationRenewRequestedAt, time.Now().Add(time.Second).UTC().Format(time.RFC3339))
}

// await waits until a DeviceCertificate is as described, and answers with it.
func (w *world) await(name, what string, patience time.Duration, is func(*v1alpha1.DeviceCertificate) bool) *v1alpha1.DeviceCertificate {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{}
	w.Cleanup(func() {
		if w.Failed() && !is(c) {
			w.explain(c)
		}
	})
	eventually(w.T, patience, name+" is "+what, func(ctx context.Context) (_ bool, err error) {
		c, err = live.Get[v1alpha1.DeviceCertificate](ctx, env.admin, w.key(name))
		return err == nil && is(c), client.IgnoreNotFound(err)
	})
	return c
}

// awaitIssuer waits until an issuer is as described, and answers with it.
func (w *world) awaitIssuer(name, what string, is func(*v1alpha1.DeviceIssuer) bool) *v1alpha1.DeviceIssuer {
	w.Helper()
	var i *v1alpha1.DeviceIssuer
	eventually(w.T, patience, "issuer "+name+" is "+what, func(ctx context.Context) (_ bool, err error) {
		i, err = live.Get[v1alpha1.DeviceIssuer](ctx, env.admin, w.key(name))
		return err == nil && is(i), err
	})
	return i
}

// awaitReason waits until an issuer's Ready condition has that reason, and answers with the issuer.
func (w *world) awaitReason(name, reason string) *v1alpha1.DeviceIssuer {
	w.Helper()
	return w.awaitIssuer(name, reason, func(i *v1alpha1.DeviceIssuer) bool {
		return i.Status.ObservedGeneration == i.Generation && condition(i.Status.Conditions, v1alpha1.ConditionReady).Reason == reason
	})
}

// explain logs an object that did not become what it should, and the issuers, one of which may be why.
func (w *world) explain(c *v1alpha1.DeviceCertificate) {
	w.Helper()
	issuers := &v1alpha1.DeviceIssuerList{}
	if err := env.admin.List(context.Background(), issuers, client.InNamespace(w.namespace)); err != nil {
		w.Log(err)
	}
	for _, i := range issuers.Items {
		w.Logf("issuer %s: %+v", i.Name, condition(i.Status.Conditions, v1alpha1.ConditionReady))
	}
	text, err := yaml.Marshal(c.Status)
	w.Logf("%s: %v\n%s", c.Name, err, text)
}

func (w *world) awaitReady(name string) *v1alpha1.DeviceCertificate {
	w.Helper()
	return w.await(name, "ready", patience, ready)
}

// ready tells whether Ready=True speaks of the spec as it is.
func ready(c *v1alpha1.DeviceCertificate) bool {
	return c.Status.ObservedGeneration == c.Generation && apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady)
}

// renewed tells whether the certificate is ready and another than the one with that serial number.
func renewed(from string) func(*v1alpha1.DeviceCertificate) bool {
	return func(c *v1alpha1.DeviceCertificate) bool {
		return ready(c) && c.Status.SerialNumber != from && c.Status.Attempt == nil
	}
}

// condition is the condition of that type, or an empty one.
func condition(list []metav1.Condition, kind string) metav1.Condition {
	if c := apimeta.FindStatusCondition(list, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// kstatus is what Flux and other tools take an object for.
func kstatus(t *testing.T, object client.Object) status.Status {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: fields})
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

// live are the certificates of that common name which are not revoked at the vendor, oldest first.
func (w *world) live(commonName string) []simulator.Entry {
	w.Helper()
	return slices.DeleteFunc(w.vendor.ledger(commonName), func(e simulator.Entry) bool { return e.Status != issued })
}

// wantBought compares the number of certificates ever issued with what was asked for.
func (w *world) wantBought(commonName string, want int) {
	w.Helper()
	if got := w.vendor.ledger(commonName); len(got) != want {
		w.Errorf("%d certificates were bought for %q, want %d: %s", len(got), commonName, want, describe(got))
	}
}

func describe(entries []simulator.Entry) string {
	var lines []string
	for _, e := range entries {
		lines = append(lines, strings.Join([]string{e.CommonName, e.Kind, e.SerialNumber, e.Status}, " "))
	}
	return strings.Join(lines, ", ")
}
