// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// auditTimeout is how long the two books may differ: the short-lived certificate is renewed meanwhile.
const auditTimeout = 10 * time.Second

// audit compares what the vendor has issued with what was asked for: one certificate each, and the renewals that are on record.
func (d *demo) audit(ctx context.Context) error {
	var ledger simulator.Summaries
	var asked int
	err := wait.PollUntilContextTimeout(ctx, lookInterval, auditTimeout, true, func(ctx context.Context) (bool, error) {
		c, err := d.readShortLived(ctx)
		if err != nil {
			return false, err
		}
		asked = len(d.certificates) + len(c.Status.Superseded)
		ledger, err = d.simulator.summary(ctx)
		return ledger.Total.Issued == asked, err
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("the vendor issued %d certificates, asked for were %d", ledger.Total.Issued, asked)
	}
	if err != nil {
		return err
	}
	d.screen.note("asked for %d certificates: one for each of %d objects, and %d renewals of %s",
		asked, len(d.certificates), asked-len(d.certificates), shortLived)
	d.screen.note("issued   %d, unanswered %d, revoked %d", ledger.Total.Issued, ledger.Total.Unanswered, ledger.Total.Revoked)
	return nil
}

// summary asks the simulator's admin API what it has issued.
func (s *simulatorProcess) summary(ctx context.Context) (simulator.Summaries, error) {
	var ledger simulator.Summaries
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/ledger/summary", nil)
	if err != nil {
		return ledger, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ledger, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return ledger, fmt.Errorf("the simulator's ledger: %s", response.Status)
	}
	return ledger, json.NewDecoder(response.Body).Decode(&ledger)
}
