// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Page sizes. The default is the vendor's for devices; its maximum is unknown, 100 is ours.
const (
	defaultLimit = 20
	maxLimit     = 100
)

// identifySearch takes profile and common name from the query.
func (s *Server) identifySearch(c *call) error {
	query := c.request.URL.Query()
	c.profileID, c.commonName = query.Get("enrollment_profile_id"), query.Get("common_name")
	return nil
}

// search is GET /iot/api/v1/certificate: exact matches, newest first.
func (s *Server) search(c *call) (reply, error) {
	query := c.request.URL.Query()
	known := []string{"enrollment_profile_id", "enrollment_method", "certificate_type", "common_name", "serial_number", "status", "device_identifier"}
	limit, offset, err := paging(query, known)
	if err != nil {
		return reply{}, err
	}
	if err := oneOf("status", query.Get("status"), statusIssued, statusRevoked, statusExpired); err != nil {
		return reply{}, invalidInput("%v", err)
	}
	now, lag := s.now(), time.Duration(s.Switches().InventoryLag)
	found := slices.DeleteFunc(s.Ledger(), func(e Entry) bool {
		return now.Sub(e.IssuedAt) < lag || !matches(query, e)
	})
	slices.Reverse(found)
	page := pageWire[certificateWire]{Limit: limit, Offset: offset, Total: len(found), Records: []certificateWire{}}
	for _, e := range cut(found, limit, offset) {
		page.Records = append(page.Records, certificateRecord(e))
	}
	return jsonReply(http.StatusOK, page), nil
}

func matches(query url.Values, e Entry) bool {
	equal := func(parameter, value string) bool {
		wanted := query.Get(parameter)
		return wanted == "" || wanted == value
	}
	serial := query.Get("serial_number")
	return equal("enrollment_profile_id", e.ProfileID) &&
		equal("enrollment_method", methodAPI) &&
		equal("certificate_type", "x509") &&
		equal("common_name", e.CommonName) &&
		equal("status", e.Status) &&
		equal("device_identifier", e.DeviceIdentifier) &&
		(serial == "" || canonicalSerial(serial) == canonicalSerial(e.SerialNumber))
}

func certificateRecord(e Entry) certificateWire {
	record := certificateWire{ID: e.CertificateID, CommonName: e.CommonName, SerialNumber: e.SerialNumber, Status: e.Status, Body: e.PEM}
	for _, issuer := range e.Chain {
		record.Chain = append(record.Chain, blobWire{Blob: issuer})
	}
	return record
}

// paging reads limit and offset and refuses query parameters the stand-in does not know.
func paging(query url.Values, known []string) (limit, offset int, err error) {
	for name := range query {
		if name != "limit" && name != "offset" && !slices.Contains(known, name) {
			return 0, 0, invalidRequest("unknown query parameter %q", name)
		}
	}
	number := func(name string, fallback int) int {
		if !query.Has(name) {
			return fallback
		}
		n, convertErr := strconv.Atoi(query.Get(name))
		if convertErr != nil || n < 0 {
			err = invalidRequest("%s must be a number and not negative", name)
		}
		return n
	}
	limit, offset = number("limit", defaultLimit), number("offset", 0)
	return min(limit, maxLimit), offset, err
}

func cut[T any](all []T, limit, offset int) []T {
	begin := min(offset, len(all))
	return all[begin:min(begin+limit, len(all))]
}
