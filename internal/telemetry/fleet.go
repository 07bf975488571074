// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

// Detail says which DeviceCertificates have series of their own.
type Detail string

const (
	// All have.
	All Detail = "all"
	// Problems: only those that are not simply ready. Alerts work as with All; the sums do anyway.
	Problems Detail = "problems"
)

// ParseDetail reads a Detail.
func ParseDetail(text string) (Detail, error) {
	switch d := Detail(text); d {
	case All, Problems:
		return d, nil
	}
	return "", fmt.Errorf("%q is neither %q nor %q", text, All, Problems)
}

// Accounts tells what is known of an issuer now.
type Accounts interface {
	State(id account.ID) account.State
}

// Certificates shows every DeviceCertificate of a namespace, or of all if it is empty.
type Certificates interface {
	Each(ctx context.Context, namespace string, visit func(*v1alpha1.DeviceCertificate)) error
}

// Fleet collects what is true of certificates and issuers at the moment of a scrape. All fields are required.
type Fleet struct {
	// Reader reads from the cache: nothing of a scrape reaches the API server.
	Reader client.Reader
	// Certificates walks over those of the cache.
	Certificates Certificates
	Accounts     Accounts
	Clock        clock.PassiveClock
	// Issuers selects the issuers this process serves, as its controllers do.
	Issuers labels.Selector
	Detail  Detail
}

// readBound is how long a scrape waits for the cache, which is being filled when the process has just started.
const readBound = 5 * time.Second

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var certificateLabels = []string{labelNamespace, labelName, labelIssuer}

var (
	readable = describe("devicecert_cache_readable", "Whether this process's cache could be read for the metrics below; 0 while it starts.")

	notAfter = describe("devicecert_certificate_not_after_timestamp_seconds", "End of validity of the certificate in the Secret.", certificateLabels...)
	renewal  = describe("devicecert_certificate_renewal_timestamp_seconds", "When the renewal is due; absent where it is disabled.", certificateLabels...)
	ready    = describe("devicecert_certificate_ready", "Whether a valid certificate that answers the spec is in the Secret.", certificateLabels...)
	expired  = describe("devicecert_certificate_expired", "1 while the certificate in the Secret has expired; absent otherwise.", certificateLabels...)
	expiring = describe("devicecert_certificate_expiring", "1 while less than a sixth of the lifetime is left and no renewal is still to come; absent otherwise.", certificateLabels...)
	overdue  = describe("devicecert_certificate_overdue", "1 while the renewal is due and not done; absent otherwise.", certificateLabels...)
	failing  = describe("devicecert_certificate_renewal_failing", "1 while the certificate is valid and its renewal fails; absent otherwise.", certificateLabels...)
	orphans  = describe("devicecert_certificate_orphans", "Certificates whose key was lost, on the list of this DeviceCertificate, by outcome; absent without any.",
		append(certificateLabels, labelOutcome)...)

	certificates = describe("devicecert_certificates", "DeviceCertificates by issuer and state; every one is in exactly one state.", labelIssuer, labelState)
	attempts     = describe("devicecert_open_attempts", "DeviceCertificates with an attempt whose outcome is not known yet.", labelIssuer)
	lostKeys     = describe("devicecert_orphans", "Certificates whose key was lost, on the lists of DeviceCertificates, by issuer and outcome.", labelIssuer, labelOutcome)
	forecast     = describe("devicecert_renewals_due", "Renewals that fall due within that time, the overdue ones included.", labelIssuer, labelWithin)

	issuerReady      = describe("devicecert_issuer_ready", "Whether the issuer can be bought from.", labelIssuer)
	issuerSuspended  = describe("devicecert_issuer_suspended", "Whether spec.suspend of the issuer is true.", labelIssuer)
	issuerCircuit    = describe("devicecert_issuer_circuit_open", "Whether this process buys nothing from the issuer because the last purchases or probes failed.", labelIssuer)
	issuerWaiting    = describe("devicecert_issuer_waiting_purchases", "Purchases that wait in this process for their turn.", labelIssuer)
	issuerInFlight   = describe("devicecert_issuer_requests_in_flight", "Requests of this process to the vendor that are under way.", labelIssuer)
	issuerBlocked    = describe("devicecert_issuer_blocked_profiles", "Profiles that are not bought from until somebody acts.", labelIssuer)
	issuerLimit      = describe("devicecert_issuer_budget_limit", "Issuances per day that the issuer shares with all of its host and credential; absent without a bound.", labelIssuer)
	issuerUsed       = describe("devicecert_issuer_budget_used", "Issuances of today that this issuer has made or is about to make; absent without a bound.", labelIssuer)
	issuerCredential = describe("devicecert_issuer_credential_expiry_timestamp_seconds", "End of the client certificate; absent where it is not known.", labelIssuer)
	issuerSwept      = describe("devicecert_issuer_swept_timestamp_seconds", "When the inventory was last compared with the cluster, of the profile for which that is longest ago; absent before.", labelIssuer)
	issuerSweepFails = describe("devicecert_issuer_sweep_failures", "Comparisons of the inventory in a row that did not come to their end, the most of any profile; absent where there are none to make.", labelIssuer)
	issuerSkew       = describe("devicecert_issuer_clock_skew_seconds", "The vendor's clock minus the operator's; absent before the first answer.", labelIssuer)
)

