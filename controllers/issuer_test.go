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
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
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
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
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

func TestAnAcceptedTokenConnectsTheIssuerOnce(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token + "\n")
	id := d.issuer()
	again := d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	object := d.object(id)
	want := &v1alpha1.Capabilities{
		Enroll: v1alpha1.CapabilityUnknown, Renew: v1alpha1.CapabilityUnknown, Search: v1alpha1.CapabilityYes,
		Revoke: v1alpha1.CapabilityUnknown, Specification: v1alpha1.CapabilityUnknown,
	}
	if diff := cmp.Diff(want, object.status.Capabilities); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
	if object.status.ObservedGeneration != object.GetGeneration() || object.status.CredentialVersion == "" {
		t.Errorf("status = %+v", object.status)
	}
	if again < 4*time.Minute || again > 5*time.Minute {
		t.Errorf("reads the credential again after %s, want four to five minutes", again)
	}
	d.clock.Step(again)
	d.reconcile(id)
	if d.requests() != 1 {
		t.Errorf("%d requests to the vendor, want the one probe", d.requests())
	}
	if d.object(id).GetResourceVersion() != object.GetResourceVersion() {
		t.Error("the status was written although nothing changed")
	}
	d.acquire(id).Done(account.Outcome{Issued: true})
	d.reconcile(id)
	if got := d.status(id).Capabilities.Enroll; got != v1alpha1.CapabilityYes {
		t.Errorf("enroll = %s after an issuance", got)
	}
	d.restart()
	d.reconcile(id)
	if got := d.status(id).Capabilities.Enroll; got != v1alpha1.CapabilityYes {
		t.Errorf("enroll = %s after a restart", got)
	}
}

// keyOf16384Bits is a private key in form: making a real one takes minutes.
func keyOf16384Bits(t *testing.T) string {
	t.Helper()
	number := func(bits uint) *big.Int {
		return new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
	}
	der, err := asn1.Marshal(struct {
		Version                int
		N, E, D, P, Q, A, B, C *big.Int
	}{0, number(16384), big.NewInt(65537), number(16384), number(8192), number(8192), number(8192), number(8192), number(8192)})
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}))
}

func TestACredentialThatIsDeletedStopsItsIssuerAndNoRequestUnderWay(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	lease := d.acquire(id)
	d.must(d.client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "digicert"}}))
	d.clock.Step(5 * time.Minute)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonCredentialMissing, v1alpha1.ConditionStalled)
	if another, wait := d.tryAcquire(id); another != nil {
		t.Errorf("a lease without a credential: %+v", wait)
	}
	_, err := lease.Client().Enroll(t.Context(), trustmanager.KeyRequest{
		ProfileID: profileLong, PrivateKeyFormat: "pem", CertificateAttributes: []trustmanager.Attribute{{ID: attributeCommonName, Value: "gateway.example"}},
	})
	lease.Done(account.Outcome{Err: err, Issued: err == nil})
	if err != nil || len(d.vendor.Ledger()) != 1 {
		t.Errorf("the request that was under way bought %d certificates: %v", len(d.vendor.Ledger()), err)
	}
	d.token(token) // a Secret made anew
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestAnUnlabelledCredentialIsReadAgainAtOnceWhenTheOldOneIsRefused(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	before := d.status(id).CredentialVersion
	d.token(searchlessToken) // rotated, and nobody is told
	_, err := d.vendor.AddFault(simulator.Fault{
		Match: simulator.Match{Operation: simulator.OperationEnroll}, Action: simulator.ActionRespond, Response: simulator.Response{Status: 401},
	})
	d.must(err)
	enroll := func() error {
		lease := d.acquire(id)
		_, err := lease.Client().Enroll(t.Context(), trustmanager.KeyRequest{
			ProfileID: profileLong, PrivateKeyFormat: "pem", CertificateAttributes: []trustmanager.Attribute{{ID: attributeCommonName, Value: "gateway.example"}},
		})
		lease.Done(account.Outcome{Err: err, Issued: err == nil})
		return err
	}
	if err := enroll(); err == nil {
		t.Fatal("the old token was not refused")
	}
	d.reconcile(id) // the account asks for it; no time has passed
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	if d.status(id).CredentialVersion == before {
		t.Error("the credential was not read again")
	}
	if err := enroll(); err != nil {
		t.Errorf("with the new token: %v", err)
	}
}

