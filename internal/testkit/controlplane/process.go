// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 10 * time.Second

// process is a child that envtest knows nothing about.
type process struct {
	name string
	log  string
	// terminate asks the process to end, and kills it after stopTimeout.
	terminate context.CancelFunc
	// ended is closed when the process is gone; err is set before.
	ended chan struct{}
	err   error
}

// startProcess runs the program of that name with its output in a log file.
func (c *ControlPlane) startProcess(name string, args ...string) (*process, error) {
	log, err := c.createLog(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor

	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, c.warden.path(name), args...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTimeout
	if err := command.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log.Name(), terminate: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = command.Wait()
	}()
	return p, nil
}

// exited reports whether the process is gone.
func (p *process) exited() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop ends the process and returns an error if it had ended before or had to be killed.
func (p *process) stop() error {
	if p.exited() {
		return fmt.Errorf("stop %s: it had ended before: %w", p.name, p.err)
	}
	p.terminate()
	<-p.ended
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return nil // it ended with status 0; Wait then returns the context's error
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return fmt.Errorf("stop %s: it did not end within %s and was killed", p.name, stopTimeout)
	}
	return nil
}

// lastLines returns the ends of logs, for errors about processes that did not start.
func lastLines(logs ...string) string {
	const lines = 10
	var text bytes.Buffer
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			content = []byte(err.Error())
		}
		all := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
		fmt.Fprintf(&text, "last lines of %s:\n%s\n", filepath.Base(log), bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
	}
	return text.String()
}
