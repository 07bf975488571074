// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mutants tries the fault tests themselves: it builds the manager with one safeguard taken out at a time, and expects a test to
// fail. It takes the names of mutants, or none for all, and runs in the module's root. It ends with status 1 when a mutant survives.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

func tryAll(names []string) (survivors int, err error) {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing of value is in it
	killed := 0
	for _, m := range mutants() {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		dead, err := m.try(dir)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", m.name, err)
		}
		verdict := "SURVIVED"
		if dead {
			killed++
			verdict = "killed"
		} else {
			survivors++
		}
		fmt.Printf("%-9s %-32s %s\n", verdict, m.name, m.why)
	}
	fmt.Printf("mutants killed: %d/%d\n", killed, killed+survivors)
	return survivors, nil
}

// try tells whether the tests that should fail do. A mutant that does not build, or whose text is not in the source any more, is an error.
func (m mutant) try(dir string) (dead bool, err error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return false, err
	}
	if count := bytes.Count(source, []byte(m.find)); count != 1 {
		return false, fmt.Errorf("%s holds the text to change %d times, want once: follow the source", m.file, count)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, bytes.Replace(source, []byte(m.find), []byte(m.replace), 1), 0o600); err != nil {
		return false, err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return false, err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return false, err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return false, err
	}
	if output, err := exec.Command("go", "build", "-overlay="+overlay, "-o", filepath.Join(dir, "manager"), "./cmd/manager").CombinedOutput(); err != nil { //nolint:noctx // it ends by itself
		return false, fmt.Errorf("it does not build: %w\n%s", err, output)
	}
	output, err := exec.Command("go", "test", "./test/faults", "-count=1", "-run="+m.test, "-faults.full", "-faults.overlay="+overlay).CombinedOutput() //nolint:noctx // it has a timeout of its own
	if err == nil && bytes.Contains(output, []byte("no tests to run")) {
		return false, fmt.Errorf("no test matches %s", m.test)
	}
	return err != nil, nil
}