func TestABrokenCredentialIsExplainedAndSentNowhere(t *testing.T) {
	certificate, key := selfSigned(t, time.Now().Add(time.Hour))
	expired, expiredKey := selfSigned(t, time.Now().Add(-time.Hour))
	_, otherKey := selfSigned(t, time.Now().Add(time.Hour))
	pair := func(certificate, key string) map[string]string {
		return map[string]string{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}
	}
	mutual := func(s *v1alpha1.IssuerSpec) {
		s.Auth = v1alpha1.IssuerAuth{ClientCertificate: &v1alpha1.ClientCertificateAuth{SecretRef: v1alpha1.SecretReference{Name: "digicert"}, URL: s.URL}}
	}
	ofItsOwnOutput := func(s *v1alpha1.IssuerSpec) { s.Auth.APIToken.SecretRef.Key = corev1.TLSPrivateKeyKey }
	for name, tc := range map[string]struct {
		kind   corev1.SecretType
		data   map[string]string // nil: no Secret
		edit   func(*v1alpha1.IssuerSpec)
		reason string
		says   string
	}{
		"no Secret":                {reason: v1alpha1.ReasonCredentialMissing, says: "does not exist"},
		"no key":                   {data: map[string]string{"other": token}, reason: v1alpha1.ReasonCredentialMissing, says: "has no key token"},
		"empty":                    {data: map[string]string{"token": ""}, reason: v1alpha1.ReasonCredentialMissing, says: "is empty"},
		"white space":              {data: map[string]string{"token": " \n"}, reason: v1alpha1.ReasonCredentialMissing, says: "is empty"},
		"injected header":          {data: map[string]string{"token": "abc\r\nX-Evil: 1"}, reason: v1alpha1.ReasonInvalidSpec, says: "line breaks"},
		"NUL":                      {data: map[string]string{"token": "a\x00b"}, reason: v1alpha1.ReasonInvalidSpec, says: "bare value"},
		"not ASCII":                {data: map[string]string{"token": "pä"}, reason: v1alpha1.ReasonInvalidSpec, says: "bare value"},
		"JSON":                     {data: map[string]string{"token": `{"token": "x"}`}, reason: v1alpha1.ReasonInvalidSpec, says: "bare value"},
		"huge":                     {data: map[string]string{"token": strings.Repeat("a", 1<<19)}, reason: v1alpha1.ReasonInvalidSpec, says: "at most 8192"},
		"a registry's login":       {kind: corev1.SecretTypeDockerConfigJson, data: map[string]string{".dockerconfigjson": "{}"}, reason: v1alpha1.ReasonInvalidSpec, says: "dockerconfigjson"},
		"a node's bootstrap token": {kind: corev1.SecretTypeBootstrapToken, data: map[string]string{"token": token}, reason: v1alpha1.ReasonInvalidSpec, says: "not sent to a vendor"},
		"pair mismatch":            {data: pair(certificate, otherKey), edit: mutual, reason: v1alpha1.ReasonInvalidSpec, says: "does not match"},
		"expired pair":             {data: pair(expired, expiredKey), edit: mutual, reason: v1alpha1.ReasonInvalidSpec, says: "expired"},
		"no private key":           {data: map[string]string{corev1.TLSCertKey: certificate}, edit: mutual, reason: v1alpha1.ReasonCredentialMissing, says: "tls.key"},
		"encrypted key":            {data: pair(certificate, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), edit: mutual, reason: v1alpha1.ReasonInvalidSpec, says: "passphrase"},
		"garbage pair":             {data: pair("x", "y"), edit: mutual, reason: v1alpha1.ReasonInvalidSpec, says: "PEM"},
		"a key of 16384 bits":      {data: pair(certificate, keyOf16384Bits(t)), edit: mutual, reason: v1alpha1.ReasonInvalidSpec, says: "bytes"},
		"a device's private key":   {kind: corev1.SecretTypeTLS, data: pair(certificate, key), edit: ofItsOwnOutput, reason: v1alpha1.ReasonInvalidSpec, says: "line breaks"},
		"twenty thousand blocks":   {data: pair(strings.Repeat("-----BEGIN X-----\n-----END X-----\n", 20_000), key), edit: mutual, reason: v1alpha1.ReasonInvalidSpec, says: "bytes"},
		"CA bundle missing": {data: map[string]string{"token": token}, reason: v1alpha1.ReasonCredentialMissing, says: "ConfigMap", edit: func(s *v1alpha1.IssuerSpec) {
			s.CABundle, s.CABundleRef = "", &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindConfigMap, Name: "none", Key: "ca.crt"}
		}},
		"CA bundle from a Secret without the key": {data: map[string]string{"token": token}, reason: v1alpha1.ReasonCredentialMissing, says: "has no key ca.crt", edit: func(s *v1alpha1.IssuerSpec) {
			s.CABundle, s.CABundleRef = "", &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindSecret, Name: "digicert", Key: "ca.crt"}
		}},
		"host not allowed": {data: map[string]string{"token": token}, reason: v1alpha1.ReasonHostForbidden, says: "--allowed-hosts", edit: func(s *v1alpha1.IssuerSpec) {
			s.URL = "https://one.digicert.com"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newIssuerDesk(t)
			if tc.kind == "" {
				tc.kind = corev1.SecretTypeOpaque
			}
			if tc.data != nil {
				d.secret(d.namespace, tc.kind, tc.data)
			}
			edit := tc.edit
			if edit == nil {
				edit = func(*v1alpha1.IssuerSpec) {}
			}
			id := d.issuer(edit)
			again := d.reconcile(id)
			message := d.wantCondition(id, metav1.ConditionFalse, tc.reason, v1alpha1.ConditionStalled)
			if !strings.Contains(message, tc.says) {
				t.Errorf("the message %q does not say %q", message, tc.says)
			}
			if again > 5*time.Minute || d.requests() != 0 {
				t.Errorf("looks again after %s, having sent %d requests", again, d.requests())
			}
		})
	}
}

