// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Wire structs are the vendor's JSON and stay private. Decoding ignores unknown
// fields, because the vendor adds some, and refuses wrong types. encoding/json matches
// names regardless of case and lets the last of duplicate names win; both are harmless.

// wireKeyRequest is the body of enroll and renew with server-side key generation.
type wireKeyRequest struct {
	EnrollmentProfileID          string          `json:"enrollment_profile_id"`
	CertificateProfileAttributes []wireAttribute `json:"certificate_profile_attributes,omitempty"`
	DeviceAttributes             []wireAttribute `json:"device_attributes,omitempty"`
	ServerSideKeyGen             bool            `json:"server_side_key_gen"`
	KeyType                      string          `json:"key_type,omitempty"`
	PrivateKeyFormat             string          `json:"private_key_format"`
	PrivateKeySyntax             string          `json:"private_key_syntax,omitempty"`
	PKCS12Password               string          `json:"pkcs12_password,omitempty"`
	EncryptionCertificate        string          `json:"encryption_certificate,omitempty"`
	IncludeCertificateChain      bool            `json:"include_certificate_chain"`
}

// wireAttribute holds a string, or an array of strings for a multi-valued field.
type wireAttribute struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

type wireIssued struct {
	CertificateRequestID string `json:"certificate_request_id"`
	Status               string `json:"status"`
	Result               string `json:"result"`
	CertificateID        string `json:"certificate_id"`
	PEM                  string `json:"pem"`
	PrivateKey           string `json:"private_key"`
}

type wirePage struct {
	Records *boundedList[wireRecord] `json:"records"`
	Total   *int                     `json:"total"`
	Limit   int                      `json:"limit"`
	Offset  int                      `json:"offset"`
}

type wireRecord struct {
	ID           string                    `json:"id"`
	CommonName   string                    `json:"common_name"`
	SerialNumber string                    `json:"serial_number"`
	Status       string                    `json:"status"`
	Body         string                    `json:"body"`
	Chain        boundedList[wireChainPEM] `json:"chain"`
}

type wireChainPEM struct {
	Blob string `json:"blob"`
}

type wireRevocation struct {
	Reason   string `json:"reason"`
	Comments string `json:"comments,omitempty"`
}

type wireSpecification struct {
	Fields *boundedList[wireField] `json:"fields"`
}

type wireField struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	Type         string        `json:"type"`
	Mandatory    bool          `json:"mandatory"`
	Editable     *bool         `json:"editable"`
	ValueType    wireValueType `json:"value_type"`
	DefaultValue wireStrings   `json:"default_value"`
	Options      wireStrings   `json:"options"`
}

type wireValueType struct {
	Type     string `json:"type"`
	Multiple bool   `json:"multiple"`
}

// decodeObject decodes a body that must be exactly one JSON object.
func decodeObject(body []byte, into any) error {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) == 0 {
		return errors.New("the answer is empty")
	}
	if trimmed[0] != '{' {
		return errors.New("the answer is not a JSON object")
	}
	if err := json.Unmarshal(trimmed, into); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	return nil
}

// maxListLength bounds every list of an answer. A body within its byte limit can still
// hold a million empty objects, which cost fifty times their size in memory. The vendor
// caps pages far below.
const maxListLength = 1000

// boundedList is a JSON array of at most maxListLength elements, or null.
type boundedList[T any] []T

// UnmarshalJSON decodes element by element and stops at the bound.
func (l *boundedList[T]) UnmarshalJSON(encoded []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	start, err := decoder.Token()
	if err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	if start == nil {
		return nil
	}
	if start != json.Delim('[') {
		return errors.New("expected a list")
	}
	list := boundedList[T]{}
	for decoder.More() {
		if len(list) == maxListLength {
			return fmt.Errorf("a list has more than %d elements", maxListLength)
		}
		var element T
		if err := decoder.Decode(&element); err != nil {
			return fmt.Errorf("read list element %d: %w", len(list), err)
		}
		list = append(list, element)
	}
	*l = list
	return nil
}

// wireStrings is a string, a list of strings, or null. Elements that are no strings
// are kept as their JSON text: the values of an enrollment specification are shown and
// compared, and a number must not make the whole document unreadable.
type wireStrings []string

// UnmarshalJSON decodes either form.
func (s *wireStrings) UnmarshalJSON(encoded []byte) error {
	var elements boundedList[json.RawMessage]
	if encoded[0] != '[' {
		elements = boundedList[json.RawMessage]{encoded}
	} else if err := json.Unmarshal(encoded, &elements); err != nil {
		return err
	}
	for _, element := range elements {
		text := string(element)
		if text == "null" {
			continue
		}
		if text[0] == '"' {
			if err := json.Unmarshal(element, &text); err != nil {
				return fmt.Errorf("read string: %w", err)
			}
		}
		*s = append(*s, text)
	}
	return nil
}
