// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limit bounds what one hostile input may cost a parser.
package limit

import (
	"context"
	"runtime"
	"testing"
	"time"
)

const (
	// maxInput is the longest input that is tried: longer ones are cut off before any parser sees them, and only slow fuzzing down.
	maxInput = 128 << 10
	// maxMemory is what one input may cost, many times what the largest real one does.
	maxMemory = 64 << 20
	// maxTime ends a parser that does not end. It is far above what a loaded machine needs.
	maxTime = 20 * time.Second
)

// Hold runs a parser on an input of that many bytes, and fails if it does not end or allocates out of proportion. The parser must not
// call t.FailNow or t.Fatal.
func Hold(t testing.TB, size int, parse func()) {
	t.Helper()
	if size > maxInput {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ended := make(chan any, 1)
	go func() {
		defer func() { ended <- recover() }()
		parse()
	}()
	select {
	case problem := <-ended:
		if problem != nil {
			t.Fatalf("panic: %v", problem)
		}
	case <-ctx.Done():
		t.Fatalf("%d bytes of input keep the parser busy for more than %s", size, maxTime)
	}
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > maxMemory {
		t.Errorf("%d bytes of input cost %d bytes of memory", size, spent)
	}
}
