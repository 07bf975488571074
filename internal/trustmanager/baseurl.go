// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	clientAuthPrefix = "clientauth."
	maxHostLength    = 253
	maxLabelLength   = 63
)

// ParseBaseURL reads a base URL of the vendor: https://host or https://host:port,
// where host is a DNS name in ASCII, an IPv4 address in dotted decimal, or an IPv6
// address in brackets without a zone. A single slash at the end is tolerated.
// Everything else is refused: other schemes, user info, paths, queries, fragments,
// trailing dots, and numeric spellings such as 2130706433 or 0177.0.0.1 that some
// resolvers take for an address.
//
// The result has a lower-case host, no path, and no port if it is 443. Who checks a
// host against an allow-list must check the one returned here, so that both read the
// same URL.
func ParseBaseURL(raw string) (*url.URL, error) {
	if len(raw) > maxHostLength+len("https://[]:65535/") {
		return nil, fmt.Errorf("base URL is %d bytes long, expected https://host", len(raw))
	}
	parsed, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("base URL cannot be parsed, expected https://host")
	}
	if parsed.Scheme != "https" {
		return nil, errors.New("base URL must start with https://")
	}
	if parsed.User != nil {
		return nil, errors.New("base URL must not contain user information")
	}
	if rest := strings.TrimPrefix(raw[len("https:"):], "//"+parsed.Host); rest != "" && rest != "/" {
		return nil, errors.New("base URL must consist of https:// and a host, without path, query or fragment")
	}
	host, err := normalizeHost(parsed)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: "https", Host: host}, nil
}

// ClientAuthURL returns the address of the vendor's mTLS endpoint: the same URL with
// "clientauth." in front of the host, which is not added twice. IP addresses have no
// such twin; for them the mTLS address must be given by the user.
func ClientAuthURL(base string) (string, error) {
	parsed, err := ParseBaseURL(base)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(parsed.Hostname()); err == nil {
		return "", errors.New("an IP address has no clientauth host, give the URL of the mTLS endpoint explicitly")
	}
	if !strings.HasPrefix(parsed.Host, clientAuthPrefix) {
		parsed.Host = clientAuthPrefix + parsed.Host
	}
	if _, err := ParseBaseURL(parsed.String()); err != nil {
		return "", err
	}
	return parsed.String(), nil
}

// normalizeHost returns host[:port] in the one spelling used from here on.
func normalizeHost(parsed *url.URL) (string, error) {
	host := strings.ToLower(parsed.Hostname())
	bracketed := strings.HasPrefix(parsed.Host, "[")
	if err := checkHost(host, bracketed); err != nil {
		return "", err
	}
	if address, err := netip.ParseAddr(host); err == nil && bracketed {
		host = "[" + address.String() + "]"
	}
	port := parsed.Port()
	if port == "" {
		if strings.HasSuffix(parsed.Host, ":") {
			return "", errors.New("base URL has a colon but no port")
		}
		return host, nil
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return "", errors.New("base URL port must be between 1 and 65535")
	}
	if number == 443 {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(number, 10), nil
}

func checkHost(host string, bracketed bool) error {
	if bracketed {
		if address, err := netip.ParseAddr(host); err != nil || !address.Is6() || address.Zone() != "" {
			return errors.New("base URL host in brackets must be an IPv6 address without zone")
		}
		return nil
	}
	if host == "" || len(host) > maxHostLength {
		return fmt.Errorf("base URL host must have 1 to %d characters", maxHostLength)
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isHostLabel(label) {
			return errors.New("base URL host must be a DNS name in ASCII letters, digits, hyphens and dots (an internationalised name in its xn-- form)")
		}
	}
	// No top-level domain starts with a digit: such a host is meant as an address,
	// and only the usual spelling of one is unambiguous.
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' && net.ParseIP(host) == nil {
		return errors.New("base URL host is neither a DNS name nor an IPv4 address in dotted decimal")
	}
	return nil
}

func isHostLabel(label string) bool {
	if label == "" || len(label) > maxLabelLength || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, char := range []byte(label) {
		if !isLowerAlphanumeric(char) && char != '-' {
			return false
		}
	}
	return true
}

func isLowerAlphanumeric(char byte) bool {
	return 'a' <= char && char <= 'z' || '0' <= char && char <= '9'
}
