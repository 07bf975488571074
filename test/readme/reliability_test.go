// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package readme_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/docs"
)

// faultTable is how many faults of each letter the table has: crashes, Kubernetes, watches, leadership, transport, HTTP, content, time,
// Secrets, objects, environment.
var faultTable = map[string]int{"C": 18, "K": 23, "W": 11, "L": 6, "S": 15, "H": 16, "R": 14, "T": 7, "X": 14, "U": 13, "O": 7}

func TestEveryFaultOfTheTableHasAProofThatExists(t *testing.T) {
	text := docs.Read(t, "docs/reliability.md")
	sources := testSources(t)
	states := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \| [^|]+ \| ([^|]+) \|$`).FindAllStringSubmatch(text, -1) {
		states[m[1]] = m[2]
	}
	for letter, n := range faultTable {
		for i := range n {
			row := fmt.Sprint(letter, i+1)
			state, found := states[row]
			if !found {
				t.Errorf("row %s is missing", row)
			}
			if strings.HasPrefix(state, "case") && !strings.HasPrefix(state, "case L") && !strings.HasPrefix(state, "case K") && !strings.HasPrefix(state, "case H") &&
				!strings.Contains(sources, fmt.Sprintf("%q", row)) {
				t.Errorf("row %s is said to be a case, but no test bears its name", row)
			}
		}
	}
}

func TestTheTestsThatStandForThePromisesExist(t *testing.T) {
	sources := testSources(t)
	for _, page := range []string{"docs/reliability.md", "docs/retries.md", "docs/issuing-protocol.md"} {
		for _, m := range regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]+)`").FindAllStringSubmatch(docs.Read(t, page), -1) {
			if !strings.Contains(sources, "func "+m[1]+"(") {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}

// testSources is the text of all tests.
func testSources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := fs.WalkDir(os.DirFS(docs.Root), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "bin" || entry.Name() == ".git") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, "_test.go") {
			all.WriteString(docs.Read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
