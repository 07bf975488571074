// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sampled is how long the CPU of a phase is sampled, from its beginning.
const sampled = 20 * time.Second

// profileAddress is where the manager serves its profiles, if anybody wants them.
func (f *fleet) profileAddress() string {
	if f.profile {
		return "127.0.0.1:18060"
	}
	return "0"
}

// sampleCPU writes a CPU profile of the phase that begins; the channel is closed when it is written. A failure is for whoever misses the
// file.
func (f *fleet) sampleCPU(ctx context.Context, phase string) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if f.profile {
			if err := f.saveProfile(ctx, fmt.Sprintf("profile?seconds=%d", int(sampled.Seconds())), phase, "cpu"); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		}
	}()
	return done
}

// saveProfiles writes what the phase that ends has left on the heap, and waits for its CPU profile.
func (p *phase) saveProfiles(ctx context.Context) error {
	if !p.profile || p.profiled == nil {
		return nil
	}
	if err := p.saveProfile(ctx, "heap", p.Phase, "heap"); err != nil {
		return err
	}
	select {
	case <-p.profiled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fleet) saveProfile(ctx context.Context, path, phase, kind string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.profileAddress()+"/debug/pprof/"+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("profile of %s: %s %w", phase, response.Status, err)
	}
	name := fmt.Sprintf("%d-%s.%s.pprof", f.n, strings.ReplaceAll(phase, " ", "-"), kind)
	return os.WriteFile(filepath.Join(f.out, name), text, 0o600)
}
