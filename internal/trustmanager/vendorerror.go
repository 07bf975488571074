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

// wireError is one error entry: an object, or as frameworks in front of the vendor's
// code have it, a bare string.
type wireError struct{ vendorReason }

// UnmarshalJSON accepts either form.
func (e *wireError) UnmarshalJSON(encoded []byte) error {
	if encoded[0] == '"' {
		return json.Unmarshal(encoded, &e.message)
	}
	var entry struct {
		Code    wireCode `json:"code"`
		Message string   `json:"message"`
	}
	if err := json.Unmarshal(encoded, &entry); err != nil {
		return err
	}
	e.vendorReason = vendorReason{code: string(entry.Code), message: entry.Message}
	return nil
}

// wireCode is a word, a number in a string, or a number, kept as text.
type wireCode string

// UnmarshalJSON accepts a string, a number or null.
func (c *wireCode) UnmarshalJSON(encoded []byte) error {
	if encoded[0] == '"' {
		return json.Unmarshal(encoded, (*string)(c))
	}
	var number *json.Number
	if err := json.Unmarshal(encoded, &number); err != nil {
		return fmt.Errorf("error code is neither a string nor a number: %w", err)
	}
	if number != nil {
		*c = wireCode(number.String())
	}
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
	case decoded.Error != nil && decoded.Error.vendorReason != vendorReason{}:
		return decoded.Error.vendorReason, true
	case decoded.Message != "" || decoded.Code != "":
		return vendorReason{code: string(decoded.Code), message: decoded.Message}, true
	}
	return vendorReason{}, false
}

// maxJoinedErrors bounds how many entries a message is made of.
const maxJoinedErrors = 5

// joinErrors takes the first code, and all messages up to a bound: with several
// mandatory attributes missing each entry names one.
func joinErrors(entries []wireError) vendorReason {
	reason := entries[0].vendorReason
	for _, entry := range entries[1:min(len(entries), maxJoinedErrors)] {
		reason.message += "; " + entry.message
	}
	return reason
}

// checkNoError returns an *errorInSuccess if the body of a 2xx is an error. A message
// without a code is none there: "waiting for approval" and "revoked" are messages too.
func checkNoError(body []byte) error {
	var decoded wireErrorBody
	if err := decodeObject(body, &decoded); err != nil {
		return nil // not an error body; what it is instead is the caller's to say
	}
	reason, ok := parseErrorBody(body)
	if !ok || len(decoded.Errors) == 0 && decoded.Error == nil && decoded.Code == "" {
		return nil
	}
	return &errorInSuccess{vendorReason: reason}
}
