// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops judges objects as Argo CD, Flux and kstatus do, by the very files of config/gitops that users apply.
package gitops

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Kit is what config/gitops holds.
type Kit struct {
	// settings are the data of argocd-cm.
	settings map[string]string
	// checks are Flux's expressions by kind.
	checks map[string][]step
}

// step is one expression, and what Flux concludes if it holds.
type step struct {
	program cel.Program
	verdict status.Status
}

// healthCheck is one entry of healthCheckExprs in a Flux Kustomization.
type healthCheck struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	InProgress string `json:"inProgress"`
	Failed     string `json:"failed"`
	Current    string `json:"current"`
}

// Action is what Argo CD offers a user.
type Action struct {
	// Disabled actions are shown and cannot be run.
	Disabled bool
}

// Load reads config/gitops, whose path is given.
func Load(folder string) (*Kit, error) {
	var settings struct {
		Data map[string]string `json:"data"`
	}
	if err := read(filepath.Join(folder, "argocd", "argocd-cm.yaml"), &settings); err != nil {
		return nil, err
	}
	kit := &Kit{settings: settings.Data, checks: map[string][]step{}}
	for _, name := range []string{"issuers.yaml", "certificates.yaml"} {
		var kustomization struct {
			Spec struct {
				Checks []healthCheck `json:"healthCheckExprs"`
			} `json:"spec"`
		}
		if err := read(filepath.Join(folder, "flux", name), &kustomization); err != nil {
			return nil, err
		}
		for _, check := range kustomization.Spec.Checks {
			steps, err := check.compile()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			kit.checks[check.APIVersion+" "+check.Kind] = steps
		}
	}
	return kit, nil
}

func read(name string, into any) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, into)
}

// Content is an object as it comes from the API server.
func Content(o client.Object, kind string) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	content["apiVersion"], content["kind"] = "devicecert.io/v1alpha1", kind
	return content, nil
}

// Agreed is the verdict of kstatus on an object. It is an error if Argo CD's or Flux's differs, or if a script cannot judge.
func (k *Kit) Agreed(object map[string]any) (status.Status, error) {
	result, err := status.Compute(&unstructured.Unstructured{Object: object})
	if err != nil {
		return "", fmt.Errorf("kstatus: %w", err)
	}
	argo, message, err := k.ArgoHealth(object)
	if err != nil {
		return "", fmt.Errorf("ask Argo CD: %w", err)
	}
	want := map[status.Status]string{
		status.CurrentStatus: "Healthy", status.InProgressStatus: "Progressing", status.FailedStatus: "Degraded", status.TerminatingStatus: "Progressing",
	}[result.Status]
	if result.Status == status.InProgressStatus && argo == "Suspended" && isTrue(object, "Suspended") {
		want = argo // what Argo CD calls waiting for a person who stopped it
	}
	if argo != want || message == "" {
		return "", fmt.Errorf("health in Argo CD is %s (%q), kstatus says %s", argo, message, result.Status)
	}
	if err := k.record(object, argo, message); err != nil {
		return "", fmt.Errorf("add to the corpus: %w", err)
	}
	flux, err := k.FluxHealth(object)
	if err != nil {
		return "", fmt.Errorf("ask Flux: %w", err)
	}
	if result.Status != status.TerminatingStatus && flux != result.Status {
		return "", fmt.Errorf("health by Flux's expressions is %s, kstatus says %s", flux, result.Status)
	}
	return result.Status, nil
}

func isTrue(object map[string]any, kind string) bool {
	conditions, _, _ := unstructured.NestedSlice(object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == kind && m["status"] == "True" {
			return true
		}
	}
	return false
}

