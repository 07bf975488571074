// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package foreign

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

const patience = 30 * time.Second

// program is where a program is. Debian keeps servers in a folder that is in root's path alone.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		t.Fatalf("%s is missing: run make prerequisites", name)
	}
	return path
}

// run answers with what a program says, and fails the test if it fails.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	text, err := try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, text)
	}
	return text
}

func try(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	text, err := exec.CommandContext(ctx, program(t, name), args...).CombinedOutput()
	return string(text), err
}

// server is a program that runs until the test ends.
type server struct {
	t       *testing.T
	command *exec.Cmd
	address string
	log     *logBuffer
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// serve starts a server and waits until it listens on the port.
func serve(t *testing.T, port, name string, args ...string) *server {
	t.Helper()
	s := &server{t: t, command: exec.Command(program(t, name), args...), address: net.JoinHostPort("127.0.0.1", port), log: &logBuffer{}}
	s.command.Stdout, s.command.Stderr = s.log, s.log
	must(t, s.command.Start())
	ended := make(chan error, 1)
	go func() { ended <- s.command.Wait() }()
	t.Cleanup(func() {
		_ = s.command.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			t.Logf("%s ended: %v", name, err)
		case <-time.After(patience):
			_ = s.command.Process.Kill()
		}
		if t.Failed() {
			t.Logf("%s says:\n%s", name, s.log)
		}
	})
	s.until("it listens", func() bool {
		c, err := net.DialTimeout("tcp", s.address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s
}

func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	must(s.t, s.command.Process.Signal(sig))
}

func (s *server) until(what string, holds func() bool) {
	s.t.Helper()
	err := wait.PollUntilContextTimeout(s.t.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) { return holds(), nil })
	if err != nil {
		s.t.Fatalf("waiting until %s: %v\n%s", what, err, s.log)
	}
}

// shows is the serial number of the certificate that the server shows to a client with that pair; empty if it does not accept it.
func (s *server) shows(client *pair) string {
	s.t.Helper()
	connection, err := s.dial(client)
	if err != nil {
		return ""
	}
	defer func() { _ = connection.Close() }()
	return certs.SerialString(connection.ConnectionState().PeerCertificates[0])
}

// connect opens a connection, which is closed when the test ends.
func (s *server) connect(client *pair) *tls.Conn {
	s.t.Helper()
	connection, err := s.dial(client)
	must(s.t, err)
	s.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func (s *server) dial(client *pair) (*tls.Conn, error) {
	key := client.content.Bundle
	roots := x509.NewCertPool()
	for _, root := range key.Roots {
		roots.AddCert(root)
	}
	pair := tls.Certificate{PrivateKey: key.Key}
	for _, c := range key.Chain() {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.address,
		&tls.Config{ServerName: "localhost", RootCAs: roots, Certificates: []tls.Certificate{pair}})
}
