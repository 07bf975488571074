// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// writeChart gives the Helm chart the same rules that config/ has, by name.
func writeChart(config, chart string, wide []rbacv1.PolicyRule) error {
	rules := map[string][]rbacv1.PolicyRule{
		"clusterWide":                  wide,
		"clusterWideWithoutWatch":      narrowed(wide, everything),
		"namespacedCluster":            narrowed(wide, clusterScoped),
		"namespacedOwn":                narrowed(wide, watching(ofClusterIssuers)),
		"namespacedOwnWithoutWatch":    narrowed(wide, ofClusterIssuers),
		"namespacedTenant":             narrowed(wide, watching(namespaced)),
		"namespacedTenantWithoutWatch": narrowed(wide, namespaced),
	}
	for name, file := range map[string]string{
		"leaderElection": "leader_election_role.yaml", "metricsAuth": "metrics_auth_role.yaml", "metricsReader": "metrics_reader_role.yaml",
		"profilePublisher": "profile_publisher_role.yaml",
		"aggregateView":    "aggregate_view_role.yaml", "aggregateEdit": "aggregate_edit_role.yaml", "aggregateAdmin": "aggregate_admin_role.yaml",
	} {
		text, err := os.ReadFile(filepath.Join(config, "rbac", file))
		if err != nil {
			return err
		}
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal(text, &role); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		rules[name] = role.Rules
	}
	text, err := yaml.Marshal(rules)
	if err != nil {
		return err
	}
	header := "# Written by `make manifests` from config/rbac; do not edit.\n"
	return os.WriteFile(filepath.Join(chart, "files", "roles.yaml"), append([]byte(header), text...), 0o644)
}

// watching is a part with the right to watch Secrets, which --watch-secrets needs.
func watching(of part) part {
	return func(resource string, verbs []string) []string {
		kept := of(resource, verbs)
		if resource == "secrets" && len(kept) > 0 {
			return append(kept, "list", "watch")
		}
		return kept
	}
}
