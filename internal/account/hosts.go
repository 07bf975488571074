// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// defaultAllowedHosts is the default of --allowed-hosts: DigiCert ONE's production and demo hosts with their mutual TLS twins.
const defaultAllowedHosts = "one.digicert.com,demo.one.digicert.com,one.ch.digicert.com,demo.one.ch.digicert.com," +
	"one.digicert.co.jp,demo.one.digicert.co.jp,one.nl.digicert.com,demo.one.nl.digicert.com," +
	"clientauth.one.digicert.com,clientauth.demo.one.digicert.com,clientauth.one.ch.digicert.com,clientauth.demo.one.ch.digicert.com," +
	"clientauth.one.digicert.co.jp,clientauth.demo.one.digicert.co.jp,clientauth.one.nl.digicert.com,clientauth.demo.one.nl.digicert.com"

// HostPolicy says which hosts may receive a credential, through which proxies, and which addresses outside the public Internet they may
// have. The zero value allows no host and no proxy.
type HostPolicy struct {
	hosts, proxies destinations
}

// destinations are hosts that may be connected to, and the networks outside the public Internet they may be in.
type destinations struct {
	rules    []hostRule
	networks []netip.Prefix
}

// hostRule is one entry of --allowed-hosts or --allowed-proxies.
type hostRule struct {
	name   string // lower case; for a suffix it starts with a dot
	port   string // empty: any
	suffix bool
}

// HostError is a URL that no credential may be sent to, or not that way.
type HostError struct {
	// Message says why and what to do.
	Message string
}

// Error is the message.
func (e *HostError) Error() string { return e.Message }

// ParseHostPolicy reads --allowed-hosts, --allowed-proxies and --allowed-networks, all comma lists. No hosts mean DigiCert ONE's production
// and demo hosts, no proxies none.
//
// A host is an exact name, *.suffix (one or more labels in front of the suffix) or an IP address, IPv6 in brackets when a port
// follows; with :port it is allowed on that port only. So is a proxy. A network is a CIDR outside the public address space, such as
// 10.0.0.0/8, that an allowed host or proxy may have its address in. Listing localhost or an IP address as a host or as a proxy allows its
// address too, for the one or the other.
func ParseHostPolicy(hosts, proxies, networks string) (HostPolicy, error) {
	if strings.TrimSpace(hosts) == "" {
		hosts = defaultAllowedHosts
	}
	prefixes, err := parseNetworks(networks)
	if err != nil {
		return HostPolicy{}, err
	}
	var p HostPolicy
	for _, list := range []struct {
		flag, entries string
		into          *destinations
	}{{"--allowed-hosts", hosts, &p.hosts}, {"--allowed-proxies", proxies, &p.proxies}} {
		list.into.networks = slices.Clone(prefixes)
		for _, entry := range split(list.entries) {
			rule, err := parseHostRule(entry)
			if err != nil {
				return HostPolicy{}, fmt.Errorf("%s: %q: %w", list.flag, entry, err)
			}
			list.into.rules = append(list.into.rules, rule)
			list.into.networks = append(list.into.networks, impliedNetworks(rule.name)...)
		}
	}
	return p, nil
}

func parseNetworks(networks string) (parsed []netip.Prefix, err error) {
	for _, entry := range split(networks) {
		entry = strings.TrimSpace(entry)
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			return nil, fmt.Errorf("--allowed-networks: %q is not a network such as 10.0.0.0/8 or fd00::/8", entry)
		}
		if prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("--allowed-networks: %q: write an IPv4 network as such", entry)
		}
		parsed = append(parsed, prefix.Masked())
	}
	return parsed, nil
}

func split(list string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(list, func(r rune) bool { return r == ',' }), func(entry string) bool {
		return strings.TrimSpace(entry) == ""
	})
}

