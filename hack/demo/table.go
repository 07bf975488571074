// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// row is one certificate of the table: a line of cells, and a line below with what its Secret holds.
type row struct {
	cells           []string
	detail, verdict string
}

// table shows the rows with columns as wide as they must be.
func (s *screen) table(rows []row) {
	head := []string{"NAME", "FORMAT", "DELIVERY", "ISSUER", "WAY IN", "KEY", "SERIAL", "EXPIRES"}
	widths := make([]int, len(head))
	for _, cells := range append([][]string{head}, cellsOf(rows)...) {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintln(s.out)
	fmt.Fprintln(s.out, s.paint(bold, "  "+line(head, widths)))
	for _, r := range rows {
		fmt.Fprintln(s.out, "  "+line(r.cells, widths))
		fmt.Fprintln(s.out, s.paint(dim, "    "+r.detail))
		fmt.Fprintln(s.out, s.paint(green, "    ✓ "+r.verdict))
	}
	fmt.Fprintln(s.out)
}

func cellsOf(rows []row) [][]string {
	all := make([][]string, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.cells)
	}
	return all
}

// line pads cells by characters: fmt and text/tabwriter would do it by bytes.
func line(cells []string, widths []int) string {
	var text strings.Builder
	for i, cell := range cells {
		text.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
	}
	return strings.TrimRight(text.String(), " ")
}
