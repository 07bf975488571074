// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"io"
	"log"
)

// silentLog keeps net/http's servers from reporting the failures that tests provoke.
func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }
