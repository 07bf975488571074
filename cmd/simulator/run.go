// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// stopTimeout is how long requests may take to finish after SIGTERM. Held requests never do.
const stopTimeout = 2 * time.Second

// run serves until the context ends. The ready line is the only thing ever written to output.
func run(ctx context.Context, o options, output, logOutput io.Writer) (err error) {
	config, err := simulator.LoadConfig(o.config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w", err)
	}
	config.LedgerPath = o.ledger
	if !o.quiet {
		config.Logger = slog.New(slog.NewTextHandler(logOutput, nil))
	}
	server, err := simulator.New(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := writeCertificates(o.dataDir, server, config.ClientCertificates); err != nil {
		return err
	}
	running, err := server.Start(simulator.Addresses{API: o.api, ClientAuth: o.clientAuth, Admin: o.admin, Hosts: o.hosts})
	if err != nil {
		return err
	}
	fmt.Fprintf(output, "simulator ready api=%s clientauth=%s admin=%s ca=%s\n",
		running.URL, running.ClientAuthURL, running.AdminURL, filepath.Join(o.dataDir, "ca.crt"))
	select {
	case <-ctx.Done():
	case err = <-running.Failed():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, running.Stop(stopping))
}

// writeCertificates leaves what a client needs in the data directory: ca.crt to trust the simulator's TLS, root.crt to
// verify issued certificates, and certificate and key of every generated client certificate.
func writeCertificates(directory string, server *simulator.Server, clients []simulator.ClientCertificate) error {
	files := map[string][]byte{
		"ca.crt":   []byte(server.TLSCertificate()),
		"root.crt": []byte(server.RootCertificate()),
	}
	for _, c := range clients {
		certificate, ok := server.ClientCertificate(c.Name)
		if !ok {
			continue
		}
		chain, key, err := encodeClient(certificate)
		if err != nil {
			return fmt.Errorf("client certificate %s: %w", c.Name, err)
		}
		files[c.Name+".crt"], files[c.Name+".key"] = chain, key
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	return nil
}

func encodeClient(certificate tls.Certificate) (chain, key []byte, err error) {
	for _, der := range certificate.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
