// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

// outage takes the vendor away, lets a quarter of the fleet ask for renewals meanwhile, and brings the vendor back under a limit that
// makes them wait for their turn.
func (f *fleet) outage(ctx context.Context) error {
	waiting := min(max(f.n/4, 10), 600)
	if err := f.limit(ctx, f.rate); err != nil {
		return err
	}
	before, err := f.vendor.ledger(ctx)
	if err != nil {
		return err
	}
	p, err := f.begin(ctx, phaseOutage)
	if err != nil {
		return err
	}
	f.vendor.stop()
	// Declared in the wrong order: the last to expire asks first.
	at := time.Now().Add(time.Second).UTC().Format(time.RFC3339)
	for i := range waiting {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"`+v1alpha1.AnnotationRenewRequestedAt+`":"`+at+`"}}}`))
		c := &v1alpha1.DeviceCertificate{ObjectMeta: meta(name("gateway", (waiting-1-i)*(f.n/waiting)))}
		if err := f.client.Patch(ctx, c, patch); err != nil {
			return err
		}
	}
	if err := pause(ctx, 20*time.Second); err != nil {
		return err
	}
	if err := f.vendor.run(ctx); err != nil {
		return err
	}
	if err := p.awaitReady(ctx, waiting); err != nil {
		return err
	}
	after, err := f.vendor.ledger(ctx)
	if err != nil {
		return err
	}
	p.RateUsed, p.Inversions = catchUp(before, after[len(before):], float64(f.rate))
	return p.end(ctx, waiting)
}

// limit changes the issuer's rate, and buys one certificate: the first one with a changed issuer goes alone.
func (f *fleet) limit(ctx context.Context, perSecond int) error {
	_, err := live.Edit(ctx, f.client, client.ObjectKey{Namespace: namespace, Name: issuerName}, func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Limits.RequestsPerSecond, i.Spec.Limits.Burst = int32(perSecond), 1
	})
	if err != nil {
		return err
	}
	if err := f.awaitIssuer(ctx); err != nil {
		return err
	}
	p, err := f.begin(ctx, "limit")
	if err != nil {
		return err
	}
	if err := f.declare(ctx, "canary", 1, issuerName); err != nil {
		return err
	}
	return p.awaitReady(ctx, 1)
}

// catchUp tells which share of the allowed rate was used from the first renewal to the last, and which share of the renewals went
// before one whose certificate expired sooner by a second or more.
func catchUp(before, renewals []simulator.Entry, allowed float64) (used, inversions float64) {
	if len(renewals) < 2 {
		return 0, 0
	}
	expires := make(map[string]time.Time, len(before))
	for _, e := range before {
		expires[e.CertificateID] = e.NotAfter
	}
	slices.SortFunc(renewals, func(a, b simulator.Entry) int { return int(a.Sequence) - int(b.Sequence) })
	took := renewals[len(renewals)-1].IssuedAt.Sub(renewals[0].IssuedAt).Seconds()
	soonest := expires[renewals[len(renewals)-1].PredecessorID]
	var inverted int
	for _, e := range slices.Backward(renewals) {
		at := expires[e.PredecessorID]
		if at.Sub(soonest) >= time.Second {
			inverted++
		}
		if at.Before(soonest) {
			soonest = at
		}
	}
	return float64(len(renewals)-1) / took / allowed, float64(inverted) / float64(len(renewals))
}
