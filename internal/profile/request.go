// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"slices"
	"strings"
)

// Value is an attribute of a request.
type Value struct {
	// ID is the attribute's id, or its name.
	ID     string
	Values []string
}

// Request is the part of a request that a profile has a say in.
type Request struct {
	CertificateAttributes, DeviceAttributes []Value
	// KeyType and Format are empty where the profile's default is asked for.
	KeyType, Format string
}

// A Kind of attribute has ids and names of its own.
type Kind string

// The kinds of attributes, as people know them from the spec.
const (
	Certificate Kind = "certificate"
	Device      Kind = "device"
)

// Attributes are those of one kind. Nothing is known of a profile without a specification.
func (s *Specification) Attributes(kind Kind) []Attribute {
	switch {
	case s == nil:
		return nil
	case kind == Certificate:
		return s.CertificateAttributes
	default:
		return s.DeviceAttributes
	}
}

// Find answers with the attribute of an id.
func (s *Specification) Find(kind Kind, id string) (Attribute, bool) {
	listed := s.Attributes(kind)
	if i := slices.IndexFunc(listed, func(a Attribute) bool { return a.ID == id }); i >= 0 {
		return listed[i], true
	}
	return Attribute{}, false
}

// ResolveID answers with the id of an attribute that a request names by its id, or by its name. An id wins over a name, and is answered
// as it is; so is what may be an id that the specification does not list, or that nobody can look up because s is nil: the vendor has
// the last word on it. What can only be a name is refused where it stands for no attribute, or for several.
func (s *Specification) ResolveID(kind Kind, idOrName string) (string, error) {
	if _, ok := s.Find(kind, idOrName); ok {
		return idOrName, nil
	}
	var ids []string
	for _, a := range s.Attributes(kind) {
		if a.Name == idOrName && !slices.Contains(ids, a.ID) {
			ids = append(ids, a.ID)
		}
	}
	switch {
	case len(ids) == 1:
		return ids[0], nil
	case len(ids) > 1:
		return "", fmt.Errorf("%q names several %s attributes of the profile: write one of their ids, %s", shown(idOrName), kind, list(ids))
	case MayBeID(idOrName):
		return idOrName, nil
	case s == nil:
		return "", fmt.Errorf("%q is the name of a %s attribute, and the profile's enrollment specification, which knows its id, cannot be read: write the id", shown(idOrName), kind)
	default:
		return "", fmt.Errorf("%q is neither the id nor the name of a %s attribute of the profile, which has %s", shown(idOrName), kind, describeAll(s.Attributes(kind)))
	}
}

// IDs are the ids that a bound on an attribute of either kind holds for, which names it by its id or by its name: all that it can stand
// for, in any case, because a bound that is missed lets something pass. There are none where it is a name, or looks like one, of no attribute
// that is listed. A lower-case word is an id then, as the vendor's comments is.
func (s *Specification) IDs(idOrName string) []string {
	var ids []string
	for _, a := range slices.Concat(s.Attributes(Certificate), s.Attributes(Device)) {
		if strings.EqualFold(a.ID, idOrName) || strings.EqualFold(a.Name, idOrName) {
			ids = append(ids, a.ID)
		}
	}
	if MayBeID(idOrName) && !looksLikeName(idOrName) {
		ids = append(ids, idOrName)
	}
	return ids
}

// looksLikeName tells whether a text that may be an id is more probably a name of one word: Hostname, IMEI. The vendor's ids in capitals are
// of several words, as DEVICE_IDENTIFIER.
func looksLikeName(word string) bool {
	return word != strings.ToLower(word) && !strings.ContainsAny(word, "._-:")
}

// MayBeID tells whether a text can be an attribute's id. The vendor's are dotted paths, UUIDs, slugs and words in capitals: letters,
// digits and . _ - : alone. A name of one word looks like that, too.
func MayBeID(text string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune("._-:", r)
	}) < 0
}

// Resolve answers with the request under ids. The error names every attribute that cannot be resolved, or that is there twice.
func (s *Specification) Resolve(r Request) (Request, error) {
	var problems []string
	resolve := func(kind Kind, values []Value) []Value {
		var resolved []Value
		for _, v := range values {
			id, err := s.ResolveID(kind, v.ID)
			if err != nil {
				problems = append(problems, err.Error())
				continue
			}
			if slices.ContainsFunc(resolved, func(other Value) bool { return other.ID == id }) {
				problems = append(problems, fmt.Sprintf("%s attribute %s is there twice, by its id and by its name: keep one", kind, shown(id)))
				continue
			}
			resolved = append(resolved, Value{ID: id, Values: v.Values})
		}
		return resolved
	}
	r.CertificateAttributes = resolve(Certificate, r.CertificateAttributes)
	r.DeviceAttributes = resolve(Device, r.DeviceAttributes)
	return r, join(problems)
}
