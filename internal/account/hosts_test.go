// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

func policy(t testing.TB, hosts, networks string) HostPolicy {
	t.Helper()
	p, err := ParseHostPolicy(hosts, "", networks)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheDefaultHostsAreDigiCertOnesAndNoOthers(t *testing.T) {
	p := policy(t, "", "")
	for _, host := range []string{"one.digicert.com", "demo.one.digicert.com", "one.ch.digicert.com", "one.digicert.co.jp", "one.nl.digicert.com", "clientauth.demo.one.nl.digicert.com"} {
		if err := p.Check("https://" + host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for name, url := range map[string]string{
		"plain HTTP":              "http://one.digicert.com",
		"metadata service":        "https://169.254.169.254/",
		"API server":              "https://127.0.0.1:6443/",
		"IPv6 loopback":           "https://[::1]/",
		"IPv4-mapped loopback":    "https://[::ffff:127.0.0.1]",
		"zone":                    "https://[fe80::1%25eth0]",
		"decimal address":         "https://2130706433",
		"octal address":           "https://0177.0.0.1",
		"hexadecimal address":     "https://0x7f000001",
		"user information":        "https://one.digicert.com@evil.example",
		"suffix":                  "https://one.digicert.com.evil.example",
		"prefix":                  "https://evilone.digicert.com",
		"parent":                  "https://digicert.com",
		"child":                   "https://a.one.digicert.com",
		"homograph":               "https://οne.digicert.com",
		"trailing dot":            "https://one.digicert.com.",
		"port zero":               "https://one.digicert.com:0",
		"port too large":          "https://one.digicert.com:99999",
		"path":                    "https://one.digicert.com/../x",
		"query":                   "https://one.digicert.com?x",
		"fragment":                "https://one.digicert.com#x",
		"line break":              "https://one.digicert.com\r\nX-Evil: 1",
		"file":                    "file:///etc/passwd",
		"gopher":                  "gopher://one.digicert.com",
		"unix socket":             "unix:///run/x",
		"a mebibyte":              "https://" + strings.Repeat("a.", 1<<19) + "digicert.com",
		"empty":                   "",
		"backslash":               `https://evil.example\@one.digicert.com`,
		"percent-encoded slash":   "https://one.digicert.com%2f.evil.example",
		"semicolon":               "https://one.digicert.com;evil.example",
		"allowed host as a query": "https://evil.example/?https://one.digicert.com",
	} {
		err := p.Check(url)
		if _, typed := errors.AsType[*HostError](err); !typed {
			t.Errorf("%s: Check = %v, want a *HostError", name, err)
		} else if len(err.Error()) > 600 {
			t.Errorf("%s: the message has %d bytes", name, len(err.Error()))
		}
	}
}

func TestCheckAppliesTheRulesOfAllowedHosts(t *testing.T) {
	for _, tc := range []struct {
		hosts, url string
		allowed    bool
	}{
		{"one.example.com", "https://one.example.com", true},
		{"one.example.com", "https://ONE.Example.com/", true},
		{"One.Example.com", "https://one.example.com", true},
		{"one.example.com", "https://one.example.com:8443", true},
		{"one.example.com:8443", "https://one.example.com:8443", true},
		{"one.example.com:8443", "https://one.example.com", false},
		{"one.example.com:443", "https://one.example.com", true},
		{"one.example.com:443", "https://one.example.com:8443", false},
		{"*.example.com", "https://a.example.com", true},
		{"*.example.com", "https://a.b.example.com", true},
		{"*.example.com", "https://example.com", false},
		{"*.example.com", "https://evilexample.com", false},
		{"*.example.com:8443", "https://a.example.com:8443", true},
		{"*.example.com:8443", "https://a.example.com", false},
		{"10.1.2.3", "https://10.1.2.3", true},
		{"10.1.2.3", "https://10.1.2.4", false},
		{"[fd00::1]:8443", "https://[fd00::1]:8443", true},
		{"fd00::1", "https://[fd00:0:0::1]", true},
		{" a.example , ,b.example ", "https://b.example", true},
		{"localhost:8443", "https://localhost:8443", true},
		{"localhost:8443", "https://localhost:6443", false},
	} {
		err := policy(t, tc.hosts, "").Check(tc.url)
		if allowed := err == nil; allowed != tc.allowed {
			t.Errorf("%q admits %s: %t, want %t (%v)", tc.hosts, tc.url, allowed, tc.allowed, err)
		}
	}
}

func TestARefusedHostIsToldWhichFlagAdmitsIt(t *testing.T) {
	err := policy(t, "", "").Check("https://other.example.com")
	if err == nil || !strings.Contains(err.Error(), "--allowed-hosts") || !strings.Contains(err.Error(), "other.example.com") {
		t.Errorf("Check = %v", err)
	}
}

func TestTheZeroPolicyAllowsNoHost(t *testing.T) {
	if err := (HostPolicy{}).Check("https://one.digicert.com"); err == nil {
		t.Error("allowed")
	}
}

func TestParseHostPolicyRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, hosts := range []string{"*", "*.", "*.com", "*.10.0.0.1", "*.[::1]", "a.*.example", "https://one.example.com", "one.example.com/x", "one.example.com:x", "one.example.com:0", "user@one.example.com", "a b", "1.2.3", "*.*.example.com"} {
		if p, err := ParseHostPolicy(hosts, "", ""); err == nil {
			t.Errorf("--allowed-hosts=%s: accepted as %+v", hosts, p)
		}
		if p, err := ParseHostPolicy("", hosts, ""); err == nil || !strings.Contains(err.Error(), "--allowed-proxies") {
			t.Errorf("--allowed-proxies=%s: accepted as %+v, or refused without its name (%v)", hosts, p, err)
		}
	}
	for _, networks := range []string{"10.0.0.1", "10.0.0.0/33", "x", "10.0.0.0/8;11.0.0.0/8", "::ffff:10.0.0.0/104"} {
		if _, err := ParseHostPolicy("a.example", "", networks); err == nil {
			t.Errorf("--allowed-networks=%s: accepted", networks)
		}
	}
}

func TestDialControlForbidsAddressesThatAreNotPublic(t *testing.T) {
	p := policy(t, "", "")
	for _, address := range []string{"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"} {
		if err := p.DialControl(nil)("tcp", net.JoinHostPort(address, "443"), nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
		"2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "localhost", "",
	} {
		err := p.DialControl(nil)("tcp", net.JoinHostPort(address, "443"), nil)
		if _, typed := errors.AsType[*HostError](err); !typed {
			t.Errorf("%s: %v, want a *HostError", address, err)
		}
	}
	if err := p.DialControl(nil)("tcp", "no port", nil); err == nil {
		t.Error("an address without port was allowed")
	}
}

func TestDialControlAllowsWhatTheFlagsName(t *testing.T) {
	for _, tc := range []struct {
		hosts, networks, address string
		allowed                  bool
	}{
		{"", "10.0.0.0/8", "10.1.2.3", true},
		{"", "10.1.2.3/8", "10.9.9.9", true},
		{"", "10.0.0.0/8", "::ffff:10.1.2.3", true},
		{"", "10.0.0.0/8", "11.1.2.3", true}, // public
		{"", "10.0.0.0/8", "192.168.0.1", false},
		{"", "fd00::/8, 192.168.0.0/16", "192.168.0.1", true},
		{"", "fd00::/8", "fd12::1", true},
		{"localhost", "", "127.0.0.1", true},
		{"localhost:8443", "", "::1", true},
		{"localhost", "", "10.0.0.1", false},
		{"vendor.localhost.example", "", "127.0.0.1", false},
		{"127.0.0.1:8443", "", "127.0.0.1", true},
		{"127.0.0.1:8443", "", "127.0.0.2", false},
		{"[::1]", "", "::1", true},
	} {
		err := policy(t, tc.hosts, tc.networks).DialControl(nil)("tcp", net.JoinHostPort(tc.address, "8443"), nil)
		if allowed := err == nil; allowed != tc.allowed {
			t.Errorf("hosts %q networks %q: dials %s: %t, want %t", tc.hosts, tc.networks, tc.address, allowed, tc.allowed)
		}
	}
}

func TestProxiesAreThoseThatAreListed(t *testing.T) {
	for _, tc := range []struct {
		proxies, url string
		allowed      bool
	}{
		{"", "http://proxy.corp.example:3128", false},
		{"", "http://one.digicert.com:443", false}, // a host is no proxy
		{"proxy.corp.example:3128", "http://proxy.corp.example:3128", true},
		{"proxy.corp.example:3128", "http://PROXY.corp.example:3128", true},
		{"proxy.corp.example:3128", "http://proxy.corp.example:8080", false},
		{"proxy.corp.example:3128", "http://proxy.corp.example", false},
		{"proxy.corp.example:80", "http://proxy.corp.example", true},
		{"proxy.corp.example:80", "https://proxy.corp.example", false},
		{"proxy.corp.example:443", "https://proxy.corp.example", true},
		{"proxy.corp.example", "https://proxy.corp.example:8443", true},
		{"proxy.corp.example", "http://proxy.corp.example.evil.example", false},
		{"proxy.corp.example", "http://proxy.corp.example.", false},
		{"*.corp.example:3128", "http://a.corp.example:3128", true},
		{"10.0.0.8:3128", "http://10.0.0.8:3128", true},
		{"10.0.0.8:3128", "http://10.0.0.9:3128", false},
		{"fd00::8", "http://[fd00::8]:3128", true},
		{"127.0.0.1", "http://2130706433", false},
	} {
		p, err := ParseHostPolicy("", tc.proxies, "")
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := url.Parse(tc.url)
		if err != nil {
			t.Fatal(err)
		}
		err = p.CheckProxy(proxy)
		if _, typed := errors.AsType[*HostError](err); typed == tc.allowed || err != nil && !typed {
			t.Errorf("%q admits %s: %v, want it allowed: %t", tc.proxies, tc.url, err, tc.allowed)
		}
	}
	if err := (HostPolicy{}).CheckProxy(nil); err != nil {
		t.Errorf("without a proxy: %v", err)
	}
}

func TestAddressesOfHostsAndProxiesAreAllowedApart(t *testing.T) {
	p, err := ParseHostPolicy("10.0.0.1", "10.0.0.8:3128", "192.168.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]struct{ host, proxy bool }{
		"10.0.0.1": {true, false}, "10.0.0.8": {false, true}, "192.168.1.1": {true, true}, "169.254.169.254": {false, false}, "8.8.8.8": {true, true},
	} {
		at := net.JoinHostPort(address, "3128")
		got := struct{ host, proxy bool }{p.DialControl(nil)("tcp", at, nil) == nil, p.DialControl(&url.URL{})("tcp", at, nil) == nil}
		if got != want {
			t.Errorf("%s is dialled as %+v, want %+v", address, got, want)
		}
	}
}

// FuzzCheck holds Check against net/url's and net/netip's reading: what it admits is https, names exactly an allowed host, and nothing
// else.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"https://one.digicert.com", "https://one.digicert.com@evil", "https://a.example.com:8443/", "https://[::1]:0", "https://one.digicert.com\x00"} {
		f.Add(seed)
	}
	p := policy(f, "one.digicert.com,*.example.com:8443", "")
	f.Fuzz(func(t *testing.T, url string) {
		var refused error
		limit.Parser.Hold(t, len(url), func() { refused = p.Check(url) })
		if refused != nil {
			return
		}
		host, ok := strings.CutPrefix(strings.ToLower(strings.TrimSuffix(url, "/")), "https://")
		exact := host == "one.digicert.com" || strings.HasPrefix(host, "one.digicert.com:") && strings.Trim(host[len("one.digicert.com:"):], "0123456789") == ""
		suffix := strings.HasSuffix(host, ".example.com:8443") || strings.HasSuffix(strings.Replace(host, ":0", ":", 1), ".example.com:8443")
		if !ok || !exact && !suffix || strings.ContainsAny(host, "@/\\?#% \t\r\n") {
			t.Errorf("Check admits %q", url)
		}
	})
}

// FuzzDialControl holds the policy against net/netip's own classes.
func FuzzDialControl(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add(netip.MustParseAddr("::ffff:10.0.0.1").AsSlice())
	f.Add(netip.MustParseAddr("2606:4700::1111").AsSlice())
	p := policy(f, "", "")
	f.Fuzz(func(t *testing.T, raw []byte) {
		ip, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		var refused error
		limit.Parser.Hold(t, len(raw), func() { refused = p.DialControl(nil)("tcp", netip.AddrPortFrom(ip, 443).String(), nil) })
		if refused != nil {
			return
		}
		plain := ip.Unmap()
		if plain.IsLoopback() || plain.IsPrivate() || plain.IsLinkLocalUnicast() || plain.IsMulticast() || plain.IsUnspecified() || !plain.IsGlobalUnicast() {
			t.Errorf("%s may be dialled", ip)
		}
	})
}
