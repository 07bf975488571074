// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// maxClockSkew is how far this process's clock may be from the API server's when something is bought: as far as from the vendor's. An
// attempt that is dated wrongly would be searched for at the wrong time, should its answer be lost.
const maxClockSkew = 5 * time.Minute

// misdated tells whether the intent that was just recorded bears a time that the API server's clock contradicts.
func (p *purchase) misdated() bool {
	at := p.r.writtenAt(p.cert)
	return !at.IsZero() && at.Sub(p.attempt.StartedAt.Time).Abs() > maxClockSkew
}

// writtenAt is when the API server wrote the object last, by its own clock, as its answer to the write tells; zero when it does not.
func writtenAt(c *v1alpha1.DeviceCertificate) time.Time {
	var last time.Time
	for _, entry := range c.ManagedFields {
		if entry.Time != nil && entry.Time.After(last) && entry.Operation == metav1.ManagedFieldsOperationUpdate {
			last = entry.Time.Time
		}
	}
	return last
}
