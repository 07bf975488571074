// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests_test holds config/ to what it promises, on a real API server.
package manifests_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	namespace = "devicecert-system"
	account   = "devicecert-controller-manager"
)

// install applies config/default, and config/samples, to a cluster of their own.
func install(t *testing.T) kubernetes.Interface {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, folder := range []string{"default", "samples"} {
		command := exec.CommandContext(t.Context(), plane.Kubectl(), "--kubeconfig", plane.Kubeconfig(), "--cache-dir", t.TempDir(),
			"apply", "--server-side", "-k", filepath.Join("../../config", folder))
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("apply config/%s: %v\n%s", folder, err, output)
		}
	}
	clients, err := kubernetes.NewForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

func TestAnInstallationIsWhatItPromises(t *testing.T) {
	clients := install(t)
	t.Run("the pod is admitted under the restricted standard", func(t *testing.T) { podIsRestricted(t.Context(), t, clients) })
	t.Run("a stopping pod has longer than the manager needs", func(t *testing.T) { graceIsLonger(t.Context(), t, clients) })
	t.Run("the manager may do its work and no more", func(t *testing.T) { rightsAreNarrow(t.Context(), t, clients) })
	t.Run("no role gives users write access to a status", func(t *testing.T) { statusIsTheOperators(t.Context(), t, clients) })
}

func deployment(ctx context.Context, t *testing.T, clients kubernetes.Interface) *appsv1.Deployment {
	t.Helper()
	d, err := clients.AppsV1().Deployments(namespace).Get(ctx, account, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func podIsRestricted(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	template := deployment(ctx, t, clients).Spec.Template
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name = "as-deployed"
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := clients.CoreV1().Pods(namespace).Create(ctx, pod, dryRun); err != nil {
		t.Errorf("the pod is refused: %v", err)
	}
	pod.Spec.SecurityContext.RunAsNonRoot = nil
	if _, err := clients.CoreV1().Pods(namespace).Create(ctx, pod, dryRun); err == nil {
		t.Error("the namespace does not enforce the restricted standard")
	}
	if readOnly := template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Error("the root file system can be written to")
	}
}

func graceIsLonger(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	spec := deployment(ctx, t, clients).Spec.Template.Spec
	const flag = "--shutdown-timeout="
	at := slices.IndexFunc(spec.Containers[0].Args, func(a string) bool { return strings.HasPrefix(a, flag) })
	if at < 0 {
		t.Fatal("--shutdown-timeout is not set")
	}
	timeout, err := time.ParseDuration(strings.TrimPrefix(spec.Containers[0].Args[at], flag))
	if err != nil {
		t.Fatal(err)
	}
	if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; grace <= timeout {
		t.Errorf("the pod is killed after %s, while the manager may need %s to store what is on its way", grace, timeout)
	}
}

func rightsAreNarrow(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	for _, test := range []struct {
		allowed                        bool
		namespace, group, resource, on string
	}{
		{true, "edge", "", "secrets", "get patch create delete"},
		{true, "edge", "", "configmaps", "get"},
		{true, "edge", "devicecert.io", "devicecertificates", "get list watch patch"},
		{true, "edge", "devicecert.io", "devicecertificates/status", "patch"},
		{true, "", "devicecert.io", "clusterdeviceissuers/status", "patch"},
		{true, "edge", "events.k8s.io", "events", "create"},
		{true, namespace, "coordination.k8s.io", "leases", "get create update"},
		{true, "", "authentication.k8s.io", "tokenreviews", "create"},
		{false, "edge", "", "secrets", "deletecollection"},
		{false, "edge", "", "configmaps", "list create patch delete"},
		{false, "edge", "", "pods", "get list create"},
		{false, "edge", "devicecert.io", "devicecertificates", "create delete"},
		{false, "edge", "devicecert.io", "deviceissuers", "create patch update delete"},
		{false, "", "devicecert.io", "clusterdeviceissuers", "create patch update delete"},
		{false, "", "rbac.authorization.k8s.io", "clusterroles", "get create bind escalate"},
		{false, "", "", "nodes", "get list"},
	} {
		for verb := range strings.FieldsSeq(test.on) {
			resource, subresource, _ := strings.Cut(test.resource, "/")
			review, err := clients.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User: "system:serviceaccount:" + namespace + ":" + account,
					ResourceAttributes: &authorizationv1.ResourceAttributes{
						Namespace: test.namespace, Verb: verb, Group: test.group, Resource: resource, Subresource: subresource,
					},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if review.Status.Allowed != test.allowed {
				t.Errorf("%s %s in %q: allowed %t, want %t", verb, test.resource, test.namespace, review.Status.Allowed, test.allowed)
			}
		}
	}
}

func statusIsTheOperators(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	roles, err := clients.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	aggregated := 0
	for _, role := range roles.Items {
		if !strings.HasPrefix(role.Name, "devicecert-aggregate-") {
			continue
		}
		aggregated++
		for _, rule := range role.Rules {
			if slices.ContainsFunc(rule.Resources, func(r string) bool { return r == rbacv1.ResourceAll || strings.Contains(r, "/") }) {
				t.Errorf("%s names %v", role.Name, rule.Resources)
			}
		}
	}
	if aggregated != 3 {
		t.Errorf("%d aggregated roles, want those for view, edit and admin", aggregated)
	}
}
