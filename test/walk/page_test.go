// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// chapter is a part of a page, under a heading of its own, with its commands.
type chapter struct {
	heading string
	blocks  []string
}

// commands are the chapter's, one per line.
func (c chapter) commands() []string {
	return strings.Split(strings.TrimSpace(strings.Join(c.blocks, "")), "\n")
}

// chapters are those of the quick start that have commands to run.
func chapters(t *testing.T) []chapter {
	t.Helper()
	var all []chapter
	for part := range strings.SplitSeq(read(t, "docs/quick-start.md"), "\n## ") {
		heading, text, _ := strings.Cut(part, "\n")
		var blocks []string
		for _, match := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
			blocks = append(blocks, match[1])
		}
		if len(blocks) > 0 {
			all = append(all, chapter{heading, blocks})
		}
	}
	return all
}

// runbook are the commands of an alert's page. What the page leaves to the reader is filled in.
func runbook(t *testing.T, alert string, names ...string) []string {
	t.Helper()
	var all []string
	for _, match := range regexp.MustCompile("(?ms)^ *```\n(.*?)^ *```$").FindAllStringSubmatch(read(t, "docs/runbooks/"+alert+".md"), -1) {
		for line := range strings.Lines(match[1]) {
			all = append(all, strings.TrimSpace(strings.NewReplacer(names...).Replace(line)))
		}
	}
	return slices.DeleteFunc(all, func(line string) bool { return line == "" })
}
