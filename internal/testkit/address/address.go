// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package address finds addresses for programs that must be told where to listen before they start.
package address

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Below the ports that Linux gives to outgoing connections (32768 and above, by default): between this package's look and the program's start
// nobody is given such a port by chance, as happens on a busy machine to one that the kernel chose.
const first, last = 20000, 32000

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Free is an address of the loopback interface where nobody listens, and which this process did not answer before.
func Free() (string, error) {
	mu.Lock()
	defer mu.Unlock()
	var err error
	for range 100 {
		port := first + rand.IntN(last-first) //nolint:gosec // no secret
		if given[port] {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		var listener net.Listener
		if listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", address); err != nil {
			continue
		}
		given[port] = true
		return address, listener.Close()
	}
	return "", errors.Join(errors.New("every port that was tried is taken"), err)
}
