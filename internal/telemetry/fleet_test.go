// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

var now = time.Unix(1_800_000_000, 0)

// world is what a Fleet sees.
type world struct {
	certificates []v1alpha1.DeviceCertificate
	issuers      []v1alpha1.DeviceIssuer
	wide         []v1alpha1.ClusterDeviceIssuer
	err          error
	states       map[account.ID]account.State
}

func (w *world) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("a scrape gets no single object")
}

func (w *world) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch l := list.(type) {
	case *v1alpha1.DeviceIssuerList:
		l.Items = w.issuers
	case *v1alpha1.ClusterDeviceIssuerList:
		l.Items = w.wide
	}
	return w.err
}

func (w *world) Each(_ context.Context, _ string, visit func(*v1alpha1.DeviceCertificate)) error {
	for i := range w.certificates {
		visit(&w.certificates[i])
	}
	return w.err
}

func (w *world) State(id account.ID) account.State { return w.states[id] }

func (w *world) fleet(detail Detail) *Fleet {
	return &Fleet{Reader: w, Certificates: w, Accounts: w, Clock: clocktesting.NewFakePassiveClock(now), Issuers: labels.Everything(), Detail: detail}
}

// scraped is what Prometheus would read, without comments.
func scraped(t testing.TB, collectors ...prometheus.Collector) []string {
	t.Helper()
	registry := prometheus.NewRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(exposition(t, registry)), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "#") })
}

func exposition(t testing.TB, registry *prometheus.Registry) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if recorder.Code != http.StatusOK {
		t.Fatalf("the scrape fails: %s", recorder.Body)
	}
	return recorder.Body.String()
}

func at(d time.Duration) *metav1.Time {
	when := metav1.NewTime(now.Add(d))
	return &when
}

// certificate has lived for 60 of its 90 days and is to be renewed tomorrow.
func certificate(name string, edit ...func(*v1alpha1.DeviceCertificateStatus)) v1alpha1.DeviceCertificate {
	const day = 24 * time.Hour
	c := v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: name}}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "digicert"}
	c.Status = v1alpha1.DeviceCertificateStatus{
		NotBefore: at(-60 * day), NotAfter: at(30 * day), RenewalTime: at(day),
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}},
	}
	for _, e := range edit {
		e(&c.Status)
	}
	return c
}

func with(kind string) func(*v1alpha1.DeviceCertificateStatus) {
	return func(s *v1alpha1.DeviceCertificateStatus) {
		s.Conditions = append(s.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue})
	}
}

func notReady(s *v1alpha1.DeviceCertificateStatus) { s.Conditions[0].Status = metav1.ConditionFalse }

