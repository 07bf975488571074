// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// controllers are those whose effects an operator meets; nothing here runs workloads.
const controllers = "garbage-collector-controller,namespace-controller,resourcequota-controller," +
	"serviceaccount-controller,serviceaccount-token-controller,root-ca-certificate-publisher-controller," +
	"clusterrole-aggregation-controller,validatingadmissionpolicy-status-controller"

const (
	pollInterval = 50 * time.Millisecond
	startTimeout = 30 * time.Second
)

// startControllerManager starts kube-controller-manager with the rights of a real one and waits
// until its controllers work.
func (c *ControlPlane) startControllerManager(ctx context.Context, more []string) error {
	kubeconfig, err := c.KubeconfigFor("system:kube-controller-manager")
	if err != nil {
		return err
	}
	certificates := filepath.Join(c.workDir, certDir)
	rootCA := filepath.Join(certificates, "root-ca.crt")
	if err := os.WriteFile(rootCA, c.admin.CAData, 0o600); err != nil {
		return fmt.Errorf("write the root certificate for pods: %w", err)
	}
	c.controllerManager, err = c.startProcess("kube-controller-manager",
		"--kubeconfig="+kubeconfig,
		"--controllers="+strings.Join(append([]string{controllers}, more...), ","),
		"--leader-elect=false",
		"--secure-port=0",
		// Without it the namespace and quota controllers lack the rights they need.
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+filepath.Join(certificates, "sa-signer.key"),
		"--root-ca-file="+rootCA,
		"--resource-quota-sync-period=2s",
		"--kube-api-qps=500",
		"--kube-api-burst=500",
	)
	if err != nil {
		return err
	}
	return c.awaitServiceAccount(ctx)
}

// awaitServiceAccount waits for the default namespace's account: no pod is admitted before, and it
// is made by the controller manager.
func (c *ControlPlane) awaitServiceAccount(ctx context.Context) error {
	clients, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return fmt.Errorf("make a client for the administrator: %w", err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		if c.controllerManager.exited() {
			return false, errors.New("the process ended")
		}
		_, last = clients.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for kube-controller-manager: %w\n%s", errors.Join(err, last), lastLines(c.controllerManager.log))
	}
	return nil
}
