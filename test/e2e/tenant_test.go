// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// tenant is somebody with all the rights Kubernetes gives the administrator of one namespace, and no others.
type tenant struct {
	*world
	client.Client
}

// newTenant makes a namespace whose administrator shares the world's vendor and managers with the world's own namespace.
func (w *world) newTenant() *tenant {
	w.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-"}}
	w.must(env.admin.Create(w.ctx, namespace))
	inner := *w
	inner.namespace = namespace.Name
	user := "admin-of-" + namespace.Name
	w.must(env.admin.Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "admin"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}))
	config := env.controlPlane.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: env.admin.Scheme()})
	w.must(err)
	t := &tenant{world: &inner, Client: c}
	eventually(w.T, patience, "the tenant has its rights", func(ctx context.Context) (bool, error) {
		return t.List(ctx, &v1alpha1.DeviceIssuerList{}, client.InNamespace(t.namespace)) == nil, nil // the aggregation takes a moment
	})
	return t
}

// mayNot checks that the API server forbids something.
func (t *tenant) mayNot(what string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("the tenant may %s (%v)", what, err)
	}
}

// order is a DeviceCertificate of the tenant's.
func (t *tenant) order(name string, edit ...func(*v1alpha1.DeviceCertificate)) {
	t.Helper()
	c := &v1alpha1.DeviceCertificate{ObjectMeta: t.meta(name)}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: issuerName}
	c.Spec.EnrollmentProfileID = profileLong
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: new(commonName("victim"))}}
	for _, e := range edit {
		e(c)
	}
	t.must(t.Create(t.ctx, c))
}

// connect makes an issuer of the tenant's, and its token if there is one to be stored.
func (t *tenant) connectAs(name, token string, edit ...func(*v1alpha1.DeviceIssuer)) {
	t.Helper()
	if token != "" {
		t.must(t.Create(t.ctx, &corev1.Secret{ObjectMeta: t.meta(name), Data: map[string][]byte{"credential": []byte(token)}}))
	}
	i := &v1alpha1.DeviceIssuer{ObjectMeta: t.meta(name)}
	i.Spec.URL, i.Spec.CABundle = t.vendor.url, string(t.vendor.file("ca.crt"))
	i.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: name, Key: "credential"}}
	for _, e := range edit {
		e(i)
	}
	t.must(t.Create(t.ctx, i))
}

// through makes an order go through another issuer.
func through(kind v1alpha1.IssuerKind, name string) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: kind, Name: name}
	}
}

func TestATenantGetsNothingOfAnothers(t *testing.T) {
	w := newWorld(t)
	mallory := w.newTenant()
	w.clusterIssuer(w.namespace, v1alpha1.Grant{Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}}})
	w.startManager("--namespaces=" + w.namespace + "," + mallory.namespace)
	w.certificate("victim", through(v1alpha1.KindClusterDeviceIssuer, w.namespace))
	victim := w.awaitReady("victim")
	secret := w.secret("victim")

	mallory.triesToRead(w)
	mallory.triesToWrite(w, victim)
	listener := mallory.triesToRedirect(w)
	mallory.triesToObtain(w)
	mallory.triesToRevoke(victim, secret)

	if n := listener.Load(); n != 0 {
		t.Errorf("%d connections reached a host that is not allowed", n)
	}
	if after := w.secret("victim"); after.ResourceVersion != secret.ResourceVersion || after.UID != secret.UID {
		t.Error("the victim's Secret was written")
	}
	if live := w.live(commonName("victim")); len(live) != 1 || live[0].Credential != "good" {
		t.Errorf("live certificates of the victim's name: %s", describe(live))
	}
	// What the tenant may do, it can: it is no dead end that was tried.
	mallory.connectAs("own", otherToken)
	mallory.order("bought", through(v1alpha1.KindDeviceIssuer, "own"), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes[0].Value = new(commonName("bought"))
	})
	mallory.awaitReady("bought")
	w.awaitReady("victim")
}

// clusterIssuer makes a ClusterDeviceIssuer of the good token with these grants.
func (w *world) clusterIssuer(name string, grants ...v1alpha1.Grant) *v1alpha1.ClusterDeviceIssuer {
	w.Helper()
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}, Data: map[string][]byte{"credential": []byte(goodToken)}}
	w.must(env.admin.Create(w.ctx, token))
	i := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: name}}
	i.Spec.URL, i.Spec.CABundle = w.vendor.url, string(w.vendor.file("ca.crt"))
	i.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: name, Key: "credential"}}
	i.Spec.Orphans.InventoryLag = &metav1.Duration{}
	i.Spec.Grants = grants
	w.must(env.admin.Create(w.ctx, i))
	return i
}

func (t *tenant) triesToRead(victim *world) {
	t.Helper()
	for _, namespace := range []string{victim.namespace, operatorNamespace} {
		t.mayNot("read Secrets of "+namespace, t.Get(t.ctx, client.ObjectKey{Namespace: namespace, Name: victim.namespace}, &corev1.Secret{}))
		t.mayNot("list Secrets of "+namespace, t.List(t.ctx, &corev1.SecretList{}, client.InNamespace(namespace)))
	}
	t.mayNot("list the victim's orders", t.List(t.ctx, &v1alpha1.DeviceCertificateList{}, client.InNamespace(victim.namespace)))
	t.mayNot("read who is granted what", t.Get(t.ctx, client.ObjectKey{Name: victim.namespace}, &v1alpha1.ClusterDeviceIssuer{}))
	t.mayNot("watch all orders", t.List(t.ctx, &v1alpha1.DeviceCertificateList{}))
}

