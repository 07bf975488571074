// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The mutants themselves are tried by make mutants alone, which takes long. That their texts follow the source is seen with every change.
func TestEveryMutantFindsItsTextInTheSourceOnce(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants() {
		for _, e := range m.edits {
			source, err := os.ReadFile(filepath.Join("..", "..", "..", e.file))
			if err != nil {
				t.Fatal(err)
			}
			if count := bytes.Count(source, []byte(e.find)); count != 1 {
				t.Errorf("%s: %s holds its text %d times, want once: %s", m.name, e.file, count, e.find)
			}
		}
		if names[m.name] {
			t.Errorf("two mutants are called %s", m.name)
		}
		names[m.name] = true
	}
}
