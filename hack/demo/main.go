// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the operator at work on this machine: a real Kubernetes control plane, the simulated vendor and the manager, as
// separate processes, with the manifests of config/ and nothing else. Run it by `make demo`.
//
// The story is in story.go. With DEMO=once it ends after its checks, otherwise it stays until Ctrl-C for the user to play on.
package main

import (
	"context"
	"errors"
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
	if err := d.run(ctx); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			err = errors.New("interrupted before the end")
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
