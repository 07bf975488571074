// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
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
	paths, limit := memoryLimits, debug.SetMemoryLimit(math.MaxInt64)
	memoryLimits = []string{path}
	t.Cleanup(func() { memoryLimits = paths; debug.SetMemoryLimit(limit) })

	set := make(chan int, 1)
	boundMemory(func(percent int) int {
		select {
		case set <- percent:
		default:
		}
		return 0
	})
	if got := debug.SetMemoryLimit(-1); got != 256<<20/10*9 {
		t.Errorf("the limit is %d", got)
	}
	for told := 0; told < 3; { // at the start, and after each collection
		select {
		case got := <-set:
			if told++; got <= growth {
				t.Errorf("the small heap of a test grows by %d percent", got)
			}
		default:
			runtime.GC()
		}
	}

	debug.SetMemoryLimit(math.MaxInt64)
	t.Setenv("GOGC", "200")
	t.Setenv("GOMEMLIMIT", "1GiB")
	boundMemory(func(int) int { t.Error("GOGC was overruled"); return 0 })
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		t.Error("GOMEMLIMIT was overruled")
	}
}

func TestASmallHeapHasRoomAndALargeOneGrowsByHalf(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 8 << 20: 200, 16 << 20: 100, 32 << 20: 50, 1 << 30: 50} {
		if got := growthOf(live); got != want {
			t.Errorf("a heap of %d MiB grows by %d percent, want %d", live>>20, got, want)
		}
	}
}
