// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The phases.
const (
	phaseFill    = "first fill"
	phaseRenew   = "mass renewal"
	phaseRestart = "restart"
	phaseIdle    = "idle"
	phaseOutage  = "outage"
	phaseForeign = "foreign Secrets"

	floorOf = " floor" // follows the name of a phase
)

// phaseOrder is the order of results.
var phaseOrder = []string{phaseFill + floorOf, phaseRenew + floorOf, phaseFill, phaseRenew, phaseRestart, phaseIdle, phaseOutage, phaseForeign}

// result is what one phase has shown. Of phases that buy nothing only the absolute figures count.
type result struct {
	N                  int     `json:"n"`
	Phase              string  `json:"phase"`
	Rate               float64 `json:"certs_per_s"`
	FloorRatio         float64 `json:"floor_ratio"`
	RequestsPerCert    float64 `json:"api_requests_per_cert"`
	VendorCallsPerCert float64 `json:"vendor_calls_per_cert"`
	P50                int64   `json:"p50_ms"`
	P99                int64   `json:"p99_ms"`
	CPUPerCert         float64 `json:"cpu_ms_per_cert"`
	RSSBase            int64   `json:"rss_base_bytes"`
	RSSPeak            int64   `json:"rss_peak_bytes"`

	// Seconds the phase took: from the first request for a certificate to the last Ready, or from the start of a process to its last
	// request.
	Seconds float64 `json:"seconds"`
	// CPU is the manager's, in seconds.
	CPU float64 `json:"cpu_s"`
	// CPUOf is that of each program, in milliseconds for a certificate.
	CPUOf map[string]float64 `json:"cpu_ms_of,omitempty"`
	// Requests to the API server by kind, but watches and leases; Writes are those of them that change something.
	Requests    map[string]int `json:"api_requests"`
	Writes      int            `json:"api_writes"`
	VendorCalls int            `json:"vendor_calls"`
	// RateUsed is the share of the allowed rate that was used while an outage was caught up with, Inversions the share of renewals that
	// went before a more urgent one.
	RateUsed   float64 `json:"rate_used,omitempty"`
	Inversions float64 `json:"order_inversions,omitempty"`
}

func readResults(path string) ([]result, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var results []result
	if err := json.Unmarshal(text, &results); err != nil {
		return nil, fmt.Errorf("%s: %w; delete it to begin anew", path, err)
	}
	return results, nil
}

// merge replaces the results of the sizes and phases that were measured anew.
func merge(old, measured []result) []result {
	anew := func(r result) bool {
		return slices.ContainsFunc(measured, func(m result) bool { return m.N == r.N && m.Phase == r.Phase })
	}
	merged := append(slices.DeleteFunc(slices.Clone(old), anew), measured...)
	place := func(r result) int { return slices.Index(phaseOrder, r.Phase) }
	slices.SortStableFunc(merged, func(a, b result) int { return cmp.Or(cmp.Compare(a.N, b.N), cmp.Compare(place(a), place(b))) })
	return merged
}

// writeResults writes the results as JSON, as a table and as a chart.
func writeResults(dir string, results []result) error {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"result.json": string(text) + "\n", "result.md": markdown(results), "cost.svg": chart(results)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// line is a result for whoever watches.
func (r result) line() string {
	return fmt.Sprintf("  %.1f s, %.1f certificates/s, p50 %d ms, p99 %d ms, %d API requests (%d writes), %d vendor calls, %.1f CPU seconds, %d MiB",
		r.Seconds, r.Rate, r.P50, r.P99, total(r.Requests), r.Writes, r.VendorCalls, r.CPU, r.RSSPeak>>20)
}

// markdown is the table of docs/performance.md.
func markdown(results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %d CPUs (%s/%s), which control plane, simulator, manager and bench share.\n\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	b.WriteString("| n | phase | certs/s | of the floor | p50 / p99 ms | API requests per cert | vendor calls per cert | CPU ms per cert | peak RSS MiB | remarks |\n")
	b.WriteString("|---:|---|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, r := range results {
		if r.Rate == 0 {
			fmt.Fprintf(&b, "| %d | %s | | | | | | | %s | %s |\n", r.N, r.Phase, mebibytes(r.RSSPeak), r.remarks())
			continue
		}
		fmt.Fprintf(&b, "| %d | %s | %.1f | %s | %d / %d | %.2f | %.2f | %s | %s | %s |\n", r.N, r.Phase, r.Rate, r.ofTheFloor(), r.P50, r.P99,
			r.RequestsPerCert, r.VendorCallsPerCert, number(r.CPUPerCert), mebibytes(r.RSSPeak), r.remarks())
	}
	b.WriteString("\nMilliseconds of CPU for a certificate:\n\n| n | phase | API server | etcd | controller manager | simulator | manager | bench | all |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range results {
		if len(r.CPUOf) == 0 {
			continue
		}
		var all float64
		fmt.Fprintf(&b, "| %d | %s |", r.N, r.Phase)
		for _, program := range []string{"kube-apiserver", "etcd", "kube-controller-manager", "simulator", "manager", "bench"} {
			fmt.Fprintf(&b, " %s |", number(r.CPUOf[program]))
			all += r.CPUOf[program]
		}
		fmt.Fprintf(&b, " %s |\n", number(all))
	}
	b.WriteString("\nAPI requests by verb and resource:\n\n| n | phase | requests |\n|---:|---|---|\n")
	for _, r := range results {
		var kinds []string
		for _, kind := range slices.Sorted(maps.Keys(r.Requests)) {
			kinds = append(kinds, fmt.Sprintf("%s %d", kind, r.Requests[kind]))
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", r.N, r.Phase, cmp.Or(strings.Join(kinds, ", "), "none"))
	}
	return b.String()
}

// remarks are what a phase is about, where the columns do not tell.
func (r result) remarks() string {
	switch r.Phase {
	case phaseRestart:
		return fmt.Sprintf("%.1f s to idle, %d vendor calls, %d writes, %.1f CPU s", r.Seconds, r.VendorCalls, r.Writes, r.CPU)
	case phaseIdle:
		return fmt.Sprintf("%.0f s: %d API requests beside lease and watch, %d vendor calls, %.2f CPU s", r.Seconds, total(r.Requests), r.VendorCalls, r.CPU)
	case phaseOutage:
		return fmt.Sprintf("%s of the allowed rate, %s inversions", share(r.RateUsed), share(r.Inversions))
	case phaseForeign:
		return fmt.Sprintf("%+.1f MiB, %d API requests, %.2f CPU s", float64(r.RSSPeak-r.RSSBase)/(1<<20), total(r.Requests), r.CPU)
	}
	return ""
}

// ofTheFloor is empty where there is no floor.
func (r result) ofTheFloor() string {
	if r.FloorRatio == 0 {
		return ""
	}
	return share(r.FloorRatio)
}

func share(f float64) string {
	if f == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.1f %%", 100*f)
}

func number(f float64) string {
	if f == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", f)
}

func mebibytes(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprint(bytes >> 20)
}
