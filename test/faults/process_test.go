// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/devicecert/devicecert-operator/internal/testkit/program"
)

const (
	// pollInterval is how often a condition is looked at.
	pollInterval = 100 * time.Millisecond
	// patience covers a lost answer: its deadline, the bound of the store, the back-off before the next purchase, and a busy machine.
	patience = 2 * time.Minute
)

// process is a manager that runs.
type process struct{ *program.Process }

// start runs a manager. It dies with the test, or with the test binary if that dies first.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	started, err := program.Start(t.TempDir(), path, args...)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{started}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("last lines of manager %d:\n%s", p.PID(), p.Tail(40))
		}
	})
	return p
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() { p.Kill() }

// signal ignores a process that has ended: what follows will tell.
func (p *process) signal(s syscall.Signal) { _ = p.Signal(s) }

func (p *process) alive() bool { return p.Alive() }

func (p *process) log() string { return p.Log() }

// awaitLog waits until the log holds the text so many times.
func (p *process) awaitLog(t *testing.T, text string, times int) {
	t.Helper()
	eventually(t, "the manager logs "+text, func(context.Context) (bool, error) {
		if !p.alive() {
			return false, errors.New("it has ended")
		}
		return strings.Count(p.log(), text) >= times, nil
	})
}

// eventually polls until the condition holds. An error ends it at once.
func eventually(t *testing.T, what string, holds wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), pollInterval, patience, true, holds); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}
