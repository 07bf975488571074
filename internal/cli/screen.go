// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// IsTerminal tells whether a stream is a terminal.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// ColoursWanted tells whether output to a terminal is to be coloured: not with NO_COLOR set, and not on a dumb one.
func ColoursWanted(out any, environment func(string) (string, bool)) bool {
	noColour, _ := environment("NO_COLOR")
	kind, _ := environment("TERM")
	return IsTerminal(out) && noColour == "" && kind != "dumb"
}

// tone is how good or bad news is.
type tone int

const (
	plain tone = iota
	good
	busy
	bad
	faint
	strong
)

// painter colours text, or leaves it as it is.
type painter bool

func (p painter) paint(t tone, text string) string {
	codes := map[tone]string{good: "32", busy: "33", bad: "31", faint: "2", strong: "1"}
	code, coloured := codes[t]
	if !bool(p) || !coloured || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// cell is a text of a table.
type cell struct {
	text string
	tone tone
}

// table writes rows below a head, with columns as wide as they must be.
func (e *Environment) table(head []string, rows [][]cell) {
	widths := make([]int, len(head))
	lines := make([][]cell, 0, len(rows)+1)
	top := make([]cell, 0, len(head))
	for _, title := range head {
		top = append(top, cell{text: title, tone: strong})
	}
	lines = append(append(lines, top), rows...)
	for _, line := range lines {
		for i, c := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	const gap = 3
	for _, line := range lines {
		var text strings.Builder
		for i, c := range line {
			text.WriteString(painter(e.Colours).paint(c.tone, c.text))
			if i < len(line)-1 {
				text.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+gap))
			}
		}
		fmt.Fprintln(e.Out, strings.TrimRight(text.String(), " "))
	}
}

// node is a line of a tree, and what hangs below it.
type node struct {
	text     string
	children []node
}

func leaf(format string, args ...any) node { return node{text: fmt.Sprintf(format, args...)} }

// add hangs lines below.
func (n *node) add(children ...node) { n.children = append(n.children, children...) }

// write draws the tree.
func (n node) write(out io.Writer) {
	fmt.Fprintln(out, n.text)
	n.branches(out, "")
}

func (n node) branches(out io.Writer, indent string) {
	for i, child := range n.children {
		branch, below := "├─ ", "│  "
		if i == len(n.children)-1 {
			branch, below = "└─ ", "   "
		}
		fmt.Fprintln(out, indent+branch+child.text)
		child.branches(out, indent+below)
	}
}

// clean takes out what could mislead a terminal: objects are written by others.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, text)
}
