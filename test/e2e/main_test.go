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
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
	"github.com/devicecert/devicecert-operator/internal/testkit/installation"
)

const (
	// operatorNamespace and operatorAccount are what config/default installs.
	operatorNamespace = installation.Namespace
	operatorAccount   = installation.Account
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
	// manager, simulator and plugin are the programs.
	manager, simulator, plugin string
}

var env shared

var otherManager = flag.String("manager", "", "a manager to test in the place of the one that is built here, such as one for another platform")

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
	env.plugin = filepath.Join(dir, "kubectl-devicecert")
	const root = "../.."
	if err := installation.Build(context.Background(), root, dir, "", "manager", "simulator", "kubectl-devicecert"); err != nil {
		return err
	}
	if *otherManager != "" {
		env.manager = *otherManager
	}
	installed, err := installation.Start(context.Background(), root, true)
	if err != nil {
		return err
	}
	env.controlPlane, env.admin, env.operatorKubeconfig = installed.ControlPlane, installed.Admin, installed.OperatorKubeconfig
	return nil
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
