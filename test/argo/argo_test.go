// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argo asks Argo CD's own evaluator what the tests' Lua says of every status they have judged. It is a module of its own: Argo CD
// brings some hundred others, and an older Kubernetes. `make gitops-argo` writes the corpus and runs it.
package argo

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var corpus = flag.String("corpus", "../../bin/gitops-corpus.jsonl", "file of judged objects, one a line")

// judged is one object, and what the tests' own evaluator says of it.
type judged struct {
	Object  map[string]any            `json:"object"`
	Health  string                    `json:"health"`
	Message string                    `json:"message"`
	Offered map[string]bool           `json:"offered"` // by name: it can be run
	Ran     map[string]map[string]any `json:"ran"`     // what running it makes of the object
}

// overrides are the settings as Argo CD reads them from its ConfigMap.
func overrides(t *testing.T) map[string]appv1.ResourceOverride {
	t.Helper()
	text, err := os.ReadFile("../../config/gitops/argocd/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var settings struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &settings); err != nil {
		t.Fatal(err)
	}
	all := map[string]appv1.ResourceOverride{}
	for name, script := range settings.Data {
		for prefix, set := range map[string]func(*appv1.ResourceOverride){
			"resource.customizations.health.":  func(o *appv1.ResourceOverride) { o.HealthLua = script },
			"resource.customizations.actions.": func(o *appv1.ResourceOverride) { o.Actions = script },
		} {
			if kind, ok := strings.CutPrefix(name, prefix); ok {
				key := strings.Replace(kind, "_", "/", 1)
				override := all[key]
				set(&override)
				all[key] = override
			}
		}
	}
	if len(all) != 3 {
		t.Fatalf("settings for %d kinds, want three", len(all))
	}
	return all
}

func TestArgoCDSaysWhatTheTestsSay(t *testing.T) {
	file, err := os.Open(*corpus)
	if err != nil {
		t.Fatalf("%v: run make gitops-argo", err)
	}
	t.Cleanup(func() { _ = file.Close() })
	vm := lua.VM{ResourceOverrides: overrides(t)}
	seen := map[string]int{}
	decoder := json.NewDecoder(file)
	for decoder.More() {
		var j judged
		if err := decoder.Decode(&j); err != nil {
			t.Fatal(err)
		}
		said, err := health.GetResourceHealth(&unstructured.Unstructured{Object: whole(j.Object)}, lua.ResourceHealthOverrides(vm.ResourceOverrides))
		if err != nil || said == nil || string(said.Status) != j.Health || said.Message != j.Message {
			t.Errorf("Argo CD says %+v (%v), the tests %s %q of\n%v", said, err, j.Health, j.Message, j.Object)
			continue
		}
		seen[j.Health]++
		seen["actions run"] += compareActions(t, vm, j)
	}
	t.Logf("agreed on %v", seen)
	for _, want := range []string{"Healthy", "Progressing", "Degraded", "Suspended", "actions run"} {
		if seen[want] == 0 {
			t.Errorf("%s does not occur", want)
		}
	}
}

// whole gives numbers the type that the API machinery gives them.
func whole(object map[string]any) map[string]any {
	text, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(text); err != nil {
		panic(err)
	}
	return u.Object
}

func compareActions(t *testing.T, vm lua.VM, j judged) int {
	t.Helper()
	object := &unstructured.Unstructured{Object: whole(j.Object)}
	scripts, err := vm.GetResourceActionDiscovery(object)
	if err != nil {
		t.Fatal(err)
	}
	actions, err := vm.ExecuteResourceActionDiscovery(object, scripts)
	if err != nil {
		t.Fatal(err)
	}
	offered := map[string]bool{}
	for _, a := range actions {
		offered[a.Name] = !a.Disabled
	}
	if diff := cmp.Diff(j.Offered, offered); diff != "" {
		t.Errorf("actions of %v (-tests +Argo CD):\n%s", j.Object, diff)
	}
	for name, want := range j.Ran {
		action, err := vm.GetResourceAction(object, name)
		if err != nil {
			t.Fatal(err)
		}
		impacted, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
		if err != nil || len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
			t.Fatalf("%s: %v, %v", name, impacted, err)
		}
		if diff := cmp.Diff(timeless(want), timeless(impacted[0].UnstructuredObj.Object)); diff != "" {
			t.Errorf("%s (-tests +Argo CD):\n%s", name, diff)
		}
	}
	return len(j.Ran)
}

// timeless is an object without the moment at which an action was run.
func timeless(object map[string]any) map[string]any {
	u := &unstructured.Unstructured{Object: whole(object)}
	annotations := u.GetAnnotations()
	for name, value := range annotations {
		if strings.HasSuffix(name, "-requested-at") && value != "" {
			annotations[name] = "now"
		}
	}
	u.SetAnnotations(annotations)
	return u.Object
}
