// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import "errors"

// The exit statuses.
const (
	// ExitDone: what was asked for is done.
	ExitDone = 0
	// ExitFailed: it is not, and standard error says why.
	ExitFailed = 1
	// ExitBuys: `plan` found that applying would buy a certificate.
	ExitBuys = 2
	// ExitRefused: `plan` found that the cluster or the operator would refuse something.
	ExitRefused = 3
)

// exitError is an outcome that is told by the exit status, and that the verb has told in words already.
type exitError int

func (e exitError) Error() string { return "see above" }

// ExitStatus is what the process ends with after err. tell says whether the error still has to be shown.
func ExitStatus(err error) (status int, tell bool) {
	var exit exitError
	switch {
	case err == nil:
		return ExitDone, false
	case errors.As(err, &exit):
		return int(exit), false
	default:
		return ExitFailed, true
	}
}
