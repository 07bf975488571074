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
	"strconv"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
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

// blocks are the fenced blocks of one language in the README.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(read(t, "README.md"), -1) {
		found = append(found, match[1])
	}
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
	ci, makefile := read(t, ".ci/run"), read(t, "Makefile")
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
	configuration, err := filepath.Abs(filepath.Join(root, "config"))
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
	samples, err := filepath.Glob(filepath.Join(root, "config", "samples", "*.yaml"))
	if err != nil || len(samples) == 0 {
		t.Fatalf("samples: %v, error %v", samples, err)
	}
	var all strings.Builder
	for _, name := range samples {
		all.WriteString(read(t, strings.TrimPrefix(name, root+"/")))
	}
	for _, block := range blocks(t, "yaml") {
		if !strings.Contains(all.String(), block) {
			t.Errorf("no sample holds\n%s", block)
		}
	}
}

func TestEveryReasonIsExplained(t *testing.T) {
	explained := read(t, "docs/troubleshooting.md")
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
		if !strings.Contains(read(t, "README.md"), "| `"+condition+"` |") {
			t.Errorf("the README does not explain the condition %s", condition)
		}
	}
}

func TestEveryKeyAndAnnotationOfTheSecretIsExplained(t *testing.T) {
	explained := read(t, "docs/secrets.md") + read(t, "docs/issuers.md")
	for _, key := range constants(t, "api/v1alpha1/annotations.go", "Key") {
		if !strings.Contains(explained, "`"+key+"`") {
			t.Errorf("neither docs/secrets.md nor docs/issuers.md explains the key %s", key)
		}
	}
	for _, annotation := range constants(t, "api/v1alpha1/annotations.go", "Annotation") {
		short := strings.TrimPrefix(annotation, "devicecert.io/")
		if !strings.Contains(explained, short) && !strings.Contains(read(t, "README.md"), "`"+short+":") {
			t.Errorf("neither the README nor docs/secrets.md nor docs/issuers.md explains the annotation %s", annotation)
		}
	}
}

// constants are the values of a file's string constants whose names start with prefix.
func constants(t *testing.T, name, prefix string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, 0)
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
