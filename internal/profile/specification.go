// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package profile knows what an enrollment profile wants: which attributes a request may and must carry, under which ids and names,
// with which values. The vendor tells it in the profile's enrollment specification; this package turns names into ids and says, in
// words for a person, what a request lacks. It is pure, and lenient where the vendor's documents are silent: what is not listed is for
// the vendor to judge.
package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a specification that Parse accepts: far above what a profile of the vendor lists.
const (
	maxDocument   = 1 << 20
	maxAttributes = 1000
)

// Specification is what one enrollment profile takes.
type Specification struct {
	// ProfileID is the vendor's id of the profile.
	ProfileID string `json:"profileID,omitempty"`
	// CertificateAttributes are those of spec.certificateAttributes, in the vendor's order.
	CertificateAttributes []Attribute `json:"certificateAttributes,omitempty"`
	// DeviceAttributes are those of spec.deviceAttributes, in the vendor's order.
	DeviceAttributes []Attribute `json:"deviceAttributes,omitempty"`
	// KeyTypes are those the profile admits; empty when it does not say.
	KeyTypes []string `json:"keyTypes,omitempty"`
	// Formats are the private key formats the profile admits; empty when it does not say.
	Formats []string `json:"formats,omitempty"`
}

// Attribute is one value, or several, that a request may carry.
type Attribute struct {
	// ID is what a request names it by, such as subject.common_name.
	ID string `json:"id"`
	// Name is for people. It need not be unique.
	Name string `json:"name,omitempty"`
	// ValueType is the vendor's word for the kind of value.
	ValueType string `json:"valueType,omitempty"`
	// Mandatory attributes must be sent unless Default holds a value.
	Mandatory bool `json:"mandatory,omitempty"`
	// Fixed attributes are set by the profile to Default; another value is refused.
	Fixed bool `json:"fixed,omitempty"`
	// Multiple attributes take several values.
	Multiple bool `json:"multiple,omitempty"`
	// Default are the values used when none is sent.
	Default []string `json:"default,omitempty"`
	// Options are the values to choose from; empty when any is allowed.
	Options []string `json:"options,omitempty"`
}

// Demanded tells whether a request without the attribute is refused.
func (a Attribute) Demanded() bool { return a.Mandatory && !a.Fixed && len(a.Default) == 0 }

// Field is an attribute as the vendor's specification lists it, before it is known of which kind it is.
type Field struct {
	Attribute
	// Type is the vendor's word: CERTIFICATE, or another, probably DEVICE.
	Type string
}

// Fields of the vendor's specification that are no attributes: they stand for other parts of a request.
const (
	fieldCSR     = "csr"
	fieldKeyType = "key_type"
	fieldFormat  = "private_key_format"
)

// New sorts the vendor's fields into a specification. A field without an id is left out, and so is the CSR: keys are made by the vendor.
func New(profileID string, fields []Field) *Specification {
	s := &Specification{ProfileID: profileID}
	for _, f := range fields {
		switch {
		case f.ID == "", f.ID == fieldCSR:
		case f.ID == fieldKeyType:
			s.KeyTypes = f.admitted()
		case f.ID == fieldFormat:
			s.Formats = f.admitted()
		case f.ofCertificate():
			s.CertificateAttributes = append(s.CertificateAttributes, f.Attribute)
		default:
			s.DeviceAttributes = append(s.DeviceAttributes, f.Attribute)
		}
	}
	return s
}

// ofCertificate tells where the field belongs: by the vendor's word or, where that is missing, by the dotted ids of certificate fields.
func (f Field) ofCertificate() bool {
	if f.Type == "" {
		return strings.HasPrefix(f.ID, "subject.") || strings.HasPrefix(f.ID, "san.") || f.ID == "signature_algorithm"
	}
	return strings.EqualFold(f.Type, "CERTIFICATE")
}

// admitted are the values a field leaves to choose from; nil when any.
func (f Field) admitted() []string {
	if f.Fixed && len(f.Default) > 0 {
		return f.Default
	}
	return f.Options
}

// Parse reads a specification from its JSON, as json.Marshal writes it. Unknown fields are ignored, so that an older program reads what a
// newer one wrote.
func Parse(document []byte) (*Specification, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("the specification has more than %d bytes", maxDocument)
	}
	var s *Specification
	if err := json.Unmarshal(document, &s); err != nil {
		return nil, fmt.Errorf("the specification cannot be read: %w", err)
	}
	if s == nil {
		return nil, errors.New("the specification is empty")
	}
	if len(s.CertificateAttributes)+len(s.DeviceAttributes) > maxAttributes {
		return nil, fmt.Errorf("the specification has more than %d attributes", maxAttributes)
	}
	for _, a := range slices.Concat(s.CertificateAttributes, s.DeviceAttributes) {
		if a.ID == "" {
			return nil, errors.New("the specification has an attribute without an id")
		}
	}
	return s, nil
}
