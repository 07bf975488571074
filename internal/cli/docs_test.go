// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/kubectl-plugin.md shows is what the plugin prints, and every verb is there.
func TestTheDocumentationShowsWhatThePluginPrints(t *testing.T) {
	text, err := os.ReadFile("../../docs/kubectl-plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	printed := make(map[string]bool)
	goldens, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(goldens) == 0 {
		t.Fatalf("golden files: %v, %v", goldens, err)
	}
	for _, name := range goldens {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		printed[string(content)] = true
	}
	shown := regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(shown) < 5 {
		t.Errorf("%d outputs are shown", len(shown))
	}
	for _, block := range shown {
		if !printed[block[1]] {
			t.Errorf("no golden file holds\n%s", block[1])
		}
	}
	w := newWorld(t, "docs")
	for _, match := range regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`).FindAllStringSubmatch(w.plugin("--help").out, -1) {
		if match[1] != "help" && !strings.Contains(string(text), "`"+match[1]+"`") {
			t.Errorf("the page does not mention the verb %s", match[1])
		}
	}
}
