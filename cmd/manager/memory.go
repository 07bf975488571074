// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

const (
	// growth is how many percent of what is in use the heap may grow by before it is collected; Go's own default is 100. Most of the heap is
	// the fleet in the caches, which lives on, so that half the room costs a few percent of the CPU time and saves a quarter of the memory.
	growth = 50
	// room is what the heap may always grow by. Half of a small fleet's heap is used up several times a second while certificates are bought,
	// and each collection takes as long as two purchases.
	room = 16 << 20
)

// memoryLimits are where a container finds its limit, in cgroups of version 2 and 1.
var memoryLimits = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}

// boundMemory makes the garbage collector spare memory, and work harder before the container's limit is met: to be slow for a while is better
// than to be killed with a certificate on its way. GOGC and GOMEMLIMIT in the environment have the last word.
func boundMemory(setGrowth func(percent int) int) {
	if os.Getenv("GOGC") == "" {
		keepRoom(setGrowth)
	}
	if limit := containerLimit(memoryLimits); limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9) // the rest is for the program itself, of which the runtime knows nothing
	}
}

// keepRoom sets how much the heap may grow by until the next collection, and does so again after each.
func keepRoom(setGrowth func(percent int) int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	setGrowth(growthOf(live[0].Value.Uint64()))
	runtime.AddCleanup(new(collected), keepRoom, setGrowth)
}

// collected is something that the next collection finds unused. It is too large to share its place with something that is used.
type collected [64]byte

// growthOf is by how many percent a heap may grow of which so many bytes are in use.
func growthOf(live uint64) int {
	const most = 400 // while hardly anything is in use, such as at the start
	return max(growth, int(min(room*100/max(live, 1), most)))
}

// containerLimit reads the first limit it finds in bytes; 0 if there is none.
func containerLimit(paths []string) int64 {
	const beyond = 1 << 50 // what version 1 says where it has no limit is larger
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 && limit < beyond {
			return limit
		}
	}
	return 0
}
