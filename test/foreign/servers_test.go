// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package foreign

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// nginx serves mutual TLS with the files of a volume, and answers with the client's subject.
func nginx(t *testing.T, v *volume) *server {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	config := filepath.Join(dir, "nginx.conf")
	must(t, os.WriteFile(config, []byte(fmt.Sprintf(`
daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr notice;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen 127.0.0.1:%[2]s ssl;
    ssl_certificate %[3]s/tls.crt;
    ssl_certificate_key %[3]s/tls.key;
    ssl_client_certificate %[3]s/ca.crt;
    ssl_verify_client on;
    ssl_verify_depth 2;
    return 200 "hello $ssl_client_s_dn\n";
  }
}
`, dir, port, v.Dir)), 0o644))
	return serve(t, port, "nginx", "-c", config, "-p", dir)
}

func TestNginxServesMutualTLSAndPicksUpARenewal(t *testing.T) {
	v := newVendor(t)
	own, client := v.order("web.example", "p_256", v1alpha1.Outputs{}), v.order("curl.example", "rsa_2048", v1alpha1.Outputs{})
	files, mine := mount(t, own.data()), mount(t, client.data())
	web := nginx(t, files)
	url := "https://localhost:" + strings.TrimPrefix(web.address, "127.0.0.1:")
	curl := func() string {
		return run(t, "curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", mine.file("ca.crt"), "--cert", mine.file("tls.crt"), "--key", mine.file("tls.key"), url)
	}
	if got := curl(); !strings.Contains(got, "CN=curl.example") {
		t.Errorf("nginx says %q", got)
	}
	if got, _ := try(t, "curl", "--silent", "--noproxy", "*", "--cacert", mine.file("ca.crt"), url); strings.Contains(got, "hello") {
		t.Error("it lets a client without a certificate in")
	}
	for range 2 {
		before := own.serial()
		own.renew()
		files.update(own.data())
		if got := web.shows(client); got != before {
			t.Errorf("shows %s before it was told to reload, want %s", got, before)
		}
		web.signal(syscall.SIGHUP) // as nginx -s reload does
		web.until("it shows the renewed certificate", func() bool { return web.shows(client) == own.serial() })
		client.renew()
		mine.update(client.data())
		if got := curl(); !strings.Contains(got, "CN=curl.example") {
			t.Errorf("after a renewal nginx says %q", got)
		}
	}
}

// mosquitto is a broker with mutual TLS on the files of a volume.
func mosquitto(t *testing.T, v *volume) *server {
	t.Helper()
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf(`
listener %[1]s 127.0.0.1
cafile %[2]s/ca.crt
certfile %[2]s/tls.crt
keyfile %[2]s/tls.key
require_certificate true
use_identity_as_username true
allow_anonymous false
log_dest stderr
`, port, v.Dir)
	if os.Geteuid() == 0 {
		text += "user root\n" // it would become another user, who may not read the files
	}
	must(t, os.WriteFile(config, []byte(text), 0o644))
	return serve(t, port, "mosquitto", "-c", config)
}

func TestMosquittoServesMutualTLSAndPicksUpARenewal(t *testing.T) {
	v := newVendor(t)
	own, client := v.order("broker.example", "rsa_2048", v1alpha1.Outputs{}), v.order("device.example", "p_256", v1alpha1.Outputs{})
	files, mine := mount(t, own.data()), mount(t, client.data())
	broker := mosquitto(t, files)
	_, port, _ := strings.Cut(broker.address, ":")
	publish := []string{"-h", "localhost", "-p", port, "-q", "1", "-t", "devices/17", "-m", "hello", "--cafile", mine.file("ca.crt")}
	known := append(publish, "--cert", mine.file("tls.crt"), "--key", mine.file("tls.key"))
	run(t, "mosquitto_pub", known...)
	if !strings.Contains(broker.log.String(), "u'device.example'") {
		t.Errorf("the broker does not know the device by its certificate:\n%s", broker.log)
	}
	if text, err := try(t, "mosquitto_pub", publish...); err == nil {
		t.Errorf("it lets a client without a certificate publish: %s", text)
	}
	own.renew()
	files.update(own.data())
	broker.signal(syscall.SIGHUP)
	broker.until("it shows the renewed certificate", func() bool { return broker.shows(client) == own.serial() })
	client.renew()
	mine.update(client.data())
	run(t, "mosquitto_pub", known...)
}
