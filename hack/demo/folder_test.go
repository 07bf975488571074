// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// occupy starts a process that runs until its input ends, with the given words among its arguments, and notes its id in the folder.
func occupy(t *testing.T, f *folder, words string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", "-c", "read -r word", "sh", words)
	if _, err := command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if err := f.write([]byte(strconv.Itoa(command.Process.Pid)), "manager.pid"); err != nil {
		t.Fatal(err)
	}
	return command
}

func open(t *testing.T) *folder {
	t.Helper()
	f, err := openFolder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWhatACrashedDemoLeftRunningIsEnded(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	crashed := open(t)
	left := occupy(t, crashed, "--data-dir="+crashed.path("simulator"))
	if err := crashed.lock.Close(); err != nil { // as the kernel does at its end
		t.Fatal(err)
	}
	next := open(t)
	if err := left.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process of the crashed demo: %v, want it killed", err)
	}
	if names := next.glob("*.pid"); len(names) != 0 {
		t.Errorf("left in the folder: %q", names)
	}
	if err := next.close(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(next.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestAProcessThatGotALeftoverIDIsLeftAlone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	crashed := open(t)
	stranger := occupy(t, crashed, "somebody else's")
	if err := crashed.close(false); err != nil {
		t.Fatal(err)
	}
	next := open(t)
	t.Cleanup(func() { _ = next.close(true) })
	if err := stranger.Process.Kill(); err != nil {
		t.Errorf("the stranger's process is gone: %v", err)
	}
	_ = stranger.Wait()
}

func TestTwoDemosDoNotRunAtATime(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	first := open(t)
	t.Cleanup(func() { _ = first.close(true) })
	if _, err := openFolder(t.Context()); err == nil || !strings.Contains(err.Error(), "another demo is running") {
		t.Errorf("error %v", err)
	}
}

func TestAFolderThatOthersMayReadIsNotUsed(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	f := open(t)
	if err := f.close(false); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := openFolder(t.Context()); err == nil || !strings.Contains(err.Error(), "not a private folder") {
		t.Errorf("error %v", err)
	}
}
