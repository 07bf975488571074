// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

const (
	column, row = 52, 30 // of the grid, in pixels
	header      = 44
	pad         = 10
)

var colours = []string{"#3274d9", "#56a64b", "#e0752d", "#a352cc", "#e02f44", "#1f9e9e", "#b8860b", "#8a8a8a"}

func colour(i int) string { return colours[i%len(colours)] }

// canvas is an SVG that is being drawn.
type canvas struct{ strings.Builder }

func newCanvas(d dashboard) *canvas {
	height := 0
	for _, p := range d.Panels {
		height = max(height, (p.GridPos.Y+p.GridPos.H)*row)
	}
	c := &canvas{}
	c.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="11">`, 24*column, height+header)
	c.put(`<rect width="%d" height="%d" fill="#f4f5f5"/>`, 24*column, height+header)
	c.text(pad, 28, "start", "#1f2329", 18, d.Title)
	return c
}

func (c *canvas) end() string { return c.String() + "</svg>\n" }

func (c *canvas) put(format string, arguments ...any) { fmt.Fprintf(c, format+"\n", arguments...) }

func (c *canvas) text(x, y float64, anchor, fill string, size int, text string) {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text)) // a builder takes everything
	c.put(`<text x="%.0f" y="%.0f" text-anchor="%s" fill="%s" font-size="%d">%s</text>`, x, y, anchor, fill, size, escaped.String())
}

// box is the inside of a panel.
type box struct{ x, y, w, h float64 }

func (c *canvas) panel(p *panel, all []series, shown prometheus.Range) {
	x, y := float64(p.GridPos.X*column), float64(header+p.GridPos.Y*row)
	w, h := float64(p.GridPos.W*column), float64(p.GridPos.H*row)
	if p.Type == "row" {
		c.text(x+pad, y+20, "start", "#464c54", 13, "▾ "+p.Title)
		return
	}
	c.put(`<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" rx="3" fill="white" stroke="#dcdde0"/>`, x+3, y+3, w-6, h-6)
	c.text(x+pad+2, y+21, "start", "#1f2329", 12, p.Title)
	inside := box{x + pad + 4, y + 32, w - 2*pad - 8, h - 42}
	unit := p.FieldConfig.Defaults.Unit
	switch {
	case len(all) == 0:
		c.text(x+w/2, y+h/2+6, "middle", "#8e9196", 12, "No data")
	case p.Type == "stat":
		c.stat(inside, unit, all)
	case p.Type == "bargauge":
		c.bars(inside, unit, all)
	case p.Type == "table" && len(p.Targets) > 1:
		c.merged(inside, p, all)
	case p.Type == "table":
		c.table(inside, unit, all)
	case p.Type == "barchart":
		c.calendar(inside, all)
	default:
		c.lines(inside, p, all, shown)
	}
}

func (c *canvas) stat(b box, unit string, all []series) {
	each := b.w / float64(len(all))
	for i, s := range all {
		middle := b.x + each*(float64(i)+0.5)
		c.text(middle, b.y+b.h/2+4, "middle", colour(0), 26, format(unit, s.last()))
		c.text(middle, b.y+b.h/2+22, "middle", "#464c54", 11, s.name)
	}
}

func (c *canvas) bars(b box, unit string, all []series) {
	most := 1.0
	for _, s := range all {
		most = max(most, s.last())
	}
	const names = 90
	each := b.h / float64(len(all))
	for i, s := range all {
		y := b.y + each*float64(i)
		c.text(b.x+names-6, y+each/2+4, "end", "#464c54", 11, s.name)
		c.put(`<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" fill="#eceef0"/>`, b.x+names, y+4, b.w-names-34, each-8)
		c.put(`<rect x="%.0f" y="%.0f" width="%.1f" height="%.0f" fill="%s"/>`, b.x+names, y+4, (b.w-names-34)*s.last()/most, each-8, colour(0))
		c.text(b.x+b.w, y+each/2+4, "end", "#1f2329", 11, format(unit, s.last()))
	}
}

// table has a row for each series, and its labels and its value for columns.
func (c *canvas) table(b box, unit string, all []series) {
	var names []string
	for name := range all[0].labels {
		names = append(names, string(name))
	}
	slices.Sort(names)
	slices.SortStableFunc(all, func(one, other series) int { return int(math.Copysign(1, one.last()-other.last())) })
	rows := [][]string{append(slices.Clone(names), "time left")}
	for _, s := range all {
		var cells []string
		for _, name := range names {
			cells = append(cells, string(s.labels[model.LabelName(name)]))
		}
		rows = append(rows, append(cells, format(unit, s.last())))
	}
	c.rows(b, rows)
}

// merged has a row for each issuer, and a column for each query.
func (c *canvas) merged(b box, p *panel, all []series) {
	rows := [][]string{{"issuer"}}
	for _, target := range p.Targets {
		rows[0] = append(rows[0], target.LegendFormat)
	}
	at := map[model.LabelValue]int{}
	for _, s := range all {
		issuer := s.labels["issuer"]
		if at[issuer] == 0 {
			at[issuer] = len(rows)
			rows = append(rows, make([]string, len(rows[0])))
			rows[at[issuer]][0] = string(issuer)
		}
		rows[at[issuer]][s.target+1] = format(p.FieldConfig.Defaults.Unit, s.last())
	}
	c.rows(b, rows)
}

