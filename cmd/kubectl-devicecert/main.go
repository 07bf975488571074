// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kubectl-devicecert is a kubectl plugin: somewhere in the PATH, it is run as `kubectl devicecert`. docs/kubectl-plugin.md tells
// how to use it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/go-logr/logr"

	"github.com/devicecert/devicecert-operator/internal/cli"
)

// version is set by the linker in a release.
var version string

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctrl.SetLogger(logr.Discard()) // a plugin speaks to a person
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	command := cli.NewCommand(&cli.Environment{
		IOStreams:   genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Flags:       genericclioptions.NewConfigFlags(true),
		Clock:       clock.RealClock{},
		Terminal:    cli.IsTerminal(os.Stdout),
		Colours:     cli.ColoursWanted(os.Stdout, os.LookupEnv),
		Interactive: cli.IsTerminal(os.Stdin),
		Version:     buildVersion(),
	})
	command.SetArgs(args)
	err := command.ExecuteContext(ctx)
	status, tell := cli.ExitStatus(err)
	if tell {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	return status
}

// buildVersion is the release's or, without one, what Go knows of the source.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
