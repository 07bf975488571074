// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

// holdVariable makes the test binary start a control plane, print its kubeconfig's path and wait to
// be killed.
const holdVariable = "CONTROLPLANE_TEST_HOLD"

func TestMain(m *testing.M) {
	if os.Getenv(holdVariable) == "" {
		os.Exit(m.Run())
	}
	plane, err := controlplane.Start(context.Background(), controlplane.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(plane.Kubeconfig())
	select {}
}

func TestAControlPlaneDiesWithItsKilledOwner(t *testing.T) {
	owner := exec.CommandContext(t.Context(), os.Args[0])
	owner.Env = append(os.Environ(), holdVariable+"=1", "TMPDIR="+t.TempDir())
	output, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	workDir := filepath.Dir(strings.TrimSpace(line))
	processes := processesOf(t, workDir)
	if len(processes) != 2 {
		t.Fatalf("got processes %v of %q, want etcd and kube-apiserver", processes, line)
	}

	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := owner.Wait(); err == nil {
		t.Fatal("the owner ended by itself")
	}

	for _, process := range processes {
		await(t.Context(), t, fmt.Sprintf("process %d to be gone", process), func(context.Context) (bool, error) {
			return errors.Is(syscall.Kill(process, 0), syscall.ESRCH), nil
		})
	}
	await(t.Context(), t, "the temporary folder to be gone", func(context.Context) (bool, error) {
		_, err := os.Stat(workDir)
		return errors.Is(err, os.ErrNotExist), nil
	})
}

func TestStopEndsTheProcessesAndKeepsANamedFolder(t *testing.T) {
	workDir := t.TempDir()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{WorkDir: workDir})
	if err != nil {
		t.Fatal(err)
	}
	processes := processesOf(t, workDir)
	if err := plane.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, process := range processes {
		if err := syscall.Kill(process, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d still runs after Stop", process)
		}
	}
	if _, err := os.Stat(plane.Kubeconfig()); err != nil {
		t.Errorf("the named folder lost its kubeconfig: %v", err)
	}
}

func TestStopReportsAControllerManagerThatHadDied(t *testing.T) {
	workDir := t.TempDir()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{WorkDir: workDir, ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	process := processOf(t, filepath.Join(workDir, "programs", "kube-controller-manager.pid"))
	if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t.Context(), t, "the controller manager to be gone", func(context.Context) (bool, error) {
		return errors.Is(syscall.Kill(process, 0), syscall.ESRCH), nil
	})
	if err := plane.Stop(); err == nil || !strings.Contains(err.Error(), "stop kube-controller-manager") {
		t.Errorf("stop: got %v, want a word about the dead controller manager", err)
	}
}

func TestAServerThatDoesNotStartIsExplainedByItsLog(t *testing.T) {
	workDir := t.TempDir()
	_, err := controlplane.Start(t.Context(), controlplane.Options{
		WorkDir:        workDir,
		APIServerFlags: map[string]string{"no-such-flag": "1"},
	})
	if err == nil || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Errorf("start with an unknown flag: got %v, want the server's own words", err)
	}
	for _, process := range processesOf(t, workDir) {
		if err := syscall.Kill(process, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d still runs after a failed Start", process)
		}
	}
}

func TestMissingProgramsAreReportedWithTheirRemedy(t *testing.T) {
	_, err := controlplane.Start(t.Context(), controlplane.Options{BinDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "run make controlplane") {
		t.Errorf("start without programs: got %v, want the advice to run make controlplane", err)
	}
}

// processesOf returns the ids of the servers that run, or ran, in a work folder.
func processesOf(t *testing.T, workDir string) []int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(workDir, "programs", "*.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var processes []int
	for _, file := range files {
		processes = append(processes, processOf(t, file))
	}
	return processes
}

// processOf returns the process id that a file holds.
func processOf(t *testing.T, file string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	process, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return process
}
