// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// patience of a phase: far more than a certificate a second.
func (f *fleet) patience() time.Duration { return 2*time.Minute + time.Duration(f.n)*time.Second/4 }

// phase measures what happens from begin to its end.
type phase struct {
	*fleet
	result
	began time.Time
	from  usage
	// spent is the CPU time of each program before the phase.
	spent map[string]time.Duration
	// profiled is closed when the phase's CPU profiles are written.
	profiled <-chan struct{}
}

// begin starts a measurement.
func (f *fleet) begin(ctx context.Context, name string) (*phase, error) {
	fmt.Printf("%s %d certificates: %s\n", time.Now().Format(time.TimeOnly), f.n, name)
	if err := f.audit.reset(); err != nil {
		return nil, err
	}
	if err := f.vendor.forget(ctx); err != nil {
		return nil, err
	}
	p := &phase{fleet: f, result: result{N: f.n, Phase: name, RSSBase: f.base}, began: time.Now()}
	p.profiled = f.sampleCPU(ctx, name)
	var err error
	if p.spent, err = f.spent(); err != nil || f.manager == nil {
		return p, err
	}
	if err := f.manager.resetPeak(); err != nil {
		return nil, err
	}
	p.from, err = f.manager.used()
	return p, err
}

// end adds what was measured to the results; certificates is how many were bought.
func (p *phase) end(ctx context.Context, certificates int) error {
	spent, err := p.fleet.spent()
	if err != nil {
		return err
	}
	if err := p.audit.read(); err != nil {
		return err
	}
	p.Requests, p.Writes = maps.Clone(p.audit.requests), writes(p.audit.requests)
	calls, err := p.vendor.requests(ctx)
	if err != nil {
		return err
	}
	p.VendorCalls = len(calls)
	if err := p.saveProfiles(ctx); err != nil {
		return err
	}
	if p.manager != nil {
		used, err := p.manager.used()
		if err != nil {
			return err
		}
		p.CPU, p.RSSPeak = (used.cpu - p.from.cpu).Seconds(), used.peak
	}
	if certificates > 0 {
		p.perCertificate(float64(certificates))
		p.latencies()
		p.CPUOf = map[string]float64{}
		for program, after := range spent {
			if before := p.spent[program]; before < after { // otherwise it was started anew
				after -= before
			}
			p.CPUOf[program] = after.Seconds() * 1000 / float64(certificates)
		}
	}
	p.fleet.results = append(p.fleet.results, p.result)
	fmt.Println(p.line())
	return nil
}

func (p *phase) perCertificate(n float64) {
	p.RequestsPerCert, p.VendorCallsPerCert, p.CPUPerCert = float64(total(p.Requests))/n, float64(p.VendorCalls)/n, p.CPU*1000/n
}