// Describe implements prometheus.Collector.
func (f *Fleet) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		readable, notAfter, renewal, ready, expired, expiring, overdue, failing, orphans, certificates, attempts, lostKeys, forecast,
		issuerReady, issuerSuspended, issuerCircuit, issuerWaiting, issuerInFlight, issuerBlocked, issuerLimit, issuerUsed, issuerCredential, issuerSkew,
		issuerSwept, issuerSweepFails,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f *Fleet) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readBound)
	defer cancel()
	found, err := f.read(ctx)
	gauge(ch, readable, truth(err == nil))
	if err != nil {
		return // the process starts or ends; the other metrics are worth having all the same
	}
	s := &scrape{ch: ch, now: f.Clock.Now(), detail: f.Detail, counts: map[string]*count{}}
	for i := range found.issuers {
		f.issuer(s, &found.issuers[i])
	}
	for _, c := range found.certificates {
		if id := issuerOf(c); !found.elsewhere[id] {
			s.certificate(c, issuerLabel(id))
		}
	}
	s.sums()
}

// fleet is what the cache holds.
type fleet struct {
	certificates []*v1alpha1.DeviceCertificate
	issuers      []issuer
	// elsewhere are issuers that another process serves.
	elsewhere map[account.ID]bool
}

type issuer struct {
	id      account.ID
	suspend bool
	status  *v1alpha1.IssuerStatus
}

// read walks over the cache without copying it: nothing of it is changed or kept.
func (f *Fleet) read(ctx context.Context) (*fleet, error) {
	found := &fleet{elsewhere: map[account.ID]bool{}}
	var namespaced v1alpha1.DeviceIssuerList
	var wide v1alpha1.ClusterDeviceIssuerList
	if err := f.Certificates.Each(ctx, "", func(c *v1alpha1.DeviceCertificate) { found.certificates = append(found.certificates, c) }); err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	for _, list := range []client.ObjectList{&namespaced, &wide} {
		if err := f.Reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("read the cache: %w", err)
		}
	}
	for i := range namespaced.Items {
		o := &namespaced.Items[i]
		f.add(found, o, issuer{account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: o.Namespace, Name: o.Name}, o.Spec.Suspend, &o.Status})
	}
	for i := range wide.Items {
		o := &wide.Items[i]
		f.add(found, o, issuer{account.ID{Kind: v1alpha1.KindClusterDeviceIssuer, Name: o.Name}, o.Spec.Suspend, &o.Status})
	}
	return found, nil
}

func (f *Fleet) add(found *fleet, o client.Object, i issuer) {
	if f.Issuers.Matches(labels.Set(o.GetLabels())) {
		found.issuers = append(found.issuers, i)
	} else {
		found.elsewhere[i.id] = true
	}
}

func issuerOf(c *v1alpha1.DeviceCertificate) account.ID {
	ref := c.Spec.IssuerRef
	if ref.Kind == v1alpha1.KindClusterDeviceIssuer {
		return account.ID{Kind: ref.Kind, Name: ref.Name}
	}
	return account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: c.Namespace, Name: ref.Name}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
