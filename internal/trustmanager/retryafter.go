// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	minRetryAfter = time.Second
	maxRetryAfter = time.Hour
)

// parseRetryAfter reads a Retry-After header, which is a number of seconds or an HTTP
// date, and clamps it to [1s, 1h]: a vendor can neither make us hammer it nor put us
// to sleep for years. A date is measured against now, which should be the vendor's
// own clock where known. Zero means there was no readable value.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if isInteger(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		switch {
		case value[0] == '-':
			return minRetryAfter
		case err != nil || seconds > int64(maxRetryAfter/time.Second):
			return maxRetryAfter
		}
		return max(time.Duration(seconds)*time.Second, minRetryAfter)
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), minRetryAfter), maxRetryAfter)
}

// isInteger reports whether value is decimal digits after an optional minus sign.
func isInteger(value string) bool {
	digits := strings.TrimPrefix(value, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}
