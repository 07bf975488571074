// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

const (
	profile = "IOT_00000000-0000-0000-0000-000000000001"
	token   = "bench-token"

	vendorAddress = "127.0.0.1:18443"
	adminAddress  = "127.0.0.1:18445"
)

// vendor is the simulator.
type vendor struct {
	*process
	dir     string
	program string
}

func (v *vendor) url() string { return "https://" + vendorAddress }

// startVendor runs the simulator, with the ledger of before if there is one.
func startVendor(ctx context.Context, program, dir string) (*vendor, error) {
	config, err := yaml.Marshal(simulator.Config{
		APIKeys: []simulator.APIKey{{Name: "bench", Key: token}},
		Profiles: []simulator.Profile{{
			ID: profile, KeyTypes: []string{"p_256"}, CertificateFields: []simulator.Field{{ID: "subject.common_name", Mandatory: true}},
		}},
	})
	if err != nil {
		return nil, err
	}
	v := &vendor{dir: dir, program: program}
	if err := os.WriteFile(v.configPath(), config, 0o600); err != nil {
		return nil, err
	}
	return v, v.run(ctx)
}

func (v *vendor) configPath() string { return filepath.Join(v.dir, "simulator.yaml") }

func (v *vendor) run(ctx context.Context) (err error) {
	v.process, err = start(v.dir, v.program, "--config", v.configPath(), "--data-dir", v.dir, "--quiet",
		"--listen", vendorAddress, "--clientauth-listen", "", "--admin-listen", adminAddress)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		if !v.alive() {
			return false, fmt.Errorf("the simulator has ended:\n%s", v.tail())
		}
		return v.admin(ctx, http.MethodGet, "/healthz", nil) == nil, nil
	})
	return err
}

// certificate is the one to trust for the connection.
func (v *vendor) certificate() ([]byte, error) { return os.ReadFile(filepath.Join(v.dir, "ca.crt")) }

// forget empties the log of requests.
func (v *vendor) forget(ctx context.Context) error {
	return v.admin(ctx, http.MethodDelete, "/requests", nil)
}

// requests are those since it was told to forget, at most the latest 20,000.
func (v *vendor) requests(ctx context.Context) ([]simulator.Request, error) {
	var answer struct{ Requests []simulator.Request }
	err := v.admin(ctx, http.MethodGet, "/requests", &answer)
	return answer.Requests, err
}

// ledger is every certificate ever issued, oldest first.
func (v *vendor) ledger(ctx context.Context) ([]simulator.Entry, error) {
	var answer struct{ Entries []simulator.Entry }
	err := v.admin(ctx, http.MethodGet, "/ledger", &answer)
	return answer.Entries, err
}

func (v *vendor) admin(ctx context.Context, method, path string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+adminAddress+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s %w", method, path, response.Status, err)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(bytes.NewReader(text)).Decode(answer)
}

// certPool trusts the certificates in a PEM text.
func certPool(text []byte) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}
