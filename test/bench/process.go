// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/devicecert/devicecert-operator/internal/testkit/program"
)

// process is a program of ours that runs. It dies with this one.
type process struct{ *program.Process }

// start runs a program with its output in a file of the folder.
func start(folder, path string, args ...string) (*process, error) {
	started, err := program.Start(folder, path, args...)
	if err != nil {
		return nil, err
	}
	return &process{started}, nil
}

// stop ends the program, gracefully if it can.
func (p *process) stop() { p.Terminate(20 * time.Second) }

func (p *process) alive() bool { return p.Alive() }

// tail is the end of the program's log.
func (p *process) tail() string { return p.Tail(20) }

// usage is what a process has used.
type usage struct {
	cpu time.Duration
	// resident is its memory now, peak the most since the peak was last reset.
	resident, peak int64
}

// used reads the process's usage.
func (p *process) used() (usage, error) { return usageOf(p.PID()) }

// usageOf reads the usage of the process of that id.
func usageOf(pid int) (usage, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return usage{}, err
	}
	var u usage
	if u.cpu, err = parseCPU(stat); err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return usage{}, err
	}
	u.resident, u.peak = parseKiB(status, "VmRSS:"), parseKiB(status, "VmHWM:")
	return u, nil
}

// spent is the CPU time that each program has used so far. The bench itself asks for the certificates and, in the floor, makes them.
func (f *fleet) spent() (map[string]time.Duration, error) {
	pids := map[string]int{"simulator": f.vendor.PID(), "bench": os.Getpid()}
	if f.manager != nil {
		pids["manager"] = f.manager.PID()
	}
	for _, program := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		pid, err := f.controlPlane.PID(program)
		if err != nil {
			return nil, err
		}
		pids[program] = pid
	}
	spent := map[string]time.Duration{}
	for program, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		spent[program] = u.cpu
	}
	return spent, nil
}

// resetPeak makes the peak of the memory count from now on.
func (p *process) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0)
}

// parseCPU reads user and system time from /proc/PID/stat. They are the 14th and 15th field; the name, which may hold anything, is the
// second, in parentheses.
func parseCPU(stat []byte) (time.Duration, error) {
	const perSecond = 100 // USER_HZ, the same on every Linux
	_, rest, ok := strings.Cut(string(stat[max(0, bytes.LastIndexByte(stat, ')')):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("cannot read %q", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / perSecond, err
}

// parseKiB reads a line such as "VmHWM:  1234 kB"; 0 if there is none.
func parseKiB(status []byte, name string) int64 {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == name {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
