// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// classic is the format that every Grafana imports, and its sidecar with it.
//
//nolint:staticcheck // deprecated for writing new ones with; Grafana goes on reading it
type classic = dashboard.Dashboard

// shown is the dashboard, read by Grafana's own types.
func shown(t *testing.T) *classic {
	t.Helper()
	text, err := os.ReadFile("../../charts/devicecert-operator/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	if err := new(classic).UnmarshalJSONStrict(text); err != nil {
		for line := range strings.Lines(err.Error()) {
			// Grafana sets what is left out; these types have no place for "left out".
			if !strings.Contains(line, "required field is missing") {
				t.Error(line)
			}
		}
	}
	d := &classic{}
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// panels are those that show something.
func panels(t *testing.T, d *classic) []*dashboard.Panel {
	t.Helper()
	var found []*dashboard.Panel
	for _, p := range d.Panels {
		if p.Panel != nil {
			found = append(found, p.Panel)
		}
	}
	if len(found) < 10 {
		t.Fatalf("%d panels", len(found))
	}
	return found
}

func said(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func TestEveryPanelSaysWhatItShows(t *testing.T) {
	known := []string{units.Short, units.Seconds, units.PercentUnit, units.RequestsPerSecond}
	titles := map[string]bool{}
	for _, p := range panels(t, shown(t)) {
		title := said(p.Title)
		if title == "" || titles[title] {
			t.Errorf("panel %q has no title of its own", title)
		}
		titles[title] = true
		if !strings.HasSuffix(said(p.Description), ".") {
			t.Errorf("panel %s is described as %q", title, said(p.Description))
		}
		if p.FieldConfig == nil || !slices.Contains(known, said(p.FieldConfig.Defaults.Unit)) {
			t.Errorf("panel %s has no unit of %v", title, known)
		}
		if p.Datasource == nil || said(p.Datasource.Type) != "prometheus" || said(p.Datasource.Uid) != "${datasource}" {
			t.Errorf("panel %s does not read from the variable datasource", title)
		}
	}
}

func TestTheReaderChoosesPrometheusAndIssuers(t *testing.T) {
	kinds := map[string]dashboard.VariableType{}
	for _, variable := range shown(t).Templating.List {
		kinds[variable.Name] = variable.Type
	}
	if kinds["datasource"] != dashboard.VariableTypeDatasource || kinds["issuer"] != dashboard.VariableTypeQuery || len(kinds) != 2 {
		t.Errorf("the variables are %v", kinds)
	}
}

// metric is one that docs/metrics.md lists; a test of internal/telemetry holds the page to what is exported.
type metric struct {
	labels  []string
	counted bool
}

// metrics are all there are, by the names that queries use.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	now, happened, _ := strings.Cut(string(text), "\n## What happened\n")
	all := map[string]metric{}
	row := regexp.MustCompile("(?m)^\\| `(devicecert_[a-z_]+)` \\|([^|]*)\\|")
	word := regexp.MustCompile("`([a-z_]+)`")
	var above []string
	for i, part := range []string{now, happened} {
		for _, match := range row.FindAllStringSubmatch(part, -1) {
			var labels []string
			column := strings.TrimSpace(match[2])
			for _, label := range word.FindAllStringSubmatch(column, -1) {
				labels = append(labels, label[1])
			}
			if strings.HasPrefix(column, "as above") || strings.HasPrefix(column, "and ") {
				labels = append(labels, above...)
			} else {
				above = labels
			}
			suffixes := []string{""}
			if strings.HasSuffix(match[1], "_seconds") && i == 1 {
				suffixes = []string{"_bucket", "_sum", "_count"}
			}
			for _, suffix := range suffixes {
				all[match[1]+suffix] = metric{append([]string{"le"}, labels...), i == 1}
			}
		}
	}
	if len(all) < 30 {
		t.Fatalf("metrics of docs/metrics.md: %v", all)
	}
	return all
}

// queries are those of all panels, by a name to complain about.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range panels(t, shown(t)) {
		for i, target := range p.Targets {
			query, ok := target.(*prometheus.Dataquery)
			if !ok {
				t.Fatalf("a query of panel %s is a %T", said(p.Title), target)
			}
			all[fmt.Sprintf("%s (%d)", said(p.Title), i+1)] = query.Expr
		}
	}
	return all
}

// selected is a metric in a query, with its selector and, if there is one, its range.
var selected = regexp.MustCompile(`(devicecert_[a-z_]+)(\{[^}]*\})?(\[[^\]]*\])?`)

func TestQueriesUseTheMetricsThereAre(t *testing.T) {
	known := metrics(t)
	for name, expr := range queries(t) {
		uses := selected.FindAllStringSubmatch(expr, -1)
		if len(uses) == 0 {
			t.Errorf("%s uses no metric of ours: %s", name, expr)
		}
		for _, use := range uses {
			m, ok := known[use[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", name, use[1])
			}
			if slices.Contains(m.labels, "issuer") && use[2] != `{issuer=~"$issuer"}` {
				t.Errorf("%s does not heed the issuer that is chosen: %s", name, use[0])
			}
			if m.counted != (use[3] == "[$__rate_interval]") {
				t.Errorf("%s: counters are asked for their rate, and nothing else is: %s", name, use[0])
			}
		}
		for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(by[1], ", ") {
				if !slices.ContainsFunc(uses, func(use []string) bool { return slices.Contains(known[use[1]].labels, label) }) {
					t.Errorf("%s groups by %s, which its metrics do not have: %s", name, label, expr)
				}
			}
		}
	}
}

func TestReplicasAreNotCountedTwice(t *testing.T) {
	known := metrics(t)
	for name, expr := range queries(t) {
		for _, use := range selected.FindAllStringSubmatchIndex(expr, -1) {
			metric, before := expr[use[2]:use[3]], strings.TrimRight(expr[:use[0]], "(")
			perReplica := known[metric].counted || !slices.Contains(known[metric].labels, "issuer") || metric == "devicecert_issuer_requests_in_flight"
			if !perReplica && !regexp.MustCompile(`(max|min) by \([^)]*\) ?$`).MatchString(before) && !regexp.MustCompile(`(max|min) by \([^)]*\) \(\S+ / $`).MatchString(before) {
				t.Errorf("%s: every replica shows %s, so the maximum or minimum over them is taken first: %s", name, metric, expr)
			}
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	taken := map[string]string{}
	for _, p := range panels(t, shown(t)) {
		at := p.GridPos
		if at == nil || at.X+at.W > 24 || at.W == 0 || at.H == 0 {
			t.Errorf("panel %s is at %+v of 24 columns", said(p.Title), at)
			continue
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				cell := fmt.Sprint(x, " ", y)
				if taken[cell] != "" && taken[cell] != said(p.Title) {
					t.Fatalf("panels %s and %s overlap", taken[cell], said(p.Title))
				}
				taken[cell] = said(p.Title)
			}
		}
	}
}
