// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import "fmt"

// Reason classifies why an answer could not be used.
type Reason string

// The reasons of an Error.
const (
	// Missing: a field or a part that the format needs is not there.
	Missing Reason = "Missing"
	// TooLarge: a limit on size, number or work was exceeded.
	TooLarge Reason = "TooLarge"
	// Malformed: the contents do not have the structure of the format.
	Malformed Reason = "Malformed"
	// Unsupported: the contents are well formed but of a kind that cannot be
	// opened, or the process runs in a mode that forbids it.
	Unsupported Reason = "Unsupported"
	// Locked: the password or the decryption key does not open the contents.
	Locked Reason = "Locked"
	// Inconsistent: key and certificates do not belong together.
	Inconsistent Reason = "Inconsistent"
)

// Error tells why an answer could not be used. Its text never holds contents.
type Error struct {
	// Field is the part at fault: a field of the answer, or what was found in
	// it, such as "private_key" or "private_key archive".
	Field string
	// Reason classifies the fault for machines.
	Reason Reason
	// Err says what is wrong.
	Err error
}

// Error names the field and the fault.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }

// Unwrap returns the fault alone.
func (e *Error) Unwrap() error { return e.Err }

func fault(field string, reason Reason, format string, args ...any) *Error {
	return &Error{Field: field, Reason: reason, Err: fmt.Errorf(format, args...)}
}
