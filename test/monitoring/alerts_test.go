// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring tries the alerts with Prometheus' own tools.
package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const alerts = "../../charts/devicecert-operator/files/alerts.yaml"

func TestAlertsFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{alerts, "testdata/alerts_test.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		command := exec.CommandContext(t.Context(), "promtool", args...)
		command.Dir = dir
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
}

func TestEveryAlertHasAPageAndATest(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations map[string]string
			}
		}
	}
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(rules.Groups) != 1 || len(pages) != len(rules.Groups[0].Rules) {
		t.Fatalf("%d pages for %+v", len(pages), rules)
	}
	for _, rule := range rules.Groups[0].Rules {
		page := "docs/runbooks/" + rule.Alert + ".md"
		if !strings.HasSuffix(rule.Annotations["runbook_url"], "/"+page) {
			t.Errorf("%s names %s", rule.Alert, rule.Annotations["runbook_url"])
		}
		content, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Error(err)
		}
		for _, part := range []string{"# " + rule.Alert + "\n", "**Symptom.**", "**Meaning.**", "**What to do.**", "```"} {
			if !strings.Contains(string(content), part) {
				t.Errorf("%s has no %s", page, part)
			}
		}
		if !strings.Contains(string(tests), "alertname: "+rule.Alert+"\n") {
			t.Errorf("%s is not tested", rule.Alert)
		}
	}
}