func TestAServiceAccountsTokenIsNotSentAway(t *testing.T) {
	d := newIssuerDesk(t)
	d.must(d.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "victim"}}))
	d.must(d.client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: "digicert", Annotations: map[string]string{corev1.ServiceAccountNameKey: "victim"}},
		Type:       corev1.SecretTypeServiceAccountToken, StringData: map[string]string{"token": token},
	}))
	id := d.issuer()
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, v1alpha1.ConditionStalled)
	if d.requests() != 0 {
		t.Error("the token left the cluster")
	}
}

func TestARefusedTokenIsTriedAgainWithBackOffAndAtOnceWhenItChanges(t *testing.T) {
	d := newIssuerDesk(t)
	d.token("wrong")
	id := d.issuer()
	var waited time.Duration
	for try := 1; try <= 4; try++ {
		waited = d.reconcile(id)
		message := d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonCredentialRefused, v1alpha1.ConditionStalled)
		if !strings.Contains(message, "expired") || !strings.Contains(message, "It is read from key token of Secret "+id.Namespace+"/") || d.requests() != try {
			t.Errorf("message %q after %d requests, want %d", message, d.requests(), try)
		}
		if least := 5 * time.Second << (try - 1); waited < least || waited > least+least/10 {
			t.Errorf("try %d is followed after %s, want about %s", try, waited, least)
		}
		d.reconcile(id) // before its time
		d.clock.Step(waited)
	}
	d.clock.Step(-waited)
	d.token(token)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestATokenThatMayNotSearchCanStillBuy(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(searchlessToken)
	id := d.issuer()
	d.reconcile(id)
	if message := d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, ""); !strings.Contains(message, "lost answers can only be reported") {
		t.Errorf("message = %q", message)
	}
	if got := d.status(id).Capabilities.Search; got != v1alpha1.CapabilityNo {
		t.Errorf("search = %s", got)
	}
	if d.reconciler.Accounts.State(id).CanSearch {
		t.Error("the account believes it can search")
	}
}

