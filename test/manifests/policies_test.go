// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

// warnings collects what the API server tells a user.
type warnings struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

func (w *warnings) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.all, "\n")
	w.all = nil
	return all
}

// as is a client in somebody's name, and what it is warned of.
func (p *plane) as(t *testing.T, user string, groups ...string) (client.Client, *warnings) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	config := p.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	heard := &warnings{}
	config.WarningHandlerWithContext = heard
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c, heard
}

// allow gives a user rights in the whole cluster.
func (p *plane) allow(t *testing.T, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	admin, _ := p.as(t, "admin", "system:masters")
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "test-" + user}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if err := live.AwaitRights(t.Context(), admin, user, "", rules...); err != nil {
		t.Fatal(err)
	}
}

func policiesHold(t *testing.T, p *plane) {
	issuers := rbacv1.PolicyRule{APIGroups: []string{"devicecert.io"}, Resources: []string{"deviceissuers", "clusterdeviceissuers"}, Verbs: []string{"get", "create", "patch", "update"}}
	p.allow(t, "editor", issuers)
	p.allow(t, "connector", issuers, rbacv1.PolicyRule{APIGroups: issuers.APIGroups, Resources: issuers.Resources, Verbs: []string{"connect"}})
	p.allow(t, "granter", issuers, rbacv1.PolicyRule{APIGroups: issuers.APIGroups, Resources: issuers.Resources, Verbs: []string{"connect", "grant"}})
	p.awaitPolicies(t)
	for name, check := range map[string]func(*testing.T, *plane){
		"connecting an issuer":           connectingTakesTheVerb,
		"granting":                       grantingTakesTheVerb,
		"reserved names of Secrets":      reservedNamesAreRefused,
		"what the operator may write":    operatorIsConfined,
		"edits that cost a certificate":  costlyEditsAreAnnounced,
		"edits of what an issuer allows": limitsNeedNoVerb,
	} {
		t.Run(name, func(t *testing.T) { check(t, p) })
	}
}

// awaitPolicies waits until the API server has taken notice of all five.
func (p *plane) awaitPolicies(t *testing.T) {
	t.Helper()
	editor, heard := p.as(t, "admin", "system:masters")
	operator, _ := p.as(t, operatorUser())
	probe := &v1alpha1.DeviceCertificate{}
	base := deviceCertificate("probe")
	if err := editor.Create(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	base.Status.SerialNumber = "01"
	if err := editor.Status().Update(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	stranger, _ := p.as(t, "editor")
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		if err := editor.Get(ctx, client.ObjectKeyFromObject(base), probe); err != nil {
			return false, err
		}
		probe.Spec.EnrollmentProfileID = "IOT_00000000-0000-0000-0000-00000000000f"
		if err := editor.Update(ctx, probe, client.DryRunAll); err != nil {
			return false, err
		}
		warned := heard.take() != ""
		reserved := editor.Create(ctx, deviceCertificate("flux-system"), client.DryRunAll) != nil
		confined := operator.Create(ctx, secretOf("early", corev1.SecretTypeOpaque, nil), client.DryRunAll) != nil
		connection := stranger.Create(ctx, clusterIssuer("early"), client.DryRunAll) != nil
		return warned && reserved && confined && connection, nil
	})
	if err != nil {
		t.Fatalf("the policies take no effect: %v", err)
	}
}

func operatorUser() string { return "system:serviceaccount:" + namespace + ":" + account }

func clusterIssuer(name string, edit ...func(*v1alpha1.ClusterDeviceIssuer)) *v1alpha1.ClusterDeviceIssuer {
	i := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: name}}
	i.Spec.URL = "https://one.digicert.com"
	i.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}
	for _, e := range edit {
		e(i)
	}
	return i
}

func deviceCertificate(name string, edit ...func(*v1alpha1.DeviceCertificate)) *v1alpha1.DeviceCertificate {
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: served, Name: name}}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "digicert"}
	c.Spec.EnrollmentProfileID = "IOT_00000000-0000-0000-0000-000000000001"
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: new(name + ".example")}}
	for _, e := range edit {
		e(c)
	}
	return c
}

