// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
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

func TestAManagerThatDoesNotWatchSecretsNeedsNoRightToListThem(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.launchManager(w.withoutListingSecrets(), "--watch-secrets=false").awaitLog(t, "Starting workers", controllerCount)
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
	w.wantBought("", 2)
}

// withoutListingSecrets makes a service account with the shipped role less list and watch of Secrets, and answers with its kubeconfig.
func (w *world) withoutListingSecrets() string {
	w.Helper()
	role := &rbacv1.ClusterRole{}
	w.must(env.admin.Get(w.ctx, client.ObjectKey{Name: "devicecert-manager-role"}, role))
	narrow := &rbacv1.ClusterRole{}
	narrow.Name, narrow.Rules = w.namespace, role.Rules
	for i, rule := range narrow.Rules {
		if slices.Contains(rule.Resources, "secrets") {
			narrow.Rules[i].Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(verb string) bool { return verb == "list" || verb == "watch" })
		}
	}
	account := &corev1.ServiceAccount{ObjectMeta: w.meta("narrow")}
	binding := &rbacv1.ClusterRoleBinding{
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: narrow.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.namespace, Name: account.Name}},
	}
	binding.Name = w.namespace
	for _, object := range []client.Object{narrow, account, binding} {
		w.must(env.admin.Create(w.ctx, object))
	}
	kubeconfig, err := env.controlPlane.ServiceAccountKubeconfig(w.ctx, w.namespace, account.Name)
	w.must(err)
	return kubeconfig
}
