// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// prometheus is a real one, which scrapes the manager every second and judges the shipped alerts without their patience.
type prometheus struct {
	*world
	url string
}

func (w *world) startPrometheus(metrics, token string) prometheus {
	w.Helper()
	dir := w.TempDir()
	rules, err := os.ReadFile("../../charts/devicecert-operator/files/alerts.yaml")
	w.must(err)
	impatient := regexp.MustCompile(`(?m)^( +for): .*$`).ReplaceAll(rules, []byte("$1: 1s"))
	text, err := os.ReadFile("testdata/scrape.yaml")
	w.must(err)
	var job map[string]any
	w.must(yaml.Unmarshal(text, &job))
	job["static_configs"] = []any{map[string]any{"targets": []any{metrics}}}
	config, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []any{"alerts.yaml"}, "scrape_configs": []any{job},
	})
	w.must(err)
	for name, text := range map[string][]byte{"alerts.yaml": impatient, "prometheus.yaml": config, "token": []byte(token)} {
		w.must(os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	address := freeAddress(w.T)
	start(w.T, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	return prometheus{w, "http://" + address}
}

type sample struct {
	Metric map[string]string
}

// query is what Prometheus answers now; an error while it starts.
func (p prometheus) query(ctx context.Context, expr string) ([]sample, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/query?query="+url.QueryEscape(expr), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s (%w)", expr, text, err)
	}
	var answer struct {
		Data struct{ Result []sample }
	}
	err = json.Unmarshal(text, &answer)
	return answer.Data.Result, err
}

func (p prometheus) await(what, expr string) []sample {
	p.Helper()
	var found []sample
	eventually(p.T, patience, what, func(ctx context.Context) (bool, error) {
		result, err := p.query(ctx, expr)
		found = result
		return err == nil && len(found) > 0, nil
	})
	return found
}

func TestPrometheusSeesTheFleetAndRaisesTheAlarm(t *testing.T) {
	w := newWorld(t)
	metrics := freeAddress(t)
	w.startManager("--metrics-bind-address=" + metrics)
	p := w.startPrometheus(metrics, w.serviceAccount("prometheus", true))
	w.connect()
	w.certificate("gateway")
	w.awaitReady("gateway")
	w.certificate("short", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort }) // for the calendar
	issuer := "DeviceIssuer/" + w.namespace + "/" + issuerName
	p.await("the certificate is seen", fmt.Sprintf(`devicecert_certificate_ready{namespace=%q,name="gateway",issuer=%q} == 1`, w.namespace, issuer))
	p.await("both purchases are counted", fmt.Sprintf(`devicecert_issuances_total{issuer=%q,kind="enroll",reason="Issuing"} == 2`, issuer))
	p.everyPanel()

	if quiet, err := p.query(w.ctx, `ALERTS{alertstate="firing"}`); err != nil || len(quiet) > 0 {
		t.Errorf("all is well and there are alerts: %v, %v", quiet, err)
	}
	w.must(env.admin.Delete(w.ctx, &corev1.Secret{ObjectMeta: w.meta(issuerName)}))
	w.editIssuer(func(i *v1alpha1.DeviceIssuer) { i.Spec.Limits.Burst = 19 }) // has its credential read again at once
	p.await("the alert fires", fmt.Sprintf(`ALERTS{alertname="DeviceIssuerDown",alertstate="firing",issuer=%q}`, issuer))
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(goodToken)})
	eventually(t, patience, "the alert is over", func(ctx context.Context) (bool, error) {
		firing, err := p.query(ctx, `ALERTS{alertname="DeviceIssuerDown",alertstate="firing"}`)
		return len(firing) == 0, err
	})
}

// everyPanel runs every query of the dashboard, and expects data of all that do not wait for trouble.
func (p prometheus) everyPanel() {
	p.Helper()
	text, err := os.ReadFile("../../charts/devicecert-operator/files/dashboard.json")
	p.must(err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	p.must(json.Unmarshal(text, &dashboard))
	troubled := regexp.MustCompile(`_failures_total|_lost_answers_total`)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$issuer", ".*")
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries++
			expr := variables.Replace(target.Expr)
			if troubled.MatchString(expr) {
				if _, err := p.query(p.ctx, expr); err != nil {
					p.Errorf("panel %s: %v", panel.Title, err)
				}
				continue
			}
			p.await("panel "+panel.Title+" has data from "+expr, expr)
		}
	}
	if queries < 20 {
		p.Errorf("the dashboard has %d queries", queries)
	}
}
