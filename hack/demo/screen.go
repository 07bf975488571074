// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// screen is what the user reads.
type screen struct {
	out io.Writer
	// colours are used on a terminal, and not in a log.
	colours bool
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{out: out, colours: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""}
}

// The colours of a terminal.
const (
	bold  = "1"
	dim   = "2"
	green = "32"
	red   = "31"
)

func (s *screen) paint(colour, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// step says what is done now and how long it took.
func (s *screen) step(title string, do func() error) error {
	fmt.Fprintln(s.out, s.paint(bold, "▸ "+title))
	began := time.Now()
	err := do()
	took := time.Since(began).Round(100 * time.Millisecond)
	if err != nil {
		fmt.Fprintln(s.out, s.paint(red, fmt.Sprintf("  ✗ failed after %s", took)))
		return err
	}
	fmt.Fprintln(s.out, s.paint(green, fmt.Sprintf("  ✓ %s", took)))
	return nil
}

// say is a line of its own.
func (s *screen) say(format string, arguments ...any) {
	fmt.Fprintf(s.out, format+"\n", arguments...)
}

// note is a line within a step.
func (s *screen) note(format string, arguments ...any) {
	fmt.Fprintln(s.out, s.paint(dim, "    "+fmt.Sprintf(format, arguments...)))
}

// notes shows what another program prints, line by line, within a step.
func (s *screen) notes() io.Writer {
	return &noteWriter{screen: s}
}

type noteWriter struct {
	screen *screen
	rest   []byte
}

// Write shows the lines that are complete.
func (w *noteWriter) Write(text []byte) (int, error) {
	w.rest = append(w.rest, text...)
	for {
		line, rest, complete := bytes.Cut(w.rest, []byte("\n"))
		if !complete {
			return len(text), nil
		}
		w.screen.note("%s", line)
		w.rest = rest
	}
}

// playOn tells what there is to try.
func (s *screen) playOn(d *demo) {
	fmt.Fprintf(s.out, `
%s It stays until you press Ctrl-C. In another terminal:

  . %s

  # look
  kubectl -n edge get devicecertificates
  kubectl devicecert status gateway-pem -n edge

  # renew one now
  kubectl devicecert renew gateway-pem -n edge --wait

  # another form of the same key: costs no certificate
  kubectl -n edge patch devicecertificate gateway-pem --type=merge -p '{"spec":{"secret":{"outputs":{"formats":["CombinedPEM"]}}}}'

  # what a change would cost, before it is made
  kubectl -n edge get devicecertificate gateway-pem -o yaml | sed 's/p_256/p_384/' | kubectl devicecert plan -f -

  # open the sealed key, as the device would
  %s

  # lose the next answer after the vendor has issued, renew, and see under Orphans what becomes of it (about half a minute)
  curl -sS -d '{"match":{"operation":"renew","commonName":"gateway-der.edge.example"},"action":"drop","stage":"afterCommit"}' %s/faults
  kubectl devicecert renew gateway-der -n edge --wait
  kubectl devicecert status gateway-der -n edge

  # every certificate that was ever issued
  curl -sS %s/ledger/summary

Logs: %s
`,
		s.paint(bold, "The demo is running."), d.folder.path("env"),
		strings.Join(openSealed(d.folder.path("secrets", "gateway-sealed"), d.folder.path(deviceKey)), " ")+" | openssl pkey -noout -text",
		d.simulator.admin, d.simulator.admin, d.folder.path("*.log"))
}
