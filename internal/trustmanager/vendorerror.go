// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"encoding/json"
	"fmt"
)

// vendorReason is what an error body says.
type vendorReason struct{ code, message string }

// errorInSuccess is an error body that came with a 2xx status.
type errorInSuccess struct{ vendorReason }

func (e *errorInSuccess) Error() string {
	return "the answer says success and holds an error: " + e.message
}

// wireError is one error entry. The code is a word, a number in a string, or a number.
type wireError struct {
	Code    wireCode `json:"code"`
	Message string   `json:"message"`
}

// wireErrorBody is the union of the known JSON shapes:
//
//	{"errors":[{"code","message"}]}   IoT Trust Manager
//	{"error":{"code","message"}}      Device Trust Manager and the platform's schema
//	{"message","code":1}              DigiCert's private CA service
type wireErrorBody struct {
	Errors  boundedList[wireError] `json:"errors"`
	Error   *wireError             `json:"error"`
	Code    wireCode               `json:"code"`
	Message string                 `json:"message"`
}

// wireCode is a string or a number, kept as text.
type wireCode string

// UnmarshalJSON accepts a string, a number or null.
func (c *wireCode) UnmarshalJSON(encoded []byte) error {
	var text *string
	if err := json.Unmarshal(encoded, &text); err == nil {
		if text != nil {
			*c = wireCode(*text)
		}
		return nil
	}
	var number json.Number
	if err := json.Unmarshal(encoded, &number); err != nil {
		return fmt.Errorf("error code is neither a string nor a number: %w", err)
	}
	*c = wireCode(number.String())
	return nil
}

// parseErrorBody reads an error body of any known shape. ok is false when the body is
// none of them, for example HTML from a gateway.
func parseErrorBody(body []byte) (reason vendorReason, ok bool) {
	var decoded wireErrorBody
	if err := decodeObject(body, &decoded); err != nil {
		return vendorReason{}, false
	}
	switch {
	case len(decoded.Errors) > 0:
		return joinErrors(decoded.Errors), true
	case decoded.Error != nil:
		return decoded.Error.reason(), true
	case decoded.Message != "" || decoded.Code != "":
		return wireError{Code: decoded.Code, Message: decoded.Message}.reason(), true
	}
	return vendorReason{}, false
}

func (e wireError) reason() vendorReason {
	return vendorReason{code: string(e.Code), message: e.Message}
}

// maxJoinedErrors bounds how many entries a message is made of.
const maxJoinedErrors = 5

// joinErrors takes the first code, and all messages up to a bound: with several
// mandatory attributes missing each entry names one.
func joinErrors(entries []wireError) vendorReason {
	reason := entries[0].reason()
	for _, entry := range entries[1:min(len(entries), maxJoinedErrors)] {
		reason.message += "; " + entry.Message
	}
	return reason
}
