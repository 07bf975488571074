// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator: it keeps the Secrets of DeviceCertificates filled with certificates from DigiCert IoT Trust Manager.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

func main() {
	err := start(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func start(args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == uninstallCommand {
		ctrl.SetLogger(zap.New())
		return runUninstall(ctrl.SetupSignalHandler(), args[1:])
	}
	options, err := parse(args)
	if err != nil {
		return err
	}
	if options.version {
		_, err := fmt.Fprintf(out, "devicecert-operator %s %s/%s %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&options.zap)))
	boundMemory(debug.SetGCPercent)
	return run(ctrl.SetupSignalHandler(), options)
}
