// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// definition is what a page needs of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Kind       string   `json:"kind"`
			Plural     string   `json:"plural"`
			ShortNames []string `json:"shortNames"`
		} `json:"names"`
		Versions []struct {
			Name    string `json:"name"`
			Columns []struct {
				Name     string `json:"name"`
				Path     string `json:"jsonPath"`
				Priority int    `json:"priority"`
			} `json:"additionalPrinterColumns"`
			Selectable []struct {
				Path string `json:"jsonPath"`
			} `json:"selectableFields"`
			Schema struct {
				Root schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

// schema is the part of a structural schema that says something to a reader.
type schema struct {
	Type          string            `json:"type"`
	Format        string            `json:"format"`
	Description   string            `json:"description"`
	Default       json.RawMessage   `json:"default"`
	Enum          []json.RawMessage `json:"enum"`
	Minimum       *float64          `json:"minimum"`
	Maximum       *float64          `json:"maximum"`
	MinLength     *int64            `json:"minLength"`
	MaxLength     *int64            `json:"maxLength"`
	MinItems      *int64            `json:"minItems"`
	MaxItems      *int64            `json:"maxItems"`
	MaxProperties *int64            `json:"maxProperties"`
	Pattern       string            `json:"pattern"`
	Required      []string          `json:"required"`
	Properties    map[string]schema `json:"properties"`
	Items         *schema           `json:"items"`
	Additional    *schema           `json:"additionalProperties"`
	Rules         []struct {
		Message string `json:"message"`
	} `json:"x-kubernetes-validations"`
}

// page describes the kind: what it is, then spec and status, one section for each object in them.
func (d definition) page() string {
	var b strings.Builder
	version := d.Spec.Versions[0]
	root := version.Schema.Root
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", d.Spec.Names.Kind, prose(root.Description))
	scope := "It lives in a namespace."
	if d.Spec.Scope == "Cluster" {
		scope = "It is cluster-scoped."
	}
	fmt.Fprintf(&b, "`apiVersion: %s/%s`, `kind: %s`. %s With kubectl: `%s`", d.Spec.Group, version.Name, d.Spec.Names.Kind, scope, d.Spec.Names.Plural)
	for _, short := range d.Spec.Names.ShortNames {
		fmt.Fprintf(&b, " or `%s`", short)
	}
	b.WriteString(".\n")
	var selectable []string
	for _, s := range version.Selectable {
		selectable = append(selectable, "`"+strings.TrimPrefix(s.Path, ".")+"`")
	}
	if len(selectable) > 0 {
		fmt.Fprintf(&b, "`--field-selector` knows %s.\n", strings.Join(selectable, " and "))
	}
	b.WriteString("\n| column of `kubectl get` | field | |\n|---|---|---|\n")
	for _, c := range version.Columns {
		wide := ""
		if c.Priority > 0 {
			wide = "with `-o wide`"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", c.Name, strings.ReplaceAll(strings.TrimPrefix(c.Path, "."), "|", `\|`), wide)
	}
	rules(&b, root)
	for _, name := range []string{"spec", "status"} {
		section(&b, name, root.Properties[name], 2)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// section describes an object: its text, its fields, and then the objects in it.
func section(b *strings.Builder, path string, s schema, level int) {
	fmt.Fprintf(b, "\n%s %s\n\n", strings.Repeat("#", level), path)
	if text := prose(s.Description); text != "" {
		fmt.Fprintf(b, "%s\n\n", text)
	}
	b.WriteString("| field | type | meaning |\n|---|---|---|\n")
	names := slices.SortedFunc(maps.Keys(s.Properties), func(a, b string) int {
		if byNeed := compare(slices.Contains(s.Required, b), slices.Contains(s.Required, a)); byNeed != 0 {
			return byNeed
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		field := s.Properties[name]
		need := ""
		if slices.Contains(s.Required, name) {
			need = " **required**"
		}
		fmt.Fprintf(b, "| `%s`%s | %s | %s%s |\n", name, need, kindOf(field), cell(prose(field.Description)), cell(limits(field)))
	}
	rules(b, s)
	for _, name := range names {
		inner, suffix := s.Properties[name], ""
		if inner.Items != nil {
			inner, suffix = *inner.Items, "[]"
			inner.Description = s.Properties[name].Description
		}
		if len(inner.Properties) > 0 && name != "conditions" {
			section(b, path+"."+name+suffix, inner, min(level+1, 4))
		}
	}
}

// rules lists what an object's fields must satisfy together.
func rules(b *strings.Builder, s schema) {
	if len(s.Rules) == 0 {
		return
	}
	b.WriteString("\nChecked when it is written:\n\n")
	for _, r := range s.Rules {
		fmt.Fprintf(b, "- %s\n", escape(r.Message))
	}
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// kindOf is the type of a field in the words of YAML.
func kindOf(s schema) string {
	switch {
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, "`"+strings.Trim(string(v), `"`)+"`")
		}
		return strings.Join(values, ", ")
	case s.Items != nil && len(s.Items.Properties) > 0:
		return "list of objects"
	case s.Items != nil:
		return "list of " + kindOf(*s.Items)
	case s.Additional != nil:
		return "map of " + kindOf(*s.Additional)
	case s.Format == "date-time":
		return "time"
	default:
		return s.Type
	}
}

// limits are the default and bounds of a field, as far as the schema states them.
func limits(s schema) string {
	var told []string
	if plain := strings.Trim(string(s.Default), `"`); plain != "" && len(s.Properties) == 0 && !strings.Contains(s.Description, "Default:") {
		told = append(told, "Default: `"+plain+"`.")
	}
	if s.Minimum != nil && s.Maximum != nil && *s.Maximum < 1e15 && !strings.Contains(s.Description, " to ") {
		told = append(told, fmt.Sprintf("From %.0f to %.0f.", *s.Minimum, *s.Maximum))
	}
	if s.MaxLength != nil && len(s.Enum) == 0 && s.Format == "" && !strings.Contains(s.Description, "characters") {
		told = append(told, fmt.Sprintf("At most %d characters.", *s.MaxLength))
	}
	if s.MaxItems != nil && !strings.Contains(s.Description, "at most") {
		told = append(told, fmt.Sprintf("At most %d.", *s.MaxItems))
	}
	if s.MaxProperties != nil && !strings.Contains(s.Description, "at most") {
		told = append(told, fmt.Sprintf("At most %d.", *s.MaxProperties))
	}
	if len(told) == 0 {
		return ""
	}
	return " " + strings.Join(told, " ")
}

// prose makes one line of a comment and ends it.
func prose(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if text != "" && !strings.HasSuffix(text, ".") {
		text += "."
	}
	return escape(text)
}

// escape keeps placeholders such as <serial> out of the hands of HTML.
func escape(text string) string {
	return strings.NewReplacer("<", "&lt;", ">", "&gt;", "*", `\*`).Replace(text)
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
