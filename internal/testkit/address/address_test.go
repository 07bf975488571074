// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package address_test

import (
	"net"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/address"
)

func TestAFreeAddressIsGivenOnce(t *testing.T) {
	given := map[string]bool{}
	for range 500 {
		free, err := address.Free()
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", free)
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		if given[free] {
			t.Fatalf("%s was given before", free)
		}
		given[free] = true
	}
}
