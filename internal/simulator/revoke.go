// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

const reasonUnspecified = "unspecified"

// revocationReasons are the vendor's; superseded is not among them.
func revocationReasons() []string {
	return []string{
		reasonUnspecified, "key_compromise", "affiliation_changed", "suspended", "cessation_of_operation", "certificate_hold",
		"privilege_withdrawn", "aa_compromise",
	}
}

// identifyRevoke finds the certificate, if it exists.
func (s *Server) identifyRevoke(c *call) error {
	c.certificateID = c.request.PathValue("certificate")
	if old, ok := s.ledger.find(c.certificateID); ok {
		c.profileID, c.commonName, c.certificateID = old.ProfileID, old.CommonName, old.CertificateID
	}
	return nil
}

// revoke is PUT /iot/api/v1/certificate/{id}/revoke.
func (s *Server) revoke(c *call) (reply, error) {
	var request revokeRequest
	if err := decodeExact(c.body, &request); err != nil {
		return reply{}, err
	}
	if !slices.Contains(revocationReasons(), request.Reason) {
		return reply{}, invalidInput("reason %q is unknown; known are %s", request.Reason, strings.Join(revocationReasons(), ", "))
	}
	if request.RevocationDate != "" {
		if _, err := time.Parse(time.RFC3339, request.RevocationDate); err != nil {
			return reply{}, invalidInput("revocation_date must be RFC 3339")
		}
	}
	// By id only: the vendor documents no revocation by serial number.
	if err := s.revokeEntry(c.request.PathValue("certificate"), request.Reason); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

// revokeEntry revokes once. What the vendor answers the second time is unknown; 400 is ours.
func (s *Server) revokeEntry(certificateID, reason string) error {
	now := s.now().UTC()
	return s.ledger.change(certificateID, func(e *Entry) error {
		if e.Status == statusRevoked {
			return invalidInput("certificate %s is revoked already", certificateID)
		}
		e.Status, e.RevokedAt, e.RevocationReason = statusRevoked, &now, reason
		return nil
	})
}
