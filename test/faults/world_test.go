// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

// controllerCount is how many controllers a manager starts: for certificates, both kinds of issuer and their sweeps.
const controllerCount = 5

const (
	// issuerName is the issuer that certificates name unless a case says otherwise; its account is the first vendor.
	issuerName = "digicert"
	// gateway is the certificate that most cases are about.
	gateway = "gateway"
	token   = "good-token"

	profileLong = "IOT_00000000-0000-0000-0000-000000000001"
	// profileShort is valid for a few minutes.
	profileShort = "IOT_00000000-0000-0000-0000-000000000002"
	// profileBrief is valid for a minute and a half.
	profileBrief = "IOT_00000000-0000-0000-0000-000000000003"
)

// world is what one case has to itself.
type world struct {
	*testing.T
	ctx       context.Context
	namespace string
	vendors   []*vendor
	proxies   []*apiproxy.Proxy
	versions  *recording
	// kubeconfig leads through the first proxy.
	kubeconfig string
	// tampered are versions of Secrets that the case itself wrote.
	tampered map[string]bool
	// spoilt tells which versions of Secrets are somebody else's doing by what they hold; nil for none.
	spoilt func(*corev1.Secret) bool
	counts counts
	// before is the serial number of the certificate that was prepared; marked is when the case began in earnest.
	before       string
	marked       time.Time
	ledgerAtMark int

	mu      sync.Mutex
	manager *process
}

// newWorld runs the case side by side with others and counts it under the row. The case ends with verify.
func newWorld(t *testing.T, row string, edit ...func(*simulator.Config)) *world {
	t.Helper()
	t.Parallel()
	w := &world{T: t, ctx: t.Context(), tampered: map[string]bool{}}
	t.Cleanup(func() {
		w.counts.Cases = 1
		if t.Failed() {
			w.counts.Failed = 1
		}
		table.add(row, w.counts)
	})
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "faults-"}}
	w.must(env.admin.Create(w.ctx, namespace))
	w.namespace = namespace.Name
	w.versions = record(w)
	w.addVendor(edit...)
	_, w.kubeconfig = w.addProxy()
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// proxy is the way of the first manager to the API server.
func (w *world) proxy() *apiproxy.Proxy { return w.proxies[0] }

func (w *world) addProxy() (p *apiproxy.Proxy, kubeconfig string) {
	w.Helper()
	kubeconfig = filepath.Join(w.TempDir(), "kubeconfig")
	p, err := apiproxy.Start(env.operatorKubeconfig, kubeconfig)
	w.must(err)
	w.Cleanup(p.Close)
	w.proxies = append(w.proxies, p)
	return p, kubeconfig
}

// history are the requests of all managers.
func (w *world) history() []apiproxy.Exchange {
	var all []apiproxy.Exchange
	for _, p := range w.proxies {
		all = append(all, p.History()...)
	}
	slices.SortFunc(all, func(a, b apiproxy.Exchange) int { return a.Arrived.Compare(b.Arrived) })
	return all
}

// startManager runs a manager through the first proxy, as the shipped service account, and waits until it works.
func (w *world) startManager(args ...string) *process {
	w.Helper()
	p := w.launchManager(w.kubeconfig, args...)
	p.awaitLog(w.T, "Starting workers", controllerCount)
	return p
}

// launchManager does not wait.
func (w *world) launchManager(kubeconfig string, args ...string) *process {
	w.Helper()
	p := start(w.T, env.manager, append([]string{
		"--kubeconfig=" + kubeconfig, "--namespaces=" + w.namespace, "--cluster-resource-namespace=" + operatorNamespace,
		"--allowed-hosts=127.0.0.1", "--health-probe-bind-address=0",
	}, args...)...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.manager = p
	return p
}

// killManager may be called from any goroutine.
func (w *world) killManager() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.manager.kill()
}

func (w *world) managerAlive() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.manager.alive()
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

// connect creates an issuer for a vendor, whose lost answers can be resolved as soon as possible and are revoked, and waits until it works.
func (w *world) connect(name string, v *vendor, edit ...func(*v1alpha1.DeviceIssuer)) {
	w.Helper()
	w.createSecret(name, map[string][]byte{"credential": []byte(token)})
	i := w.issuer(name, v)
	for _, e := range edit {
		e(i)
	}
	w.must(env.admin.Create(w.ctx, i))
	eventually(w.T, "issuer "+name+" is ready", func(ctx context.Context) (bool, error) {
		err := env.admin.Get(ctx, client.ObjectKeyFromObject(i), i)
		return err == nil && apimeta.IsStatusConditionTrue(i.Status.Conditions, v1alpha1.ConditionReady), err
	})
}

