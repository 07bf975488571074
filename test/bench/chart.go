// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strings"
)

// chart draws the manager's CPU time and the API requests per certificate over the size of the fleet, each relative to its value at the
// smallest size: what costs the same at every size is a flat line at one.
func chart(results []result) string {
	const width, height, left, bottom, top = 640, 360, 60, 50, 30
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	largest, smallest := 0, math.MaxInt
	for _, r := range results {
		largest, smallest = max(largest, r.N), min(smallest, r.N)
	}
	x := func(n int) float64 {
		if largest == smallest {
			return left
		}
		return left + (width-left-160)*(math.Log(float64(n))-math.Log(float64(smallest)))/(math.Log(float64(largest))-math.Log(float64(smallest)))
	}
	const most = 2.0
	y := func(value float64) float64 { return top + (height-top-bottom)*(1-min(value, most)/most) }
	for _, tick := range []float64{0, 0.5, 1, 1.15, 1.5, 2} {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, width-160, y(tick), y(tick), left-6, y(tick)+4, tick)
	}
	for i, s := range []struct {
		phase, title, colour string
		value                func(result) float64
	}{
		{phaseFill, "CPU, first fill", "#1f77b4", func(r result) float64 { return r.CPUPerCert }},
		{phaseRenew, "CPU, renewal", "#ff7f0e", func(r result) float64 { return r.CPUPerCert }},
		{phaseFill, "API requests, first fill", "#2ca02c", func(r result) float64 { return r.RequestsPerCert }},
		{phaseRenew, "API requests, renewal", "#d62728", func(r result) float64 { return r.RequestsPerCert }},
	} {
		var points []string
		var first float64
		for _, r := range results {
			if r.Phase != s.phase || s.value(r) == 0 {
				continue
			}
			if first == 0 {
				first = s.value(r)
			}
			px, py := x(r.N), y(s.value(r)/first)
			points = append(points, fmt.Sprintf("%.1f,%.1f", px, py))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", px, py, s.colour)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), s.colour)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", width-150, top+20*(i+1), s.colour, s.title)
	}
	for _, r := range results {
		if r.Phase == phaseFill {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(r.N), height-bottom+18, r.N)
		}
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">certificates</text>`+"\n", (left+width-160)/2, height-12)
	fmt.Fprintf(&b, `<text x="%d" y="%d">cost per certificate, relative to the smallest fleet</text>`+"\n</svg>\n", left, top-12)
	return b.String()
}
