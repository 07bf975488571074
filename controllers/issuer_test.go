// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

const (
	searchlessToken = "may-not-search"
	buylessToken    = "may-not-enroll"
	passcode        = "passcode-1"
)

// issuerDesk is a vendor, two namespaces and one issuer controller that is driven by hand.

type issuerDesk struct {
	t                   *testing.T
	client              client.Client
	clock               *clocktesting.FakeClock
	namespace, operator string // the tenant's and the operator's
	vendor              *simulator.Server
	running             *simulator.Running
	reconciler          *IssuerReconciler
	asked               chan account.ID
}

func newIssuerDesk(t *testing.T) *issuerDesk {
	t.Helper()
	d := &issuerDesk{t: t, client: newClient(t), clock: clocktesting.NewFakeClock(time.Now())}
	for _, name := range []*string{&d.namespace, &d.operator} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "issuer-"}}
		d.must(d.client.Create(t.Context(), namespace))
		*name = namespace.Name
	}
	d.startVendor()
	d.restart()
	return d
}

func (d *issuerDesk) startVendor() {
	vendor, err := simulator.New(simulator.Config{
		Now: d.clock.Now,
		APIKeys: []simulator.APIKey{
			{Name: "full", Key: token},
			{Name: "searchless", Key: searchlessToken, Deny: []simulator.Operation{simulator.OperationSearch}},
			{Name: "buyless", Key: buylessToken, Deny: []simulator.Operation{simulator.OperationEnroll}},
		},
		Passcodes:          []simulator.Passcode{{Name: "passcode", Passcode: passcode, ProfileID: profileLong}},
		ClientCertificates: []simulator.ClientCertificate{{Name: "operator", Generate: true}},
		Profiles:           []simulator.Profile{{ID: profileLong}},
	})
	d.must(err)
	d.running, err = vendor.Start(simulator.Addresses{API: "127.0.0.1:0", ClientAuth: "127.0.0.1:0"})
	d.must(err)
	d.vendor = vendor
	d.t.Cleanup(func() {
		_ = d.running.Stop(context.Background())
		_ = vendor.Close()
	})
}

// restart is a fresh process.

func (d *issuerDesk) restart() {
	hosts, err := account.ParseHostPolicy("127.0.0.1", "proxy.example", "")
	d.must(err)
	asked := make(chan account.ID, 100)
	d.asked = asked
	d.reconciler = &IssuerReconciler{
		Client: d.client, Reader: d.client, Roster: &Roster{reader: d.client}, Clock: d.clock, ClusterResourceNamespace: d.operator,
		Accounts: account.NewRegistry(account.Options{
			Clock: d.clock, Hosts: hosts, UserAgent: "test", Log: logr.Discard(),
			Wake: func(types.NamespacedName) {}, Probe: func(id account.ID) { asked <- id },
		}),
	}
}

func (d *issuerDesk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// spec is an issuer's with a token in Secret digicert.

func (d *issuerDesk) spec() v1alpha1.IssuerSpec {
	return v1alpha1.IssuerSpec{
		URL:      d.running.URL,
		CABundle: d.vendor.TLSCertificate(),
		Auth:     v1alpha1.IssuerAuth{APIToken: &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}},
	}
}

func (d *issuerDesk) issuer(edit ...func(*v1alpha1.IssuerSpec)) account.ID {
	d.t.Helper()
	spec := d.spec()
	for _, e := range edit {
		e(&spec)
	}
	object := &v1alpha1.DeviceIssuer{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "digicert"}, Spec: v1alpha1.DeviceIssuerSpec{IssuerSpec: spec}}
	d.must(d.client.Create(d.t.Context(), object))
	return account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: d.namespace, Name: "digicert"}
}

func withPasscode(s *v1alpha1.IssuerSpec) {
	s.Auth = v1alpha1.IssuerAuth{EnrollmentPasscode: &v1alpha1.EnrollmentPasscodeAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}}
}

