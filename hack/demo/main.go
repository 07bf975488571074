// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the operator at work on this machine: a real Kubernetes control plane, the simulated vendor and the manager, as
// separate processes, with the manifests of config/ and nothing else. Run it by `make demo`.
//
// The story is in story.go. With DEMO=once it ends after its checks, otherwise it stays until Ctrl-C for the user to play on.
//
// With the argument playground (`make playground`) it tells nothing and installs nothing: it is the cluster, the account and the
// Prometheus that the quick start needs, for those who have none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	ctrl.SetLogger(logr.Discard()) // the libraries' words would end up between the lines of the story
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	d := &demo{screen: newScreen(os.Stdout), once: os.Getenv("DEMO") == "once"}
	flag.StringVar(&d.bin, "bin", "bin", "folder of the programs that make build makes")
	flag.Parse()
	tell := d.story
	if flag.Arg(0) == "playground" {
		tell = d.playground
	}
	if err := d.run(ctx, tell); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			err = errors.New("interrupted before the end")
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
