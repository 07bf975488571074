// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewRefusesAnInvalidConfiguration(t *testing.T) {
	certificate := newCertificate(t, nil)
	for name, change := range map[string]func(*Config){
		"base URL":                      func(cfg *Config) { cfg.BaseURL = "http://one.digicert.com" },
		"no credential":                 func(cfg *Config) { cfg.Credential = Credential{} },
		"two credentials":               func(cfg *Config) { cfg.Credential.Passcode = "p" },
		"token with newline at its end": func(cfg *Config) { cfg.Credential.APIToken = "secret-value\n" },
		"token with a header":           func(cfg *Config) { cfg.Credential.APIToken = "secret-value\r\nX-Evil: 1" },
		"token with a space":            func(cfg *Config) { cfg.Credential.APIToken = " secret-value" },
		"token beyond ASCII":            func(cfg *Config) { cfg.Credential.APIToken = "secret-value\u00e9" },
		"token with NUL":                func(cfg *Config) { cfg.Credential.APIToken = "secret-value\x00" },
		"token of a megabyte":           func(cfg *Config) { cfg.Credential.APIToken = strings.Repeat("secret-value", 90_000) },
		"client certificate without key": func(cfg *Config) {
			cfg.Credential = Credential{ClientCertificate: &tls.Certificate{Certificate: [][]byte{{1}}}}
		},
		"client certificate empty": func(cfg *Config) {
			cfg.Credential = Credential{ClientCertificate: &tls.Certificate{PrivateKey: certificate.PrivateKey}}
		},
		"proxy of another kind": func(cfg *Config) { cfg.ProxyURL = &url.URL{Scheme: "socks5", Host: "p:1"} },
		"proxy without host":    func(cfg *Config) { cfg.ProxyURL = &url.URL{Scheme: "http"} },
		"https proxy, client certificate": func(cfg *Config) {
			cfg.ProxyURL = &url.URL{Scheme: "https", Host: "p:1"}
			cfg.Credential = Credential{ClientCertificate: &certificate}
		},
		"negative timeout":           func(cfg *Config) { cfg.RequestTimeout = -time.Second },
		"negative body limit":        func(cfg *Config) { cfg.MaxBodyBytes = -1 },
		"boundless body limit":       func(cfg *Config) { cfg.MaxBodyBytes = 1 << 62 },
		"user agent with line break": func(cfg *Config) { cfg.UserAgent = "a\r\nb" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{BaseURL: "https://one.digicert.com", Credential: Credential{APIToken: "secret-value"}}
			change(&cfg)
			_, err := New(cfg)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "secret-value") {
				t.Errorf("the error shows the credential: %v", err)
			}
		})
	}
}

func TestNewFillsInDefaults(t *testing.T) {
	client, err := New(Config{BaseURL: "https://one.digicert.com:443/", Credential: Credential{APIToken: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	if client.requestTimeout != time.Minute || client.maxBodyBytes != 2<<20 || client.userAgent != "devicecert-operator" || client.now == nil {
		t.Errorf("defaults are %v, %d, %q", client.requestTimeout, client.maxBodyBytes, client.userAgent)
	}
	if got := client.BaseURL(); got != "https://one.digicert.com" {
		t.Errorf("base URL is %s", got)
	}
}

// Each way in which a value commonly ends up in a log or an object.
func renderings(t *testing.T, value any) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all[verb] = fmt.Sprintf(verb, value)
	}
	encoded, err := json.Marshal(map[string]any{"value": value})
	if err != nil {
		t.Fatal(err)
	}
	all["json"] = string(encoded)
	var text, structured strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "value", value)
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("m", "value", value)
	all["slog text"], all["slog json"] = text.String(), structured.String()
	return all
}

func TestNothingPrintsASecret(t *testing.T) {
	const secret = "s3cret-Value-0123456789"
	certificate := newCertificate(t, nil)
	certificate.PrivateKey = secret
	client, err := New(Config{BaseURL: "https://one.digicert.com", Credential: Credential{APIToken: secret}})
	if err != nil {
		t.Fatal(err)
	}
	request := KeyRequest{ProfileID: testProfile, PKCS12Password: secret}
	issued := Issued{PEM: "x", PrivateKey: secret, CertificateID: testCertID}
	for name, value := range map[string]any{
		"token":              Credential{APIToken: secret},
		"pointer to token":   &Credential{APIToken: secret},
		"passcode":           Credential{Passcode: secret},
		"client certificate": Credential{ClientCertificate: &certificate},
		"no credential":      Credential{},
		"config":             struct{ Credential Credential }{Credential{APIToken: secret}},
		"key request":        request,
		"key request slice":  []*KeyRequest{&request},
		"answer":             issued,
		"pointer to answer":  &issued,
		"client":             client,
	} {
		for kind, text := range renderings(t, value) {
			if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s as %s shows the secret: %s", name, kind, text)
			}
		}
	}
	for name, text := range map[string]string{
		"credential": Credential{APIToken: secret}.GoString(), "key request": request.GoString(), "answer": issued.GoString(),
	} {
		if strings.Contains(text, secret) || text == "" {
			t.Errorf("%s shows %q", name, text)
		}
	}
	if got := fmt.Sprint(&issued); !strings.Contains(got, testCertID) {
		t.Errorf("the answer shows %q, want the certificate id for the log", got)
	}
}

func TestEveryRequestIsObservedOnceWithoutTheVendorsWords(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		status  int
	}{
		"answered": {answeringJSON(200, issuedAnswer), 200},
		"refused":  {answeringJSON(403, `{"errors":[{"code":"words"}]}`), 403},
		"broken":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var seconds atomic.Int64
			v := newVendor(t, func(w http.ResponseWriter, r *http.Request) {
				seconds.Add(3)
				test.handler(w, r)
			})
			var observed []Exchange
			_, _ = v.client(t, func(cfg *Config) {
				cfg.Observe = func(e Exchange) { observed = append(observed, e) }
				cfg.Now = func() time.Time { return time.Unix(seconds.Load(), 0) }
			}).Enroll(t.Context(), testKeyRequest())
			want := []Exchange{{Op: "enroll", HTTPStatus: test.status, Duration: 3 * time.Second}}
			if diff := cmp.Diff(want, observed); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
		})
	}
}
