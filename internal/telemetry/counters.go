// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// Labels.
const (
	labelIssuer    = "issuer"
	labelKind      = "kind"
	labelReason    = "reason"
	labelHost      = "host"
	labelEndpoint  = "endpoint"
	labelCode      = "code"
	labelNamespace = "namespace"
	labelName      = "name"
	labelState     = "state"
	labelOutcome   = "outcome"
	labelWithin    = "within"
)

// Counters count what happens. The zero value is of no use; see NewCounters.
type Counters struct {
	issued, failed, lost *prometheus.CounterVec
	issuing, storing     *prometheus.HistogramVec
	requests             *prometheus.CounterVec
	latency, waits       *prometheus.HistogramVec
}

// requestSeconds are buckets for what waits for the vendor: its answers take from a tenth of a second to the deadline of five minutes.
var requestSeconds = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

// queueSeconds are buckets for what waits for its turn: nothing to hours.
var queueSeconds = []float64{0.01, 0.1, 1, 10, 60, 300, 1800, 7200}

// NewCounters registers the counters and the build's description.
func NewCounters(registry prometheus.Registerer, version string) (*Counters, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	c := &Counters{
		issued: counter("devicecert_issuances_total", "Certificates bought and stored, by kind of request and by why they were bought.", labelIssuer, labelKind, labelReason),
		failed: counter("devicecert_issuance_failures_total", "Failures put on record with a DeviceCertificate, by reason.", labelIssuer, labelReason),
		lost:   counter("devicecert_lost_answers_total", "Answers that were lost or could not be kept: a certificate may exist whose key nobody has.", labelIssuer, labelReason),
		issuing: histogram("devicecert_issuance_duration_seconds", "Time from the recorded intent to the stored Secret.",
			requestSeconds, labelKind),
		storing: histogram("devicecert_secret_store_duration_seconds", "Time to store a verified certificate in its Secret, repetitions included.",
			requestSeconds),
		requests: counter("devicecert_vendor_requests_total", "Requests to the vendor, by endpoint and HTTP status; code 0 is no answer.", labelHost, labelEndpoint, labelCode),
		latency: histogram("devicecert_vendor_request_duration_seconds", "Duration of requests to the vendor, from name resolution to the last byte.",
			requestSeconds, labelHost, labelEndpoint),
		waits: histogram("devicecert_issuance_wait_seconds", "Time a purchase waited for its turn within spec.limits, or for its issuer.",
			queueSeconds, labelHost),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "devicecert_build_info", Help: "Always 1; its labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	for _, collector := range []prometheus.Collector{c.issued, c.failed, c.lost, c.issuing, c.storing, c.requests, c.latency, c.waits, build} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return c, nil
}

// Issued counts a certificate that was bought and stored.
func (c *Counters) Issued(issuer account.ID, a *v1alpha1.Attempt, took, storing time.Duration) {
	kind := strings.ToLower(string(a.Kind))
	c.issued.WithLabelValues(issuerLabel(issuer), kind, boundedReason(a.Reason)).Inc()
	c.issuing.WithLabelValues(kind).Observe(took.Seconds())
	c.storing.WithLabelValues().Observe(storing.Seconds())
}

// Failed counts a failure on record.
func (c *Counters) Failed(issuer account.ID, reason string) {
	c.failed.WithLabelValues(issuerLabel(issuer), boundedReason(reason)).Inc()
}

// Lost counts an answer that was lost.
func (c *Counters) Lost(issuer account.ID, reason string) {
	c.lost.WithLabelValues(issuerLabel(issuer), boundedReason(reason)).Inc()
}

// Requested counts a request to the vendor.
func (c *Counters) Requested(host string, e trustmanager.Exchange) {
	c.requests.WithLabelValues(host, e.Op, strconv.Itoa(e.HTTPStatus)).Inc()
	c.latency.WithLabelValues(host, e.Op).Observe(e.Duration.Seconds())
}

// Waited notes how long a purchase waited for its turn.
func (c *Counters) Waited(host string, d time.Duration) {
	c.waits.WithLabelValues(host).Observe(d.Seconds())
}

// issuerLabel names an issuer in one label, the same in every metric: ClusterDeviceIssuer/NAME or DeviceIssuer/NAMESPACE/NAME.
func issuerLabel(id account.ID) string {
	if id.Kind == v1alpha1.KindClusterDeviceIssuer {
		return string(id.Kind) + "/" + id.Name
	}
	return string(v1alpha1.KindDeviceIssuer) + "/" + id.Namespace + "/" + id.Name
}

// otherReason stands for every reason that is not the operator's own. Some travel through a status, which somebody may have written.
const otherReason = "Other"

var purchaseReasons = map[string]bool{
	v1alpha1.ReasonIssuing: true, v1alpha1.ReasonRenewing: true, v1alpha1.ReasonRenewRequested: true, v1alpha1.ReasonOutOfDate: true,
	v1alpha1.ReasonExpired: true, v1alpha1.ReasonRevoked: true, v1alpha1.ReasonSecretMissing: true, v1alpha1.ReasonSecretBroken: true,
	v1alpha1.ReasonSecretRefused: true, v1alpha1.ReasonRefused: true, v1alpha1.ReasonUnverified: true, v1alpha1.ReasonPendingApproval: true,
	v1alpha1.ReasonResolving: true, v1alpha1.ReasonBackingOff: true, v1alpha1.ReasonCredentialRefused: true, v1alpha1.ReasonInvalidSpec: true,
}

func boundedReason(reason string) string {
	if purchaseReasons[reason] {
		return reason
	}
	return otherReason
}