// latencies are from the request for a certificate to its Ready; the rate is from the first request to the last Ready.
func (p *phase) latencies() {
	var first, last time.Time
	var all []time.Duration
	for name, ready := range p.audit.ready {
		asked := p.audit.asked[name]
		all = append(all, ready.Sub(asked))
		if first.IsZero() || asked.Before(first) {
			first = asked
		}
		if ready.After(last) {
			last = ready
		}
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	p.Seconds = last.Sub(first).Seconds()
	p.Rate = float64(len(all)) / p.Seconds
	p.P50, p.P99 = quantile(all, 50).Milliseconds(), quantile(all, 99).Milliseconds()
	if floor := p.floors[p.Phase]; floor > 0 {
		p.FloorRatio = p.Rate / floor
	}
}

func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// awaitReady waits until so many certificates have become Ready in this phase, and the operator is idle again.
func (p *phase) awaitReady(ctx context.Context, certificates int) error {
	err := p.await(ctx, p.patience(), "all certificates are Ready", func(context.Context) (bool, error) {
		err := p.audit.read()
		return len(p.audit.ready) >= certificates, err
	})
	if err != nil {
		return fmt.Errorf("%d of %d: %w", len(p.audit.ready), certificates, err)
	}
	return p.quiet(ctx, p.patience())
}

// firstFill declares the fleet at once.
func (f *fleet) firstFill(ctx context.Context) error {
	if err := f.startManager(ctx); err != nil {
		return err
	}
	if err := f.quiet(ctx, time.Minute); err != nil {
		return err
	}
	used, err := f.manager.used()
	if err != nil {
		return err
	}
	f.base = used.resident
	p, err := f.begin(ctx, phaseFill)
	if err != nil {
		return err
	}
	if err := f.declare(ctx, "gateway", f.n, issuerName); err != nil {
		return err
	}
	if err := p.awaitReady(ctx, f.n); err != nil {
		return err
	}
	return p.end(ctx, f.n)
}

// declare creates certificates, several at a time.
func (f *fleet) declare(ctx context.Context, prefix string, n int, issuer string) error {
	return inParallel(ctx, askers, n, func(ctx context.Context, i int) error {
		c := &v1alpha1.DeviceCertificate{ObjectMeta: meta(name(prefix, i))}
		cn := c.Name + ".example"
		c.Spec.IssuerRef = v1alpha1.IssuerReference{Name: issuer}
		c.Spec.EnrollmentProfileID = profile
		c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &cn}}
		return f.client.Create(ctx, c)
	})
}

func name(prefix string, i int) string { return fmt.Sprintf("%s-%05d", prefix, i) }

// massRenewal asks for the renewal of the whole fleet at once.
func (f *fleet) massRenewal(ctx context.Context) error {
	p, err := f.begin(ctx, phaseRenew)
	if err != nil {
		return err
	}
	if err := f.askRenewal(ctx, "gateway", f.n); err != nil {
		return err
	}
	if err := p.awaitReady(ctx, f.n); err != nil {
		return err
	}
	return p.end(ctx, f.n)
}

func (f *fleet) askRenewal(ctx context.Context, prefix string, n int) error {
	at := time.Now().Add(time.Second).UTC().Format(time.RFC3339)
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRenewRequestedAt, at))
	return inParallel(ctx, askers, n, func(ctx context.Context, i int) error {
		return f.client.Patch(ctx, &v1alpha1.DeviceCertificate{ObjectMeta: meta(name(prefix, i))}, patch)
	})
}

// restart stops the manager and starts another, with nothing to do.
func (f *fleet) restart(ctx context.Context) error {
	f.manager.stop()
	f.manager = nil
	p, err := f.begin(ctx, phaseRestart)
	if err != nil {
		return err
	}
	if err := f.startManager(ctx); err != nil {
		return err
	}
	if err := f.quiet(ctx, f.patience()); err != nil {
		return err
	}
	p.Seconds = max(f.audit.last.Sub(p.began).Seconds(), 0)
	return p.end(ctx, 0)
}

// idleMinute has nothing to do at all.
func (f *fleet) idleMinute(ctx context.Context) error {
	p, err := f.begin(ctx, phaseIdle)
	if err != nil {
		return err
	}
	if err := pause(ctx, f.idle); err != nil {
		return err
	}
	p.Seconds = f.idle.Seconds()
	return p.end(ctx, 0)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-clock.RealClock{}.After(d):
		return nil
	}
}

// foreignSecrets fills the cluster with Secrets that are none of the operator's business.
func (f *fleet) foreignSecrets(ctx context.Context) error {
	if f.foreign == 0 {
		return nil
	}
	p, err := f.begin(ctx, phaseForeign)
	if err != nil {
		return err
	}
	p.RSSBase = p.from.resident
	const namespace = "foreign"
	if err := f.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	content := make([]byte, 10<<10)
	err = inParallel(ctx, 16, f.foreign, func(ctx context.Context, i int) error {
		return f.client.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name("foreign", i)}, Data: map[string][]byte{"content": content}})
	})
	if err != nil {
		return err
	}
	p.Seconds = time.Since(p.began).Seconds()
	return p.end(ctx, 0)
}
