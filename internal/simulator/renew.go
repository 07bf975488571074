// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// identifyRenew reads the body and finds the predecessor, if it exists.
func (s *Server) identifyRenew(c *call) error {
	if err := s.identifyIssue(c); err != nil {
		return err
	}
	c.certificateID = c.request.PathValue("certificate")
	old, ok := s.ledger.find(c.certificateID)
	if !ok {
		return nil
	}
	c.predecessor = &old
	c.certificateID = old.CertificateID
	c.commonName = orDefault(c.commonName, old.CommonName)
	if c.credential.profileID == "" && !s.Switches().StrictRenew {
		c.profileID = orDefault(c.profileID, old.ProfileID)
	}
	return nil
}

// renew is POST /iot/api/v1/certificate/{id or serial number}/renew, and PUT with the id as the legacy reference has it.
func (s *Server) renew(c *call) (reply, error) {
	named := c.request.PathValue("certificate")
	if err := checkRenewPath(c.request.Method, named); err != nil {
		return reply{}, err
	}
	old := c.predecessor
	switch {
	case old == nil:
		return reply{}, notFound("certificate %s does not exist", named)
	case c.profileID == "":
		return reply{}, invalidInput("enrollment_profile_id is missing")
	case c.profileID != old.ProfileID:
		return reply{}, invalidInput("certificate %s belongs to another enrollment profile", named)
	}
	o, err := s.orderFor(c, kindRenew)
	if err != nil {
		return reply{}, err
	}
	if err := renewable(o.profile.Renewal, old, s.now()); err != nil {
		return reply{}, err
	}
	return s.fulfil(c, o)
}

// checkRenewPath tells a certificate id from a serial number by its syntax. PUT exists for the id only.
func checkRenewPath(method, named string) error {
	if _, err := uuid.Parse(named); err == nil && len(named) == 36 {
		return nil
	}
	if method == http.MethodPut {
		return refuse(http.StatusMethodNotAllowed, codeMethod, "PUT renews by certificate id only")
	}
	if _, err := hex.DecodeString(strings.Repeat("0", len(named)%2) + named); err != nil {
		return invalidInput("%q is neither a certificate id nor a serial number", named)
	}
	return nil
}

// renewable applies the renewal settings of the profile.
func renewable(settings Renewal, old *Entry, now time.Time) error {
	switch {
	case old.Status == statusRevoked:
		if !*settings.RenewRevokedCert {
			return invalidInput("certificate %s is revoked and cannot be renewed", old.CertificateID)
		}
		return nil
	case now.After(old.NotAfter):
		return inWindow(settings.RenewExpiredCert, now.Sub(old.NotAfter), settings.RenewAfterExpirationWindow, "expired", old.CertificateID)
	}
	return inWindow(settings.RenewValidCert, old.NotAfter.Sub(now), settings.RenewBeforeExpirationWindow, "valid", old.CertificateID)
}

func inWindow(setting string, distance time.Duration, window Duration, state, certificateID string) error {
	switch {
	case setting == renewNever:
		return invalidInput("certificate %s is %s and the profile does not renew such certificates", certificateID, state)
	case setting == renewInWindow && distance > time.Duration(window):
		return invalidInput("certificate %s is outside of its renewal window", certificateID)
	}
	return nil
}
