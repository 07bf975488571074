// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
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
type process struct {
	name    string
	command *exec.Cmd
	logPath string
	// ended is closed when the process is gone; err is set before.
	ended chan struct{}
	err   error
}

// start runs a program with both outputs in a log file. The process dies with the test, or with the test binary if that dies first.
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	name := filepath.Base(program)
	log, err := os.CreateTemp(t.TempDir(), name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the child has its own descriptor
	p := &process{name: name, command: exec.Command(program, args...), logPath: log.Name(), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.command.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("last lines of %s %d:\n%s", p.name, p.command.Process.Pid, p.tail())
		}
	})
	return p
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() {
	_ = p.command.Process.Kill() // it may have ended before
	<-p.ended
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		t.Fatalf("signal %s: %v", p.name, err)
	}
}

// terminate sends SIGTERM and answers with the exit status.
func (p *process) terminate(t *testing.T) int {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s has not ended %s after SIGTERM", p.name, patience)
	}
	return p.command.ProcessState.ExitCode()
}

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
	const lines = 60
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(p.log()), "\n"), func(line string) bool {
		return strings.Contains(line, "Starting EventSource")
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// awaitLog waits until the log holds the text so many times.
func (p *process) awaitLog(t *testing.T, text string, times int) {
	t.Helper()
	eventually(t, patience, p.name+" logs "+strconv.Quote(text), func(context.Context) (bool, error) {
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
