// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dashboard draws the Grafana dashboard as an SVG, with what a Prometheus has to say: the panels, their places and their queries are
// those of the chart's dashboard.json, the data is real, and the strokes are not Grafana's. docs/dashboard.svg was made by it:
//
//	go run ./hack/dashboard -prometheus=$PROMETHEUS -last=20m > docs/dashboard.svg
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// dashboard is what is read of dashboard.json.
type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct {
			Unit string
			Max  *float64
		}
	}
	Targets []struct {
		Expr, LegendFormat string
		Instant            bool
	}
}

func main() {
	address := flag.String("prometheus", "http://localhost:9090", "the Prometheus to ask")
	last := flag.Duration("last", 20*time.Minute, "the time that is shown, up to now")
	path := flag.String("dashboard", "charts/devicecert-operator/files/dashboard.json", "the dashboard")
	flag.Parse()
	picture, err := draw(context.Background(), *address, *path, *last)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
	fmt.Print(picture)
}

func draw(ctx context.Context, address, path string, last time.Duration) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return "", err
	}
	client, err := api.NewClient(api.Config{Address: address})
	if err != nil {
		return "", err
	}
	end := time.Now()
	a := &asker{prometheus.NewAPI(client), prometheus.Range{Start: end.Add(-last), End: end, Step: last / 150}}
	c := newCanvas(d)
	for i := range d.Panels {
		all, err := a.ask(ctx, &d.Panels[i])
		if err != nil {
			return "", fmt.Errorf("panel %s: %w", d.Panels[i].Title, err)
		}
		c.panel(&d.Panels[i], all, a.shown)
	}
	return c.end(), nil
}

// series is a line, a bar or a row of a table.
type series struct {
	// target is the query's place in its panel.
	target int
	name   string
	labels model.Metric
	points []model.SamplePair
}

func (s series) last() float64 { return float64(s.points[len(s.points)-1].Value) }

type asker struct {
	api   prometheus.API
	shown prometheus.Range
}

// ask runs the queries of a panel.
func (a *asker) ask(ctx context.Context, p *panel) ([]series, error) {
	// As Grafana: the distance of the points and a scrape.
	variables := strings.NewReplacer("$__rate_interval", model.Duration(a.shown.Step.Round(time.Second)+15*time.Second).String(), "$issuer", ".*")
	var all []series
	for i, target := range p.Targets {
		var value model.Value
		var err error
		if expr := variables.Replace(target.Expr); target.Instant {
			value, _, _, err = a.api.Query(ctx, expr, a.shown.End)
		} else {
			value, _, _, err = a.api.QueryRange(ctx, expr, a.shown)
		}
		if err != nil {
			return nil, err
		}
		switch found := value.(type) {
		case model.Vector:
			for _, s := range found {
				all = append(all, series{i, legend(target.LegendFormat, s.Metric), s.Metric, []model.SamplePair{{Timestamp: s.Timestamp, Value: s.Value}}})
			}
		case model.Matrix:
			for _, s := range found {
				all = append(all, series{i, legend(target.LegendFormat, s.Metric), s.Metric, s.Values})
			}
		default:
			return nil, fmt.Errorf("%s answers with a %s", target.Expr, value.Type())
		}
	}
	return all, nil
}

// legend fills {{label}} in.
func legend(format string, labels model.Metric) string {
	for name, value := range labels {
		format = strings.ReplaceAll(format, "{{"+string(name)+"}}", string(value))
	}
	return format
}
