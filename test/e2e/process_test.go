// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
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
	// patience is how long a condition may take that comes about by itself within seconds, on a machine with much else to do.
	patience = time.Minute
	// resolvePatience also covers a lost answer: its deadline, the bound of the store, and the back-off before the next purchase.
	resolvePatience = 2 * time.Minute
)

// process is a program of ours that runs.
type process struct{ *program.Process }

// start runs a program. It dies with the test, or with the test binary if that dies first.
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
			t.Logf("last lines of %s %d:\n%s", p.Name, p.PID(), p.tail())
		}
	})
	return p
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() { p.Kill() }

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatalf("signal %s: %v", p.Name, err)
	}
}

// terminate sends SIGTERM and answers with the exit status.
func (p *process) terminate(t *testing.T) int {
	t.Helper()
	if !p.Terminate(patience) {
		t.Fatalf("%s has not ended %s after SIGTERM", p.Name, patience)
	}
	return p.ExitCode()
}

func (p *process) alive() bool { return p.Alive() }

func (p *process) log() string { return p.Log() }

// tail is the end of the log, for failing tests.
func (p *process) tail() string { return p.Tail(60) }

// awaitLog waits until the log holds the text so many times.
func (p *process) awaitLog(t *testing.T, text string, times int) {
	t.Helper()
	eventually(t, patience, p.Name+" logs "+strconv.Quote(text), func(context.Context) (bool, error) {
		if !p.alive() {
			return false, errors.New("it has ended")
		}
		return strings.Count(p.log(), text) >= times, nil
	})
}

// eventually polls until the condition holds. An error ends it at once.
func eventually(t *testing.T, patience time.Duration, what string, holds wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), pollInterval, patience, true, holds); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// output runs a program with that input and answers with its standard output.
func output(t *testing.T, input io.Reader, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	command.Stdin, command.Stderr = input, &stderr
	text, err := command.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return string(text)
}