// secret creates or replaces Secret digicert.

func (d *issuerDesk) secret(namespace string, kind corev1.SecretType, data map[string]string) {
	d.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "digicert"}, Type: kind, StringData: data}
	d.must(client.IgnoreNotFound(d.client.Delete(d.t.Context(), secret.DeepCopy())))
	d.must(d.client.Create(d.t.Context(), secret))
}

func (d *issuerDesk) token(value string) {
	d.t.Helper()
	d.secret(d.namespace, corev1.SecretTypeOpaque, map[string]string{"token": value})
}

// reconcile runs the controller once and checks what every status must satisfy. It returns when it wants to run again.

func (d *issuerDesk) reconcile(id account.ID) time.Duration {
	d.t.Helper()
	result, err := d.reconciler.reconcile(d.t.Context(), id)
	d.must(err)
	status := d.status(id)
	if apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReconciling) && apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled) {
		d.t.Error("Reconciling and Stalled at once")
	}
	if apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady) == nil {
		d.t.Error("no condition Ready")
	}
	for _, c := range status.Conditions {
		if strings.Contains(c.Message, token) || strings.Contains(c.Message, passcode) {
			d.t.Errorf("condition %s shows a credential: %s", c.Type, c.Message)
		}
	}
	return result.RequeueAfter
}

func (d *issuerDesk) object(id account.ID) issuerObject {
	d.t.Helper()
	object, err := getIssuer(d.t.Context(), d.client, id)
	d.must(err)
	return object
}

func (d *issuerDesk) status(id account.ID) *v1alpha1.IssuerStatus {
	d.t.Helper()
	return d.object(id).status
}

// wantCondition checks Ready, and which of Reconciling and Stalled is there ("" for neither).

func (d *issuerDesk) wantCondition(id account.ID, ready metav1.ConditionStatus, reason, other string) string {
	d.t.Helper()
	conditions := d.status(id).Conditions
	got := apimeta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if got.Status != ready || got.Reason != reason {
		d.t.Errorf("Ready is %s (%s): %s; want %s (%s)", got.Status, got.Reason, got.Message, ready, reason)
	}
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if is := apimeta.IsStatusConditionTrue(conditions, kind); is != (kind == other) {
			d.t.Errorf("%s is %t", kind, is)
		}
	}
	if is := d.reconciler.Accounts.State(id).Ready; is != (ready == metav1.ConditionTrue) {
		d.t.Errorf("the account is ready: %t", is)
	}
	return got.Message
}

func (d *issuerDesk) update(id account.ID, edit func(issuerObject)) {
	d.t.Helper()
	object := d.object(id)
	edit(object)
	d.must(d.client.Update(d.t.Context(), object.Object))
}

func (d *issuerDesk) requests() int { return len(d.vendor.Requests()) }

// acquire takes a lease for a certificate of the profile.

func (d *issuerDesk) acquire(id account.ID) *account.Lease {
	d.t.Helper()
	lease, wait := d.tryAcquire(id)
	if lease == nil {
		d.t.Fatalf("no lease: %+v", wait)
	}
	return lease
}

// tryAcquire asks for a lease, and lets the controller put on record what it is taken from.

func (d *issuerDesk) tryAcquire(id account.ID) (*account.Lease, account.Wait) {
	d.t.Helper()
	request := account.Request{Key: types.NamespacedName{Namespace: d.namespace, Name: "gateway"}, ProfileID: profileLong, Format: v1alpha1.FormatPEM}
	lease, wait := d.reconciler.Accounts.Acquire(id, request)
	if lease == nil {
		d.reconcile(id)
		lease, wait = d.reconciler.Accounts.Acquire(id, request)
	}
	return lease, wait
}

// keyOf16384Bits is a private key in form: making a real one takes minutes.

