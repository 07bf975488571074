// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart brings the Helm chart in line with config/ and its own values.yaml: the CRDs, and the README's table of values.
// `make manifests` runs it in the root of the repository, after the CRDs are written.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

func main() {
	const chart = "charts/devicecert-operator"
	if err := errors.Join(writeCRDs("config/crd/bases", filepath.Join(chart, "files", "crds")), writeReadme(chart)); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// writeCRDs copies the CRDs. Helm upgrades what its templates make, and leaves it behind on uninstall where it is told to keep it.
func writeCRDs(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		const annotations = "  annotations:\n"
		kept := bytes.Replace(text, []byte(annotations), []byte(annotations+"    helm.sh/resource-policy: keep\n"), 1)
		if bytes.Equal(kept, text) {
			return fmt.Errorf("%s has no annotations to add to", path)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), kept, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeReadme puts the values into the README's template.
func writeReadme(chart string) error {
	template, err := os.ReadFile(filepath.Join(chart, "README.md.in"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var values yaml.Node
	if err := yaml.Unmarshal(text, &values); err != nil {
		return fmt.Errorf("read values.yaml: %w", err)
	}
	rows, err := table("", values.Content[0])
	if err != nil {
		return err
	}
	head := "| value | default | meaning |\n|---|---|---|\n"
	readme := strings.Replace(string(template), "{{values}}\n", head+strings.Join(rows, ""), 1)
	return os.WriteFile(filepath.Join(chart, "README.md"), []byte(readme), 0o644)
}

// table lists every value that has a comment. A value without one must have some below it.
func table(prefix string, values *yaml.Node) ([]string, error) {
	var rows []string
	for i := 0; i+1 < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name := prefix + key.Value
		comment := strings.Join(strings.Fields(strings.ReplaceAll(key.HeadComment, "#", " ")), " ")
		if comment != "" && (value.Kind != yaml.MappingNode || !described(value)) {
			text, err := inline(value)
			if err != nil {
				return nil, err
			}
			rows = append(rows, fmt.Sprintf("| `%s` | `%s` | %s |\n", name, text, strings.ReplaceAll(comment, "|", `\|`)))
			continue
		}
		if value.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("values.yaml: %s has no comment", name)
		}
		below, err := table(name+".", value)
		if err != nil {
			return nil, err
		}
		rows = append(rows, below...)
	}
	return rows, nil
}

// described tells whether the values of a mapping have comments of their own.
func described(mapping *yaml.Node) bool {
	return len(mapping.Content) > 0 && mapping.Content[0].HeadComment != ""
}

// inline is a value on one line, without comments.
func inline(value *yaml.Node) (string, error) {
	bare := *value
	bare.Style = yaml.FlowStyle
	bare.HeadComment, bare.LineComment, bare.FootComment = "", "", ""
	if bare.Kind == yaml.ScalarNode {
		bare.Style = value.Style
	}
	text, err := yaml.Marshal(&bare)
	return strings.TrimSpace(string(text)), err
}
