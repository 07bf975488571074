// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// What a status may hold at most. The schema refuses a status that exceeds it, so its writers cut to these bounds.
const (
	// MaxMessageLength bounds every message in a status but those of conditions, in characters.
	MaxMessageLength = 2048
	// MaxSubjectLength bounds status.subject, in characters.
	MaxSubjectLength = 2048
	// MaxValueLength bounds an attribute's value in the spec, and with it commonName, deviceID and each of dnsNames in a status, in characters.
	MaxValueLength = 1024
	// MaxDNSNames bounds status.dnsNames.
	MaxDNSNames = 20
	// MaxSuperseded bounds status.superseded.
	MaxSuperseded = 10
	// MaxOrphans bounds status.orphans.
	MaxOrphans = 10
	// MaxClosedAttempts bounds status.closedAttempts.
	MaxClosedAttempts = 5
	// MaxAcknowledgedOrphans bounds status.acknowledgedOrphans.
	MaxAcknowledgedOrphans = 50
	// MaxSweeps bounds an issuer's status.sweeps.
	MaxSweeps = 100
	// MaxBlockedProfiles bounds an issuer's status.blockedProfiles.
	MaxBlockedProfiles = 50
	// MaxPublishedProfiles bounds an issuer's status.publishedProfiles: those that spec.publishProfiles names, and those still to be removed.
	MaxPublishedProfiles = 100
)
