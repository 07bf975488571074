// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/uninstall"
)

// uninstallCommand, as the first argument, makes this program let go of everything before the operator is deleted.
const uninstallCommand = "uninstall"

// runUninstall is what the chart's pre-delete hook runs.
func runUninstall(ctx context.Context, args []string) error {
	o := uninstall.Options{Out: os.Stdout}
	var namespaces, selector string
	var timeout time.Duration
	fs := flag.NewFlagSet("manager uninstall", flag.ContinueOnError)
	config.RegisterFlags(fs) // --kubeconfig
	fs.StringVar(&o.Namespace, "namespace", "", "Namespace of the operator. Required.")
	fs.StringVar(&o.Deployment, "deployment", "", "Deployment of the operator, which is stopped first. Empty: none is.")
	fs.StringVar(&o.Report, "report", "devicecert-operator-left-behind", "ConfigMap that says what is left undone, if anything is.")
	fs.StringVar(&namespaces, "namespaces", "", "Namespaces the operator serves, separated by commas. Empty: all.")
	fs.StringVar(&selector, "issuer-selector", "", "Label selector of the issuers the operator serves. Empty: all.")
	fs.DurationVar(&timeout, "timeout", 5*time.Minute, "How long this may take in all.")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.Namespace == "" || fs.NArg() > 0 {
		return errors.New("uninstall takes flags only, and needs --namespace")
	}
	o.Namespaces = splitList(namespaces)
	var err error
	if o.Issuers, err = labels.Parse(selector); err != nil {
		return fmt.Errorf("--issuer-selector: %w", err)
	}
	if o.Client, err = plainClient(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return uninstall.Run(ctx, o)
}

// plainClient reads and writes without a cache.
func plainClient() (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build the scheme: %w", err)
	}
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find a cluster (--kubeconfig, KUBECONFIG or a pod's service account): %w", err)
	}
	restConfig.UserAgent = userAgent()
	restConfig.Wrap(boundCalls)
	return client.New(restConfig, client.Options{Scheme: scheme})
}
