// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"math"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

const (
	// forecastAge is how long a count stays good: counting walks over all certificates of the issuer.
	forecastAge = time.Minute
	// forecastRate is how often a changed forecast is worth a write of its own.
	forecastRate = time.Hour
	// cacheLag is how soon an issuer is looked at again whose cached object was not the newest.
	cacheLag = 50 * time.Millisecond
)

// expect counts when the renewals of an issuer's certificates fall due, and tells its account: new certificates leave them what they need
// of the budget. again: it was counted before by this process, which a start alone is no reason to write for.
func (r *IssuerReconciler) expect(ctx context.Context, i issuer) (_ renewal.Forecast, again bool) {
	now := r.Clock.Now()
	r.mu.Lock()
	last, known := r.forecasts[i.ID]
	r.mu.Unlock()
	if age := now.Sub(last.At); known && age >= 0 && age < forecastAge && account.DayOf(now).Equal(account.DayOf(last.At)) {
		return last, true
	}
	counted := renewal.Forecast{At: now}
	err := r.Roster.ofIssuer(ctx, i.ID.Kind, i.ID.Namespace, i.ID.Name, func(c *v1alpha1.DeviceCertificate) {
		if c.Status.RenewalTime != nil && !c.Spec.Suspend && c.DeletionTimestamp == nil {
			counted.Add(c.Status.RenewalTime.Time)
		}
	})
	if err != nil {
		return last, known // only the cache is read, and this process is about to end
	}
	r.mu.Lock()
	if r.forecasts == nil {
		r.forecasts = map[account.ID]renewal.Forecast{}
	}
	r.forecasts[i.ID] = counted
	r.mu.Unlock()
	r.Accounts.Expect(i.ID, counted.Today)
	return counted, known
}

// worthTelling tells whether a forecast has changed so much, and the one on record is so old, that it is worth a write.
func worthTelling(on *v1alpha1.RenewalForecast, counted renewal.Forecast, now time.Time) bool {
	if on == nil {
		return counted.Certificates > 0
	}
	recorded := renewal.Forecast{
		Certificates: int(on.Certificates), Overdue: int(on.Overdue), Hour: int(on.NextHour), Day: int(on.NextDay), Week: int(on.NextWeek),
	}
	return now.Sub(on.ObservedAt.Time).Abs() >= forecastRate && recorded.Differs(counted)
}

func forecastOf(f renewal.Forecast, now time.Time) *v1alpha1.RenewalForecast {
	return &v1alpha1.RenewalForecast{
		ObservedAt: *timeOf(now), Certificates: bounded32(f.Certificates), Overdue: bounded32(f.Overdue),
		NextHour: bounded32(f.Hour), NextDay: bounded32(f.Day), NextWeek: bounded32(f.Week),
	}
}

func budgetOf(on account.Reservation) *v1alpha1.IssuerBudget {
	return &v1alpha1.IssuerBudget{Day: on.Day.Format(time.DateOnly), Reserved: bounded32(on.Issuances)}
}

// reservationOf reads what is on record. What is no date is no record.
func reservationOf(status *v1alpha1.IssuerStatus) account.Reservation {
	if status.Budget == nil {
		return account.Reservation{}
	}
	day, err := time.Parse(time.DateOnly, status.Budget.Day)
	if err != nil {
		return account.Reservation{}
	}
	return account.Reservation{Day: day, Issuances: int(status.Budget.Reserved)}
}

func bounded32(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }
