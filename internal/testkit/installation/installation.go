// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package installation puts the operator's kinds and roles, as config/default ships them, into a control plane of its own, for tests with whole
// processes.
package installation

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	// Namespace is what config/default runs the manager in.
	Namespace = "devicecert-system"
	// Account is the service account it runs as.
	Account = "devicecert-controller-manager"
)

// Installation is a running control plane with the operator's kinds and roles. The caller ends it with Stop.
type Installation struct {
	ControlPlane *controlplane.ControlPlane
	// Admin is the administrator's client: the user's hands, never the operator's.
	Admin client.WithWatch
	// OperatorKubeconfig holds the token of the shipped service account.
	OperatorKubeconfig string
}

// Start installs what the module at root ships. Nothing runs the manager: there is no kubelet for its Deployment.
func Start(ctx context.Context, root string, audit bool) (*Installation, error) {
	cp, err := controlplane.Start(ctx, controlplane.Options{
		CRDPaths: []string{filepath.Join(root, "config", "crd", "bases")}, ControllerManager: true, Audit: audit,
	})
	if err != nil {
		return nil, err
	}
	i := &Installation{ControlPlane: cp}
	if err := i.install(ctx, root); err != nil {
		_ = cp.Stop() // the first error says more
		return nil, err
	}
	return i, nil
}

func (i *Installation) install(ctx context.Context, root string) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("build the scheme: %w", err)
		}
	}
	var err error
	if i.Admin, err = client.NewWithWatch(i.ControlPlane.Config(), client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connect as administrator: %w", err)
	}
	apply := []string{"--kubeconfig=" + i.ControlPlane.Kubeconfig(), "apply", "--server-side", "-k", filepath.Join(root, "config", "default")}
	if err := run(ctx, i.ControlPlane.Kubectl(), apply...); err != nil {
		return err
	}
	i.OperatorKubeconfig, err = i.ControlPlane.ServiceAccountKubeconfig(ctx, Namespace, Account)
	return err
}

// Build builds programs of the module at root, by the names of their folders under cmd, into dir. An overlay, unless it is empty, replaces
// files as go build knows it.
func Build(ctx context.Context, root, dir, overlay string, programs ...string) error {
	for _, program := range programs {
		err := run(ctx, "go", "build", "-C", root, "-overlay="+overlay, "-o", filepath.Join(dir, program), "./cmd/"+program)
		if err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, name string, args ...string) error {
	if output, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, output)
	}
	return nil
}
