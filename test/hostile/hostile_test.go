// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostile_test holds docs/hostile-inputs.md and docs/threat-model.md to the tests they name.
package hostile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	defined = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	fuzzed  = regexp.MustCompile(`(?ms)^func (Fuzz\w+)\(.*?^}$`)
	named   = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	row     = regexp.MustCompile(`^\| (\d+) \| (.+) \| (.+) \|$`)
)

// tests are the names of all tests and fuzz targets of the module.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	eachTestFile(t, func(_ string, text []byte) {
		for _, match := range defined.FindAllSubmatch(text, -1) {
			names[string(match[1])] = true
		}
	})
	return names
}

func eachTestFile(t *testing.T, do func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		do(path, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheListOfHostileInputsIsWholeAndNamesTestsThatExist(t *testing.T) {
	const inputs = 207
	known, total := tests(t), 0
	for _, section := range strings.Split(read(t, "hostile-inputs.md"), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		next := 1
		for line := range strings.Lines(body) {
			cells := row.FindStringSubmatch(strings.TrimSpace(line))
			if cells == nil {
				continue
			}
			t.Run(title+" "+cells[1], func(t *testing.T) {
				if cells[1] != strconv.Itoa(next) {
					t.Errorf("the row after %d is %s", next-1, cells[1])
				}
				wantTests(t, known, cells[3])
			})
			next++
			total++
		}
	}
	if total != inputs {
		t.Errorf("%d inputs are listed, want %d", total, inputs)
	}
}

func TestTheThreatModelNamesTestsThatExist(t *testing.T) {
	wantTests(t, tests(t), read(t, "threat-model.md"))
}

func TestEveryFuzzTargetBoundsTimeAndMemoryOfEachInput(t *testing.T) {
	var targets int
	eachTestFile(t, func(path string, text []byte) {
		for _, match := range fuzzed.FindAllSubmatch(text, -1) {
			targets++
			if body := string(match[0]); !strings.Contains(body, "limit.Parser.Hold(") && !strings.Contains(body, "limit.Story.Hold(") {
				t.Errorf("%s in %s holds its inputs to no limit: see internal/testkit/limit", match[1], path)
			}
		}
	})
	if targets == 0 {
		t.Error("there are no fuzz targets")
	}
}

func wantTests(t *testing.T, known map[string]bool, text string) {
	t.Helper()
	found := named.FindAllStringSubmatch(text, -1)
	if len(found) == 0 {
		t.Errorf("no test is named in %q", text)
	}
	for _, match := range found {
		if !known[match[1]] {
			t.Errorf("there is no test %s", match[1])
		}
	}
}