func TestACertificateIsInTheWorstStateThatIsTrueOfIt(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		edit []func(*v1alpha1.DeviceCertificateStatus)
		want string
	}{
		"well":                       {nil, "ready"},
		"being renewed":              {[]func(*v1alpha1.DeviceCertificateStatus){with(v1alpha1.ConditionIssuing)}, "ready"},
		"not renewed in time":        {[]func(*v1alpha1.DeviceCertificateStatus){func(s *v1alpha1.DeviceCertificateStatus) { s.RenewalTime = at(-hour) }}, "overdue"},
		"its renewal refused":        {[]func(*v1alpha1.DeviceCertificateStatus){with(v1alpha1.ConditionRenewalFailing)}, "renewal_failing"},
		"nearly over":                {[]func(*v1alpha1.DeviceCertificateStatus){func(s *v1alpha1.DeviceCertificateStatus) { s.NotAfter, s.RenewalTime = at(11*24*hour), at(-hour) }}, "expiring"},
		"nearly over, never renewed": {[]func(*v1alpha1.DeviceCertificateStatus){func(s *v1alpha1.DeviceCertificateStatus) { s.NotAfter, s.RenewalTime = at(11*24*hour), nil }}, "expiring"},
		"nearly over, renewed late":  {[]func(*v1alpha1.DeviceCertificateStatus){func(s *v1alpha1.DeviceCertificateStatus) { s.NotAfter = at(11 * 24 * hour) }}, "ready"},
		"over":                       {[]func(*v1alpha1.DeviceCertificateStatus){func(s *v1alpha1.DeviceCertificateStatus) { s.NotAfter = at(0) }, notReady}, "expired"},
		"new":                        {[]func(*v1alpha1.DeviceCertificateStatus){func(s *v1alpha1.DeviceCertificateStatus) { *s = v1alpha1.DeviceCertificateStatus{} }}, "pending"},
		"waiting for its issuer":     {[]func(*v1alpha1.DeviceCertificateStatus){notReady, with(v1alpha1.ConditionReconciling)}, "pending"},
		"refused":                    {[]func(*v1alpha1.DeviceCertificateStatus){notReady, with(v1alpha1.ConditionStalled)}, "stalled"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{certificates: []v1alpha1.DeviceCertificate{certificate("a", test.edit...)}}
			var in []string
			for _, line := range scraped(t, w.fleet(All)) {
				if labels, ok := strings.CutPrefix(line, `devicecert_certificates{issuer="ClusterDeviceIssuer/digicert",state="`); ok && strings.HasSuffix(line, " 1") {
					in = append(in, strings.TrimSuffix(labels, `"} 1`))
				}
			}
			if diff := cmp.Diff([]string{test.want}, in); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOneCertificateIsThisMuchText(t *testing.T) {
	w := &world{certificates: []v1alpha1.DeviceCertificate{certificate("gateway", func(s *v1alpha1.DeviceCertificateStatus) {
		s.NotAfter, s.RenewalTime = at(24*time.Hour), at(-time.Hour)
		s.Attempt = &v1alpha1.Attempt{}
		s.Orphans = []v1alpha1.Orphan{{Outcome: v1alpha1.OrphanReported}, {Outcome: v1alpha1.OrphanRevoked}, {Outcome: v1alpha1.OrphanReported}}
	}, with(v1alpha1.ConditionRenewalFailing))}}
	const of = `{issuer="ClusterDeviceIssuer/digicert",name="gateway",namespace="edge"`
	want := []string{
		"devicecert_cache_readable 1",
		"devicecert_certificate_expiring" + of + "} 1",
		"devicecert_certificate_not_after_timestamp_seconds" + of + "} 1.8000864e+09",
		"devicecert_certificate_orphans" + of + `,outcome="Reported"} 2`,
		"devicecert_certificate_orphans" + of + `,outcome="Revoked"} 1`,
		"devicecert_certificate_overdue" + of + "} 1",
		"devicecert_certificate_ready" + of + "} 1",
		"devicecert_certificate_renewal_failing" + of + "} 1",
		"devicecert_certificate_renewal_timestamp_seconds" + of + "} 1.7999964e+09",
		`devicecert_open_attempts{issuer="ClusterDeviceIssuer/digicert"} 1`,
		`devicecert_orphans{issuer="ClusterDeviceIssuer/digicert",outcome="Reported"} 2`,
		`devicecert_orphans{issuer="ClusterDeviceIssuer/digicert",outcome="RevokeFailed"} 0`,
		`devicecert_orphans{issuer="ClusterDeviceIssuer/digicert",outcome="Revoked"} 1`,
		`devicecert_renewals_due{issuer="ClusterDeviceIssuer/digicert",within="168h"} 1`,
		`devicecert_renewals_due{issuer="ClusterDeviceIssuer/digicert",within="1h"} 1`,
		`devicecert_renewals_due{issuer="ClusterDeviceIssuer/digicert",within="24h"} 1`,
	}
	got := slices.DeleteFunc(scraped(t, w.fleet(All)), func(line string) bool { return strings.HasPrefix(line, "devicecert_certificates{") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scraped (-want +got):\n%s", diff)
	}
}

func TestWithProblemsOnlyTheHealthyAreSumsAlone(t *testing.T) {
	w := &world{certificates: []v1alpha1.DeviceCertificate{certificate("well"), certificate("ill", notReady)}}
	text := strings.Join(scraped(t, w.fleet(Problems)), "\n")
	if strings.Contains(text, `name="well"`) || !strings.Contains(text, `name="ill"`) {
		t.Errorf("scraped:\n%s", text)
	}
	if !strings.Contains(text, `devicecert_certificates{issuer="ClusterDeviceIssuer/digicert",state="ready"} 1`) {
		t.Errorf("the healthy one is not counted:\n%s", text)
	}
}

func TestAnIssuerShowsWhatItsStatusAndItsAccountKnow(t *testing.T) {
	id := account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: "edge", Name: "digicert"}
	w := &world{
		issuers: []v1alpha1.DeviceIssuer{{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "digicert"}, Status: v1alpha1.IssuerStatus{
			Conditions:          []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}},
			CredentialExpiresAt: at(0), BlockedProfiles: make([]v1alpha1.BlockedProfile, 3),
			Sweeps: []v1alpha1.Sweep{{LastTime: at(-time.Hour)}, {LastTime: at(-2 * time.Hour), Failures: 1}, {Failures: 4}},
		}}},
		states: map[account.ID]account.State{id: {Known: true, CircuitOpen: true, Waiting: 7, InFlight: 2, IssuancesPerDay: 100, IssuedToday: 95, SkewKnown: true, Skew: -90 * time.Second}},
	}
	w.issuers[0].Spec.Suspend = true
	const of = `{issuer="DeviceIssuer/edge/digicert"} `
	want := []string{
		"devicecert_issuer_blocked_profiles" + of + "3",
		"devicecert_issuer_budget_limit" + of + "100",
		"devicecert_issuer_budget_used" + of + "95",
		"devicecert_issuer_circuit_open" + of + "1",
		"devicecert_issuer_clock_skew_seconds" + of + "-90",
		"devicecert_issuer_credential_expiry_timestamp_seconds" + of + "1.8e+09",
		"devicecert_issuer_ready" + of + "1",
		"devicecert_issuer_requests_in_flight" + of + "2",
		"devicecert_issuer_suspended" + of + "1",
		"devicecert_issuer_sweep_failures" + of + "4",
		"devicecert_issuer_swept_timestamp_seconds" + of + "1.7999928e+09",
		"devicecert_issuer_waiting_purchases" + of + "7",
	}
	got := slices.DeleteFunc(scraped(t, w.fleet(All)), func(line string) bool { return !strings.HasPrefix(line, "devicecert_issuer_") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scraped (-want +got):\n%s", diff)
	}
}

