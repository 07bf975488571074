// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

const (
	profileID  = "IOT_11111111-1111-1111-1111-111111111111"
	otherID    = "IOT_22222222-2222-2222-2222-222222222222"
	apiKey     = "a-token"
	enrollPath = "/iot/api/v1/certificate"
)

// desk is a running simulator and a client of its own that trusts it.
type desk struct {
	t       *testing.T
	server  *simulator.Server
	running *simulator.Running
	client  *http.Client
	calls   *tls.Config
}

// account is the configuration most tests change a little.
func account(change ...func(*simulator.Config)) simulator.Config {
	config := simulator.Config{
		Profiles: []simulator.Profile{{
			ID: profileID,
			CertificateFields: []simulator.Field{
				{ID: "subject.common_name", Mandatory: true},
				{ID: "subject.organization_unit", Multiple: true},
				{ID: "subject.country", Options: []string{"DE", "CH"}},
				{ID: "san.dns_name", Multiple: true},
				{ID: "san.ip_address"},
			},
			DeviceFields: []simulator.Field{{ID: "DEVICE_IDENTIFIER"}, {ID: "comments", Name: "Comments"}},
		}, {ID: otherID}},
		APIKeys: []simulator.APIKey{{Name: "key", Key: apiKey}},
	}
	for _, c := range change {
		c(&config)
	}
	return config
}

func profile(change func(*simulator.Profile)) func(*simulator.Config) {
	return func(c *simulator.Config) { change(&c.Profiles[0]) }
}

func start(t *testing.T, config simulator.Config) *desk {
	t.Helper()
	server, err := simulator.New(config)
	if err != nil {
		t.Fatal(err)
	}
	running, err := server.Start(simulator.Addresses{API: "127.0.0.1:0", ClientAuth: "127.0.0.1:0", Admin: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(server.TLSCertificate()))
	calls := &tls.Config{RootCAs: roots}
	d := &desk{t: t, server: server, running: running, calls: calls}
	d.client = d.newClient(nil)
	t.Cleanup(d.stop)
	return d
}

func (d *desk) newClient(certificates []tls.Certificate) *http.Client {
	config := d.calls.Clone()
	config.Certificates = certificates
	transport := &http.Transport{TLSClientConfig: config}
	d.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (d *desk) stop() {
	d.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := d.running.Stop(ctx); err != nil {
		d.t.Error(err)
	}
	if err := d.server.Close(); err != nil {
		d.t.Error(err)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends one request with the API key. Header pairs are added or, with an empty value, removed.
func (d *desk) do(method, path, body string, header ...string) (answer, error) {
	return d.doWith(d.client, d.running.URL, method, path, body, append([]string{"x-api-key", apiKey}, header...)...)
}

func (d *desk) doWith(client *http.Client, base, method, path, body string, header ...string) (answer, error) {
	request, err := http.NewRequestWithContext(d.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			request.Header.Del(header[i])
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, header: response.Header, body: text}, err
}

// must is do for requests that get an answer.
func (d *desk) must(method, path, body string, header ...string) answer {
	d.t.Helper()
	got, err := d.do(method, path, body, header...)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// object is a JSON object.
type object map[string]any

func (o object) with(key string, value any) object {
	changed := maps.Clone(o)
	changed[key] = value
	return changed
}

func (o object) without(key string) object {
	changed := maps.Clone(o)
	delete(changed, key)
	return changed
}

func (o object) String() string {
	text, err := json.Marshal(map[string]any(o))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func attribute(id string, value any) object { return object{"id": id, "value": value} }

// request is a plain enroll.
func request(commonName string) object {
	return object{
		"enrollment_profile_id":          profileID,
		"certificate_profile_attributes": []object{attribute("subject.common_name", commonName)},
		"device_attributes":              []object{attribute("DEVICE_IDENTIFIER", "device-of-"+commonName)},
		"server_side_key_gen":            true,
		"key_type":                       "p_256",
		"private_key_format":             "pem",
	}
}

// enrolled is the answer of enroll and renew, by the vendor's field names.
type enrolled struct {
	CertificateRequestID string `json:"certificate_request_id"`
	Status               string `json:"status"`
	Result               string `json:"result"`
	CertificateID        string `json:"certificate_id"`
	PEM                  string `json:"pem"`
	PrivateKey           string `json:"private_key"`
}

func (d *desk) enroll(body object) enrolled { return d.post(enrollPath, body) }

func (d *desk) renew(named string, body object) enrolled {
	return d.post(enrollPath+"/"+named+"/renew", body)
}

func (d *desk) post(path string, body object) enrolled {
	d.t.Helper()
	got := d.must(http.MethodPost, path, body.String())
	if got.status != http.StatusOK {
		d.t.Fatalf("POST %s: status %d: %s", path, got.status, got.body)
	}
	var result enrolled
	decode(d.t, got.body, &result)
	return result
}

// refused sends a request that must fail with this status and code, and returns the message.
func (d *desk) refused(status int, code, method, path, body string, header ...string) string {
	d.t.Helper()
	got := d.must(method, path, body, header...)
	var failure struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	if got.status != status || json.Unmarshal(got.body, &failure) != nil || len(failure.Errors) != 1 || failure.Errors[0].Code != code {
		d.t.Fatalf("%s %s: status %d, body %s; want %d with code %s", method, path, got.status, got.body, status, code)
	}
	return failure.Errors[0].Message
}

func (d *desk) addFault(f simulator.Fault) string {
	d.t.Helper()
	id, err := d.server.AddFault(f)
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}

func (d *desk) setSwitches(change func(*simulator.Switches)) {
	d.t.Helper()
	switches := d.server.Switches()
	change(&switches)
	if err := d.server.SetSwitches(switches); err != nil {
		d.t.Fatal(err)
	}
}

func decode(t *testing.T, text []byte, target any) {
	t.Helper()
	if err := json.Unmarshal(text, target); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
}

// certificates parses PEM in order.
func certificates(t *testing.T, text string) []*x509.Certificate {
	t.Helper()
	var parsed []*x509.Certificate
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, c)
	}
	return parsed
}

// openssl runs the tool whose reading of a format counts, in a folder with these files.
func openssl(t *testing.T, folder string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", arguments...)
	command.Dir = folder
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(arguments, " "), err, problems.String())
	}
	return output.String()
}

func write(t *testing.T, folder, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// calendar is a clock that tests move.
type calendar struct {
	mu  sync.Mutex
	now time.Time
}

func newCalendar() *calendar {
	return &calendar{now: time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *calendar) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *calendar) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *calendar) use(config *simulator.Config) { config.Now = c.Now }