func TestATokenThatMayNotBuyIsReportedAfterItsFirstRefusal(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(buylessToken)
	id := d.issuer()
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	lease := d.acquire(id)
	_, err := lease.Client().Enroll(t.Context(), trustmanager.KeyRequest{ProfileID: profileLong, PrivateKeyFormat: "pem"})
	lease.Done(account.Outcome{Err: err})
	d.reconcile(id) // the account asked for it: the probe succeeds
	message := d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonCredentialRefused, v1alpha1.ConditionStalled)
	if !strings.Contains(message, "permission to enroll") || d.status(id).Capabilities.Enroll != v1alpha1.CapabilityNo {
		t.Errorf("message = %q, capabilities = %+v", message, d.status(id).Capabilities)
	}
	before := d.requests()
	d.clock.Step(time.Minute)
	d.reconcile(id)
	if d.requests() != before {
		t.Error("a credential that works but may not buy was probed again")
	}
}

func TestWhatAnswersOrdersAndIsNotTheVendorIsNotTakenForAMissingPermission(t *testing.T) {
	for name, tc := range map[string]struct {
		fault        simulator.Response
		reason, also string
		says         string
	}{
		"a web page":     {simulator.Response{Status: 400, Shape: simulator.ShapeHTML}, v1alpha1.ReasonUnreachable, v1alpha1.ConditionReconciling, "what answers orders is not its API"},
		"no licence":     {simulator.Response{Status: 402, Code: "no_licence"}, v1alpha1.ReasonCredentialRefused, v1alpha1.ConditionStalled, "check the account's licences"},
		"a licence used": {simulator.Response{Status: 422, Code: "license_limit_reached"}, v1alpha1.ReasonCredentialRefused, v1alpha1.ConditionStalled, "check the account's licences"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newIssuerDesk(t)
			d.token(token)
			id := d.issuer()
			d.reconcile(id)
			_, err := d.vendor.AddFault(simulator.Fault{
				Match: simulator.Match{Operation: simulator.OperationEnroll}, Action: simulator.ActionRespond, Response: tc.fault,
			})
			d.must(err)
			lease := d.acquire(id)
			_, err = lease.Client().Enroll(t.Context(), trustmanager.KeyRequest{ProfileID: profileLong, PrivateKeyFormat: "pem"})
			lease.Done(account.Outcome{Err: err})
			d.reconcile(id) // the probe succeeds
			message := d.wantCondition(id, metav1.ConditionFalse, tc.reason, tc.also)
			if !strings.Contains(message, tc.says) || strings.Contains(message, "permission") {
				t.Errorf("message = %q, want it to say %q and nothing of permissions", message, tc.says)
			}
		})
	}
}

