// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package readme_test holds the documentation to what is there: commands run, YAML is what the demo applies, links lead somewhere, and
// every reason is explained.
package readme_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
	"github.com/devicecert/devicecert-operator/internal/testkit/docs"
)

// blocks are the fenced blocks of one language in the README.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	found := docs.Fenced(docs.Read(t, "README.md"), language)
	if len(found) == 0 {
		t.Fatalf("the README has no block of %s", language)
	}
	return found
}

// commands are the README's shell commands, one per line.
func commands(t *testing.T) (makes, others []string) {
	t.Helper()
	for _, block := range blocks(t, "sh") {
		for line := range strings.Lines(block) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "make ") {
				makes = append(makes, line)
			} else {
				others = append(others, line)
			}
		}
	}
	return makes, others
}

func TestEveryMakeCommandOfTheReadmeIsRunByCI(t *testing.T) {
	makes, _ := commands(t)
	ci, makefile := docs.Read(t, ".ci/run"), docs.Read(t, "Makefile")
	for _, command := range makes {
		target := strings.TrimPrefix(command, "make ")
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).MatchString(makefile) {
			t.Errorf("%s: the Makefile has no such target", command)
		}
		if !regexp.MustCompile(`(?m)^\s*([A-Z]+=\w+ )?step ` + command + `$`).MatchString(ci) {
			t.Errorf("%s: .ci/run does not run it", command)
		}
	}
	if len(makes) < 2 {
		t.Errorf("make commands: %q", makes)
	}
}

func TestEveryOtherCommandOfTheReadmeWorksOnACluster(t *testing.T) {
	_, others := commands(t)
	plane, err := controlplane.Start(t.Context(), controlplane.Options{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	folder := t.TempDir()
	configuration, err := filepath.Abs(filepath.Join(docs.Root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(folder, "config"), os.DirFS(configuration)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "api-token"), []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range others {
		command := exec.CommandContext(t.Context(), "sh", "-euc", line)
		command.Dir = folder
		command.Env = append(os.Environ(),
			"KUBECONFIG="+plane.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(folder, "cache"),
			"PATH="+filepath.Dir(plane.Kubectl())+string(os.PathListSeparator)+os.Getenv("PATH"))
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, output)
		}
	}
}

func TestTheYAMLOfTheReadmeIsWhatTheDemoApplies(t *testing.T) {
	samples, err := filepath.Glob(filepath.Join(docs.Root, "config", "samples", "*.yaml"))
	if err != nil || len(samples) == 0 {
		t.Fatalf("samples: %v, error %v", samples, err)
	}
	var all strings.Builder
	for _, name := range samples {
		all.WriteString(docs.Read(t, strings.TrimPrefix(name, docs.Root+"/")))
	}
	for _, block := range blocks(t, "yaml") {
		if !strings.Contains(all.String(), block) {
			t.Errorf("no sample holds\n%s", block)
		}
	}
}

func TestEveryReasonIsExplained(t *testing.T) {
	explained := docs.Read(t, "docs/troubleshooting.md")
	reasons := constants(t, "api/v1alpha1/conditions.go", "Reason")
	if len(reasons) < 30 {
		t.Fatalf("%d reasons found", len(reasons))
	}
	for _, reason := range reasons {
		if !strings.Contains(explained, "`"+reason+"`") {
			t.Errorf("docs/troubleshooting.md does not explain %s", reason)
		}
	}
	for _, condition := range constants(t, "api/v1alpha1/conditions.go", "Condition") {
		if !strings.Contains(docs.Read(t, "docs/devicecertificate.md")+docs.Read(t, "docs/issuers.md"), "| `"+condition+"` |") {
			t.Errorf("neither docs/devicecertificate.md nor docs/issuers.md explains the condition %s", condition)
		}
	}
}

func TestEveryReasonThatIsExplainedExists(t *testing.T) {
	known := constants(t, "api/v1alpha1/conditions.go", "Reason")
	own := docs.Read(t, "controllers/outcome.go") + docs.Read(t, "controllers/revoke.go") // of events alone
	sections := strings.Split(docs.Read(t, "docs/troubleshooting.md"), "\n## ")
	explained := 0
	for _, section := range sections {
		if !strings.HasPrefix(section, "Reasons") && !strings.HasPrefix(section, "Events") {
			continue
		}
		for _, row := range regexp.MustCompile("(?m)^\\| (`[A-Z][^|]*`) \\|").FindAllStringSubmatch(section, -1) {
			for _, word := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
				explained++
				if !slices.Contains(known, word[1]) && !strings.Contains(own, strconv.Quote(word[1])) {
					t.Errorf("docs/troubleshooting.md explains %s, which nothing says", word[1])
				}
			}
		}
	}
	if explained < 50 {
		t.Errorf("only %d reasons were found on the page", explained)
	}
}

func TestEveryKeyAndAnnotationOfTheSecretIsExplained(t *testing.T) {
	explained := docs.Read(t, "docs/secrets.md") + docs.Read(t, "docs/issuers.md")
	steering := docs.Read(t, "docs/devicecertificate.md")
	for _, key := range constants(t, "api/v1alpha1/annotations.go", "Key") {
		if !strings.Contains(explained, "`"+key+"`") {
			t.Errorf("neither docs/secrets.md nor docs/issuers.md explains the key %s", key)
		}
	}
	for _, annotation := range constants(t, "api/v1alpha1/annotations.go", "Annotation") {
		short := strings.TrimPrefix(annotation, "devicecert.io/")
		if !strings.Contains(explained, short) && !strings.Contains(steering, "`"+short+":") {
			t.Errorf("none of docs/devicecertificate.md, docs/secrets.md and docs/issuers.md explains the annotation %s", annotation)
		}
	}
}

func TestEveryAnnotationAndLabelThatPagesSpeakOfExists(t *testing.T) {
	known := slices.Concat(
		constants(t, "api/v1alpha1/annotations.go", "Annotation"), constants(t, "api/v1alpha1/annotations.go", "Label"),
		constants(t, "api/v1alpha1/annotations.go", "Finalizer"), []string{"devicecert.io/v1alpha1"})
	selected := docs.Read(t, "config/network-policy/network_policy.yaml")
	for _, page := range pages(t) {
		for _, match := range regexp.MustCompile(`[^./a-z]devicecert\.io/[a-z][a-z0-9-]*`).FindAllString(docs.Read(t, page), -1) {
			if word := match[1:]; !slices.Contains(known, word) && !strings.Contains(selected, word+":") {
				t.Errorf("%s speaks of %s, which nothing reads or writes", page, word)
			}
		}
	}
}

// constants are the values of a file's string constants whose names start with prefix.
func constants(t *testing.T, name, prefix string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(docs.Root, name), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	return values
}
