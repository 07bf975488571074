// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Bounds of what is shown of a specification, which is the vendor's text: a message must stay readable.
const (
	longestShown = 80
	mostShown    = 12
)

// Wants lists what the profile wants, in words: what must be sent, what may be, what is fixed.
func (s *Specification) Wants() string {
	var parts []string
	add := func(word string, attributes []Attribute) {
		if len(attributes) > 0 {
			parts = append(parts, word+" "+describeAll(attributes))
		}
	}
	for _, kind := range []Kind{Certificate, Device} {
		var demanded, optional, fixed []Attribute
		for _, a := range s.Attributes(kind) {
			switch {
			case a.Demanded():
				demanded = append(demanded, a)
			case a.Fixed:
				fixed = append(fixed, a)
			default:
				optional = append(optional, a)
			}
		}
		add("mandatory "+string(kind)+" attributes", demanded)
		add("optional "+string(kind)+" attributes", optional)
		add(string(kind)+" attributes that the profile fixes", fixed)
	}
	if len(parts) == 0 {
		return "no attributes"
	}
	return strings.Join(parts, "; ")
}

// describe names an attribute, with its name for people if it has another.
func (a Attribute) describe() string {
	if a.Name == "" || a.Name == a.ID {
		return shown(a.ID)
	}
	return fmt.Sprintf("%s (%s)", shown(a.ID), shown(a.Name))
}

func describeAll(attributes []Attribute) string {
	var names []string
	for _, a := range attributes {
		text := a.describe()
		if a.Fixed && len(a.Default) > 0 {
			text += " = " + quoted(a.Default)
		}
		names = append(names, text)
	}
	return list(names)
}

// list enumerates at most mostShown texts.
func list(texts []string) string {
	switch {
	case len(texts) == 0:
		return "none"
	case len(texts) > mostShown:
		return strings.Join(texts[:mostShown], ", ") + " and " + strconv.Itoa(len(texts)-mostShown) + " more"
	default:
		return strings.Join(texts, ", ")
	}
}

func quoted(values []string) string { return list(quoteAll(values)) }

func alternatives(values []string) string {
	if len(values) == 1 {
		return quoted(values)
	}
	return "one of " + quoted(values)
}

func quoteAll(values []string) []string {
	quotes := make([]string, 0, len(values))
	for _, v := range values {
		quotes = append(quotes, strconv.Quote(shown(v)))
	}
	return quotes
}

// shown is a text of the vendor's or a user's as a message may carry it: short, and without characters that mislead a terminal.
func shown(text string) string {
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if runes := []rune(clean); len(runes) > longestShown {
		return string(runes[:longestShown-1]) + "…"
	}
	return clean
}
