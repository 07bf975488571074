// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package foreign

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// proxy is HAProxy in master-worker mode. It serves mutual TLS twice: with the file that holds key and chain, and with the two files that every
// Secret has.
type proxy struct {
	// combined and pair are the same process by its two addresses.
	combined, pair *server
	runtimeAPI     string
}

func haproxy(t *testing.T, v *volume) *proxy {
	t.Helper()
	dir := t.TempDir()
	p := &proxy{runtimeAPI: filepath.Join(dir, "admin.sock")}
	combined, pair := freePort(t), freePort(t)
	config := filepath.Join(dir, "haproxy.cfg")
	must(t, os.WriteFile(config, []byte(fmt.Sprintf(`
global
  stats socket %[1]s mode 600 level admin
  ssl-load-extra-del-ext
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend combined
  bind 127.0.0.1:%[2]s ssl crt %[4]s/tls-combined.pem ca-file %[4]s/ca.crt verify required
  http-request return status 200 content-type text/plain lf-string "hello %%[ssl_c_s_dn(CN)]"
frontend pair
  bind 127.0.0.1:%[3]s ssl crt %[4]s/tls.crt ca-file %[4]s/ca.crt verify required
  http-request return status 200 content-type text/plain lf-string "hello %%[ssl_c_s_dn(CN)]"
`, p.runtimeAPI, combined, pair, v.Dir)), 0o644))
	p.combined = serve(t, combined, "haproxy", "-W", "-f", config)
	other := *p.combined
	other.address = net.JoinHostPort("127.0.0.1", pair)
	p.pair = &other
	return p
}

// command says something to the runtime API and answers with what it says.
func (p *proxy) command(text string) string {
	t := p.combined.t
	t.Helper()
	connection, err := net.DialTimeout("unix", p.runtimeAPI, patience)
	must(t, err)
	defer func() { _ = connection.Close() }()
	_, err = io.WriteString(connection, text+"\n")
	must(t, err)
	answer, err := io.ReadAll(connection)
	must(t, err)
	return string(answer)
}

func TestHAProxyServesMutualTLSAndPicksUpARenewal(t *testing.T) {
	v := newVendor(t)
	outputs := v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM}}
	own, client := v.order("edge.example", "p_256", outputs), v.order("curl.example", "rsa_2048", v1alpha1.Outputs{})
	files, mine := mount(t, own.data()), mount(t, client.data())
	web := haproxy(t, files)
	for name, s := range map[string]*server{"tls-combined.pem": web.combined, "tls.crt and tls.key": web.pair} {
		url := "https://localhost:" + strings.TrimPrefix(s.address, "127.0.0.1:")
		ask := []string{"--silent", "--show-error", "--noproxy", "*", "--cacert", mine.file("ca.crt"), url}
		if got := run(t, "curl", append(ask, "--cert", mine.file("tls.crt"), "--key", mine.file("tls.key"))...); got != "hello curl.example" {
			t.Errorf("with %s HAProxy says %q", name, got)
		}
		if got, _ := try(t, "curl", ask...); strings.Contains(got, "hello") {
			t.Errorf("with %s it lets a client without a certificate in", name)
		}
	}
	open := web.combined.connect(client)
	before := own.serial()
	own.renew()
	files.update(own.data())
	if got := web.combined.shows(client); got != before {
		t.Errorf("shows %s before it was told to reload, want %s", got, before)
	}
	web.combined.signal(syscall.SIGUSR2)
	for _, s := range []*server{web.combined, web.pair} {
		s.until("it shows the renewed certificate", func() bool { return s.shows(client) == own.serial() })
	}
	if got := exchange(t, open); !strings.HasSuffix(got, "hello curl.example") {
		t.Errorf("a connection from before the reload is answered %q", got)
	}
}

// TestHAProxyTakesARenewalOverByItsRuntimeAPI follows docs/workloads.md: no process is replaced.
func TestHAProxyTakesARenewalOverByItsRuntimeAPI(t *testing.T) {
	v := newVendor(t)
	outputs := v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM}}
	own, client := v.order("edge.example", "p_256", outputs), v.order("curl.example", "rsa_2048", v1alpha1.Outputs{})
	files := mount(t, own.data())
	web := haproxy(t, files)
	worker := web.command("show info desc")
	path := files.file("tls-combined.pem")
	own.renew()
	files.update(own.data())
	content, err := os.ReadFile(path)
	must(t, err)
	if bytes.Contains(content, []byte("\n\n")) {
		t.Fatal("the file has an empty line, which would end it in the runtime API's eyes")
	}
	if got := web.command("set ssl cert " + path + " <<\n" + string(content)); !strings.Contains(got, "Transaction created") {
		t.Fatalf("HAProxy says %q", got)
	}
	if got := web.command("commit ssl cert " + path); !strings.Contains(got, "Success!") {
		t.Fatalf("HAProxy says %q", got)
	}
	if got := web.combined.shows(client); got != own.serial() {
		t.Errorf("shows %s after the commit, want %s", got, own.serial())
	}
	pid := func(info string) string {
		_, rest, _ := strings.Cut(info, "\nPid: ")
		number, _, _ := strings.Cut(rest, "\n")
		return number
	}
	if before, after := pid(worker), pid(web.command("show info desc")); before == "" || before != after {
		t.Errorf("the worker %q was replaced by %q", before, after)
	}
}

// exchange asks over a connection that is open.
func exchange(t *testing.T, c *tls.Conn) string {
	t.Helper()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	must(t, err)
	answer, err := io.ReadAll(c)
	must(t, err)
	return string(answer)
}
