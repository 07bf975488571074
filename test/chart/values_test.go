// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func TestValuesThatCannotBeMeantAreRefused(t *testing.T) {
	for set, want := range map[string]string{
		"replica=3":                                       "'replica' not allowed",
		"replicas=-1":                                     "/replicas",
		"namespaces={Edge}":                               "/namespaces/0",
		"log.level=8":                                     "/log/level",
		"log.level=verbose":                               "/log/level",
		"metrics.port=0":                                  "/metrics/port",
		"metrics.certificates=some":                       "/metrics/certificates",
		"allowedHosts={https://one.a}":                    "/allowedHosts/0",
		"allowedProxies={http://proxy.a:3128}":            "/allowedProxies/0",
		"allowedNetworks={10.0.0.1}":                      "/allowedNetworks/0",
		"shutdownTimeoutSeconds=0":                        "/shutdownTimeoutSeconds",
		"image.digest=latest":                             "/image/digest",
		"watchSecrets=perhaps":                            "/watchSecrets",
		"extraArgs={leader-elect}":                        "/extraArgs/0",
		"networkPolicy.egressPorts={70000}":               "/networkPolicy/egressPorts/0",
		"prometheusRule.for.DeviceIssuerDown=ten minutes": "/prometheusRule/for/DeviceIssuerDown",
		"prometheusRule.enabled=true,prometheusRule.for.DeviceIssuerGone=1m": "there is no alert DeviceIssuerGone; there are DeviceCertificateExpired, ",
	} {
		t.Run(set, func(t *testing.T) {
			output, err := cluster{T: t}.helm("template", release, chartPath, "--set", set)
			if err == nil || !strings.Contains(output, want) {
				t.Errorf("the answer is %v, want one that says %q:\n%s", err, want, output)
			}
		})
	}
}

// node is a part of values.schema.json.
type node struct {
	Ref                  string          `json:"$ref"`
	Properties           map[string]node `json:"properties"`
	Definitions          map[string]node `json:"definitions"`
	AdditionalProperties any             `json:"additionalProperties"`
}

// schema is values.schema.json with its references resolved.
func schema(t *testing.T) node {
	t.Helper()
	var root node
	readYAML(t, filepath.Join(chartPath, "values.schema.json"), &root)
	var resolve func(n node) node
	resolve = func(n node) node {
		if n.Ref != "" {
			return resolve(root.Definitions[strings.TrimPrefix(n.Ref, "#/definitions/")])
		}
		for name, below := range n.Properties {
			n.Properties[name] = resolve(below)
		}
		return n
	}
	return resolve(root)
}

// walk calls do with the path of every value that the schema does not take apart further, and closed with that of every object it does.
func (n node) walk(path string, closed, do func(path string, n node)) {
	if n.Properties == nil {
		do(path, n)
		return
	}
	closed(path, n)
	for name, below := range n.Properties {
		below.walk(path+"/"+name, closed, do)
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// set puts a value at a path.
func set(values map[string]any, path string, value any) {
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, name := range names[:len(names)-1] {
		below, ok := values[name].(map[string]any)
		if !ok {
			below = map[string]any{}
			values[name] = below
		}
		values = below
	}
	values[names[len(names)-1]] = value
}

// refusal is what Helm says to values that it must not take.
func refusal(t *testing.T, values map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := cluster{T: t}.helm("template", release, chartPath, "--values", path)
	if err == nil {
		t.Fatalf("Helm takes\n%s", text)
	}
	return output
}

func TestEveryValueIsInTheSchemaAndTheReadme(t *testing.T) {
	var values map[string]any
	readYAML(t, filepath.Join(chartPath, "values.yaml"), &values)
	readme, err := os.ReadFile(filepath.Join(chartPath, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var described, shown []string
	ignore := func(string, node) {}
	schema(t).walk("", ignore, func(path string, _ node) {
		if path != "/global" { // Helm's own
			described = append(described, path)
		}
	})
	var show func(path string, value any)
	show = func(path string, value any) {
		below, ok := value.(map[string]any)
		if !ok || slices.Contains(described, path) {
			shown = append(shown, path)
			return
		}
		for name, v := range below {
			show(path+"/"+name, v)
		}
	}
	show("", values)
	slices.Sort(described)
	slices.Sort(shown)
	if diff := cmp.Diff(shown, described); diff != "" {
		t.Errorf("values (-values.yaml +values.schema.json):\n%s", diff)
	}
	for _, path := range shown {
		name := strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", ".")
		above, _, _ := strings.Cut(name, ".prometheusServiceAccount.")
		if !strings.Contains(string(readme), "| `"+name+"` |") && !strings.Contains(string(readme), "| `"+above+".prometheusServiceAccount` |") {
			t.Errorf("the README has no row for %s", name)
		}
	}
}

func TestEveryUnknownAndEveryWrongValueIsRefused(t *testing.T) {
	unknown, wrong := map[string]any{}, map[string]any{}
	var closed, leaves []string
	schema(t).walk("", func(path string, n node) {
		if n.AdditionalProperties != false {
			t.Errorf("the schema takes anything in %q", path)
		}
		closed = append(closed, path)
		set(unknown, path+"/misspelt", true)
	}, func(path string, _ node) {
		leaves = append(leaves, path)
		set(wrong, path, 1.5) // neither text, whole number, switch, list nor object
	})
	if len(closed) < 10 || len(leaves) < 40 {
		t.Fatalf("the schema has only %d objects and %d values", len(closed), len(leaves))
	}
	said := refusal(t, unknown)
	for _, path := range closed {
		if want := fmt.Sprintf("at '%s': additional properties 'misspelt' not allowed", path); !strings.Contains(said, want) {
			t.Errorf("nothing says %s:\n%s", want, said)
		}
	}
	said = refusal(t, wrong)
	for _, path := range leaves {
		if !strings.Contains(said, "at '"+path+"': ") {
			t.Errorf("%s may be 1.5:\n%s", path, said)
		}
	}
}

// rights are the operator's, one by one: where, what, on what.
func rights(t *testing.T, values string) []string {
	t.Helper()
	var all []string
	for _, o := range template(t, values) {
		if o.GetAnnotations()["helm.sh/hook"] != "" || !strings.HasSuffix(o.GetKind(), "Role") {
			continue
		}
		var role rbacv1.Role
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					all = append(all, strings.Join([]string{o.GetKind(), o.GetNamespace(), verb, resource}, " "))
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestWatchingSecretsInFewNamespacesAddsNoOtherRight(t *testing.T) {
	without := rights(t, "{namespaces: [edge, plant], watchSecrets: false}")
	added := slices.DeleteFunc(rights(t, "{namespaces: [edge, plant], watchSecrets: true}"), func(right string) bool { return slices.Contains(without, right) })
	want := []string{
		"Role devicecert-system list secrets", "Role devicecert-system watch secrets",
		"Role edge list secrets", "Role edge watch secrets", "Role plant list secrets", "Role plant watch secrets",
	}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Errorf("rights that watchSecrets adds (-want +got):\n%s", diff)
	}
}
