// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

func TestFlagsThatCannotBeMeantAreRefusedInOneLine(t *testing.T) {
	for flag, want := range map[string]string{
		"--allowed-host=a.example":           "not defined",
		"--allowed-hosts=https://a.example":  "--allowed-hosts",
		"--allowed-proxies=http://a.example": "--allowed-proxies",
		"--allowed-networks=10.0.0.0/99":     "--allowed-networks",
		"--issuer-selector=team in (a":       "--issuer-selector",
		"--certificate-metrics=some":         "--certificate-metrics",
		"--max-concurrent-reconciles=0":      "at least 1",
		"--max-concurrent-reconciles=many":   "invalid value",
		"--shutdown-timeout=0s":              "positive",
		"--pprof-bind-address=:6060":         "loopback",
		"--pprof-bind-address=10.0.0.1:6060": "loopback",
		"--zap-log-level=8":                  "contents of Secrets",
		"--zap-log-level=10":                 "contents of Secrets",
		"--zap-log-level=127":                "contents of Secrets",
		"--zap-log-level=0x9":                "invalid log level",
		"--zap-log-level=-9":                 "invalid log level",
		"-v=10":                              "not defined",
		"--v=10":                             "not defined",
		"--vmodule=*=10":                     "not defined",
		"allowed-hosts=a.example":            "flags begin with --",
		"--watch-secrets=perhaps":            "invalid boolean",
		"--metrics-bind-address":             "needs an argument",
		"--leader-elect=true --unknown=true": "invalid boolean",
	} {
		t.Run(flag, func(t *testing.T) {
			_, err := parse([]string{flag})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("error is %v, want one that says %q", err, want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

func TestTheVersionIsPrintedWithoutACluster(t *testing.T) {
	version = "v1.2.3"
	t.Cleanup(func() { version = "dev" })
	var out strings.Builder
	if err := start([]string{"--version"}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "devicecert-operator v1.2.3 " + runtime.GOOS + "/" + runtime.GOARCH + " "; !strings.HasPrefix(out.String(), want) {
		t.Errorf("printed %q, want it to begin with %q", out.String(), want)
	}
}

func TestFlagsBecomeOptions(t *testing.T) {
	o, err := parse([]string{
		"--namespaces=b, a,b", "--issuer-selector=team=a", "--cluster-resource-namespace=operator", "--allowed-hosts=localhost",
		"--watch-secrets=false", "--shutdown-timeout=90s", "--zap-log-level=7", "--leader-elect",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, o.namespaces); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
	if !o.issuers.Matches(labels.Set{"team": "a"}) || o.issuers.Matches(labels.Set{"team": "b"}) {
		t.Errorf("issuers are selected by %s", o.issuers)
	}
	if o.clusterResourceNamespace != "operator" || o.watchSecrets || o.shutdownTimeout != 90*time.Second || !o.leaderElect {
		t.Errorf("options are %+v", o)
	}
	if err := o.hosts.Check("https://localhost:8443"); err != nil {
		t.Error(err)
	}
}

func TestInstancesThatShareTheWorkDoNotCompeteForOneLease(t *testing.T) {
	names := map[string]bool{}
	for _, args := range [][]string{nil, {"--issuer-selector=team=a"}, {"--issuer-selector=team=b"}, {"--namespaces=a"}, {"--namespaces=a,b"}} {
		o, err := parse(args)
		if err != nil {
			t.Fatal(err)
		}
		names[leaseName(o)] = true
	}
	if len(names) != 5 {
		t.Errorf("leases are %v", names)
	}
	same, err := parse([]string{"--namespaces=b,a"})
	if err != nil {
		t.Fatal(err)
	}
	if !names[leaseName(same)] {
		t.Error("the order of the namespaces makes another lease")
	}
}
