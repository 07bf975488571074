// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	maxShapeFields = 30
	maxShapeBlocks = 10
)

// fieldName is what a harmless field name or PEM type looks like; anything else could
// be contents.
var fieldName = regexp.MustCompile(`^[A-Za-z0-9_. -]{1,40}$`)

// shape describes the top level of a JSON object without showing any value, e.g.
//
//	certificate_id string(36), pem string(3221: CERTIFICATE, CERTIFICATE), private_key string(2348: base64)
func shape(body []byte) string {
	var fields map[string]json.RawMessage
	if err := decodeObject(body, &fields); err != nil {
		return fmt.Sprintf("%d bytes, no JSON object", len(body))
	}
	names := slices.Sorted(maps.Keys(fields))
	parts := make([]string, 0, min(len(names), maxShapeFields))
	for _, name := range names[:min(len(names), maxShapeFields)] {
		parts = append(parts, harmless(name)+" "+valueShape(fields[name]))
	}
	if more := len(names) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, ", ")
}

func valueShape(value json.RawMessage) string {
	switch value[0] {
	case '"':
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return fmt.Sprintf("unreadable(%d)", len(value))
		}
		return stringShape(text)
	case '{':
		return fmt.Sprintf("object(%d)", len(value))
	case '[':
		return fmt.Sprintf("list(%d)", len(value))
	case 'n':
		return "null"
	case 't', 'f':
		return "bool"
	}
	return "number"
}

func stringShape(text string) string {
	if types := blockTypes(text); len(types) > 0 {
		return fmt.Sprintf("string(%d: %s)", len(text), strings.Join(types, ", "))
	}
	compact := strings.Join(strings.Fields(text), "")
	if _, err := base64.StdEncoding.DecodeString(compact); err == nil && len(compact) > maxWordBytes {
		return fmt.Sprintf("string(%d: base64)", len(text))
	}
	return fmt.Sprintf("string(%d)", len(text))
}

// blockTypes lists the types of the first PEM blocks in text.
func blockTypes(text string) []string {
	var types []string
	for rest := []byte(text); len(types) < maxShapeBlocks; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		types = append(types, harmless(block.Type))
	}
	return types
}

func harmless(name string) string {
	if fieldName.MatchString(name) {
		return name
	}
	return "?"
}
