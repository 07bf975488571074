// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"net/http"
	"slices"
)

func (s *Server) identifyNothing(*call) error { return nil }

// listDevices is GET /iot/api/v2/device: exact match on device_identifier, latest update first.
func (s *Server) listDevices(c *call) (reply, error) {
	query := c.request.URL.Query()
	limit, offset, err := paging(query, []string{"device_identifier"})
	if err != nil {
		return reply{}, err
	}
	wanted := query.Get("device_identifier")
	found := slices.DeleteFunc(s.ledger.allDevices(), func(d Device) bool {
		return wanted != "" && d.DeviceIdentifier != wanted
	})
	slices.SortFunc(found, func(a, b Device) int {
		return cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(a.DeviceIdentifier, b.DeviceIdentifier))
	})
	page := pageWire[deviceWire]{Limit: limit, Offset: offset, Total: len(found), Records: []deviceWire{}}
	for _, d := range cut(found, limit, offset) {
		page.Records = append(page.Records, s.deviceRecord(d))
	}
	return jsonReply(http.StatusOK, page), nil
}

// getDevice is GET /iot/api/v2/device/{id}.
func (s *Server) getDevice(c *call) (reply, error) {
	id := c.request.PathValue("device")
	for _, d := range s.ledger.allDevices() {
		if d.ID == id {
			return jsonReply(http.StatusOK, s.deviceRecord(d)), nil
		}
	}
	return reply{}, notFound("device %s does not exist", id)
}

func (s *Server) deviceRecord(d Device) deviceWire {
	record := deviceWire{
		ID:               d.ID,
		DeviceIdentifier: d.DeviceIdentifier,
		Status:           "ACTIVE",
		Created:          formatTime(d.Created),
		Updated:          formatTime(d.Updated),
		Fields:           []deviceFieldWire{},
	}
	for _, f := range d.Fields {
		if f.ID != attributeDeviceIdentifier {
			record.Fields = append(record.Fields, deviceFieldWire{ID: f.ID, Name: s.deviceFieldName(f.ID), Value: f.Value})
		}
	}
	return record
}

func (s *Server) deviceFieldName(id string) string {
	for _, p := range s.profiles {
		for _, f := range p.DeviceFields {
			if f.ID == id && f.Name != "" {
				return f.Name
			}
		}
	}
	return id
}
