// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	defaultHugeBody      = 64 << 20
	defaultGzipBomb      = 256 << 20
	defaultInformational = 100
	defaultSlowness      = time.Second
)

// deliver hands an answer to the connection, properly or as its fault says.
func (s *Server) deliver(w http.ResponseWriter, answer reply) {
	f := answer.misdeliver
	if f == nil {
		f = &Fault{}
	}
	header := w.Header()
	for name, values := range answer.header {
		header[name] = values
	}
	if answer.contentType != "" {
		header.Set("Content-Type", answer.contentType)
	}
	skew := time.Duration(s.Switches().DateSkew)
	if f.Action == ActionDateSkew {
		skew += time.Duration(f.Delay)
	}
	header.Set("Date", s.now().Add(skew).UTC().Format(http.TimeFormat))
	if f.Hold && !s.wait(f) {
		return
	}

	switch f.Action {
	case ActionDrop:
		s.hijack(w, func(conn net.Conn) { closeAbruptly(conn, f.Reset) })
	case ActionTruncate:
		whole := rawAnswer(header, answer, int64(len(answer.body)))
		kept := len(whole) - len(answer.body) + min(int(f.Bytes), len(answer.body))
		s.hijack(w, func(conn net.Conn) { writeAndClose(conn, whole[:kept]) })
	case ActionContentLength:
		s.hijack(w, func(conn net.Conn) { writeAndClose(conn, rawAnswer(header, answer, int64(len(answer.body))+f.Bytes)) })
	case ActionSlow:
		s.hijack(w, func(conn net.Conn) {
			s.trickle(conn, rawAnswer(header, answer, int64(len(answer.body))), time.Duration(f.Delay))
		})
	case ActionHugeBody:
		writeHugeBody(w, orBytes(f.Bytes, defaultHugeBody))
	case ActionGzipBomb:
		writeGzipBomb(w, orBytes(f.Bytes, defaultGzipBomb))
	default:
		deliverWhole(w, f, answer)
	}
}

// deliverWhole sends the answer completely and says so.
func deliverWhole(w http.ResponseWriter, f *Fault, answer reply) {
	if f.Action == ActionInformational {
		for range orBytes(f.Bytes, defaultInformational) {
			w.WriteHeader(http.StatusEarlyHints)
		}
	}
	body := answer.body
	if f.Action == ActionWrapBody {
		body = []byte(f.Prefix + string(body) + f.Suffix)
	}
	if answer.status != http.StatusNoContent && answer.status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(answer.status)
	if _, err := w.Write(body); err != nil && len(body) > 0 {
		return
	}
	if err := http.NewResponseController(w).Flush(); err == nil && answer.delivered != nil {
		answer.delivered()
	}
}

// hijack takes the connection away from the HTTP server. Where that is impossible (HTTP/2, test recorders) the answer is
// an error that says so.
func (s *Server) hijack(w http.ResponseWriter, use func(net.Conn)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "simulator: this fault needs an HTTP/1.1 connection: "+err.Error(), http.StatusInternalServerError)
		return
	}
	use(conn)
}

// closeAbruptly ends the TCP connection without TLS's farewell.
func closeAbruptly(conn net.Conn, reset bool) {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func writeAndClose(conn net.Conn, text []byte) {
	_, _ = conn.Write(text)
	closeAbruptly(conn, false)
}

// trickle writes a byte at a time until the client or the server has enough.
func (s *Server) trickle(conn net.Conn, text []byte, pause time.Duration) {
	defer closeAbruptly(conn, false)
	if pause <= 0 {
		pause = defaultSlowness
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for i := range text {
		if _, err := conn.Write(text[i : i+1]); err != nil {
			return
		}
		select {
		case <-s.closing:
			return
		case <-ticker.C:
		}
	}
}

// rawAnswer is the answer as octets, with this Content-Length whether it is true or not.
func rawAnswer(header http.Header, answer reply, contentLength int64) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "HTTP/1.1 %d %s\r\n", answer.status, http.StatusText(answer.status))
	_ = header.Write(&text) // a bytes.Buffer does not fail
	fmt.Fprintf(&text, "Content-Length: %d\r\n\r\n", contentLength)
	text.Write(answer.body)
	return text.Bytes()
}

// writeHugeBody sends a syntactically correct enroll answer of this size.
func writeHugeBody(w http.ResponseWriter, size int64) {
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(http.StatusOK)
	writeFiller(w, size)
}

// writeGzipBomb sends the same, packed.
func writeGzipBomb(w http.ResponseWriter, size int64) {
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(http.StatusOK)
	packed := gzip.NewWriter(w)
	writeFiller(packed, size)
	_ = packed.Close()
}

func writeFiller(w io.Writer, size int64) {
	const begin, end, step = `{"pem":"`, `"}`, 32 << 10
	block := []byte(strings.Repeat("A", step))
	_, err := io.WriteString(w, begin)
	for left := size - int64(len(begin)+len(end)); left > 0 && err == nil; left -= step {
		_, err = w.Write(block[:min(left, step)])
	}
	if err == nil {
		_, _ = io.WriteString(w, end)
	}
}

func orBytes(bytes, fallback int64) int64 {
	if bytes == 0 {
		return fallback
	}
	return bytes
}
