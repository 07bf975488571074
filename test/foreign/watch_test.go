// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package foreign

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// watcher matches the loops of the documentation that tell a server of new files.
var watcher = regexp.MustCompile(`(?m)^inotifywait .*? (/[a-z]+) \| while read -r _; do (.*); done$`)

// TestTheDocumentedWatcherReloadsOnceTheNewFilesAreThere runs the loops as the pages have them, with a command of ours in the place of the
// reload. A loop that woke when the kubelet only begins to write would reload the old files, and then miss the new ones.
func TestTheDocumentedWatcherReloadsOnceTheNewFilesAreThere(t *testing.T) {
	page, err := os.ReadFile("../../docs/workloads.md")
	must(t, err)
	loops := watcher.FindAllStringSubmatch(string(page), -1)
	if len(loops) < 3 || strings.Count(string(page), "inotifywait -") != len(loops) {
		t.Fatalf("%d loops of the expected form, and %d in all", len(loops), strings.Count(string(page), "inotifywait -"))
	}
	p := newVendor(t).order("gateway.example", "p_256", v1alpha1.Outputs{})
	for _, loop := range loops {
		t.Run(loop[2], func(t *testing.T) {
			v, log := mount(t, p.data()), filepath.Join(t.TempDir(), "log")
			script := strings.NewReplacer(loop[1], v.Dir, loop[2], "readlink "+v.file("..data")+" >>"+log).Replace(loop[0])
			watch(t, script)
			var want []string
			for range 3 {
				v.update(p.data())
				want = append(want, v.Current())
				var got []string
				(&server{t: t, log: &logBuffer{}}).until("the server is told", func() bool {
					text, err := os.ReadFile(log)
					got = strings.Fields(string(text))
					return err == nil && len(got) >= len(want)
				})
				if strings.Join(got, " ") != strings.Join(want, " ") {
					t.Errorf("the reloads saw %v, want %v", got, want)
				}
			}
		})
	}
}

// watch runs a shell's pipe until the test ends, and returns when its first program watches something.
func watch(t *testing.T, script string) {
	t.Helper()
	shell := exec.Command("sh", "-c", script)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, shell.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // the whole pipe
		_ = shell.Wait()
	})
	(&server{t: t, log: &logBuffer{}}).until("inotifywait watches", func() bool {
		pid := strconv.Itoa(shell.Process.Pid)
		children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
		must(t, err)
		for _, process := range append(strings.Fields(string(children)), pid) {
			files, err := filepath.Glob(filepath.Join("/proc", process, "fdinfo", "*"))
			must(t, err)
			for _, file := range files {
				if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "\ninotify wd:") {
					return true
				}
			}
		}
		return false
	})
}
