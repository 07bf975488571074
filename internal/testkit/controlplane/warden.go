// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// launcher stands in for each program: it notes its process id and becomes the program. The same
// text serves all, under the program's name, because envtest tells nobody the ids of its children.
const launcher = `#!/bin/sh
here=${0%/*} name=${0##*/}
echo $$ >"$here/$name.pid" && exec "$here/bin/$name" "$@"
`

// watch reads a pipe that nobody writes to but dismiss. When the pipe ends without a word, whoever
// held it has died: the programs are killed, and the temporary folder, if there is one, is deleted.
const watch = `
read -r word && exit 0
for file in "$1"/*.pid; do kill -9 "$(cat "$file")"; done
[ -z "$2" ] || rm -rf "$2"
`

// warden is a child process that outlives this one just long enough to clean up after it. Tests end
// in ways that run no deferred function: a timeout, a panic in a goroutine, kill -9.
type warden struct {
	command *exec.Cmd
	pipe    io.WriteCloser
	dir     string
}

// startWarden puts launchers for the programs of binDir into the work folder and starts to watch
// over whatever is run by them.
func startWarden(workDir, binDir string, temporary bool) (*warden, error) {
	w := &warden{dir: filepath.Join(workDir, programDir)}
	if err := os.Symlink(binDir, filepath.Join(w.dir, "bin")); err != nil {
		return nil, fmt.Errorf("link to the control plane's programs: %w", err)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if err := writeExecutable(w.path(name), launcher); err != nil {
			return nil, fmt.Errorf("write a launcher for %s: %w", name, err)
		}
	}

	doomed := ""
	if temporary {
		doomed = workDir
	}
	w.command = exec.CommandContext(context.Background(), "/bin/sh", "-c", watch, "sh", w.dir, doomed)
	// In a process group of its own it survives a Ctrl-C in the terminal.
	w.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := w.command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the control plane's warden: %w", err)
	}
	w.pipe = pipe
	if err := w.command.Start(); err != nil {
		return nil, fmt.Errorf("start the control plane's warden: %w", err)
	}
	return w, nil
}

// path returns the launcher of the program with that name.
func (w *warden) path(name string) string {
	return filepath.Join(w.dir, name)
}

// pid is the process id that the program's launcher has noted.
func (w *warden) pid(name string) (int, error) {
	text, err := os.ReadFile(w.path(name) + ".pid")
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", name, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// dismiss ends the watch. Call it when the programs are stopped.
func (w *warden) dismiss() error {
	if _, err := io.WriteString(w.pipe, "stopped\n"); err != nil {
		return fmt.Errorf("dismiss the control plane's warden: %w", err)
	}
	if err := w.command.Wait(); err != nil {
		return fmt.Errorf("dismiss the control plane's warden: %w", err)
	}
	return nil
}

// writeExecutable writes a script that can be run at once. While it is open for writing no process
// may be forked: the fork would hold it open too, and running it would fail with ETXTBSY.
func writeExecutable(path, script string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(script), 0o700)
}
