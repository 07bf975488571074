// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"slices"
)

// identifySpecification takes the profile from the path.
func (s *Server) identifySpecification(c *call) error {
	c.profileID = c.request.PathValue("profile")
	return nil
}

// specification is GET /iot/api/v1/enrollment-profile/{id}/enrollment-specification. An unknown profile is 400, not 404, as
// seen at other endpoints of the vendor.
func (s *Server) specification(c *call) (reply, error) {
	profile, ok := s.profiles[c.profileID]
	if !ok {
		return reply{}, invalidInput("enrollment profile %q does not exist", c.profileID)
	}
	if !slices.Contains(profile.Methods, methodAPI) && !slices.Contains(profile.Methods, methodPortal) {
		return reply{}, invalidInput("enrollment profile %s allows neither the API nor the PORTAL method", profile.ID)
	}
	answer := specificationWire{}
	for _, f := range profile.CertificateFields {
		answer.Fields = append(answer.Fields, specificationField(f, "CERTIFICATE"))
	}
	for _, f := range profile.DeviceFields {
		answer.Fields = append(answer.Fields, specificationField(f, "DEVICE"))
	}
	return jsonReply(http.StatusOK, answer), nil
}

func specificationField(f Field, kind string) specificationFieldWire {
	return specificationFieldWire{
		ID:           f.ID,
		Name:         orDefault(f.Name, f.ID),
		Type:         kind,
		Mandatory:    f.Mandatory,
		Editable:     len(f.Fixed) == 0,
		ValueType:    valueTypeWire{Type: "STRING", Options: len(f.Options) > 0, Multiple: f.Multiple},
		DefaultValue: append(slices.Clone(f.Default), f.Fixed...),
		Options:      f.Options,
	}
}
