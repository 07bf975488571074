// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/telemetry"
)

// options are the manager's flags, checked.
type options struct {
	leaderElect              bool
	metricsAddress           string
	certificateMetrics       telemetry.Detail
	probeAddress             string
	profileAddress           string
	namespaces               []string
	issuers                  labels.Selector
	clusterResourceNamespace string
	hosts                    account.HostPolicy
	watchSecrets             bool
	maxConcurrentReconciles  int
	shutdownTimeout          time.Duration
	version                  bool
	zap                      zap.Options
}

// firstRevealingLevel is the verbosity from which client-go logs request and response bodies.
const firstRevealingLevel = 8

// inClusterNamespace is where a pod finds the name of its namespace.
const inClusterNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// parse reads the flags. Unknown and contradictory ones are errors of one line.
func parse(args []string) (options, error) {
	var o options
	var namespaces, selector, hosts, proxies, networks, detail string
	fs := flag.NewFlagSet("manager", flag.ContinueOnError)
	config.RegisterFlags(fs) // --kubeconfig
	fs.BoolVar(&o.leaderElect, "leader-elect", false, "Elect a leader among several replicas; only the leader buys.")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "Address of the metrics endpoint, such as :8443; 0 turns it off.")
	fs.StringVar(&detail, "certificate-metrics", string(telemetry.All), "Which DeviceCertificates have metrics of their own: all, or problems for only those that are not simply ready.")
	fs.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz; 0 turns them off.")
	fs.StringVar(&o.profileAddress, "pprof-bind-address", "0", "Loopback address of Go's profiles (pprof), such as 127.0.0.1:6060; 0 turns them off.")
	fs.StringVar(&namespaces, "namespaces", "", "Namespaces to serve, separated by commas; no rights on Secrets or namespaces are needed elsewhere. Empty: all.")
	fs.StringVar(&selector, "issuer-selector", "", "Label selector of the issuers to serve. Empty: all.")
	fs.StringVar(&o.clusterResourceNamespace, "cluster-resource-namespace", "", "Namespace of the Secrets and ConfigMaps that ClusterDeviceIssuers name. Default: the manager's own.")
	fs.StringVar(&hosts, "allowed-hosts", "", "Hosts an issuer may name, separated by commas: exact names, *.suffix or IPs, optionally with a port. Default: DigiCert ONE's production and demo hosts.")
	fs.StringVar(&proxies, "allowed-proxies", "", "Proxies an issuer may name, in the form of --allowed-hosts. Default: none.")
	fs.StringVar(&networks, "allowed-networks", "", "CIDRs outside the public address space that an allowed host or proxy may resolve to, separated by commas. Listing localhost or an IP as a host or proxy implies it for that.")
	fs.BoolVar(&o.watchSecrets, "watch-secrets", true, "Watch the metadata of labelled Secrets. False needs no list or watch right on Secrets; changes are then noticed within five minutes.")
	fs.IntVar(&o.maxConcurrentReconciles, "max-concurrent-reconciles", 8, "Objects reconciled at a time. Requests to the vendor are bounded by the issuers' limits instead.")
	fs.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 2*time.Minute, "How long a stopping manager waits for certificates on their way. Keep the pod's termination grace period longer.")
	fs.BoolVar(&o.version, "version", false, "Print the version and end.")
	o.zap.BindFlags(fs)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: flags begin with --", fs.Arg(0))
	}
	var err error
	if o.hosts, err = account.ParseHostPolicy(hosts, proxies, networks); err != nil {
		return o, err
	}
	if o.issuers, err = labels.Parse(selector); err != nil {
		return o, fmt.Errorf("--issuer-selector: %w", err)
	}
	if o.certificateMetrics, err = telemetry.ParseDetail(detail); err != nil {
		return o, fmt.Errorf("--certificate-metrics: %w", err)
	}
	o.namespaces = splitList(namespaces)
	return o, o.complete()
}

// complete fills in what depends on other flags, and refuses what contradicts.
func (o *options) complete() error {
	if o.clusterResourceNamespace == "" {
		// Outside a pod there is no such file: ClusterDeviceIssuers then need the flag.
		own, err := os.ReadFile(inClusterNamespace)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("--cluster-resource-namespace is empty and the manager's own namespace cannot be read: %w", err)
		}
		o.clusterResourceNamespace = strings.TrimSpace(string(own))
	}
	if o.zap.Level != nil && o.zap.Level.Enabled(-firstRevealingLevel) {
		return fmt.Errorf("--zap-log-level is at most %d: from %d on the Kubernetes client would log the contents of Secrets", firstRevealingLevel-1, firstRevealingLevel)
	}
	if o.profileAddress != "0" && !loopback(o.profileAddress) {
		return fmt.Errorf("--pprof-bind-address is %q: it must be a loopback address such as 127.0.0.1:6060, because whoever reaches it may slow the operator down; use kubectl port-forward", o.profileAddress)
	}
	if o.maxConcurrentReconciles < 1 {
		return fmt.Errorf("--max-concurrent-reconciles is %d: it must be at least 1", o.maxConcurrentReconciles)
	}
	if o.shutdownTimeout <= 0 {
		return fmt.Errorf("--shutdown-timeout is %s: it must be positive, or certificates on their way are lost", o.shutdownTimeout)
	}
	return nil
}

// loopback tells whether only this machine, or this pod, reaches an address.
func loopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().IsLoopback()
}

func splitList(text string) []string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(parts)
	return slices.Compact(parts)
}
