// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// playground is the ground on which docs/quick-start.md is walked: everything but the operator, which the user installs.
func (d *demo) playground(ctx context.Context) error {
	d.controllers = []string{"deployment-controller", "replicaset-controller", "job-controller"}
	err := d.tell(ctx,
		step{"Start Kubernetes: etcd, kube-apiserver and kube-controller-manager", d.startCluster},
		step{"Start a node that runs pods as processes of this machine, and Prometheus", d.startNode},
		step{"Start the simulated vendor", d.startSimulator},
		step{"Write down what the quick start needs", d.writeGround},
	)
	if err != nil {
		return err
	}
	d.screen.say("\n%s It stays until you press Ctrl-C. In another terminal:\n\n  . %s\n\nand go on with docs/quick-start.md, in this folder.",
		d.screen.paint(bold, "The playground is ready."), d.folder.path("env"))
	return d.stay(ctx, d.simulator.process)
}

// writeGround writes samples, token and, last, the environment in which the quick start's commands run.
func (d *demo) writeGround(context.Context) error {
	samples, err := d.writeSamples(false)
	if err != nil {
		return err
	}
	vendor, err := simulator.LoadConfig(d.simulatorConfig())
	if err != nil {
		return err
	}
	variables := []string{
		"VALUES=" + filepath.Join(d.root, "hack", "demo", "values.yaml"),
		"SAMPLES=" + samples,
		"TOKEN=" + d.folder.path("api-token"),
		"SIMULATOR=" + d.simulator.admin,
		"WORK=" + d.folder.path("work"),
	}
	if d.node.watched != nil {
		variables = append(variables, "PROMETHEUS="+d.node.watched.url)
	}
	return errors.Join(
		os.Mkdir(d.folder.path("work"), 0o700),
		d.folder.write([]byte(vendor.APIKeys[0].Key), "api-token"),
		d.writeEnvironment(variables...),
	)
}

// writeEnvironment writes what another terminal reads to find this cluster, with kubectl, Helm and our programs first in its PATH.
func (d *demo) writeEnvironment(variables ...string) error {
	tools := os.Getenv("TOOLS")
	if tools == "" {
		tools = filepath.Join(d.root, "bin", "tools")
	}
	var text strings.Builder
	for _, variable := range append([]string{
		"KUBECONFIG=" + d.plane.Kubeconfig(),
		"PATH=" + strings.Join([]string{filepath.Dir(d.plane.Kubectl()), tools, d.bin}, ":") + ":$PATH",
	}, variables...) {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&text, "export %s=\"%s\"\n", name, value)
	}
	return d.folder.write([]byte(text.String()), "env")
}
