// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package faults tries to make the operator lose a key, buy twice or show a broken Secret. A clean run of each workload is recorded,
// every write to the API server and every call to the vendor in it becomes a point, and every point is broken in every way: the operator
// killed before and after, answers lost, errors, silence. What holds whatever breaks is checked on the recorded history. See
// docs/reliability.md.
//
// It needs Linux and the programs of `make controlplane`. Every case has a namespace, a vendor, a proxy before the API server and a
// manager of its own.
package faults

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
)

var (
	full    = flag.Bool("faults.full", os.Getenv("FAULTS_FULL") != "", "run every plan of every workload, not only those that every change has to pass")
	pairs   = flag.Bool("faults.pairs", false, "kill the manager at every ordered pair of points of creating and renewing, and break nothing once")
	result  = flag.String("faults.result", "", "write the table as JSON to this file")
	overlay = flag.String("faults.overlay", "", "build the manager with this overlay, as go build knows it: for test/faults/mutants")
	// lanes is how many cases run at a time. They wait more than they work.
	lanes = flag.String("faults.lanes", "14", "cases that run side by side")
)

// shared is what all cases use. It is not changed once they run.
type shared struct {
	controlPlane *controlplane.ControlPlane
	// admin is the administrator's client: the user's hands, never the operator's.
	admin client.WithWatch
	// operatorKubeconfig holds the token of the shipped service account.
	operatorKubeconfig string
	manager            string
}

var (
	env   shared
	table report
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, "prepare the fault tests:", err)
		stop()
		return 1
	}
	code := max(m.Run(), stop())
	if err := table.publish(os.Stdout, *result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// prepare builds the manager and installs the operator's kinds and roles into a fresh cluster.
func prepare(dir string) error {
	if err := flag.Set("test.parallel", *lanes); err != nil {
		return err
	}
	env.manager = filepath.Join(dir, "manager")
	const root = "../.."
	if err := installation.Build(context.Background(), root, dir, *overlay, "manager"); err != nil {
		return err
	}
	installed, err := installation.Start(context.Background(), root, false)
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
