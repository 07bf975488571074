// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"slices"
)

// resolve applies a profile's fields to the attributes of a request: unknown ids and forbidden values are refused, fixed
// and default values filled in, mandatory ones demanded. Attributes come back in the order of the profile's fields.
func resolve(fields []Field, sent []Attribute) ([]Attribute, error) {
	for _, a := range sent {
		if !slices.ContainsFunc(fields, func(f Field) bool { return f.ID == a.ID }) {
			return nil, invalidInput("attribute %s is not part of the enrollment profile", a.ID)
		}
	}
	var resolved []Attribute
	for _, f := range fields {
		values, err := f.resolve(valuesOf(sent, f.ID))
		if err != nil {
			return nil, err
		}
		if len(values) > 0 {
			resolved = append(resolved, Attribute{ID: f.ID, Value: values})
		}
	}
	return resolved, nil
}

// resolve decides the values of one field.
func (f Field) resolve(sent Values) (Values, error) {
	if len(f.Fixed) > 0 {
		if len(sent) > 0 && !slices.Equal(sent, f.Fixed) {
			return nil, invalidInput("attribute %s is fixed by the enrollment profile and cannot be changed", f.ID)
		}
		return f.Fixed, nil
	}
	if len(sent) == 0 {
		sent = f.Default
	}
	if len(sent) == 0 && f.Mandatory {
		return nil, invalidInput("attribute %s (%s) is mandatory", f.ID, orDefault(f.Name, f.ID))
	}
	if len(sent) > 1 && !f.Multiple {
		return nil, invalidInput("attribute %s takes one value", f.ID)
	}
	for _, value := range sent {
		if len(f.Options) > 0 && !slices.Contains(f.Options, value) {
			return nil, invalidInput("attribute %s: %q is not among the options", f.ID, value)
		}
	}
	return sent, nil
}

// valuesOf returns the values of one attribute without empty strings.
func valuesOf(attributes []Attribute, id string) Values {
	for _, a := range attributes {
		if a.ID == id {
			return slices.DeleteFunc(slices.Clone(a.Value), func(v string) bool { return v == "" })
		}
	}
	return nil
}

// inherit adds the predecessor's attributes that the renew request does not name.
func inherit(sent, old []Attribute) []Attribute {
	for _, a := range old {
		if !slices.ContainsFunc(sent, func(s Attribute) bool { return s.ID == a.ID }) {
			sent = append(sent, a)
		}
	}
	return sent
}

// pin applies the registered values of a passcode.
func pin(sent []Attribute, registered []RegisteredValue) ([]Attribute, error) {
	for _, r := range registered {
		values := valuesOf(sent, r.CertificateField)
		switch {
		case len(values) == 0:
			sent = append(slices.DeleteFunc(sent, func(a Attribute) bool { return a.ID == r.CertificateField }),
				Attribute{ID: r.CertificateField, Value: r.Value})
		case !slices.Equal(values, r.Value):
			return nil, invalidInput("attribute %s is registered on the passcode with another value", r.CertificateField)
		}
	}
	return sent, nil
}
