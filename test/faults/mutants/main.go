// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mutants tries the tests themselves: it takes one safeguard of the operator out at a time, runs the tests that should notice, and
// expects one to fail. It takes the names of mutants, or none for all, and runs in the module's root. It ends with status 1 when a mutant
// survives.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
)

func main() {
	survivors, err := tryAll(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
	if survivors > 0 {
		fmt.Fprintf(os.Stderr, "mutants: %d survived: the tests do not see what they should\n", survivors)
		os.Exit(1)
	}
}

// sideBySide is how many mutants are tried at a time: a test waits for its control plane for a while.
const sideBySide = 2

// trial is a mutant and what became of it.
type trial struct {
	mutant

	dead bool
	err  error
}

func tryAll(names []string) (survivors int, err error) {
	var trials []*trial
	for _, m := range mutants() {
		if len(names) == 0 || slices.Contains(names, m.name) {
			trials = append(trials, &trial{mutant: m})
		}
	}
	if len(trials) < max(len(names), 1) {
		return 0, fmt.Errorf("there are not all of these mutants: %q", names)
	}
	var group sync.WaitGroup
	waiting := make(chan *trial)
	for range sideBySide {
		group.Go(func() {
			for t := range waiting {
				t.dead, t.err = t.try()
				fmt.Printf("%-9s %-28s %s\n", t.verdict(), t.name, t.why)
			}
		})
	}
	for _, t := range trials {
		waiting <- t
	}
	close(waiting)
	group.Wait()
	for _, t := range trials {
		if t.err != nil {
			return 0, fmt.Errorf("%s: %w", t.name, t.err)
		}
		if !t.dead {
			survivors++
		}
	}
	fmt.Printf("mutants killed: %d/%d\n", len(trials)-survivors, len(trials))
	return survivors, nil
}

func (t *trial) verdict() string {
	switch {
	case t.err != nil:
		return "error"
	case t.dead:
		return "killed"
	default:
		return "SURVIVED"
	}
}

// try tells whether the tests that should fail do. A mutant that does not build, or whose text is not in the source any more, is an error.
func (m mutant) try() (dead bool, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing of value is in it
	overlay, err := m.write(dir)
	if err != nil {
		return false, err
	}
	if output, err := exec.Command("go", "build", "-overlay="+overlay, "-o", os.DevNull, "./cmd/manager").CombinedOutput(); err != nil { //nolint:noctx // it ends by itself
		return false, fmt.Errorf("it does not build: %w\n%s", err, output)
	}
	args := []string{"test", m.tests.of, "-count=1", "-timeout=10m", "-run=" + m.tests.named}
	if m.tests.of == processes {
		args = append(args, "-faults.full", "-faults.overlay="+overlay)
	} else {
		args = append(args, "-overlay="+overlay)
	}
	output, err := exec.Command("go", args...).CombinedOutput() //nolint:noctx // it has a timeout of its own
	switch {
	case err == nil && bytes.Contains(output, []byte("no tests to run")):
		return false, fmt.Errorf("no test of %s matches %s", m.tests.of, m.tests.named)
	case err != nil && !bytes.Contains(output, []byte("--- FAIL")) && !bytes.Contains(output, []byte("panic: ")):
		return false, fmt.Errorf("the tests did not run: %w\n%s", err, output)
	}
	return err != nil, nil
}

// write puts the changed files into dir, beside the overlay that go build knows them by.
func (m mutant) write(dir string) (overlay string, err error) {
	replaced := map[string]string{}
	for i, e := range m.edits {
		original, err := filepath.Abs(e.file)
		if err != nil {
			return "", err
		}
		current := original
		if changed, again := replaced[original]; again {
			current = changed
		}
		source, err := os.ReadFile(current)
		if err != nil {
			return "", err
		}
		if count := bytes.Count(source, []byte(e.find)); count != 1 {
			return "", fmt.Errorf("%s holds the text to change %d times, want once: follow the source", e.file, count)
		}
		changed := filepath.Join(dir, fmt.Sprintf("changed%d.go", i))
		if err := os.WriteFile(changed, bytes.Replace(source, []byte(e.find), []byte(e.replace), 1), 0o600); err != nil {
			return "", err
		}
		replaced[original] = changed
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replaced})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
