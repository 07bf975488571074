// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e proves what the operator promises, with whole processes: a Kubernetes control plane, the simulator in the vendor's
// place, and the manager under the roles that config/ ships, never as an administrator. It needs Linux, the programs of
// `make controlplane`, and openssl, which is asked whether what was stored is any good.
//
// Every test has a namespace, a simulator and managers of its own. So tests run side by side, and a test may kill, freeze and starve
// what is its own.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	// operatorNamespace and operatorAccount are what config/default installs.
	operatorNamespace = "devicecert-system"
	operatorAccount   = "devicecert-controller-manager"
	operatorUser      = "system:serviceaccount:" + operatorNamespace + ":" + operatorAccount

	// sideBySide is how many tests run at a time. They wait more than they work.
	sideBySide = "8"
)

// shared is what all tests use. It is not changed once they run.
type shared struct {
	controlPlane *controlplane.ControlPlane
	// admin is the administrator's client: the user's hands, never the operator's.
	admin client.WithWatch
	// operatorKubeconfig holds the token of the shipped service account.
	operatorKubeconfig string
	// manager and simulator are the programs.
	manager, simulator string
}

var env shared

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, "prepare the end-to-end tests:", err)
		stop()
		return 1
	}
	code := m.Run()
	return max(code, stop())
}

// prepare builds the programs and installs the operator's kinds and roles into a fresh cluster.
func prepare(dir string) error {
	if err := flag.Set("test.parallel", sideBySide); err != nil {
		return err
	}
	env.manager, env.simulator = filepath.Join(dir, "manager"), filepath.Join(dir, "simulator")
	for _, program := range []string{env.manager, env.simulator} {
		if err := run("go", "build", "-o", program, "../../cmd/"+filepath.Base(program)); err != nil {
			return err
		}
	}
	var err error
	env.controlPlane, err = controlplane.Start(context.Background(), controlplane.Options{
		CRDPaths: []string{"../../config/crd/bases"}, ControllerManager: true, Audit: true,
	})
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	if env.admin, err = client.NewWithWatch(env.controlPlane.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	// The Deployment comes along; without a kubelet it starts nothing.
	kubectl, kubeconfig := env.controlPlane.Kubectl(), "--kubeconfig="+env.controlPlane.Kubeconfig()
	if err := run(kubectl, kubeconfig, "apply", "--server-side", "-k", "../../config/default"); err != nil {
		return err
	}
	env.operatorKubeconfig, err = env.controlPlane.ServiceAccountKubeconfig(context.Background(), operatorNamespace, operatorAccount)
	return err
}

func stop() int {
	if env.controlPlane == nil {
		return 0
	}
	if err := env.controlPlane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func run(name string, args ...string) error {
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, output)
	}
	return nil
}
