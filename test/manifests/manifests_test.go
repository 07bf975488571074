// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests_test holds config/ to what it promises, on a real API server.
package manifests_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	namespace = "devicecert-system"
	account   = "devicecert-controller-manager"
)

// plane is a cluster of its own, and the administrator's way to it.
type plane struct {
	*controlplane.ControlPlane
	clients kubernetes.Interface
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	started, err := controlplane.Start(t.Context(), controlplane.Options{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Stop(); err != nil {
			t.Error(err)
		}
	})
	clients, err := kubernetes.NewForConfig(started.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &plane{ControlPlane: started, clients: clients}
}

// apply installs a folder of configuration, as a user would.
func (p *plane) apply(t *testing.T, folder string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), p.Kubectl(), "--kubeconfig", p.Kubeconfig(), "--cache-dir", t.TempDir(), "apply", "--server-side", "-k", folder)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("apply %s: %v\n%s", folder, err, output)
	}
}

// compose writes config/default with a component of config/, as docs/hardening.md tells users to.
func (p *plane) compose(t *testing.T, component string) string {
	t.Helper()
	folder := t.TempDir()
	config, err := filepath.Abs("../../config")
	if err != nil {
		t.Fatal(err)
	}
	if config, err = filepath.Rel(folder, config); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("namespace: %s\nnamePrefix: devicecert-\nresources: [%[2]s/crd, %[2]s/rbac, %[2]s/manager]\ncomponents: [%[2]s/%[3]s]\n", namespace, config, component)
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestAnInstallationIsWhatItPromises(t *testing.T) {
	plane := startPlane(t)
	for _, folder := range []string{"default", "samples", "policy"} {
		plane.apply(t, filepath.Join("../../config", folder))
	}
	clients := plane.clients
	t.Run("the pod is admitted under the restricted standard", func(t *testing.T) { podIsRestricted(t.Context(), t, clients) })
	t.Run("a stopping pod has longer than the manager needs", func(t *testing.T) { graceIsLonger(t.Context(), t, clients) })
	t.Run("no role gives users write access to a status", func(t *testing.T) { statusIsTheOperators(t.Context(), t, clients) })
	t.Run("the policies let the good through and stop the bad", func(t *testing.T) { policiesHold(t, plane) })
	t.Run("the network is closed but for what is needed", func(t *testing.T) { networkIsClosed(t, plane) })
	t.Run("the simulator is ready for a rehearsal", func(t *testing.T) { simulatorIsAdmitted(t, plane) })
	// From here on each mode of installation replaces the one before.
	t.Run("the rights in the whole cluster", func(t *testing.T) { plane.wantRights(t, "cluster-wide.txt") })
	t.Run("the rights without a watch on Secrets", func(t *testing.T) {
		plane.apply(t, plane.compose(t, "without-secret-watch"))
		plane.wantRights(t, "without-secret-watch.txt")
	})
	t.Run("the rights in few namespaces", func(t *testing.T) {
		plane.apply(t, "../../config/namespaced")
		plane.wantRights(t, "namespaced.txt")
	})
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

// The simulator for rehearsals: its pod is admitted, its flags exist, and its account can be read.
func simulatorIsAdmitted(t *testing.T, plane *plane) {
	ctx := t.Context()
	plane.apply(t, "../../config/simulator")
	d, err := plane.clients.AppsV1().Deployments("devicecert-simulator").Get(ctx, "simulator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
	pod.Name = "as-deployed"
	if _, err := plane.clients.CoreV1().Pods(d.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("the pod is refused: %v", err)
	}
	config, err := plane.clients.CoreV1().ConfigMaps(d.Namespace).Get(ctx, d.Spec.Template.Spec.Volumes[0].ConfigMap.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "simulator.yaml")
	if err := os.WriteFile(path, []byte(config.Data["simulator.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.LoadConfig(path); err != nil {
		t.Error(err)
	}
	service, err := plane.clients.CoreV1().Services(d.Namespace).Get(ctx, "simulator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
		t.Errorf("the Service selects %v, pods have %v", service.Spec.Selector, pod.Labels)
	}
	name := service.Name + "." + service.Namespace + ".svc"
	if args := pod.Spec.Containers[0].Args; !slices.ContainsFunc(args, func(a string) bool {
		return strings.HasPrefix(a, "--host=") && slices.Contains(strings.Split(strings.TrimPrefix(a, "--host="), ","), name)
	}) {
		t.Errorf("the serving certificate is not for %s: %v", name, args)
	}
}
