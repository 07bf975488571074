// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
)

// options are the command line.
type options struct {
	config           string
	dataDir          string
	ledger           string
	api              string
	clientAuth       string
	admin            string
	adminAllowRemote bool
	hosts            hostList
	quiet            bool
}

// hostList collects a flag that may be given several times, with one or more names each.
type hostList []string

// String shows the names as they would be given.
func (h *hostList) String() string { return strings.Join(*h, ",") }

// Set adds names separated by commas.
func (h *hostList) Set(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if name == "" {
			return errors.New("empty host name")
		}
		*h = append(*h, name)
	}
	return nil
}

const usage = `simulator plays the certificate API of DigiCert IoT Trust Manager on this machine: it issues real certificates from
a certificate authority of its own, keeps a ledger, and misbehaves on request.

  simulator --config config/simulator/simulator.yaml

It prints one line when it is ready, and writes the certificates to trust and sample client certificates into the data
directory. It is for rehearsal and tests, never for devices in the field.

Flags:
`

func parseOptions(arguments []string, output io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.Usage = func() {
		fmt.Fprint(output, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.config, "config", "", "YAML `file` with profiles, credentials and switches (required)")
	flags.StringVar(&o.dataDir, "data-dir", "simulator-data", "`directory` for ca.crt, root.crt and generated client certificates; created if missing")
	flags.StringVar(&o.ledger, "ledger", "", "`file` of the ledger; it also keeps the certificate authorities (default <data-dir>/ledger.db)")
	flags.StringVar(&o.api, "listen", "127.0.0.1:8443", "`address` of the API (HTTPS); port 0 picks a free one")
	flags.StringVar(&o.clientAuth, "clientauth-listen", "127.0.0.1:8444", "`address` of the API for TLS client certificates; empty for none")
	flags.StringVar(&o.admin, "admin-listen", "127.0.0.1:8445", "`address` of the admin API (plain HTTP, no credential); empty for none")
	flags.BoolVar(&o.adminAllowRemote, "admin-allow-remote", false, "allow an admin address that is not loopback: whoever reaches it controls the simulator")
	flags.Var(&o.hosts, "host", "further DNS `names` and IP addresses for the serving certificate, comma-separated; may be repeated")
	flags.BoolVar(&o.quiet, "quiet", false, "do not log requests")
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, o.complete()
}

// complete fills in what depends on other flags and refuses what cannot work.
func (o *options) complete() error {
	if o.config == "" {
		return errors.New("--config is required; config/simulator/simulator.yaml is a sample")
	}
	if o.ledger == "" {
		o.ledger = filepath.Join(o.dataDir, "ledger.db")
	}
	if o.admin == "" || o.adminAllowRemote {
		return nil
	}
	host, _, err := net.SplitHostPort(o.admin)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--admin-listen %s is not a loopback address; the admin API has no credential (--admin-allow-remote overrides)", o.admin)
	}
	return nil
}
