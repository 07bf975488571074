// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package limit_test

import (
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

// verdict is a test that may fail.
type verdict struct {
	testing.TB
	failed bool
}

func (v *verdict) Helper()               {}
func (v *verdict) Errorf(string, ...any) { v.failed = true }

var sink []byte

func TestAnInputThatCostsOutOfProportionFails(t *testing.T) {
	l := limit.Limit{Input: 10, Memory: 1 << 20, Time: limit.Parser.Time}
	for name, tc := range map[string]struct {
		size, cost    int
		tried, failed bool
	}{
		"a cheap one":          {size: 10, cost: 1 << 10, tried: true},
		"a dear one":           {size: 10, cost: 2 << 20, tried: true, failed: true},
		"one that is too long": {size: 11, cost: 2 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			v, tried := &verdict{TB: t}, false
			l.Hold(v, tc.size, func() { sink, tried = make([]byte, tc.cost), true })
			if tried != tc.tried || v.failed != tc.failed {
				t.Errorf("tried %t, failed %t, want %t and %t", tried, v.failed, tc.tried, tc.failed)
			}
		})
	}
}
