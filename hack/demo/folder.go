// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// folder is where the demo writes. Its name is fixed, so that the next run finds what a crashed one has left. A lock tells a crashed
// run from one that still goes on; the kernel takes it back however the process ends.
type folder struct {
	dir  string
	lock *os.File
}

// openFolder takes the folder, ends what an earlier run left running, and empties it.
func openFolder(ctx context.Context) (*folder, error) {
	f := &folder{dir: filepath.Join(os.TempDir(), fmt.Sprintf("devicecert-demo-%d", os.Getuid()))}
	if err := os.Mkdir(f.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make the demo's folder: %w", err)
	}
	// Everybody may write to the parent folder: whoever was there first must have been us.
	info, err := os.Lstat(f.dir)
	if err != nil {
		return nil, fmt.Errorf("look at the demo's folder: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != os.Getuid() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is not a private folder of yours: remove it, or set TMPDIR", f.dir)
	}
	if f.lock, err = os.OpenFile(f.path("lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("lock the demo's folder: %w", err)
	}
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another demo is running in %s: end it with Ctrl-C", f.dir), f.lock.Close())
	}
	return f, f.clear(ctx)
}

func (f *folder) path(elements ...string) string {
	return filepath.Join(append([]string{f.dir}, elements...)...)
}

// clear kills the processes whose ids were noted and removes everything but the lock.
func (f *folder) clear(ctx context.Context) error {
	for _, name := range f.glob("*.pid") {
		if err := f.killLeftover(ctx, name); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("empty the demo's folder: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == "lock" {
			continue
		}
		if err := os.RemoveAll(f.path(entry.Name())); err != nil {
			return fmt.Errorf("empty the demo's folder: %w", err)
		}
	}
	return nil
}

// killLeftover ends the process of a pid file, if it is still the one that was noted: all of the demo's have the folder's path among
// their arguments, and ids are used again.
func (f *folder) killLeftover(ctx context.Context, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read what an earlier demo left: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return nil
	}
	if !bytes.Contains(argumentsOf(ctx, pid), []byte(f.dir)) {
		return nil // gone, or somebody else by now
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end process %d of an earlier demo: %w", pid, err)
	}
	return nil
}

// argumentsOf is the command line of a process: from /proc where there is one, else from ps; empty if the process is gone.
func argumentsOf(ctx context.Context, pid int) []byte {
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return line
	}
	line, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil
	}
	return line
}

func (f *folder) glob(pattern string) []string {
	names, err := filepath.Glob(f.path(pattern))
	if err != nil {
		return nil // only a malformed pattern is an error
	}
	return names
}

// write writes a file in the folder, and the folders above it.
func (f *folder) write(content []byte, elements ...string) error {
	name := f.path(elements...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o600)
}

// lastWords are the ends of the processes' logs, and where to find the rest.
func (f *folder) lastWords() string {
	const lines = 8
	var text strings.Builder
	for _, name := range f.glob("*.log") {
		content, err := os.ReadFile(name)
		if err != nil || len(content) == 0 {
			continue
		}
		all := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
		fmt.Fprintf(&text, "%s ends with:\n%s\n", name, bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
	}
	return text.String()
}

// close gives the folder up. Unless all went well it is left for reading; the next demo empties it.
func (f *folder) close(well bool) error {
	var err error
	if well {
		err = os.RemoveAll(f.dir)
	}
	return errors.Join(err, f.lock.Close())
}
