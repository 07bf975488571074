// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"fmt"
	"net/http"
)

// Error codes of the vendor.
const (
	codeInvalidInput    = "invalid_input"
	codeInvalidRequest  = "invalid_request"
	codeInvalidAPIKey   = "invalid_api_key"
	codeAccessDenied    = "access_denied"
	codeEntityNotFound  = "entity_not_found"
	codeRouteNotFound   = "resource_not_found"
	codeLimitExceeded   = "request_limit_exceeded"
	codeInternal        = "internal_error"
	codeUnavailable     = "service_unavailable"
	codeMethod          = "method_not_allowed"
	codeNotAcceptable   = "not_acceptable"
	codeUnsupportedType = "unsupported_media_type"
)

// refusal is an error the client gets to see.
type refusal struct {
	status     int
	code       string
	message    string
	retryAfter string // value of the header Retry-After, or empty
}

// Error returns the message for the log.
func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(status int, code, format string, args ...any) error {
	return &refusal{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// invalidInput is the vendor's answer to every broken business rule.
func invalidInput(format string, args ...any) error {
	return refuse(http.StatusBadRequest, codeInvalidInput, format, args...)
}

func invalidRequest(format string, args ...any) error {
	return refuse(http.StatusBadRequest, codeInvalidRequest, format, args...)
}

func notFound(format string, args ...any) error {
	return refuse(http.StatusNotFound, codeEntityNotFound, format, args...)
}

func denied(format string, args ...any) error {
	return refuse(http.StatusForbidden, codeAccessDenied, format, args...)
}

// refusalReply writes an error as the vendor does. Errors that are not refusals are the simulator's own and become 500.
func refusalReply(err error) reply {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{status: http.StatusInternalServerError, code: codeInternal, message: "simulator: " + err.Error()}
	}
	answer := jsonReply(r.status, errorsWire{Errors: []errorWire{{Code: r.code, Message: r.message}}})
	if r.retryAfter != "" {
		answer.header = http.Header{"Retry-After": {r.retryAfter}}
	}
	return answer
}
