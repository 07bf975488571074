// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Delivery says how far a failed call got, and so whether a certificate may exist.
type Delivery string

const (
	// NotSent: not one byte of the HTTP request reached the vendor's HTTP server. The
	// name did not resolve, the destination was refused or forbidden, the TLS handshake
	// failed on either side, or the call was invalid or cancelled before that. Nothing
	// was issued; repeating is safe.
	NotSent Delivery = "NotSent"

	// Ambiguous: the request may have reached the vendor and there is no verdict: a
	// broken connection, a time-out, 5xx, a redirect, 408 or another status that
	// decides nothing. A certificate may have been issued.
	Ambiguous Delivery = "Ambiguous"

	// Refused: a definite 4xx, 429 included. Nothing was issued.
	Refused Delivery = "Refused"

	// Answered: a 2xx whose body cannot be used. A certificate was probably issued and
	// its private key is lost.
	Answered Delivery = "Answered"
)

// Actor says who has to act before a repetition can succeed.
type Actor string

const (
	// User: whoever wrote the request; it will be refused again as it stands.
	User Actor = "User"

	// Issuer: the owner of the connection: credential, permissions, licences, URL,
	// trust, proxy. Other requests over this connection fail alike.
	Issuer Actor = "Issuer"

	// Time: nobody, until RetryAfter (or a back-off, when that is zero) has passed. It
	// holds for every request with this credential.
	Time Actor = "Time"

	// Nobody: a disturbance; retry with back-off once Delivery allows it.
	Nobody Actor = "Nobody"
)

// Error is the one error type of this package's calls. Its text is stable for the
// same failure (no ids, ports or times), fit for a status condition, and free of
// credentials, passwords and keys, even if the vendor reflects them.
type Error struct {
	// Op is the attempted operation: enroll, renew, search, revoke or specification.
	Op string

	// Delivery says whether the vendor may have acted.
	Delivery Delivery

	// Actor says who has to act now.
	Actor Actor

	// HTTPStatus is the status of the answer; 0 when there was none.
	HTTPStatus int

	// Code is the vendor's machine-readable word, such as invalid_input; often empty.
	// It is at most 64 bytes long.
	Code string

	// Message is the vendor's explanation, or ours when the vendor gave none: one line
	// of printable text, at most 512 bytes, secrets replaced by "[redacted]".
	Message string

	// RetryAfter is the vendor's wish, clamped to [1s, 1h]; 0 when it expressed none.
	RetryAfter time.Duration

	// TransactionID is the X-DC-TransactionId sent with the request, to be named to the
	// vendor's support. It is empty if no request was made.
	TransactionID string

	// ServerDate is the answer's Date header; zero when absent.
	ServerDate time.Time

	// foreign: the answer was none of the vendor's API.
	foreign bool

	cause error
}

// AsError returns the *Error in err's chain, if there is one.
func AsError(err error) (*Error, bool) {
	return errors.AsType[*Error](err)
}

// Error names the operation, the answer and the reason.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(e.Op)
	if e.HTTPStatus != 0 {
		fmt.Fprintf(&text, ": the vendor answered %d", e.HTTPStatus)
	}
	if e.Code != "" {
		fmt.Fprintf(&text, " (%s)", e.Code)
	}
	if e.Message != "" {
		text.WriteString(": " + e.Message)
	}
	return text.String()
}

// Unwrap returns the cause, e.g. to recognise context.DeadlineExceeded; nil when the
// vendor's answer is itself the cause. The text of the cause is cleaned like Message.
func (e *Error) Unwrap() error { return e.cause }

// DestinationForbidden reports whether Config.DialControl forbade the address.
func (e *Error) DestinationForbidden() bool {
	_, forbidden := errors.AsType[*forbiddenDestinationError](e.cause)
	return forbidden
}

// Foreign reports whether something answered that does not speak the vendor's API, such as
// a proxy or a web site.
func (e *Error) Foreign() bool { return e.foreign }

// AlreadyRevoked reports whether the vendor refused a revocation because the
// certificate is revoked. How it says so is unknown (docs/vendor-api.md, section 9),
// so a refusal counts only if its words leave no doubt.
func (e *Error) AlreadyRevoked() bool {
	if e.Op != opRevoke || e.Delivery != Refused {
		return false
	}
	words := strings.NewReplacer("_", " ", "-", " ").Replace(strings.ToLower(e.Code + " " + e.Message))
	for _, phrase := range []string{"already revoked", "already been revoked", "certificate is revoked", "certificate revoked"} {
		if strings.Contains(words, phrase) {
			return true
		}
	}
	return false
}

// cleanedError shows the cleaned text of an error while errors.Is and errors.As still
// find the error itself: net/http quotes the vendor's bytes in some of its errors, and
// those may reflect a credential.
type cleanedError struct {
	text string
	err  error
}

func (e *cleanedError) Error() string        { return e.text }
func (e *cleanedError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *cleanedError) As(target any) bool   { return errors.As(e.err, target) }
