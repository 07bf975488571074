// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

func TestTwoManagersWithDifferentSelectorsServeTheirOwnIssuersOnly(t *testing.T) {
	w := newWorld(t)
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(goodToken)})
	managers := map[string]*process{}
	for _, site := range []string{"north", "south"} {
		w.issuer(func(i *v1alpha1.DeviceIssuer) { i.Name, i.Labels = site, map[string]string{"site": site} })
		managers[site] = w.startManager("--issuer-selector=site=" + site)
	}
	for site := range managers {
		w.certificate(site, func(c *v1alpha1.DeviceCertificate) { c.Spec.IssuerRef.Name = site })
	}
	for site, manager := range managers {
		w.awaitReady(site)
		if bought := strings.Count(manager.log(), `"requesting a certificate"`); bought != 1 {
			t.Errorf("the manager of %s asked for %d certificates", site, bought)
		}
	}
	w.wantBought("", 2)
}

func TestAManagerOfOneNamespaceNeedsNoRightsElsewhereAndNoListOfSecrets(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.clusterIssuer(w.namespace, v1alpha1.Grant{Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{"team": "edge"}}})
	manager := w.launchManager(w.narrowAccount(), "--watch-secrets=false")
	manager.awaitLog(t, "Starting workers", controllerCount)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete })
	first := w.awaitReady("gateway")
	verifyPair(t, w.secret("gateway"))
	w.requestRenewal("gateway")
	second := w.await("gateway", "renewed", patience, renewed(first.Status.SerialNumber))
	if number := verifyPair(t, w.secret("gateway")); number != second.Status.SerialNumber {
		t.Errorf("Secret holds %s, status says %s", number, second.Status.SerialNumber)
	}
	w.must(env.admin.Delete(w.ctx, second))
	w.awaitGone(second)

	// A grant selects namespaces by their labels, which are read live.
	shared := through(v1alpha1.KindClusterDeviceIssuer, w.namespace)
	w.certificate("shared", shared)
	w.await("shared", "refused for want of a grant", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonNotGranted
	})
	_, err := live.Edit(w.ctx, env.admin, client.ObjectKey{Name: w.namespace}, func(n *corev1.Namespace) {
		metav1.SetMetaDataLabel(&n.ObjectMeta, "team", "edge")
	})
	w.must(err)
	w.annotate("shared", v1alpha1.AnnotationRetryRequestedAt, time.Now().UTC().Format(time.RFC3339))
	w.awaitReady("shared")
	w.wantBought("", 3)
	if strings.Contains(manager.log(), "is forbidden") {
		t.Error("the manager asks for what its roles do not allow")
	}
}

// narrowAccount makes a service account with the rights that config/namespaced gives, for this test's namespace, and answers with its
// kubeconfig.
func (w *world) narrowAccount() string {
	w.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: w.meta("narrow")}
	w.must(env.admin.Create(w.ctx, account))
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.namespace, Name: account.Name}}
	rendered := output(w.T, nil, env.controlPlane.Kubectl(), "kustomize", "../../config/namespaced")
	for _, document := range strings.Split(rendered, "\n---\n") {
		var role rbacv1.Role
		if err := yaml.Unmarshal([]byte(document), &role); err != nil || role.Name != "devicecert-manager-role" {
			continue
		}
		name := w.namespace + "-narrow"
		switch {
		case role.Kind == "ClusterRole":
			w.must(env.admin.Create(w.ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: role.Rules}))
			w.must(env.admin.Create(w.ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: subjects,
			}))
			w.must(live.AwaitRights(w.ctx, env.admin, w.userOf(account.Name), "", role.Rules...))
		default:
			where := metav1.ObjectMeta{Namespace: w.namespace, Name: name}
			if role.Namespace == operatorNamespace {
				where.Namespace = operatorNamespace
			}
			w.must(env.admin.Create(w.ctx, &rbacv1.Role{ObjectMeta: where, Rules: role.Rules}))
			w.must(env.admin.Create(w.ctx, &rbacv1.RoleBinding{
				ObjectMeta: where, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}, Subjects: subjects,
			}))
			w.must(live.AwaitRights(w.ctx, env.admin, w.userOf(account.Name), where.Namespace, role.Rules...))
		}
	}
	kubeconfig, err := env.controlPlane.ServiceAccountKubeconfig(w.ctx, w.namespace, account.Name)
	w.must(err)
	return kubeconfig
}