func secretOf(name string, kind corev1.SecretType, annotations map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: served, Name: name, Annotations: annotations}, Type: kind}
	s.Data = map[string][]byte{"tls.crt": {}, "tls.key": {}, "token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef")}
	return s
}

// refused checks that an error is a policy's and says what to do.
func refused(t *testing.T, what string, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want a refusal that says %q", what, err, says)
	}
}

func admitted(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func connectingTakesTheVerb(t *testing.T, p *plane) {
	editor, _ := p.as(t, "editor")
	connector, _ := p.as(t, "connector")
	namespaced := &v1alpha1.DeviceIssuer{ObjectMeta: metav1.ObjectMeta{Namespace: served, Name: "own"}}
	namespaced.Spec.IssuerSpec = clusterIssuer("").Spec.IssuerSpec
	refused(t, "an editor connects a cluster's account", editor.Create(t.Context(), clusterIssuer("stolen")), "verb connect on clusterdeviceissuers")
	refused(t, "an editor connects a namespace's account", editor.Create(t.Context(), namespaced.DeepCopy()), "verb connect on deviceissuers")
	admitted(t, "a connector connects a cluster's account", connector.Create(t.Context(), clusterIssuer("shared")))
	admitted(t, "a connector connects a namespace's account", connector.Create(t.Context(), namespaced))
	for name, edit := range map[string]func(*v1alpha1.IssuerSpec){
		"url":      func(s *v1alpha1.IssuerSpec) { s.URL = "https://demo.one.digicert.com" },
		"auth":     func(s *v1alpha1.IssuerSpec) { s.Auth.APIToken.SecretRef.Name = "other" },
		"proxyURL": func(s *v1alpha1.IssuerSpec) { s.ProxyURL = "http://proxy.example:3128" },
		"caBundleRef": func(s *v1alpha1.IssuerSpec) {
			s.CABundleRef = &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindConfigMap, Name: "ca", Key: "ca.crt"}
		},
	} {
		for kind, object := range map[string]client.Object{"DeviceIssuer": namespaced.DeepCopy(), "ClusterDeviceIssuer": clusterIssuer("shared")} {
			if err := editor.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
				t.Fatal(err)
			}
			switch o := object.(type) {
			case *v1alpha1.DeviceIssuer:
				edit(&o.Spec.IssuerSpec)
			case *v1alpha1.ClusterDeviceIssuer:
				edit(&o.Spec.IssuerSpec)
			}
			refused(t, "an editor changes "+name+" of a "+kind, editor.Update(t.Context(), object), "verb connect")
			admitted(t, "a connector changes "+name+" of a "+kind, connector.Update(t.Context(), object, client.DryRunAll))
		}
	}
}

func limitsNeedNoVerb(t *testing.T, p *plane) {
	granter, _ := p.as(t, "granter")
	editor, _ := p.as(t, "editor")
	i := clusterIssuer("limited", grantsAll)
	admitted(t, "a granter connects and grants", granter.Create(t.Context(), i))
	i.Spec.Suspend, i.Spec.Limits.RequestsPerSecond = true, 1
	admitted(t, "an editor slows an issuer down and suspends it", editor.Update(t.Context(), i))
}

func grantsAll(i *v1alpha1.ClusterDeviceIssuer) {
	i.Spec.Grants = []v1alpha1.Grant{{Namespaces: metav1.LabelSelector{}}}
}

func grantingTakesTheVerb(t *testing.T, p *plane) {
	connector, _ := p.as(t, "connector")
	granter, _ := p.as(t, "granter")
	refused(t, "a connector grants", connector.Create(t.Context(), clusterIssuer("granting", grantsAll)), "verb grant")
	i := clusterIssuer("granting")
	admitted(t, "a connector connects without grants", connector.Create(t.Context(), i))
	grantsAll(i)
	refused(t, "a connector grants later", connector.Update(t.Context(), i), "verb grant")
	admitted(t, "a granter grants", granter.Update(t.Context(), i))
	i.Spec.Grants = nil
	refused(t, "a connector takes a grant away", connector.Update(t.Context(), i), "verb grant")
}

