// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// knownKeyTypes are those the vendor documents. It may have others.
var knownKeyTypes = []string{"rsa_2048", "rsa_3072", "rsa_4096", "p_256", "p_384", "p_521", "ed_25519"}

// Report is what comparing a request with a specification shows.
type Report struct {
	// Problems are what the vendor would refuse.
	Problems []string
	// Warnings are what it might refuse.
	Warnings []string
}

// Err is the problems in one error; nil without any.
func (r Report) Err() error { return join(r.Problems) }

// Check compares a request, under ids, with what the profile wants: mandatory attributes that are absent, fixed ones that are
// contradicted, values that are not among those to choose from, several where one is taken.
func (s *Specification) Check(r Request) Report {
	var report Report
	for _, part := range []struct {
		kind Kind
		sent []Value
	}{{Certificate, r.CertificateAttributes}, {Device, r.DeviceAttributes}} {
		for _, a := range s.Missing(part.kind, part.sent) {
			report.problem("%s attribute %s is mandatory", part.kind, a.describe())
		}
		for _, v := range part.sent {
			report.value(s, part.kind, v)
		}
	}
	report.choice("key type", r.KeyType, s.KeyTypes, knownKeyTypes)
	report.choice("private key format", r.Format, s.Formats, nil)
	return report
}

// Missing are the mandatory attributes of a kind that are not sent.
func (s *Specification) Missing(kind Kind, sent []Value) []Attribute {
	var missing []Attribute
	for _, a := range s.Attributes(kind) {
		found := slices.ContainsFunc(sent, func(v Value) bool { return v.ID == a.ID && len(v.Values) > 0 })
		if a.Demanded() && !found {
			missing = append(missing, a)
		}
	}
	return missing
}

// value judges one attribute of a request.
func (r *Report) value(s *Specification, kind Kind, v Value) {
	a, listed := s.Find(kind, v.ID)
	switch {
	case len(v.Values) == 0:
	case !listed:
		r.warn("%s attribute %s is not listed by the profile", kind, shown(v.ID))
	case a.Fixed && len(a.Default) > 0 && !sameValues(v.Values, a.Default):
		r.problem("%s attribute %s is fixed by the profile to %s: leave it out, or write that value", kind, a.describe(), quoted(a.Default))
	case a.Fixed:
	case len(v.Values) > 1 && !a.Multiple:
		r.problem("%s attribute %s takes one value", kind, a.describe())
	default:
		for _, value := range v.Values {
			if len(a.Options) > 0 && !slices.ContainsFunc(a.Options, func(o string) bool { return strings.EqualFold(o, value) }) {
				r.problem("%s attribute %s takes %s, not %q", kind, a.describe(), alternatives(a.Options), shown(value))
			}
		}
	}
}

// choice judges a word of the request: by what the profile admits or, where it does not say, by what is documented.
func (r *Report) choice(what, word string, admitted, documented []string) {
	switch {
	case word == "":
	case len(admitted) > 0 && !slices.Contains(admitted, word):
		r.warn("%s %s is not among those the profile lists: %s", what, shown(word), alternatives(admitted))
	case len(admitted) == 0 && len(documented) > 0 && !slices.Contains(documented, word):
		r.warn("%s %s is not one the vendor documents: %s", what, shown(word), list(documented))
	}
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// sameValues compares without regard to order, which means nothing.
func sameValues(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func join(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "; "))
}
