// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command roles derives the manager's narrower roles from config/rbac/role.yaml, which controller-gen writes from the markers in
// controllers/, and the chart's rules: so that a right that is added there is not forgotten here. `make manifests` runs it in the root of the repository.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run("config", "charts/devicecert-operator"); err != nil {
		fmt.Fprintln(os.Stderr, "roles:", err)
		os.Exit(1)
	}
}

// tenantNamespace is replaced by kustomize.
const tenantNamespace = "tenant"

// run reads the wide role and writes the narrow ones.
func run(config, chart string) error {
	text, err := os.ReadFile(filepath.Join(config, "rbac", "role.yaml"))
	if err != nil {
		return err
	}
	var wide rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(bytes.TrimPrefix(text, []byte("---\n")), &wide); err != nil {
		return fmt.Errorf("read the manager's role: %w", err)
	}
	for path, role := range map[string]any{
		"without-secret-watch/role.yaml": clusterRole("manager-role", narrowed(wide.Rules, everything)),
		"namespaced/operator/role.yaml":  clusterRole("manager-role", narrowed(wide.Rules, clusterScoped)),
		"namespaced/operator/local.yaml": namespacedRole("manager-role", "system", narrowed(wide.Rules, ofClusterIssuers)),
		"namespaced/tenant/role.yaml":    namespacedRole("devicecert-manager-role", tenantNamespace, narrowed(wide.Rules, namespaced)),
	} {
		if err := write(filepath.Join(config, path), role); err != nil {
			return err
		}
	}
	return writeChart(config, chart, wide.Rules)
}

func write(path string, role any) error {
	text, err := yaml.Marshal(role)
	if err != nil {
		return err
	}
	header := "# Written by `make manifests` from config/rbac/role.yaml; do not edit.\n"
	return os.WriteFile(path, append([]byte(header), text...), 0o644)
}

func clusterRole(name string, rules []rbacv1.PolicyRule) any {
	return map[string]any{"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": "ClusterRole", "metadata": map[string]any{"name": name}, "rules": rules}
}

func namespacedRole(name, namespace string, rules []rbacv1.PolicyRule) any {
	return map[string]any{
		"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": "Role",
		"metadata": map[string]any{"name": name, "namespace": namespace, "labels": map[string]string{"app.kubernetes.io/name": "devicecert-operator"}},
		"rules":    rules,
	}
}

// A part says which verbs on a resource belong to a role.
type part func(resource string, verbs []string) []string

// everything is the wide role without the watch on Secrets, which nobody but --watch-secrets needs.
func everything(resource string, verbs []string) []string {
	if resource == "secrets" {
		return without(verbs, "list", "watch")
	}
	return verbs
}

// clusterScoped is what no Role can give: ClusterDeviceIssuers.
func clusterScoped(resource string, verbs []string) []string {
	if strings.HasPrefix(resource, "clusterdeviceissuers") {
		return verbs
	}
	return nil
}

// namespaced is what the manager needs in a namespace it serves. To get a Namespace a Role in it is enough; to watch it is not.
func namespaced(resource string, verbs []string) []string {
	switch {
	case strings.HasPrefix(resource, "clusterdeviceissuers"):
		return nil
	case resource == "namespaces":
		return without(verbs, "list", "watch")
	}
	return everything(resource, verbs)
}

// ofClusterIssuers is what the manager needs in its own namespace, where ClusterDeviceIssuers have their Secrets and ConfigMaps.
func ofClusterIssuers(resource string, verbs []string) []string {
	switch resource {
	case "configmaps":
		return verbs
	case "secrets":
		return []string{"get"}
	}
	return nil
}

func without(verbs []string, taken ...string) []string {
	return slices.DeleteFunc(slices.Clone(verbs), func(verb string) bool { return slices.Contains(taken, verb) })
}

// narrowed keeps of every rule the part that belongs to a role.
func narrowed(rules []rbacv1.PolicyRule, belongs part) []rbacv1.PolicyRule {
	var kept []rbacv1.PolicyRule
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			verbs := belongs(resource, rule.Verbs)
			if len(verbs) == 0 {
				continue
			}
			if n := len(kept) - 1; n >= 0 && slices.Equal(kept[n].APIGroups, rule.APIGroups) && slices.Equal(kept[n].Verbs, verbs) {
				kept[n].Resources = append(kept[n].Resources, resource)
				continue
			}
			kept = append(kept, rbacv1.PolicyRule{APIGroups: rule.APIGroups, Resources: []string{resource}, ResourceNames: rule.ResourceNames, Verbs: verbs})
		}
	}
	return kept
}
