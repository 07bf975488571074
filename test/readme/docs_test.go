// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package readme_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
	"github.com/devicecert/devicecert-operator/internal/testkit/docs"
)

// pages are all pages of the documentation, those of the chart included.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md", "docs/reference/*.md", "docs/runbooks/*.md", "charts/*/*.md"} {
		matches, err := fs.Glob(os.DirFS(docs.Root), pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	if len(found) < 30 {
		t.Fatalf("only %d pages: %v", len(found), found)
	}
	return found
}

// anchors are what a page's headings are called in links, as GitHub calls them.
func anchors(text string) []string {
	var names []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ +(.*)$`).FindAllStringSubmatch(withoutCode(text), -1) {
		name := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading[1], "$1")
		name = regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(name), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
}

func TestEveryLinkOfTheDocumentationLeadsSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)
	for _, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(withoutCode(docs.Read(t, page)), -1) {
			path, anchor := match[1], strings.TrimPrefix(match[2], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(filepath.Join(docs.Root, target)); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if anchor != "" && strings.HasSuffix(target, ".md") && !slices.Contains(anchors(docs.Read(t, target)), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, target, anchor)
			}
		}
	}
}

func TestEveryPageCanBeFound(t *testing.T) {
	var linked strings.Builder
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(withoutCode(docs.Read(t, page)), -1) {
			linked.WriteString(filepath.Join(filepath.Dir(page), match[1]) + "\n")
		}
	}
	for _, page := range pages(t) {
		if strings.HasPrefix(page, "docs/") && !strings.Contains(linked.String(), page+"\n") {
			t.Errorf("no page links to %s: docs/README.md is the index", page)
		}
	}
}

// Groups that the pages speak of and that the control plane does not know.
var foreignGroups = []string{"argoproj.io/", "kustomize.toolkit.fluxcd.io/", "kustomize.config.k8s.io/", "monitoring.coreos.com/", "audit.k8s.io/"}

func TestTheYAMLOfEveryPageIsAccepted(t *testing.T) {
	plane, err := controlplane.Start(t.Context(), controlplane.Options{
		CRDPaths: []string{filepath.Join(docs.Root, "config/crd/bases")}, ControllerManager: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	kubectl := func(input string, args ...string) ([]byte, error) {
		command := exec.CommandContext(t.Context(), plane.Kubectl(), append([]string{"--kubeconfig=" + plane.Kubeconfig(), "--cache-dir=" + t.TempDir()}, args...)...)
		command.Stdin = strings.NewReader(input)
		return command.CombinedOutput()
	}
	for _, namespace := range []string{"edge", "devicecert-system"} {
		if output, err := kubectl("", "create", "namespace", namespace); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}
	asked := 0
	for _, page := range pages(t) {
		for _, block := range docs.Fenced(docs.Read(t, page), "yaml") {
			for _, document := range regexp.MustCompile(`(?m)^---$`).Split(block, -1) {
				var kind struct {
					APIVersion string `json:"apiVersion"`
					Kind       string `json:"kind"`
				}
				if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
					t.Errorf("%s: %v\n%s", page, err, document)
					continue
				}
				foreign := slices.ContainsFunc(foreignGroups, func(g string) bool { return strings.HasPrefix(kind.APIVersion, g) })
				if kind.APIVersion == "" || kind.Kind == "" || foreign {
					continue // a fragment, or somebody else's
				}
				asked++
				if output, err := kubectl(document, "create", "--dry-run=server", "--validate=strict", "--filename=-"); err != nil {
					t.Errorf("%s: %v\n%s\n%s", page, err, output, document)
				}
			}
		}
	}
	if asked < 10 {
		t.Errorf("only %d objects were found", asked)
	}
}

func TestTheCommandsOfEveryPageNameWhatIsThere(t *testing.T) {
	makefile := docs.Read(t, "Makefile")
	ours := regexp.MustCompile(`^(config|charts|hack|docs|test|cmd|\.ci)/`)
	for _, page := range pages(t) {
		for _, block := range append(docs.Fenced(docs.Read(t, page), "sh"), docs.Fenced(docs.Read(t, page), "console")...) {
			for _, word := range strings.Fields(block) {
				word = strings.Trim(word, `'"$();`)
				if ours.MatchString(word) {
					if _, err := os.Stat(filepath.Join(docs.Root, word)); err != nil {
						t.Errorf("%s: %v", page, err)
					}
				}
			}
			for _, match := range regexp.MustCompile(`(?m)(?:^|[;&|] *|\b\w+=\S+ )make ([a-z0-9-]+)`).FindAllStringSubmatch(block, -1) {
				if !strings.Contains(makefile, "\n"+match[1]+":") {
					t.Errorf("%s: the Makefile has no target %s", page, match[1])
				}
			}
		}
		for _, match := range regexp.MustCompile("`make ([a-z0-9-]+)[^`]*`").FindAllStringSubmatch(docs.Read(t, page), -1) {
			if !strings.Contains(makefile, "\n"+match[1]+":") {
				t.Errorf("%s: the Makefile has no target %s", page, match[1])
			}
		}
	}
}

// ownPages speak of the flags of our programs. Others show those of curl and its like.
var ownPages = []string{
	"README.md", "docs/quick-start.md", "docs/concepts.md", "docs/operations.md", "docs/issuers.md", "docs/edge-gateways.md", "docs/hardening.md",
	"docs/disaster-recovery.md", "docs/faq.md", "docs/simulator.md", "docs/metrics.md", "docs/kubectl-plugin.md",
}

// Flags of other programs that these pages speak of.
var foreignFlags = []string{
	"kubeconfig", "zap-log-level", // of controller-runtime
	"all", "all-namespaces", "dry-run", "field-selector", "force", "grace-period", "prune", "server-side", "wait", // of kubectl
}

func TestEveryFlagThatPagesSpeakOfExists(t *testing.T) {
	var source strings.Builder
	for _, folder := range []string{"cmd", "internal/cli", "test/faults", "hack"} {
		_ = fs.WalkDir(os.DirFS(filepath.Join(docs.Root, folder)), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") && !d.IsDir() {
				source.WriteString(docs.Read(t, filepath.Join(folder, name)))
			}
			return nil
		})
	}
	for _, page := range ownPages {
		for _, match := range regexp.MustCompile("`--([a-z][a-z0-9-]*)").FindAllStringSubmatch(docs.Read(t, page), -1) {
			if flag := match[1]; !slices.Contains(foreignFlags, flag) && !strings.Contains(source.String(), `"`+flag+`"`) {
				t.Errorf("%s: no program of ours has a flag --%s", page, flag)
			}
		}
	}
}
