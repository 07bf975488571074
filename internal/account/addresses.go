// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/netip"
	"slices"
)

// isPublic tells whether an address, unmapped, belongs to the public Internet.
func isPublic(ip netip.Addr) bool {
	if ip.Is4() {
		return !contains(reserved4, ip)
	}
	return contains(assigned6, ip) && !contains(reserved6, ip)
}

func contains(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(network netip.Prefix) bool { return network.Contains(ip) })
}

func prefixes(networks ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		parsed[i] = netip.MustParsePrefix(network)
	}
	return parsed
}

// reserved4 are the IPv4 networks of IANA's special-purpose registry (RFC 6890 and its successors), multicast and the former class E.
var reserved4 = prefixes(
	"0.0.0.0/8",        // this host; Linux connects 0.0.0.0 to itself
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier-grade NAT; metadata services of some clouds
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // metadata service of Azure
	"169.254.0.0/16",   // link-local; metadata services
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments; metadata service of Oracle Cloud
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, and broadcast
)

// assigned6 is the only network IANA assigns global unicast addresses from.
var assigned6 = prefixes("2000::/3")

// reserved6 are the networks within assigned6 that are not public or carry an IPv4 address inside.
var reserved6 = prefixes(
	"2001::/23",     // protocol assignments, Teredo among them
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4
	"3fff::/20",     // documentation
)
