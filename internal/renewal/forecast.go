// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import "time"

// Forecast counts certificates by when their renewal falls due, as seen from one instant.
type Forecast struct {
	At time.Time
	// Certificates that are renewed at some time; Overdue are those that should have been already, and are part of the others.
	Certificates, Overdue int
	// Today ends with the day in UTC, as budgets do.
	Hour, Today, Day, Week int
}

// Add counts one certificate.
func (f *Forecast) Add(due time.Time) {
	f.Certificates++
	endOfDay := f.At.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	for counter, end := range map[*int]time.Time{
		&f.Overdue: f.At, &f.Hour: f.At.Add(time.Hour), &f.Today: endOfDay, &f.Day: f.At.Add(24 * time.Hour), &f.Week: f.At.Add(7 * 24 * time.Hour),
	} {
		if !due.After(end) {
			*counter++
		}
	}
}

// Differs tells whether two forecasts are more than a tenth apart in anything they tell.
func (f Forecast) Differs(other Forecast) bool {
	for _, pair := range [][2]int{
		{f.Certificates, other.Certificates}, {f.Overdue, other.Overdue}, {f.Hour, other.Hour}, {f.Day, other.Day}, {f.Week, other.Week},
	} {
		if 10*max(pair[0]-pair[1], pair[1]-pair[0]) > max(pair[0], pair[1]) {
			return true
		}
	}
	return false
}