func (t *tenant) triesToWrite(w *world, victim *v1alpha1.DeviceCertificate) {
	t.Helper()
	theirs := victim.DeepCopy()
	theirs.Spec.Suspend = true
	t.mayNot("edit the victim's order", t.Update(t.ctx, theirs))
	t.mayNot("delete the victim's order", t.Delete(t.ctx, theirs))
	t.mayNot("forge the victim's status", t.Status().Patch(t.ctx, theirs, client.MergeFrom(victim)))
	t.mayNot("grant itself something", t.Patch(t.ctx, &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}},
		client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"grants":[{"namespaces":{}}]}}`))))
	t.mayNot("connect a cluster's account", t.Create(t.ctx, &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: t.namespace}}))
	t.order("forged")
	own := &v1alpha1.DeviceCertificate{ObjectMeta: t.meta("forged")}
	t.must(t.Get(t.ctx, client.ObjectKeyFromObject(own), own))
	base := own.DeepCopy()
	own.Status.Issued = victim.Status.Issued
	t.mayNot("forge its own status", t.Status().Patch(t.ctx, own, client.MergeFrom(base)))
	t.must(t.Delete(t.ctx, own))
	// The same name in another namespace is another Secret.
	t.connectAs("same-name", otherToken)
	t.order("victim", through(v1alpha1.KindDeviceIssuer, "same-name"), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes[0].Value = new(commonName("same-name"))
	})
	t.awaitReady("victim")
}

// triesToRedirect sends credentials to a listener of its own, and answers with the count of connections that reached it.
func (t *tenant) triesToRedirect(victim *world) *atomic.Int32 {
	t.Helper()
	var reached atomic.Int32
	listener := httptest.NewUnstartedServer(http.NotFoundHandler())
	listener.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			reached.Add(1)
		}
	}
	listener.StartTLS()
	t.Cleanup(listener.Close)
	_, port, err := net.SplitHostPort(listener.Listener.Addr().String())
	t.must(err)
	// The managers of these tests may talk to the address 127.0.0.1, and to no name.
	t.connectAs("redirect", otherToken, func(i *v1alpha1.DeviceIssuer) { i.Spec.URL = "https://localhost:" + port })
	t.connectAs("metadata", otherToken, func(i *v1alpha1.DeviceIssuer) { i.Spec.URL = "https://169.254.169.254" })
	// Nor through a proxy of the tenant's, which with CA certificates of its own would read all that is said.
	t.connectAs("detour", otherToken, func(i *v1alpha1.DeviceIssuer) { i.Spec.ProxyURL = "http://127.0.0.1:" + port })
	for _, name := range []string{"redirect", "metadata", "detour"} {
		t.awaitReason(name, v1alpha1.ReasonHostForbidden)
	}
	// Credentials are read from the issuer's own namespace: the name of the victim's leads nowhere.
	t.connectAs("stolen", "", func(i *v1alpha1.DeviceIssuer) { i.Spec.Auth.APIToken.SecretRef.Name = victim.namespace })
	t.awaitReason("stolen", v1alpha1.ReasonCredentialMissing)
	// A token of the cluster's is not sent to anybody.
	t.must(t.Create(t.ctx, &corev1.ServiceAccount{ObjectMeta: t.meta("robot")}))
	token := &corev1.Secret{ObjectMeta: t.meta("robot-token"), Type: corev1.SecretTypeServiceAccountToken}
	token.Annotations = map[string]string{corev1.ServiceAccountNameKey: "robot"}
	t.must(t.Create(t.ctx, token))
	t.connectAs("robot", "", func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Auth.APIToken.SecretRef = v1alpha1.SecretKeyReference{Name: "robot-token", Key: "token"}
	})
	t.awaitReason("robot", v1alpha1.ReasonInvalidSpec)
	return &reached
}

func (t *tenant) triesToObtain(victim *world) {
	t.Helper()
	t.order("ungranted", through(v1alpha1.KindClusterDeviceIssuer, victim.namespace))
	t.await("ungranted", "refused for want of a grant", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonNotGranted
	})
	// An issuer of the victim's name and another kind is another issuer.
	t.order("confused", through(v1alpha1.KindDeviceIssuer, victim.namespace))
	t.await("confused", "told that there is no such issuer", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonIssuerNotFound
	})
	t.order("unready", through(v1alpha1.KindDeviceIssuer, "stolen"))
	t.await("unready", "told that its issuer is not ready", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonIssuerNotReady
	})
}

// triesToRevoke claims the victim's certificate, which is public, in every way a tenant can.
func (t *tenant) triesToRevoke(victim *v1alpha1.DeviceCertificate, secret *corev1.Secret) {
	t.Helper()
	copied := &corev1.Secret{ObjectMeta: t.meta("claim"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": secret.Data["tls.crt"], "ca.crt": secret.Data["ca.crt"], "tls.key": t.secret("victim").Data["tls.key"],
	}}
	copied.Annotations = maps.Clone(secret.Annotations)
	copied.Annotations[v1alpha1.AnnotationCertificateName] = "claim"
	t.must(t.Create(t.ctx, copied))
	t.order("claim", through(v1alpha1.KindDeviceIssuer, "same-name"), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnDelete = v1alpha1.RevocationRevoke
		c.Annotations = map[string]string{v1alpha1.AnnotationRevokeRequested: victim.Status.SerialNumber + "/key_compromise"}
		c.Spec.CertificateAttributes[0].Value = new(commonName("claim"))
	})
	claim := t.await("claim", "seen", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.ObservedGeneration == c.Generation && c.Status.Attempt == nil
	})
	t.must(t.Delete(t.ctx, claim))
	t.awaitGone(claim)
}
