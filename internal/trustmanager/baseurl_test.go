// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

func TestParseBaseURLAcceptsHostsInOneSpelling(t *testing.T) {
	for raw, want := range map[string]string{
		"https://one.digicert.com":         "https://one.digicert.com",
		"https://one.digicert.com/":        "https://one.digicert.com",
		"HTTPS://One.DigiCert.COM:443":     "https://one.digicert.com",
		"https://demo.one.ch.digicert.com": "https://demo.one.ch.digicert.com",
		"https://localhost:8443":           "https://localhost:8443",
		"https://pki:08443":                "https://pki:8443",
		"https://127.0.0.1:8443":           "https://127.0.0.1:8443",
		"https://[::1]:8443":               "https://[::1]:8443",
		"https://[0:0:0::1]":               "https://[::1]",
		"https://xn--bcher-kva.example":    "https://xn--bcher-kva.example",
	} {
		t.Run(raw, func(t *testing.T) {
			got, err := ParseBaseURL(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestParseBaseURLRefusesEverythingElse(t *testing.T) {
	for name, raw := range map[string]string{
		"empty":                  "",
		"no scheme":              "one.digicert.com",
		"plain http":             "http://one.digicert.com",
		"file":                   "file:///etc/passwd",
		"gopher":                 "gopher://one.digicert.com",
		"unix socket":            "unix:/run/x",
		"opaque":                 "https:one.digicert.com",
		"user info":              "https://one.digicert.com@evil.example",
		"empty user info":        "https://@one.digicert.com",
		"path":                   "https://one.digicert.com/iot",
		"dots in the path":       "https://one.digicert.com/../x",
		"two slashes":            "https://one.digicert.com//",
		"query":                  "https://one.digicert.com?x=1",
		"empty query":            "https://one.digicert.com?",
		"fragment":               "https://one.digicert.com#x",
		"empty fragment":         "https://one.digicert.com#",
		"backslash":              `https://one.digicert.com\@evil.example`,
		"semicolon":              "https://one.digicert.com;evil",
		"escaped host":           "https://%6fne.digicert.com",
		"trailing dot":           "https://one.digicert.com.",
		"empty label":            "https://one..digicert.com",
		"hyphen at the edge":     "https://-one.digicert.com",
		"homograph":              "https://οne.digicert.com",
		"underscore":             "https://one_x.digicert.com",
		"line break":             "https://one.digicert.com\r\nX: y",
		"space":                  "https://one.digicert.com ",
		"NUL":                    "https://one.digicert.com\x00",
		"decimal address":        "https://2130706433",
		"octal address":          "https://0177.0.0.1",
		"hexadecimal address":    "https://0x7f.0.0.1",
		"hexadecimal last label": "https://127.0.0.0x1",
		"short address":          "https://127.1",
		"address out of range":   "https://256.0.0.1",
		"IPv6 zone":              "https://[fe80::1%25eth0]",
		"IPv4 in brackets":       "https://[127.0.0.1]",
		"IPv6 without brackets":  "https://::1",
		"port zero":              "https://one.digicert.com:0",
		"port too large":         "https://one.digicert.com:99999",
		"colon without port":     "https://one.digicert.com:",
		"named port":             "https://one.digicert.com:https",
		"no host":                "https://",
		"port only":              "https://:443",
		"label too long":         "https://" + strings.Repeat("a", 64) + ".com",
		"host too long":          "https://" + strings.Repeat("a.", 130) + "com",
		"a megabyte":             "https://" + strings.Repeat("a", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseBaseURL(raw); err == nil {
				t.Errorf("accepted as %s", got)
			}
		})
	}
}

func TestClientAuthURLPutsThePrefixOnce(t *testing.T) {
	for base, want := range map[string]string{
		"https://one.digicert.com":              "https://clientauth.one.digicert.com",
		"https://demo.one.ch.digicert.com:8443": "https://clientauth.demo.one.ch.digicert.com:8443",
		"https://clientauth.one.digicert.com":   "https://clientauth.one.digicert.com",
	} {
		got, err := ClientAuthURL(base)
		if err != nil || got != want {
			t.Errorf("ClientAuthURL(%q) = %q, %v, want %q", base, got, err, want)
		}
	}
}

func TestClientAuthURLRefusesWhatHasNoSuchHost(t *testing.T) {
	for _, base := range []string{"https://127.0.0.1", "https://[::1]", "http://one.digicert.com", "https://" + strings.Repeat("a.", 124) + "com"} {
		if got, err := ClientAuthURL(base); err == nil {
			t.Errorf("ClientAuthURL(%q) = %q, want an error", base, got)
		}
	}
}

func FuzzParseBaseURL(f *testing.F) {
	for _, seed := range []string{"https://one.digicert.com", "https://[::1]:1", "https://a@b", "https://0177.0.0.1", "https://a:443/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var parsed *url.URL
		var err error
		limit.Parser.Hold(t, len(raw), func() { parsed, err = ParseBaseURL(raw) })
		if err != nil {
			return
		}
		if parsed.Scheme != "https" || parsed.User != nil || parsed.Path != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
			t.Errorf("%q became %#v", raw, parsed)
		}
		again, err := ParseBaseURL(parsed.String())
		if err != nil || again.String() != parsed.String() {
			t.Errorf("%q became %s, which becomes %v, %v", raw, parsed, again, err)
		}
		host := parsed.Hostname()
		if _, err := netip.ParseAddr(host); err != nil && host[len(host)-1] >= '0' && host[len(host)-1] <= '9' && strings.Trim(host, "0123456789.") == "" {
			t.Errorf("%q passes a numeric host that is no address", raw)
		}
	})
}