func TestAnIssuerThatIsGoneOrNotSelectedIsForgotten(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	d.reconciler.Selector = labels.SelectorFromSet(labels.Set{"instance": "other"})
	d.reconcile(id)
	if d.reconciler.Accounts.State(id).Known {
		t.Error("an issuer of another instance is still known")
	}
	d.reconciler.Selector = nil
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	d.must(d.client.Delete(t.Context(), d.object(id).Object))
	if _, err := d.reconciler.reconcile(t.Context(), id); err != nil {
		t.Error(err)
	}
	if d.reconciler.Accounts.State(id).Known {
		t.Error("a deleted issuer is still known")
	}
}

func TestASuspendedIssuerSaysSoAndStaysConnected(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer(func(s *v1alpha1.IssuerSpec) { s.Suspend = true })
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	if !apimeta.IsStatusConditionTrue(d.status(id).Conditions, v1alpha1.ConditionSuspended) || !d.reconciler.Accounts.State(id).Suspended {
		t.Error("not suspended")
	}
	d.update(id, func(o issuerObject) { o.spec.Suspend = false })
	d.reconcile(id)
	if apimeta.FindStatusCondition(d.status(id).Conditions, v1alpha1.ConditionSuspended) != nil {
		t.Error("still suspended")
	}
}

func TestACABundleIsTakenFromAConfigMapAndReadAgain(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	other, _ := selfSigned(t, time.Now().Add(time.Hour))
	bundle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "ca"}, Data: map[string]string{"ca.crt": other}}
	d.must(d.client.Create(t.Context(), bundle))
	id := d.issuer(func(s *v1alpha1.IssuerSpec) {
		s.CABundle, s.CABundleRef = "", &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindConfigMap, Name: "ca", Key: "ca.crt"}
	})
	d.reconcile(id)
	if message := d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonUnreachable, v1alpha1.ConditionReconciling); !strings.Contains(message, "CA bundle") {
		t.Errorf("message = %q", message)
	}
	bundle.Data["ca.crt"] = "# roots\n" + d.vendor.TLSCertificate() + other
	d.must(d.client.Update(t.Context(), bundle))
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	bundle.BinaryData, bundle.Data = map[string][]byte{"ca.crt": []byte(bundle.Data["ca.crt"])}, nil
	d.must(d.client.Update(t.Context(), bundle))
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestParseBundleTakesCertificatesOnly(t *testing.T) {
	certificate, key := selfSigned(t, time.Now().Add(time.Hour))
	for name, tc := range map[string]struct {
		bundle string
		ok     bool
	}{
		"one":                  {certificate, true},
		"two with comments":    {"# a\n" + certificate + "# b\n" + certificate, true},
		"empty":                {"", false},
		"garbage":              {"no PEM", false},
		"a private key":        {certificate + key, false},
		"a broken certificate": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", false},
		"a truncated block":    {certificate + certificate[:100], false},
		"too many":             {strings.Repeat(certificate, maxBundleCertificates+1), false},
		"too large":            {strings.Repeat(" ", maxBundleBytes+1), false},
		"dashes":               {strings.Repeat("-----BEGIN ", 40_000), false},
	} {
		if _, err := parseBundle([]byte(tc.bundle)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLookupIssuerFindsEitherKind(t *testing.T) {
	g := NewWithT(t)
	d := newIssuerDesk(t)
	d.issuer()
	found, err := lookupIssuer(t.Context(), d.client, d.namespace, v1alpha1.IssuerReference{Name: "digicert"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found.ID).To(Equal(account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: d.namespace, Name: "digicert"}))
	g.Expect("https://" + found.Host()).To(Equal(d.running.URL))
	_, err = lookupIssuer(t.Context(), d.client, d.operator, v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"})
	g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
	_, err = lookupIssuer(t.Context(), d.client, d.namespace, v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "digicert"})
	g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
}

// selfSigned is a certificate and its key in PEM.

func selfSigned(t *testing.T, notAfter time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pair := encodePair(t, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private})
	return pair[corev1.TLSCertKey], pair[corev1.TLSPrivateKeyKey]
}
