// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"slices"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/docs"
)

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
	for part := range strings.SplitSeq(docs.Read(t, "docs/quick-start.md"), "\n## ") {
		heading, text, _ := strings.Cut(part, "\n")
		if blocks := docs.Fenced(text, "sh"); len(blocks) > 0 {
			all = append(all, chapter{heading, blocks})
		}
	}
	return all
}

// runbook are the commands of an alert's page. What the page leaves to the reader is filled in.
func runbook(t *testing.T, alert string, names ...string) []string {
	t.Helper()
	var all []string
	for _, block := range docs.Fenced(docs.Read(t, "docs/runbooks/"+alert+".md"), "") {
		for line := range strings.Lines(block) {
			all = append(all, strings.TrimSpace(strings.NewReplacer(names...).Replace(line)))
		}
	}
	return slices.DeleteFunc(all, func(line string) bool { return line == "" })
}
