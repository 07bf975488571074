// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// pollInterval is how often a condition is looked at.
	pollInterval = 100 * time.Millisecond
	// patience covers a lost answer: its deadline, the bound of the store, the back-off before the next purchase, and a busy machine.
	patience = 2 * time.Minute
)

// process is a manager that runs.
type process struct {
	command *exec.Cmd
	logPath string
	// ended is closed when the process is gone.
	ended chan struct{}
}

// start runs a manager with both outputs in a log file. It dies with the test, or with the test binary if that dies first.
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), filepath.Base(program)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the child has its own descriptor
	p := &process{command: exec.Command(program, args...), logPath: log.Name(), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("last lines of manager %d:\n%s", p.command.Process.Pid, p.tail())
		}
	})
	return p
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() {
	_ = p.command.Process.Kill() // it may have ended before
	<-p.ended
}

// signal ignores a process that has ended: what follows will tell.
func (p *process) signal(s syscall.Signal) { _ = p.command.Process.Signal(s) }

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) log() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// tail is the end of the log, for failing tests.
func (p *process) tail() string {
	const lines = 40
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(p.log()), "\n"), func(line string) bool {
		return strings.Contains(line, "Starting EventSource")
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

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
