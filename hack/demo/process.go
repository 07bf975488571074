// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 20 * time.Second

// process is a program that runs beside this one: the manager, the simulator, Prometheus. Tests have internal/testkit/program, which counts on
// Linux to take the children along; the demo runs on any Unix, and finds by their noted ids what a run that was killed has left.
type process struct {
	name  string
	ended chan struct{} // closed when the process is gone
	exit  int           // its exit status, once it is gone
	quit  context.CancelFunc
}

// start runs a program with its log in the folder and its id noted there for a later run to find. Its standard output goes to output.
func (f *folder) start(output io.Writer, program string, arguments ...string) (*process, error) {
	return f.startAs(filepath.Base(program), output, program, arguments...)
}

// startAs is start under a name of its own.
func (f *folder) startAs(name string, output io.Writer, program string, arguments ...string) (*process, error) {
	log, err := os.Create(f.path(name + ".log"))
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	ctx, quit := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, program, arguments...)
	command.Stdout, command.Stderr = output, log
	// A group of its own keeps the terminal's Ctrl-C from it: the demo stops its processes in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTimeout
	if err := command.Start(); err != nil {
		quit()
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	p := &process{name: name, ended: make(chan struct{}), quit: quit}
	go func() {
		defer close(p.ended)
		_ = command.Wait() // why it ended stands in its log
		p.exit = command.ProcessState.ExitCode()
	}()
	if err := f.write([]byte(strconv.Itoa(command.Process.Pid)), name+".pid"); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// alive says that the process runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stop asks the process to end and waits until it has.
func (p *process) stop() error {
	if !p.alive() {
		return fmt.Errorf("the %s had ended before", p.name)
	}
	p.quit()
	<-p.ended
	return nil
}

// simulatorProcess is the vendor, with what its ready line says.
type simulatorProcess struct {
	*process
	// api and clientAuth are the vendor's hosts for tokens and for client certificates, admin is the simulator's own.
	api, clientAuth, admin string
}

func (d *demo) startSimulator(ctx context.Context) error {
	output, input := io.Pipe()
	started, err := d.folder.start(input, filepath.Join(d.bin, "simulator"),
		"--config="+d.simulatorConfig(), "--data-dir="+d.folder.path("simulator"),
		"--listen=127.0.0.1:0", "--clientauth-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0")
	if err != nil {
		return err
	}
	d.simulator = &simulatorProcess{process: started}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			select {
			case ready <- lines.Text():
			default: // only the first line is waited for
			}
		}
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-started.ended:
		return errors.New("the simulator ended before it was ready")
	case line := <-ready:
		return d.simulator.read(line)
	}
}

// read takes the addresses from "simulator ready api=... clientauth=... admin=... ca=...".
func (s *simulatorProcess) read(line string) error {
	for word := range strings.FieldsSeq(line) {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "api":
			s.api = value
		case "clientauth":
			s.clientAuth = value
		case "admin":
			s.admin = value
		}
	}
	if s.api == "" || s.clientAuth == "" || s.admin == "" {
		return fmt.Errorf("the simulator did not get ready; it said %q", line)
	}
	return nil
}

func (d *demo) simulatorConfig() string {
	return filepath.Join(d.root, "config", "simulator", "simulator.yaml")
}

// kubectl runs the control plane's kubectl as its administrator and shows what it prints as it comes.
func (d *demo) kubectl(ctx context.Context, arguments ...string) error {
	command := exec.CommandContext(ctx, d.plane.Kubectl(), arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+d.plane.Kubeconfig(), "KUBECACHEDIR="+d.folder.path("kubectl"))
	shown := d.screen.notes()
	command.Stdout, command.Stderr = shown, shown
	if err := command.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w", strings.Join(arguments, " "), err)
	}
	return nil
}
