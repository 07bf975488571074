// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const namespace = "edge"

func TestAControlPlaneBehavesAsAClusterWithoutNodes(t *testing.T) {
	ctx := t.Context()
	plane, err := controlplane.Start(ctx, controlplane.Options{
		CRDPaths:          []string{"testdata/widgets.yaml"},
		ControllerManager: true,
		Audit:             true,
		APIServerFlags:    map[string]string{"feature-gates": "ContextualLogging=false"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	clients, err := kubernetes.NewForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	edge := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := clients.CoreV1().Namespaces().Create(ctx, edge, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	t.Run("an object whose owner is deleted is collected", func(t *testing.T) { collectsGarbage(ctx, t, clients) })
	t.Run("a quota refuses what exceeds it", func(t *testing.T) { enforcesQuota(ctx, t, clients) })
	t.Run("kubectl serves the given resource definitions", func(t *testing.T) { servesCRDs(ctx, t, plane) })
	t.Run("a user has the rights of its groups", func(t *testing.T) { knowsUsers(ctx, t, plane) })
	t.Run("a service account has no rights by itself", func(t *testing.T) { knowsServiceAccounts(ctx, t, plane) })
	t.Run("the administrator reads the server's metrics", func(t *testing.T) { servesMetrics(ctx, t, clients) })
	t.Run("its processes are known", func(t *testing.T) { knowsProcesses(t, plane) })
	t.Run("requests are audited", func(t *testing.T) { audits(t, plane) })
	t.Run("a namespace is deleted to the end", func(t *testing.T) { deletesNamespace(ctx, t, clients) })
}

func collectsGarbage(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	maps := clients.CoreV1().ConfigMaps(namespace)
	owner, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name:            "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}},
	}}
	if _, err := maps.Create(ctx, owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, owner.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the owned ConfigMap to be gone", func(ctx context.Context) (bool, error) {
		_, err := maps.Get(ctx, owned.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

func enforcesQuota(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	quotas := clients.CoreV1().ResourceQuotas(namespace)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "no-secrets"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
	}
	if _, err := quotas.Create(ctx, quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// It is counted by one program and enforced by another, which learns of it by a watch.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "one-too-many"}}
	await(ctx, t, "a Secret above the quota to be refused", func(ctx context.Context) (bool, error) {
		_, err := clients.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsForbidden(err) {
			return true, nil
		}
		return false, err
	})
}

func knowsProcesses(t *testing.T, plane *controlplane.ControlPlane) {
	for _, program := range []string{"etcd", "kube-apiserver"} {
		pid, err := plane.PID(program)
		if err != nil {
			t.Fatal(err)
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || strings.TrimSpace(string(name)) != program {
			t.Errorf("process %d is %q, %v, want %s", pid, name, err, program)
		}
	}
	if _, err := plane.PID("kubelet"); err == nil {
		t.Error("a program that does not run has a process")
	}
}

func servesCRDs(ctx context.Context, t *testing.T, plane *controlplane.ControlPlane) {
	output, err := exec.CommandContext(ctx, plane.Kubectl(), "--kubeconfig", plane.Kubeconfig(), "get", "widgets.test.example", "--all-namespaces").CombinedOutput()
	if err != nil || !strings.Contains(string(output), "No resources found") {
		t.Errorf("kubectl get widgets: %v: %s", err, output)
	}
}

func knowsUsers(ctx context.Context, t *testing.T, plane *controlplane.ControlPlane) {
	admin, err := plane.KubeconfigFor("alice", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := plane.KubeconfigFor("bob")
	if err != nil {
		t.Fatal(err)
	}
	if err := listSecrets(ctx, t, admin); err != nil {
		t.Errorf("list Secrets as a member of system:masters: %v", err)
	}
	if err := listSecrets(ctx, t, nobody); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "bob"`) {
		t.Errorf("list Secrets as bob: got %v, want forbidden to him", err)
	}
}

func knowsServiceAccounts(ctx context.Context, t *testing.T, plane *controlplane.ControlPlane) {
	account, err := plane.ServiceAccountKubeconfig(ctx, metav1.NamespaceDefault, "default")
	if err != nil {
		t.Fatal(err)
	}
	err = listSecrets(ctx, t, account)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:default:default") {
		t.Errorf("list Secrets with the account's token: got %v, want forbidden to the account", err)
	}
	if _, err := plane.ServiceAccountKubeconfig(ctx, metav1.NamespaceDefault, "absent"); !apierrors.IsNotFound(err) {
		t.Errorf("token of an absent account: got %v, want not found", err)
	}
}

func servesMetrics(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	metrics, err := clients.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil || !bytes.Contains(metrics, []byte("apiserver_request_total")) {
		t.Errorf("get /metrics: %v, %d bytes without apiserver_request_total", err, len(metrics))
	}
}

func audits(t *testing.T, plane *controlplane.ControlPlane) {
	log, err := os.ReadFile(plane.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte(`"name":"one-too-many"`)) {
		t.Errorf("the audit log does not tell of the refused Secret")
	}
}

func deletesNamespace(ctx context.Context, t *testing.T, clients kubernetes.Interface) {
	if err := clients.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the namespace to be gone", func(ctx context.Context) (bool, error) {
		_, err := clients.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

// listSecrets lists the Secrets of all namespaces with the credential of a kubeconfig.
func listSecrets(ctx context.Context, t *testing.T, kubeconfig string) error {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = clients.CoreV1().Secrets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	return err
}

func await(ctx context.Context, t *testing.T, what string, met wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, met); err != nil {
		t.Fatalf("wait for %s: %v", what, err)
	}
}