func TestAVendorThatIsDownIsTriedAgainUntilItAnswers(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	d.must(d.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeDrop}))
	id := d.issuer()
	again := d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonUnreachable, v1alpha1.ConditionReconciling)
	version := d.object(id).GetResourceVersion()
	d.clock.Step(again)
	d.reconcile(id)
	if d.object(id).GetResourceVersion() != version {
		t.Error("each failed probe writes the status")
	}
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.clock.Step(time.Minute)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestAVendorThatStaysDownIsAskedOnceAMinute(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	d.must(d.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	id := d.issuer()
	for down := time.Duration(0); down < time.Hour; {
		again := d.reconcile(id)
		if again > 66*time.Second {
			t.Fatalf("after %s of outage the vendor is asked again after %s", down, again)
		}
		d.clock.Step(again)
		down += again
	}
	if d.requests() > 65 {
		t.Errorf("%d requests in an hour", d.requests())
	}
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestFailuresOfPurchasesAreReportedAndProbed(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	d.must(d.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	for range 5 {
		d.acquire(id).Done(account.Outcome{Err: &trustmanager.Error{Op: "enroll", Delivery: trustmanager.Ambiguous, Actor: trustmanager.Nobody, HTTPStatus: 502}})
	}
	if got := <-d.asked; got != id {
		t.Fatalf("asked for %v", got)
	}
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonUnreachable, v1alpha1.ConditionReconciling)
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.clock.Step(time.Hour) // longer than any pause the vendor asks for
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	d.acquire(id)
}

func TestAPasscodeIsUnverifiedUntilItHasIssued(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(passcode)
	id := d.issuer(withPasscode)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonUnverified, "")
	can := d.status(id).Capabilities
	if can.Search != v1alpha1.CapabilityNo || can.Revoke != v1alpha1.CapabilityNo || can.Specification != v1alpha1.CapabilityNo {
		t.Errorf("capabilities = %+v", can)
	}
	state := d.reconciler.Accounts.State(id)
	if state.CanSearch || state.CanRevoke || d.requests() != 0 {
		t.Errorf("state = %+v after %d requests", state, d.requests())
	}
	d.acquire(id).Done(account.Outcome{Issued: true})
	if got := <-d.asked; got != id {
		t.Fatalf("asked for %v", got)
	}
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
}

func TestAClientCertificateGoesToItsOwnHost(t *testing.T) {
	d := newIssuerDesk(t)
	pair, ok := d.vendor.ClientCertificate("operator")
	if !ok {
		t.Fatal("the simulator has no client certificate")
	}
	d.secret(d.namespace, corev1.SecretTypeTLS, encodePair(t, pair))
	id := d.issuer(func(s *v1alpha1.IssuerSpec) {
		s.Auth = v1alpha1.IssuerAuth{ClientCertificate: &v1alpha1.ClientCertificateAuth{SecretRef: v1alpha1.SecretReference{Name: "digicert"}, URL: d.running.ClientAuthURL}}
	})
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	if got := d.status(id).CredentialExpiresAt; got == nil || !got.Time.Equal(pair.Leaf.NotAfter) {
		t.Errorf("credentialExpiresAt = %v, want %s", got, pair.Leaf.NotAfter)
	}
	if got, want := d.reconciler.Accounts.State(id).Host, strings.TrimPrefix(d.running.URL, "https://"); got != want {
		t.Errorf("Host = %s, want that of spec.url, %s", got, want)
	}
}

func TestAClusterDeviceIssuerReadsTheOperatorsNamespaceOnly(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	object := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}, Spec: v1alpha1.ClusterDeviceIssuerSpec{IssuerSpec: d.spec()}}
	d.must(d.client.Create(t.Context(), object))
	t.Cleanup(func() { _ = d.client.Delete(context.Background(), object) })
	id := account.ID{Kind: v1alpha1.KindClusterDeviceIssuer, Name: d.namespace}
	d.reconcile(id)
	if message := d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonCredentialMissing, v1alpha1.ConditionStalled); !strings.Contains(message, d.operator+"/digicert") {
		t.Errorf("message = %q", message)
	}
	d.secret(d.operator, corev1.SecretTypeOpaque, map[string]string{"token": token})
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	d.reconciler.ClusterResourceNamespace = ""
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, v1alpha1.ConditionStalled)
}

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

func TestABlockedProfileIsShownAndSurvivesARestartUntilTheSpecChanges(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer()
	d.reconcile(id)
	blocked := v1alpha1.BlockedProfile{ProfileID: profileLong, Format: v1alpha1.FormatPEM, Reason: v1alpha1.ReasonUnverified, Message: "the key does not match: mend the profile"}
	d.acquire(id).Done(account.Outcome{Fatal: &blocked})
	d.reconcile(id)
	if diff := cmp.Diff([]v1alpha1.BlockedProfile{blocked}, d.status(id).BlockedProfiles); diff != "" {
		t.Errorf("blockedProfiles (-want +got):\n%s", diff)
	}
	d.restart()
	d.reconcile(id)
	if got := d.reconciler.Accounts.Blocked(id); len(got) != 1 {
		t.Errorf("after a restart: %v", got)
	}
	d.update(id, func(o issuerObject) { o.spec.Limits.Burst = 21 })
	d.reconcile(id)
	if got := d.status(id).BlockedProfiles; len(got) != 0 {
		t.Errorf("after the spec changed: %v", got)
	}
}

