// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limit bounds what one hostile input may cost. Every fuzz target holds its inputs to it.
package limit

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// Limit is what one input may cost. It finds what does not end or grows out of proportion, and says nothing about speed: time and memory
// are many times what a slow machine needs for the largest real input.
type Limit struct {
	// Input is the longest input that is tried, in bytes: longer ones are cut off before any parser sees them, and only slow fuzzing down.
	Input int
	// Memory is what may be allocated in total, in bytes.
	Memory uint64
	Time   time.Duration
}

var (
	// Parser is the limit of one call that reads something.
	Parser = Limit{Input: 128 << 10, Memory: 64 << 20, Time: time.Minute}
	// Story is that of reconciles against an API server.
	Story = Limit{Input: 4 << 10, Memory: 1 << 30, Time: 5 * time.Minute}
)

// Hold tries an input of that many bytes. One that takes too long ends the process, with the stacks of all goroutines: nothing else can
// stop what does not end.
func (l Limit) Hold(t testing.TB, size int, try func()) {
	t.Helper()
	if size > l.Input {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.Time)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		panic(fmt.Sprintf("%s: %d bytes of input take more than %s", t.Name(), size, l.Time)) //nolint:forbidigo // nobody is there to return an error to
	})
	defer stop()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	try()
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > l.Memory {
		t.Errorf("%d bytes of input cost %d bytes of memory, more than %d", size, spent, l.Memory)
	}
}
