// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
)

// counts is what cases added up to.
type counts struct {
	// Cases that ran, and those of them that failed.
	Cases  int `json:"cases"`
	Failed int `json:"failed"`
	// Bought is every certificate in the vendors' ledgers, Revoked those revoked by the end.
	Bought  int `json:"bought"`
	Revoked int `json:"revoked"`
	// LostKeys are certificates that never were in a Secret; LostUnrevoked those of them that were neither revoked nor reported.
	LostKeys      int `json:"lostKeys"`
	LostUnrevoked int `json:"lostKeysWithoutRevocation"`
	// Unaccounted certificates are in no Secret, no record of predecessors or orphans, and not revoked.
	Unaccounted int `json:"unaccounted"`
	// Double counts purchases without an intent of their own, TwoOpen intents that were recorded over an open attempt.
	Double  int `json:"double"`
	TwoOpen int `json:"moreThanOneOpenAttempt"`
	// Mismatched counts versions of Secrets whose content was not a whole matching set.
	Mismatched int `json:"mismatchedReads"`
}

func (c *counts) add(o counts) {
	c.Cases += o.Cases
	c.Failed += o.Failed
	c.Bought += o.Bought
	c.Revoked += o.Revoked
	c.LostKeys += o.LostKeys
	c.LostUnrevoked += o.LostUnrevoked
	c.Unaccounted += o.Unaccounted
	c.Double += o.Double
	c.TwoOpen += o.TwoOpen
	c.Mismatched += o.Mismatched
}

// report collects the counts of all cases by row.
type report struct {
	mu   sync.Mutex
	rows map[string]*counts
	// points were learned from the clean runs, and faults are all ways in which those can break.
	points, faults int
}

func (r *report) learned(points, faults int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.points += points
	r.faults += faults
}

func (r *report) add(row string, c counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows == nil {
		r.rows = map[string]*counts{}
	}
	if r.rows[row] == nil {
		r.rows[row] = &counts{}
	}
	r.rows[row].add(c)
}

// line is one row of the table.
type line struct {
	Row string `json:"row"`
	counts
}

// publish prints the table and writes it to a file, unless that has no name.
func (r *report) publish(w io.Writer, path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) == 0 {
		return nil
	}
	var total counts
	var lines []line
	for _, row := range slices.Sorted(maps.Keys(r.rows)) {
		lines = append(lines, line{row, *r.rows[row]})
		total.add(*r.rows[row])
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "row\tcases\tfailed\tbought\trevoked\tlost keys\tof them unrevoked\tunaccounted\tdouble\ttwo open\tmismatched reads")
	for _, l := range append(slices.Clone(lines), line{"total", total}) {
		fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", l.Row, l.Cases, l.Failed, l.Bought, l.Revoked, l.LostKeys, l.LostUnrevoked, l.Unaccounted, l.Double, l.TwoOpen, l.Mismatched)
	}
	fmt.Fprintf(out, "points of the clean runs: %d; ways to break them once: %d\n", r.points, r.faults)
	if err := out.Flush(); err != nil || path == "" {
		return err
	}
	text, err := json.MarshalIndent(map[string]any{"rows": lines, "total": total, "points": r.points, "faults": r.faults}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
