// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import "errors"

// Modes of the whole server.
const (
	// ModeUp answers.
	ModeUp = "up"
	// ModeUnavailable answers 503 to everything.
	ModeUnavailable = "unavailable"
	// ModeDrop closes every connection without an answer.
	ModeDrop = "drop"
)

// Switches choose between the behaviours a real tenant may have where its documentation is silent, and rehearse an
// outage. The zero value is the most likely tenant.
type Switches struct {
	// Mode is up, unavailable or drop. Empty means up.
	Mode string `json:"mode,omitempty"`
	// PEMAbsent leaves pem out of answers in pkcs_12 and cert_encrypted, whose private_key holds the certificates too.
	PEMAbsent bool `json:"pemAbsent,omitempty"`
	// RootExcluded ends chains at the issuing CA.
	RootExcluded bool `json:"rootExcluded,omitempty"`
	// LegacyPFX encrypts PKCS#12 with 3DES and SHA-1 instead of AES-256 and SHA-256.
	LegacyPFX bool `json:"legacyPFX,omitempty"`
	// BERCMS writes CMS messages with indefinite lengths, as Java's streaming encoders do, instead of DER.
	BERCMS bool `json:"berCMS,omitempty"`
	// ZIP changes the members of the archive in cert_encrypted.
	ZIP ZIPNames `json:"zip,omitzero"`
	// StrictRenew demands enrollment_profile_id and all mandatory attributes on renew, inheriting nothing.
	StrictRenew bool `json:"strictRenew,omitempty"`
	// RefuseSecondRenew refuses, for every profile, to renew a certificate that has a successor.
	RefuseSecondRenew bool `json:"refuseSecondRenew,omitempty"`
	// Approval, auto or manual, overrides every profile.
	Approval string `json:"approval,omitempty"`
	// DuplicateDevice, reuse or reject, overrides every profile.
	DuplicateDevice string `json:"duplicateDevice,omitempty"`
	// InventoryLag hides a new certificate from search for this long after issuing.
	InventoryLag Duration `json:"inventoryLag,omitempty"`
	// DateSkew is added to the Date header of every answer.
	DateSkew Duration `json:"dateSkew,omitempty"`
}

// ZIPNames are the member names of the archive in cert_encrypted. Empty names mean certificate.pem, private_key.pem and
// chain.pem.
type ZIPNames struct {
	Certificate string `json:"certificate,omitempty"`
	PrivateKey  string `json:"privateKey,omitempty"`
	Chain       string `json:"chain,omitempty"`
	// Extras adds a folder and a file without meaning.
	Extras bool `json:"extras,omitempty"`
}

func (s Switches) validate() error {
	problems := []error{
		oneOf("switches.mode", s.Mode, ModeUp, ModeUnavailable, ModeDrop),
		oneOf("switches.approval", s.Approval, approvalAuto, approvalManual),
		oneOf("switches.duplicateDevice", s.DuplicateDevice, duplicateReuse, duplicateReject),
	}
	if s.InventoryLag < 0 {
		problems = append(problems, errors.New("switches.inventoryLag must not be negative"))
	}
	return errors.Join(problems...)
}

// over applies the switches that override profile settings.
func (s Switches) over(p Profile) Profile {
	p.Approval = orDefault(s.Approval, p.Approval)
	p.DuplicateDevice = orDefault(s.DuplicateDevice, p.DuplicateDevice)
	p.Renewal.RefuseSecondRenew = p.Renewal.RefuseSecondRenew || s.RefuseSecondRenew
	return p
}