func TestWhatAnotherProcessServesIsLeftToIt(t *testing.T) {
	w := &world{
		certificates: []v1alpha1.DeviceCertificate{certificate("theirs"), certificate("nobodys")},
		wide:         []v1alpha1.ClusterDeviceIssuer{{ObjectMeta: metav1.ObjectMeta{Name: "digicert", Labels: map[string]string{"team": "b"}}}},
	}
	w.certificates[1].Spec.IssuerRef.Name = "missing"
	f := w.fleet(All)
	f.Issuers = labels.SelectorFromSet(labels.Set{"team": "a"})
	text := strings.Join(scraped(t, f), "\n")
	if strings.Contains(text, "theirs") || strings.Contains(text, "ClusterDeviceIssuer/digicert") {
		t.Errorf("shows another's:\n%s", text)
	}
	if !strings.Contains(text, "nobodys") {
		t.Errorf("hides one whose issuer is missing:\n%s", text)
	}
}

func TestACacheThatCannotBeReadFailsNoScrape(t *testing.T) {
	w := &world{err: errors.New("the cache is not started")}
	if diff := cmp.Diff([]string{"devicecert_cache_readable 0"}, scraped(t, w.fleet(All))); diff != "" {
		t.Errorf("scraped (-want +got):\n%s", diff)
	}
}

func TestPrometheusFindsNothingToSayAboutTheMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	counters, err := NewCounters(registry, "v1")
	if err != nil {
		t.Fatal(err)
	}
	id := account.ID{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "digicert"}
	counters.Issued(id, &v1alpha1.Attempt{Kind: v1alpha1.AttemptRenew, Reason: v1alpha1.ReasonRenewing}, 3*time.Second, time.Second)
	counters.Failed(id, "words of a stranger")
	counters.Lost(id, v1alpha1.ReasonResolving)
	counters.Requested("one.digicert.com", trustmanager.Exchange{Op: "renew", HTTPStatus: 200, Duration: time.Second})
	counters.Waited("one.digicert.com", time.Minute)
	if err := registry.Register((&world{certificates: []v1alpha1.DeviceCertificate{certificate("a")}}).fleet(All)); err != nil {
		t.Fatal(err)
	}
	text := exposition(t, registry)
	for _, want := range []string{
		`devicecert_issuances_total{issuer="ClusterDeviceIssuer/digicert",kind="renew",reason="Renewing"} 1`,
		`devicecert_issuance_failures_total{issuer="ClusterDeviceIssuer/digicert",reason="Other"} 1`,
		`devicecert_vendor_requests_total{code="200",endpoint="renew",host="one.digicert.com"} 1`,
		`devicecert_issuance_wait_seconds_sum{host="one.digicert.com"} 60`,
		`devicecert_secret_store_duration_seconds_sum 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in:\n%s", want, text)
		}
	}
	lint := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	lint.Stdin = strings.NewReader(text)
	if output, err := lint.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, output)
	}
}

func BenchmarkScrapeOf10000Certificates(b *testing.B) {
	w := &world{}
	for i := range 10_000 {
		w.certificates = append(w.certificates, certificate(fmt.Sprintf("gateway-%05d", i)))
	}
	for b.Loop() {
		if lines := scraped(b, w.fleet(All)); len(lines) != 30_015 {
			b.Fatalf("%d lines", len(lines))
		}
	}
}

func TestEveryMetricIsDescribedInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan *prometheus.Desc)
	recorder := &recordingRegisterer{registered: []prometheus.Collector{(&world{}).fleet(All)}}
	if _, err := NewCounters(recorder, "v1"); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(all)
		for _, c := range recorder.registered {
			c.Describe(all)
		}
	}()
	name := regexp.MustCompile(`"(devicecert_\w+)"`)
	there := map[string]bool{}
	for d := range all {
		there[name.FindStringSubmatch(d.String())[1]] = true
	}
	described := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `(devicecert_\\w+)` ").FindAllSubmatch(text, -1) {
		described[string(match[1])] = true
	}
	if diff := cmp.Diff(there, described); diff != "" {
		t.Errorf("docs/metrics.md (-there +described):\n%s", diff)
	}
}

// recordingRegisterer remembers what is registered.
type recordingRegisterer struct {
	prometheus.Registerer
	registered []prometheus.Collector
}

func (r *recordingRegisterer) Register(c prometheus.Collector) error {
	r.registered = append(r.registered, c)
	return nil
}