// ArgoHealth is the health that Argo CD shows.
func (k *Kit) ArgoHealth(object map[string]any) (health, message string, err error) {
	if metadata, ok := object["metadata"].(map[string]any); ok && metadata["deletionTimestamp"] != nil {
		return "Progressing", "Pending deletion", nil // decided before any script
	}
	script, ok := k.settings[fmt.Sprintf("resource.customizations.health.devicecert.io_%s", object["kind"])]
	if !ok {
		return "", "", fmt.Errorf("argocd-cm has no health script for %s", object["kind"])
	}
	result, err := runLua(object, script)
	if err != nil {
		return "", "", err
	}
	table, ok := result.(map[string]any)
	if !ok {
		return "", "", fmt.Errorf("the script returns %v", result)
	}
	health, _ = table["status"].(string)
	message, _ = table["message"].(string)
	return health, message, nil
}

// scripts are the actions of a kind as argocd-cm holds them.
type scripts struct {
	Discovery   string `json:"discovery.lua"`
	Definitions []struct {
		Name   string `json:"name"`
		Action string `json:"action.lua"`
	} `json:"definitions"`
}

func (k *Kit) actions(object map[string]any) (scripts, error) {
	var s scripts
	name := fmt.Sprintf("resource.customizations.actions.devicecert.io_%s", object["kind"])
	return s, yaml.UnmarshalStrict([]byte(k.settings[name]), &s, yaml.DisallowUnknownFields)
}

// ArgoActions are the actions that Argo CD offers for an object, by name. Each of them is defined.
func (k *Kit) ArgoActions(object map[string]any) (map[string]Action, error) {
	s, err := k.actions(object)
	if err != nil {
		return nil, err
	}
	result, err := runLua(object, s.Discovery)
	if err != nil {
		return nil, err
	}
	table, ok := result.(map[string]any)
	if !ok || len(table) != len(s.Definitions) {
		return nil, fmt.Errorf("%d actions are defined, and discovered are %v", len(s.Definitions), result)
	}
	offered := map[string]Action{}
	for _, definition := range s.Definitions {
		found, ok := table[definition.Name].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the action %s is not discovered", definition.Name)
		}
		disabled, _ := found["disabled"].(bool)
		offered[definition.Name] = Action{Disabled: disabled}
	}
	return offered, nil
}

// RunArgoAction answers with the object that Argo CD would patch the live one to.
func (k *Kit) RunArgoAction(name string, object map[string]any) (map[string]any, error) {
	s, err := k.actions(object)
	if err != nil {
		return nil, err
	}
	for _, definition := range s.Definitions {
		if definition.Name != name {
			continue
		}
		result, err := runLua(object, definition.Action)
		if err != nil {
			return nil, err
		}
		changed, ok := restoreEmpty(result, object).(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the action returns %v", result)
		}
		return changed, nil
	}
	return nil, fmt.Errorf("argocd-cm defines no action %s for %s", name, object["kind"])
}

// compile puts the expressions into the order in which Flux asks.
func (c healthCheck) compile() ([]step, error) {
	var variables []cel.EnvOption
	for _, name := range []string{"apiVersion", "kind", "metadata", "spec", "status"} {
		variables = append(variables, cel.Variable(name, cel.DynType))
	}
	environment, err := cel.NewEnv(variables...)
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, ask := range []struct {
		expression string
		verdict    status.Status
	}{
		{c.InProgress, status.InProgressStatus}, {c.Failed, status.FailedStatus}, {c.Current, status.CurrentStatus},
	} {
		ast, issues := environment.Compile(ask.expression)
		if issues.Err() != nil {
			return nil, issues.Err()
		}
		program, err := environment.Program(ast)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step{program, ask.verdict})
	}
	return steps, nil
}

// FluxHealth is what the first expression that holds says, and in progress if none does.
func (k *Kit) FluxHealth(object map[string]any) (status.Status, error) {
	steps := k.checks[fmt.Sprintf("%s %s", object["apiVersion"], object["kind"])]
	if len(steps) == 0 {
		return "", fmt.Errorf("no healthCheckExprs for %s", object["kind"])
	}
	for _, s := range steps {
		value, _, err := s.program.Eval(object)
		if err != nil {
			return "", err
		}
		if holds, ok := value.Value().(bool); !ok {
			return "", fmt.Errorf("an expression answers with %v", value)
		} else if holds {
			return s.verdict, nil
		}
	}
	return status.InProgressStatus, nil
}
