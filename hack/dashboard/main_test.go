// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// fake is a Prometheus that knows one issuer, and nothing of lost answers.
func fake(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, now := r.FormValue("query"), time.Now().Unix()
		if strings.Contains(query, "$") {
			t.Errorf("a variable is left in %s", query)
		}
		const labels = `{"issuer":"DeviceIssuer/edge/a<b","state":"ready","day":"3","namespace":"edge","name":"gateway"}`
		kind, result := "vector", fmt.Sprintf(`{"metric":%s,"value":[%d,"42"]}`, labels, now)
		if strings.HasSuffix(r.URL.Path, "query_range") {
			kind, result = "matrix", fmt.Sprintf(`{"metric":%s,"values":[[%d,"1"],[%d,"NaN"],[%d,"3"]]}`, labels, now-60, now-30, now)
		}
		if strings.Contains(query, "devicecert_lost_answers_total") || strings.Contains(query, "devicecert_orphans") {
			result = ""
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q,"result":[%s]}}`, kind, result)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestEveryPanelIsDrawn(t *testing.T) {
	picture, err := draw(t.Context(), fake(t), "../../charts/devicecert-operator/files/dashboard.json", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for decoder := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			texts = append(texts, string(text))
		}
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"Device certificates", "▾ Renewals", "Fleet by expiry", "Requests by endpoint and status", "DeviceIssuer/edge/a<b", "gateway", "42 s", "100 %"} {
		if !strings.Contains(all, want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	if got := strings.Count(all, "No data"); got != 1 {
		t.Errorf("%d panels are without data, want that of lost answers alone", got)
	}
}

func TestAPrometheusThatDoesNotAnswerIsAnError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	if _, err := draw(t.Context(), server.URL, "../../charts/devicecert-operator/files/dashboard.json", time.Hour); err == nil || !strings.Contains(err.Error(), "Certificates by state") {
		t.Errorf("the error is %v, want one that names the panel", err)
	}
}

func TestValuesAreWrittenInTheirUnits(t *testing.T) {
	for want, value := range map[string]struct {
		unit string
		v    float64
	}{
		"250 ms": {"s", 0.25}, "1.5 min": {"s", 90}, "20 h": {"s", 72000}, "89 d": {"s", 89 * 86400}, "37 %": {"percentunit", 0.37}, "0.5/s": {"reqps", 0.5}, "7": {"short", 7},
	} {
		if got := format(value.unit, value.v); got != want {
			t.Errorf("%v in %s is written %q, want %q", value.v, value.unit, got, want)
		}
	}
}

func TestPointsOnALevelAreLeftOut(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	var points []model.SamplePair
	for i, value := range []model.SampleValue{1, 1, 1, 1, 2, model.SampleValue(math.NaN()), 2} {
		points = append(points, model.SamplePair{Timestamp: model.TimeFromUnix(start.Unix() + int64(i)), Value: value})
	}
	shown := prometheus.Range{Start: start, End: start.Add(10 * time.Second)}
	const want = "M0.0 50.0L30.0 50.0L40.0 0.0M60.0 0.0"
	if got := curve(box{0, 0, 100, 100}, points, 2, shown); got != want {
		t.Errorf("the curve is %s, want %s", got, want)
	}
}