func parseHostRule(entry string) (hostRule, error) {
	entry = strings.ToLower(strings.TrimSpace(entry))
	host, suffix := strings.CutPrefix(entry, "*.")
	if address, err := netip.ParseAddr(host); err == nil && address.Is6() {
		host = "[" + host + "]"
	}
	parsed, err := trustmanager.ParseBaseURL("https://" + host)
	if err != nil {
		return hostRule{}, errors.New("expected a host name, *.suffix or an IP address, with an optional port")
	}
	rule := hostRule{name: parsed.Hostname(), port: explicitPort(host), suffix: suffix}
	if !suffix {
		return rule, nil
	}
	if _, err := netip.ParseAddr(rule.name); err == nil || !strings.Contains(rule.name, ".") {
		return hostRule{}, errors.New("a suffix needs a name of at least two labels, such as *.example.com")
	}
	rule.name = "." + rule.name
	return rule, nil
}

// explicitPort is the port that was written, in its usual spelling. ParseBaseURL has accepted the host.
func explicitPort(host string) string {
	parsed, err := url.Parse("https://" + host)
	if err != nil || parsed.Port() == "" {
		return ""
	}
	number, err := strconv.ParseUint(parsed.Port(), 10, 16)
	if err != nil {
		return parsed.Port()
	}
	return strconv.FormatUint(number, 10)
}

// impliedNetworks are the addresses that naming a host allows.
func impliedNetworks(name string) []netip.Prefix {
	if name == "localhost" {
		return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if address, err := netip.ParseAddr(name); err == nil {
		address = address.Unmap()
		return []netip.Prefix{netip.PrefixFrom(address, address.BitLen())}
	}
	return nil
}

// Check returns a *HostError unless the URL is an https URL of an allowed host.
func (p HostPolicy) Check(rawURL string) error {
	parsed, err := trustmanager.ParseBaseURL(rawURL)
	if err != nil {
		return &HostError{Message: err.Error()}
	}
	if !p.hosts.admit(parsed.Hostname(), cmp.Or(parsed.Port(), "443")) {
		return &HostError{Message: fmt.Sprintf("host %s must not receive a credential: correct the URL, or ask whoever runs the operator to add it to --allowed-hosts", parsed.Host)}
	}
	return nil
}

// CheckProxy returns a *HostError unless the proxy is allowed, and another error if it is no HTTP proxy; nil, which is none, is. A proxy sees whom the operator talks to, and with CA
// certificates of its own all that is said: whoever chooses both receives the credential.
func (p HostPolicy) CheckProxy(proxy *url.URL) error {
	if proxy == nil {
		return nil
	}
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return errors.New("spec.proxyURL must be the URL of an HTTP proxy: http://host:port or https://host:port") // no list can allow another
	}
	parsed, err := trustmanager.ParseBaseURL("https://" + proxy.Host)
	if err != nil {
		return &HostError{Message: "spec.proxyURL cannot be read: expected http://host:port"}
	}
	port := cmp.Or(proxy.Port(), "80")
	if proxy.Scheme == "https" {
		port = cmp.Or(proxy.Port(), "443")
	}
	if !p.proxies.admit(parsed.Hostname(), port) {
		return &HostError{Message: fmt.Sprintf("proxy %s must not be used: correct spec.proxyURL, or ask whoever runs the operator to add it to --allowed-proxies", proxy.Host)}
	}
	return nil
}

func (d destinations) admit(host, port string) bool {
	return slices.ContainsFunc(d.rules, func(rule hostRule) bool { return rule.admits(host, port) })
}

func (rule hostRule) admits(host, port string) bool {
	if rule.port != "" && rule.port != port {
		return false
	}
	if rule.suffix {
		return strings.HasSuffix(host, rule.name)
	}
	return host == rule.name
}

// DialControl forbids connections to addresses of hosts, or of proxies where there is one, that are neither public nor allowed. It sees the
// address that will be dialled, after the name was resolved: a name that changes its address between two looks gains nothing. It fits
// net.Dialer.Control.
func (p HostPolicy) DialControl(proxy *url.URL) func(_, address string, _ syscall.RawConn) error {
	if proxy != nil {
		return p.proxies.control
	}
	return p.hosts.control
}

func (d destinations) control(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return &HostError{Message: "the address to connect to cannot be read"}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		return &HostError{Message: "the address to connect to is not a plain IP address"}
	}
	ip = ip.Unmap()
	if isPublic(ip) || contains(d.networks, ip) {
		return nil
	}
	return &HostError{Message: fmt.Sprintf("address %s is not on the public Internet and in none of --allowed-networks", ip)}
}
