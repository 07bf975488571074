// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"cmp"
	"context"
	"errors"
	"net/http"
)

// Specification tells which fields a request to an enrollment profile may and must
// carry.
type Specification struct {
	Fields []Field
}

// Field is one certificate or device field of a profile.
type Field struct {
	// ID is what Attribute.ID takes.
	ID string

	// Name is the field's name for people.
	Name string

	// Type is CERTIFICATE for certificate fields; probably DEVICE for the others.
	Type string

	// ValueType is the vendor's word for the kind of value.
	ValueType string

	// Mandatory fields must be sent unless Default holds a value.
	Mandatory bool

	// Fixed fields are set by the profile. A field that does not say whether it can
	// be edited is taken to be free.
	Fixed bool

	// Multiple fields take several values.
	Multiple bool

	// Default are the values used when none is sent.
	Default []string

	// Options are the values to choose from; empty when any is allowed.
	Options []string
}

// EnrollmentSpecification returns the fields of a profile. The vendor offers it only
// for profiles enrolled through its API or its portal.
func (c *Client) EnrollmentSpecification(ctx context.Context, profileID string) (*Specification, error) {
	if !profilePattern.MatchString(profileID) {
		return nil, c.refuse(call{op: opSpecification}, errors.New("the enrollment profile id has other characters than letters, digits, hyphen and underscore"))
	}
	call := call{op: opSpecification, method: http.MethodGet, path: "/enrollment-profile/" + profileID + "/enrollment-specification"}
	received, err := c.do(ctx, call)
	if err != nil {
		return nil, err
	}
	specification, err := parseSpecification(received.body)
	if err != nil {
		return nil, c.unusable(call, received, err)
	}
	return specification, nil
}

func parseSpecification(body []byte) (*Specification, error) {
	var decoded wireSpecification
	if err := decodeObject(body, &decoded); err != nil {
		return nil, err
	}
	if decoded.Fields == nil {
		return nil, cmp.Or(checkNoError(body), errors.New("the answer has no list of fields"))
	}
	specification := &Specification{}
	for _, field := range *decoded.Fields {
		specification.Fields = append(specification.Fields, Field{
			ID: field.ID, Name: field.Name, Type: field.Type, ValueType: field.ValueType.Type,
			Mandatory: field.Mandatory, Fixed: field.Editable != nil && !*field.Editable, Multiple: field.ValueType.Multiple,
			Default: field.DefaultValue, Options: field.Options,
		})
	}
	return specification, nil
}
