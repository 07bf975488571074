// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package program runs the project's programs for tests and measurements: each with a log file, and none outliving the program that
// started it. It needs Linux.
package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/utils/clock"
)

// Process is a program that was started.
type Process struct {
	// Name is the base name of the program.
	Name    string
	command *exec.Cmd
	logPath string
	ended   chan struct{}
}

// Start runs a program with both outputs in a file of its own in the folder. It is killed when the program that started it dies.
func Start(folder, program string, args ...string) (*Process, error) {
	name := filepath.Base(program)
	log, err := os.CreateTemp(folder, name+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	p := &Process{Name: name, command: exec.CommandContext(context.Background(), program, args...), logPath: log.Name(), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // how it ended is in its state
	}()
	return p, nil
}

// PID is the process's id, which may be another's after it has ended.
func (p *Process) PID() int { return p.command.Process.Pid }

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Alive tells whether the process is there, frozen or not.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// ExitCode is the exit status of a process that has ended, -1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.command.ProcessState.ExitCode()
}

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.command.Process.Signal(s) }

// Kill is kill -9, and waits until the process is gone.
func (p *Process) Kill() {
	_ = p.command.Process.Kill() // it may have ended before
	<-p.ended
}

// Terminate sends SIGTERM, and kills the process when it has not ended within patience. It tells whether the process ended by itself.
func (p *Process) Terminate(patience time.Duration) bool {
	_ = p.Signal(syscall.SIGTERM) // it may have ended before
	select {
	case <-p.ended:
		return true
	case <-clock.RealClock{}.After(patience):
		p.Kill()
		return false
	}
}

// Log is what the process has printed so far, or why that cannot be read.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Tail is the end of the log without the lines that every manager starts with.
func (p *Process) Tail(lines int) string {
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(p.Log()), "\n"), func(line string) bool {
		return strings.Contains(line, "Starting EventSource")
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
