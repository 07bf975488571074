// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far a wait has come.
type progress interface {
	// note tells of an object that is not done.
	note(line string)
	// finish tells of one that is, well or not.
	finish(line string)
	close()
}

// newProgress is a bar on a terminal, and lines in a log.
func (e *Environment) newProgress(total int, done string) progress {
	if !e.Terminal {
		return &lines{out: e.Out, total: total}
	}
	container := mpb.New(mpb.WithOutput(e.Out), mpb.WithWidth(40), mpb.WithAutoRefresh())
	bar := container.AddBar(int64(total),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d "+done)),
		mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_MMSS)))
	return &progressBar{container: container, bar: bar}
}

// lines are a progress that a log can hold.
type lines struct {
	out         io.Writer
	total, done int
}

func (l *lines) note(line string) { fmt.Fprintln(l.out, line) }

func (l *lines) finish(line string) {
	l.done++
	if l.total > 1 {
		line = fmt.Sprintf("[%d/%d] %s", l.done, l.total, line)
	}
	fmt.Fprintln(l.out, line)
}

func (l *lines) close() {}

// progressBar is a progress that redraws itself, with the lines above it.
type progressBar struct {
	container *mpb.Progress
	bar       *mpb.Bar
}

func (p *progressBar) note(line string) { fmt.Fprintln(p.container, line) }

func (p *progressBar) finish(line string) {
	p.note(line)
	p.bar.Increment()
}

// close ends the drawing, whether or not the bar is full.
func (p *progressBar) close() {
	if !p.bar.Completed() {
		p.bar.Abort(false)
	}
	p.container.Wait()
}
