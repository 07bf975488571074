// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// sampleCPU writes CPU profiles, of the phase that begins, of the API server and of the manager if it runs; the channel is closed when they
// are written. A failure is for whoever misses the file.
func (f *fleet) sampleCPU(ctx context.Context, phase string) <-chan struct{} {
	done := make(chan struct{})
	if !f.profile {
		close(done)
		return done
	}
	const path = "profile"
	seconds := strconv.Itoa(int(sampled.Seconds()))
	var samples sync.WaitGroup
	sample := func(take func() error) {
		samples.Go(func() {
			if err := take(); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		})
	}
	sample(func() error {
		text, err := f.server.Get().AbsPath("/debug/pprof/"+path).Param("seconds", seconds).DoRaw(ctx)
		return errors.Join(err, f.writeProfile(phase, "apiserver", text))
	})
	if f.manager != nil {
		sample(func() error { return f.saveProfile(ctx, path+"?seconds="+seconds, phase, "cpu") })
	}
	go func() {
		defer close(done)
		samples.Wait()
	}()
	return done
}

// saveProfiles writes what the phase that ends has left on the manager's heap, and waits for its CPU profiles.
func (p *phase) saveProfiles(ctx context.Context) error {
	if p.profile && p.manager != nil {
		if err := p.saveProfile(ctx, "heap", p.Phase, "heap"); err != nil {
			return err
		}
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
	return f.writeProfile(phase, kind, text)
}

func (f *fleet) writeProfile(phase, kind string, text []byte) error {
	name := fmt.Sprintf("%d-%s.%s.pprof", f.n, strings.ReplaceAll(phase, " ", "-"), kind)
	return os.WriteFile(filepath.Join(f.out, name), text, 0o600)
}