func reservedNamesAreRefused(t *testing.T, p *plane) {
	admin, _ := p.as(t, "admin", "system:masters")
	for _, name := range []string{"flux-system", "bootstrap-token-abcdef", "sh.helm.release.v1.app.v1", "argocd-secret", "default-token-x7k2p"} {
		refused(t, "Secret "+name+" by the object's name", admin.Create(t.Context(), deviceCertificate(name)), "reserved")
		refused(t, "Secret "+name, admin.Create(t.Context(), deviceCertificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = name })), "choose another spec.secret.name")
	}
	c := deviceCertificate("argocd-gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "gateway" })
	admitted(t, "a reserved name of the object with a free one of the Secret", admin.Create(t.Context(), c))
	c.Spec.Secret.Name = ""
	refused(t, "an edit to a reserved name", admin.Update(t.Context(), c), "reserved")
}

// letPublish binds the right to write ConfigMaps, which no installation gives, for the rest of the test.
func letPublish(t *testing.T, p *plane, operator client.Client) {
	t.Helper()
	admin, _ := p.as(t, "admin", "system:masters")
	awaitRight := func(ctx context.Context, in string, given bool) {
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "devicecert-profile-probe"}}
		err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			return (operator.Create(ctx, probe.DeepCopy(), client.DryRunAll) == nil) == given, nil
		})
		if err != nil {
			t.Errorf("the right to publish in %s is not %t: %v", in, given, err)
		}
	}
	for _, in := range []string{namespace, served} {
		awaitRight(t.Context(), in, false)
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: "profile-publisher"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "devicecert-profile-publisher"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: operatorUser()}},
		}
		admitted(t, "the right to publish", admin.Create(t.Context(), binding))
		t.Cleanup(func() {
			if err := admin.Delete(context.Background(), binding); err != nil {
				t.Error(err)
			}
			awaitRight(context.Background(), in, false)
		})
		awaitRight(t.Context(), in, true)
	}
}

func operatorIsConfined(t *testing.T, p *plane) {
	operator, _ := p.as(t, operatorUser())
	mark := map[string]string{v1alpha1.AnnotationCertificateName: "gateway"}
	admitted(t, "a pair", operator.Create(t.Context(), secretOf("pair", corev1.SecretTypeTLS, mark), client.DryRunAll))
	admitted(t, "a sealed key", operator.Create(t.Context(), secretOf("sealed", corev1.SecretTypeOpaque, mark), client.DryRunAll))
	refused(t, "a Secret without annotations", operator.Create(t.Context(), secretOf("bare", corev1.SecretTypeTLS, nil), client.DryRunAll), "does not carry its annotations")
	refused(t, "a Secret that would become a token", operator.Create(t.Context(), secretOf("bootstrap", "bootstrap.kubernetes.io/token", mark), client.DryRunAll), "kubernetes.io/tls and Opaque")
	for _, forbidden := range []string{"kube-system", namespace} {
		s := secretOf("pair", corev1.SecretTypeTLS, mark)
		s.Namespace = forbidden
		refused(t, "a Secret in "+forbidden, operator.Create(t.Context(), s, client.DryRunAll), "system namespaces")
	}
	letPublish(t, p, operator)
	profile := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "devicecert-profile-x"}}
	admitted(t, "a published profile", operator.Create(t.Context(), profile, client.DryRunAll))
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: served, Name: "settings"}}
	refused(t, "somebody's ConfigMap", operator.Create(t.Context(), settings, client.DryRunAll), "writes no ConfigMaps")
	admin, _ := p.as(t, "admin", "system:masters")
	admitted(t, "somebody makes it", admin.Create(t.Context(), settings))
	refused(t, "deleting somebody's ConfigMap", operator.Delete(t.Context(), settings), "writes no ConfigMaps")
	foreign := secretOf("foreign", corev1.SecretTypeOpaque, nil)
	admitted(t, "a user's Secret", admin.Create(t.Context(), foreign))
	refused(t, "deleting a user's Secret", operator.Delete(t.Context(), foreign), "does not carry its annotations")
	ours := secretOf("ours", corev1.SecretTypeTLS, mark)
	admitted(t, "the operator's Secret", operator.Create(t.Context(), ours))
	admitted(t, "deleting the operator's Secret", operator.Delete(t.Context(), ours))
}

