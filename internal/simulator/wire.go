// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// The wire structures below are the simulator's own reading of docs/vendor-api.md, sections 4, 5, 8 and 9.

// issueRequest is the body of enroll and renew.
type issueRequest struct {
	EnrollmentProfileID          string          `json:"enrollment_profile_id"`
	CertificateProfileAttributes []attributeWire `json:"certificate_profile_attributes"`
	DeviceAttributes             []attributeWire `json:"device_attributes"`
	ServerSideKeyGen             bool            `json:"server_side_key_gen"`
	KeyType                      string          `json:"key_type"`
	PrivateKeyFormat             string          `json:"private_key_format"`
	PrivateKeySyntax             string          `json:"private_key_syntax"`
	PKCS12Password               string          `json:"pkcs12_password"`
	IncludeCertificateChain      *bool           `json:"include_certificate_chain"`
	EncryptionCertificate        string          `json:"encryption_certificate"`
	CSR                          string          `json:"csr"`
}

type attributeWire struct {
	ID    string `json:"id"`
	Value Values `json:"value"`
}

// UnmarshalJSON refuses fields the vendor does not document.
func (a *attributeWire) UnmarshalJSON(data []byte) error {
	type plain attributeWire
	return decodeExact(data, (*plain)(a))
}

// issueResponse is the answer to enroll and renew. Nothing else was ever seen in it, above all no serial number.
type issueResponse struct {
	CertificateRequestID string `json:"certificate_request_id"`
	Status               string `json:"status"`
	Result               string `json:"result"`
	CertificateID        string `json:"certificate_id,omitempty"`
	PEM                  string `json:"pem,omitempty"`
	PrivateKey           string `json:"private_key,omitempty"`
}

type revokeRequest struct {
	Reason         string `json:"reason"`
	RevocationDate string `json:"revocation_date"`
	Comments       string `json:"comments"`
}

// pageWire is the envelope of lists.
type pageWire[T any] struct {
	Limit   int `json:"limit"`
	Offset  int `json:"offset"`
	Total   int `json:"total"`
	Records []T `json:"records"`
}

// certificateWire is one record of a certificate search.
type certificateWire struct {
	ID           string     `json:"id"`
	CommonName   string     `json:"common_name"`
	SerialNumber string     `json:"serial_number"`
	Status       string     `json:"status"`
	Body         string     `json:"body"`
	Chain        []blobWire `json:"chain"`
}

type blobWire struct {
	Blob string `json:"blob"`
}

// deviceWire is one device record.
type deviceWire struct {
	ID               string            `json:"id"`
	DeviceIdentifier string            `json:"device_identifier"`
	Status           string            `json:"status"`
	Created          string            `json:"created"`
	Updated          string            `json:"updated"`
	Fields           []deviceFieldWire `json:"fields"`
}

type deviceFieldWire struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Value Values `json:"value"`
}

type specificationWire struct {
	Fields []specificationFieldWire `json:"fields"`
}

type specificationFieldWire struct {
	ID            string        `json:"id"`
	Name          string        `json:"name"`
	Type          string        `json:"type"`
	Mandatory     bool          `json:"mandatory"`
	Editable      bool          `json:"editable"`
	UpdateFromCSR bool          `json:"update_from_csr"`
	ValueType     valueTypeWire `json:"value_type"`
	DefaultValue  Values        `json:"default_value,omitempty"`
	Options       []string      `json:"options,omitempty"`
}

type valueTypeWire struct {
	Type     string `json:"type"`
	Options  bool   `json:"options"`
	Multiple bool   `json:"multiple"`
}

type errorsWire struct {
	Errors []errorWire `json:"errors"`
}

type errorWire struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// fileAnswerPrefix begins the one request field whose full name is not known; true would ask for a file as the answer.
const fileAnswerPrefix = "response_with_certificat"

// decodeIssueRequest reads the body of enroll and renew.
func decodeIssueRequest(body []byte) (issueRequest, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return issueRequest{}, invalidRequest("the body is not a JSON object: %v", err)
	}
	for name, value := range fields {
		if !strings.HasPrefix(name, fileAnswerPrefix) {
			continue
		}
		if !bytes.Equal(value, []byte("false")) {
			return issueRequest{}, invalidInput("%s is not supported by the stand-in", name)
		}
		delete(fields, name)
	}
	known, err := json.Marshal(fields)
	if err != nil {
		return issueRequest{}, err
	}
	var request issueRequest
	return request, decodeExact(known, &request)
}

// decodeExact decodes a JSON object and refuses fields that target, a pointer to a struct, does not have. Unlike
// encoding/json it minds the case: a stand-in that accepts "Key_Type" hides a bug.
func decodeExact(data []byte, target any) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return invalidRequest("not a JSON object: %v", err)
	}
	known := jsonNames(reflect.TypeOf(target).Elem())
	for name := range fields {
		if !slices.Contains(known, name) {
			return invalidRequest("unknown field %q; the stand-in knows %s", name, strings.Join(known, ", "))
		}
	}
	if err := json.Unmarshal(data, target); err != nil {
		return invalidRequest("%v", err)
	}
	return nil
}

func jsonNames(structure reflect.Type) []string {
	var names []string
	for i := range structure.NumField() {
		name, _, _ := strings.Cut(structure.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func fromWire(attributes []attributeWire) ([]Attribute, error) {
	converted := make([]Attribute, 0, len(attributes))
	seen := map[string]bool{}
	for _, a := range attributes {
		if a.ID == "" || seen[a.ID] {
			return nil, invalidInput("attribute id %q is empty or appears twice", a.ID)
		}
		seen[a.ID] = true
		converted = append(converted, Attribute(a))
	}
	return converted, nil
}

// first returns the first value of the attribute, or "".
func first(attributes []Attribute, id string) string {
	for _, a := range attributes {
		if a.ID == id && len(a.Value) > 0 {
			return a.Value[0]
		}
	}
	return ""
}

func jsonReply(status int, body any) reply {
	text, err := json.Marshal(body)
	if err != nil { // our own structs of strings and numbers always marshal
		return reply{status: 500, body: fmt.Appendf(nil, "simulator: %v", err)}
	}
	return reply{status: status, contentType: mediaJSON, body: text}
}
