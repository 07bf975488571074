// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestTheContainersMemoryLimitIsRead(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for text, want := range map[string]int64{
		"268435456\n": 256 << 20, "max\n": 0, "": 0, "-1\n": 0, "0\n": 0, "9223372036854771712\n": 0, "many\n": 0,
	} {
		path := filepath.Join(t.TempDir(), "memory.max")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := containerLimit([]string{absent, path}); got != want {
			t.Errorf("%q: limit is %d, want %d", text, got, want)
		}
	}
	if got := containerLimit([]string{absent}); got != 0 {
		t.Errorf("limit is %d without a file that says so", got)
	}
}

// It sets what is of the whole process, and runs beside no other test.
func TestTheHeapIsBoundUnlessTheEnvironmentSaysOtherwise(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.max")
	if err := os.WriteFile(path, []byte("268435456\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	paths, percent, limit := memoryLimits, debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	memoryLimits = []string{path}
	t.Cleanup(func() { memoryLimits = paths; debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })

	boundMemory()
	if got := debug.SetMemoryLimit(-1); got != 256<<20/10*9 {
		t.Errorf("the limit is %d", got)
	}
	if got := debug.SetGCPercent(100); got != growth {
		t.Errorf("the heap grows by %d percent", got)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	t.Setenv("GOGC", "200")
	t.Setenv("GOMEMLIMIT", "1GiB")
	boundMemory()
	if got := debug.SetGCPercent(100); got != 100 || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Error("the environment was overruled")
	}
}
