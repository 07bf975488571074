// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs reads the documentation for the tests that hold it to what is there.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Root is the repository, as the tests below test/ see it.
const Root = "../.."

// Read is the text of a file of the repository.
func Read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Fenced are the blocks of a language in a text, also those that are indented in a list. The language may be empty.
func Fenced(text, language string) []string {
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^ *```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}
