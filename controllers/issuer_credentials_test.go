// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

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