func (c *canvas) rows(b box, rows [][]string) {
	const line = 18
	fit := min(len(rows), int(b.h/line))
	first := 0.34 // the share of a first column; issuers have long names
	for r, cells := range rows[:fit] {
		y := b.y + float64(r)*line + 10
		fill := "#1f2329"
		if r == 0 {
			fill = colour(0)
		}
		for i, cell := range cells {
			x := b.x
			if i > 0 {
				x += b.w * (first + (1-first)*float64(i-1)/float64(len(cells)-1))
			}
			c.text(x, y, "start", fill, 11, cell)
		}
		c.put(`<line x1="%.0f" x2="%.0f" y1="%.0f" y2="%.0f" stroke="#eceef0"/>`, b.x, b.x+b.w, y+5, y+5)
	}
}

// calendar has a bar for each day.
func (c *canvas) calendar(b box, all []series) {
	const days = 30
	var counts [days]float64
	most := 1.0
	for _, s := range all {
		var day int
		if _, err := fmt.Sscan(string(s.labels["day"]), &day); err == nil && day < days {
			day = max(day, 0) // what is overdue
			counts[day] += s.last()
			most = max(most, counts[day])
		}
	}
	bottom := b.y + b.h - 14
	for day, count := range counts {
		x, w := b.x+b.w*float64(day)/days, b.w/days
		h := (b.h - 30) * count / most
		c.put(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x+2, bottom-h, w-4, h, colour(0))
		if count > 0 {
			c.text(x+w/2, bottom-h-4, "middle", "#464c54", 9, fmt.Sprint(count))
		}
		if day%5 == 0 {
			c.text(x+w/2, bottom+13, "middle", "#8e9196", 10, fmt.Sprint(day))
		}
	}
}

// lines are curves over time, with a legend below.
func (c *canvas) lines(b box, p *panel, all []series, shown prometheus.Range) {
	const axis, legendLine, most = 46, 14, 6
	unit := p.FieldConfig.Defaults.Unit
	listed := min(len(all), most)
	plot := box{b.x + axis, b.y, b.w - axis, b.h - 16 - float64((listed+1)/2*legendLine)}
	top := highest(all)
	if p.FieldConfig.Defaults.Max != nil {
		top = *p.FieldConfig.Defaults.Max
	}
	for i := range 4 {
		share := float64(i) / 3
		y := plot.y + plot.h*(1-share)
		c.put(`<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="#eceef0"/>`, plot.x, plot.x+plot.w, y, y)
		c.text(plot.x-6, y+4, "end", "#8e9196", 10, format(unit, top*share))
	}
	span := shown.End.Sub(shown.Start)
	for i := range 4 {
		when := shown.Start.Add(span * time.Duration(i) / 4)
		c.text(plot.x+plot.w*float64(i)/4, plot.y+plot.h+13, "middle", "#8e9196", 10, when.UTC().Format("15:04"))
	}
	for i, s := range all {
		c.put(`<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, curve(plot, s.points, top, shown), colour(i))
	}
	for i, s := range all[:listed] {
		name := s.name
		if i == listed-1 && len(all) > listed {
			name += fmt.Sprintf(" and %d more", len(all)-listed)
		}
		x, y := b.x+b.w/2*float64(i%2), plot.y+plot.h+28+float64(i/2*legendLine)
		c.put(`<rect x="%.0f" y="%.0f" width="9" height="3" fill="%s"/>`, x, y-5, colour(i))
		c.text(x+14, y, "start", "#464c54", 10, shortened(name, int((b.w/2-20)/6.2)))
	}
}

// curve is the path of a series. Points on a level between two others are left out.
func curve(plot box, points []model.SamplePair, top float64, shown prometheus.Range) string {
	var path strings.Builder
	span := float64(shown.End.Sub(shown.Start))
	step, level := "M", ""
	skipped := ""
	for _, point := range points {
		value := float64(point.Value)
		if math.IsNaN(value) || math.IsInf(value, 0) {
			path.WriteString(skipped)
			step, level, skipped = "M", "", "" // a gap
			continue
		}
		x := plot.x + plot.w*float64(point.Timestamp.Time().Sub(shown.Start))/span
		y := fmt.Sprintf("%.1f", plot.y+plot.h*(1-min(value/top, 1)))
		here := fmt.Sprintf("%s%.1f %s", step, x, y)
		if y == level {
			skipped = here
			continue
		}
		path.WriteString(skipped + here)
		step, level, skipped = "L", y, ""
	}
	return path.String() + skipped
}

// shortened is a text that fits.
func shortened(text string, letters int) string {
	if len(text) <= letters {
		return text
	}
	return text[:letters-1] + "…"
}

// highest is a round number that no point exceeds.
func highest(all []series) float64 {
	most := 0.0
	for _, s := range all {
		for _, point := range s.points {
			if v := float64(point.Value); !math.IsNaN(v) && !math.IsInf(v, 0) {
				most = max(most, v)
			}
		}
	}
	if most == 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	return math.Ceil(most/unit*2) / 2 * unit
}

// format writes a value in one of the units that the dashboard has.
func format(unit string, v float64) string {
	switch unit {
	case "percentunit":
		return fmt.Sprintf("%.0f %%", v*100)
	case "reqps":
		return fmt.Sprintf("%.3g/s", v)
	case "s":
		for _, step := range []struct {
			seconds float64
			name    string
		}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}} {
			if math.Abs(v) >= step.seconds {
				return fmt.Sprintf("%.3g %s", v/step.seconds, step.name)
			}
		}
		return fmt.Sprintf("%.3g ms", v*1000)
	default:
		return fmt.Sprintf("%.4g", v)
	}
}