func costlyEditsAreAnnounced(t *testing.T, p *plane) {
	admin, heard := p.as(t, "admin", "system:masters")
	c := deviceCertificate("costly")
	admitted(t, "a certificate", admin.Create(t.Context(), c))
	for _, bought := range []bool{false, true} {
		if bought {
			c.Status.SerialNumber = "01"
			admitted(t, "a status", admin.Status().Update(t.Context(), c))
		}
		for _, edit := range []struct {
			name  string
			warns bool
			edit  func(*v1alpha1.DeviceCertificateSpec)
		}{
			{"profile", true, func(s *v1alpha1.DeviceCertificateSpec) {
				s.EnrollmentProfileID = "IOT_00000000-0000-0000-0000-000000000002"
			}},
			{"attributes", true, func(s *v1alpha1.DeviceCertificateSpec) { s.CertificateAttributes[0].Value = new("other.example") }},
			{"device", true, func(s *v1alpha1.DeviceCertificateSpec) {
				s.DeviceAttributes = []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: new("x")}}
			}},
			{"key type", true, func(s *v1alpha1.DeviceCertificateSpec) { s.PrivateKey.KeyType = "p_384" }},
			{"issuer", true, func(s *v1alpha1.DeviceCertificateSpec) { s.IssuerRef.Name = "other" }},
			{"outputs", false, func(s *v1alpha1.DeviceCertificateSpec) {
				s.Secret.Outputs = &v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{"DER"}}
			}},
			{"renewal", false, func(s *v1alpha1.DeviceCertificateSpec) { s.Renewal.RenewBefore = &metav1.Duration{Duration: time.Hour} }},
			{"suspend", false, func(s *v1alpha1.DeviceCertificateSpec) { s.Suspend = true }},
			{"labels", false, func(s *v1alpha1.DeviceCertificateSpec) { s.Secret.Labels = map[string]string{"a": "b"} }},
		} {
			edited := c.DeepCopy()
			edit.edit(&edited.Spec)
			heard.take()
			admitted(t, "an edit of "+edit.name, admin.Update(t.Context(), edited, client.DryRunAll))
			if got := heard.take(); strings.Contains(got, "buys a new certificate") != (bought && edit.warns) {
				t.Errorf("%s, with a certificate %t: warned %q", edit.name, bought, got)
			}
		}
	}
}

// networkIsClosed holds the component to what it says. Whether a network enforces it is that network's affair.
func networkIsClosed(t *testing.T, p *plane) {
	p.apply(t, p.compose(t, "network-policy"))
	policy, err := p.clients.NetworkingV1().NetworkPolicies(namespace).Get(t.Context(), account, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := deployment(t.Context(), t, p.clients).Spec.Template
	for key, value := range policy.Spec.PodSelector.MatchLabels {
		if pod.Labels[key] != value {
			t.Errorf("the pods do not carry %s=%s", key, value)
		}
	}
	if len(policy.Spec.PodSelector.MatchLabels) == 0 || !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) || !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
		t.Errorf("the policy covers %v of %v", policy.Spec.PolicyTypes, policy.Spec.PodSelector)
	}
	var open []string
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			open = append(open, fmt.Sprintf("in %s from %d", port.Port, len(rule.From)))
		}
	}
	for _, rule := range policy.Spec.Egress {
		for _, port := range rule.Ports {
			open = append(open, fmt.Sprintf("out %s to %d", port.Port, len(rule.To)))
		}
	}
	want := []string{"in metrics from 1", "in probes from 0", "out 53 to 1", "out 53 to 1", "out 443 to 0", "out 6443 to 0"}
	if !slices.Equal(open, want) {
		t.Errorf("open is %q, want %q", open, want)
	}
}