// issuer is such an issuer, not created yet.
func (w *world) issuer(name string, v *vendor) *v1alpha1.DeviceIssuer {
	i := &v1alpha1.DeviceIssuer{ObjectMeta: w.meta(name)}
	i.Spec.URL = v.running.URL
	i.Spec.CABundle = v.server.TLSCertificate()
	i.Spec.RequestTimeout = &metav1.Duration{Duration: 5 * time.Second}
	i.Spec.Orphans.InventoryLag = &metav1.Duration{}
	i.Spec.Orphans.Policy = v1alpha1.OrphansRevoke
	i.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: name, Key: "credential"}}
	return i
}

// commonName is what the certificate of that name asks for. No other case asks for it.
func (w *world) commonName(name string) string { return name + "." + w.namespace }

// certificate creates a DeviceCertificate.
func (w *world) certificate(name string, edit ...func(*v1alpha1.DeviceCertificate)) {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{ObjectMeta: w.meta(name)}
	c.Spec.IssuerRef.Name = issuerName
	c.Spec.EnrollmentProfileID = profileLong
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: new(w.commonName(name))}}
	for _, e := range edit {
		e(c)
	}
	w.must(env.admin.Create(w.ctx, c))
}

// find is the DeviceCertificate of that name, or nil.
func (w *world) find(name string) *v1alpha1.DeviceCertificate {
	c := &v1alpha1.DeviceCertificate{ObjectMeta: w.meta(name)}
	return found(w, c)
}

// secret is the Secret of that name, or nil.
func (w *world) secret(name string) *corev1.Secret {
	return found(w, &corev1.Secret{ObjectMeta: w.meta(name)})
}

// found reads the object live; nil when there is none.
func found[T client.Object](w *world, object T) T {
	w.Helper()
	var none T
	err := env.admin.Get(context.Background(), client.ObjectKeyFromObject(object), object) // also when the test is over
	if apierrors.IsNotFound(err) {
		return none
	}
	if err != nil {
		w.Errorf("read %s: %v", object.GetName(), err)
		return none
	}
	return object
}

// edit changes a DeviceCertificate as a user would.
func (w *world) edit(name string, change func(*v1alpha1.DeviceCertificate)) {
	w.Helper()
	_, err := live.Edit(w.ctx, env.admin, w.key(name), change)
	w.must(err)
}

// editSecret does the same to a Secret, and answers with what was written.
func (w *world) editSecret(name string, change func(*corev1.Secret)) *corev1.Secret {
	w.Helper()
	s, err := live.Edit(w.ctx, env.admin, w.key(name), change)
	w.must(err)
	return s
}

// requestRenewal asks for a renewal now. The annotation counts in whole seconds, and one of the second of issuing is as old as that.
func (w *world) requestRenewal(name string) {
	w.Helper()
	at := time.Now().Add(time.Second).UTC().Format(time.RFC3339)
	w.edit(name, func(c *v1alpha1.DeviceCertificate) {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.AnnotationRenewRequestedAt, at)
	})
}

// await waits until a DeviceCertificate is as described, and answers with it.
func (w *world) await(name, what string, is func(*v1alpha1.DeviceCertificate) bool) *v1alpha1.DeviceCertificate {
	w.Helper()
	var c *v1alpha1.DeviceCertificate
	w.Cleanup(func() {
		if w.Failed() {
			w.explain(name)
		}
	})
	eventually(w.T, name+" is "+what, func(context.Context) (bool, error) {
		c = w.find(name)
		return c != nil && is(c), nil
	})
	return c
}

// awaitReady answers with the serial number that status and Secret agree on.
func (w *world) awaitReady(name string) string {
	w.Helper()
	return w.await(name, "ready", settled("")).Status.SerialNumber
}

// explain logs what became of an object and of its issuers.
func (w *world) explain(name string) {
	issuers := &v1alpha1.DeviceIssuerList{}
	if err := env.admin.List(context.Background(), issuers, client.InNamespace(w.namespace)); err != nil {
		w.Log(err)
	}
	for _, i := range issuers.Items {
		w.Logf("issuer %s: %+v", i.Name, apimeta.FindStatusCondition(i.Status.Conditions, v1alpha1.ConditionReady))
	}
	if c := w.find(name); c != nil {
		text, err := yaml.Marshal(c.Status)
		w.Logf("%s: %v\n%s", name, err, text)
	}
}

// settled tells whether Ready=True speaks of the spec as it is, no attempt is open, and the certificate is another than that.
func settled(old string) func(*v1alpha1.DeviceCertificate) bool {
	return func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.ObservedGeneration == c.Generation && apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) &&
			c.Status.Attempt == nil && c.Status.SerialNumber != old
	}
}