func TestAClockThatIsOffIsShownAndStopsBuying(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	d.must(d.vendor.SetSwitches(simulator.Switches{DateSkew: simulator.Duration(10 * time.Minute)}))
	id := d.issuer()
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionFalse, v1alpha1.ReasonClockSkew, v1alpha1.ConditionStalled)
	got := d.status(id).ClockSkewSeconds
	if got == nil || *got < 595 || *got > 605 {
		t.Errorf("clockSkewSeconds = %v, want about 600", got)
	}
	d.must(d.vendor.SetSwitches(simulator.Switches{}))
	d.clock.Step(5 * time.Minute)
	d.reconcile(id)
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	if got := d.status(id).ClockSkewSeconds; got != nil {
		t.Errorf("clockSkewSeconds = %d, want none", *got)
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

func TestAProxysPasswordIsNotShown(t *testing.T) {
	for _, proxy := range []string{"http://user:hunter2@[bad", "ftp://user:hunter2@proxy.example:3128"} {
		g := NewWithT(t)
		d := newIssuerDesk(t)
		d.token(token)
		spec := d.spec()
		spec.ProxyURL = proxy
		id := account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: d.namespace, Name: "digicert"}
		found, err := d.reconciler.observeConnection(t.Context(), issuer{ID: id, UID: "uid", Spec: &spec})
		g.Expect(err).NotTo(HaveOccurred())
		d.reconciler.connect(t.Context(), id, found)
		state := d.reconciler.Accounts.State(id)
		g.Expect(state.Reason).To(Equal(v1alpha1.ReasonInvalidSpec))
		g.Expect(state.Message).To(ContainSubstring("proxy"))
		g.Expect(state.Message).NotTo(ContainSubstring("hunter2"))
	}
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

func TestTheCredentialVersionIsStableAndSaysNothing(t *testing.T) {
	g := NewWithT(t)
	version := func(material string, uid types.UID) string {
		v, err := versionOf([]byte(material), uid)
		g.Expect(err).NotTo(HaveOccurred())
		return v
	}
	first := version("token", "uid")
	g.Expect(version("token", "uid")).To(Equal(first))
	g.Expect(version("other", "uid")).NotTo(Equal(first))
	g.Expect(version("token", "another")).NotTo(Equal(first))
	g.Expect(first).To(HaveLen(2 * versionBytes))
}

func TestJudgeReadsTheOutcomeOfAProbe(t *testing.T) {
	refused := func(status int, code string, actor trustmanager.Actor) error {
		return &trustmanager.Error{Op: "search", Delivery: trustmanager.Refused, Actor: actor, HTTPStatus: status, Code: code}
	}
	for name, tc := range map[string]struct {
		err      error
		accepted bool
		search   v1alpha1.CapabilityState
		reason   string
	}{
		"answered":                 {nil, true, v1alpha1.CapabilityYes, ""},
		"the vendor's 403":         {refused(http.StatusForbidden, "access_denied", trustmanager.Issuer), true, v1alpha1.CapabilityNo, ""},
		"a gateway's 403":          {refused(http.StatusForbidden, "", trustmanager.Issuer), false, "", v1alpha1.ReasonCredentialRefused},
		"401":                      {refused(http.StatusUnauthorized, "invalid_api_key", trustmanager.Issuer), false, "", v1alpha1.ReasonCredentialRefused},
		"429":                      {refused(http.StatusTooManyRequests, "", trustmanager.Time), false, "", v1alpha1.ReasonProbing},
		"5xx":                      {&trustmanager.Error{Delivery: trustmanager.Ambiguous, Actor: trustmanager.Nobody, HTTPStatus: 503}, false, "", v1alpha1.ReasonUnreachable},
		"no turn within the limit": {context.DeadlineExceeded, false, "", v1alpha1.ReasonProbing},
	} {
		got := judge(tc.err)
		if got.accepted != tc.accepted || got.search != tc.search || got.reason != tc.reason {
			t.Errorf("%s: %+v", name, got)
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

func encodePair(t *testing.T, pair tls.Certificate) map[string]string {
	t.Helper()
	var chain strings.Builder
	for _, der := range pair.Certificate {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{corev1.TLSCertKey: chain.String(), corev1.TLSPrivateKeyKey: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))}
}
