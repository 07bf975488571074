// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// The vendor's words used in profiles. client_side is inferred, the other values are documented.
const (
	serverSide         = "server_side"
	clientOrServerSide = "client_or_server_side"
	clientSide         = "client_side"

	renewAnytime  = "anytime"
	renewInWindow = "in_specific_window"
	renewNever    = "dont_allow"

	approvalAuto   = "auto"
	approvalManual = "manual"

	duplicateReuse  = "reuse"
	duplicateReject = "reject"

	methodAPI    = "API"
	methodPortal = "PORTAL"
)

const (
	defaultValidity = 365 * 24 * time.Hour
	defaultBackdate = time.Minute
)

// Attribute ids with a meaning of their own.
const (
	attributeCommonName       = "subject.common_name"
	attributeDeviceIdentifier = "DEVICE_IDENTIFIER"
)

var profileIDPattern = regexp.MustCompile(`^IOT_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// validate reports everything that is wrong with the configuration, not only the first thing.
func (c Config) validate() error {
	var problems []error
	if len(c.Profiles) == 0 {
		problems = append(problems, errors.New("profiles: at least one is needed"))
	}
	seen := map[string]bool{}
	for i, p := range c.Profiles {
		if err := p.validate(); err != nil {
			problems = append(problems, fmt.Errorf("profiles[%d] %s: %w", i, p.ID, err))
		}
		if seen[p.ID] {
			problems = append(problems, fmt.Errorf("profiles[%d]: id %s is used twice", i, p.ID))
		}
		seen[p.ID] = true
	}
	for keyType, count := range c.KeyPool {
		problems = append(problems, oneOf("keyPool", keyType, keyTypeNames()...))
		if count < 0 {
			problems = append(problems, fmt.Errorf("keyPool.%s: must not be negative", keyType))
		}
	}
	problems = append(problems, c.validateCredentials(seen), c.Switches.validate())
	return errors.Join(problems...)
}

// validateCredentials checks names, secrets and the profiles the credentials are bound to.
func (c Config) validateCredentials(profiles map[string]bool) error {
	var problems []error
	names := map[string]bool{}
	secrets := map[string]bool{}
	checkName := func(where, name string) {
		if name == "" || names[name] {
			problems = append(problems, fmt.Errorf("%s: name %q must be set and unique among all credentials", where, name))
		}
		names[name] = true
	}
	checkSecret := func(where, secret string) {
		if secret == "" || secrets[secret] {
			problems = append(problems, fmt.Errorf("%s: the secret must be set and unique", where))
		}
		secrets[secret] = true
	}
	for i, k := range c.APIKeys {
		where := fmt.Sprintf("apiKeys[%d]", i)
		checkName(where, k.Name)
		checkSecret(where, k.Key)
		if k.RequestsPerSecond < 0 {
			problems = append(problems, fmt.Errorf("%s: requestsPerSecond must not be negative", where))
		}
		problems = append(problems, validateOperations(where, k.Deny))
	}
	for i, p := range c.Passcodes {
		where := fmt.Sprintf("passcodes[%d]", i)
		checkName(where, p.Name)
		checkSecret(where, p.Passcode)
		if !profiles[p.ProfileID] {
			problems = append(problems, fmt.Errorf("%s: profileID %q is not a configured profile", where, p.ProfileID))
		}
	}
	for i, cc := range c.ClientCertificates {
		where := fmt.Sprintf("clientCertificates[%d]", i)
		checkName(where, cc.Name)
		if cc.ProfileID != "" && !profiles[cc.ProfileID] {
			problems = append(problems, fmt.Errorf("%s: profileID %q is not a configured profile", where, cc.ProfileID))
		}
		if cc.sources() != 1 {
			problems = append(problems, fmt.Errorf("%s: set exactly one of certificateFile, certificate and generate", where))
		}
		problems = append(problems, validateOperations(where, cc.Deny))
	}
	return errors.Join(problems...)
}

// sources counts the ways the certificate is given.
func (cc ClientCertificate) sources() int {
	count := 0
	for _, given := range []bool{cc.CertificateFile != "", cc.Certificate != "", cc.Generate} {
		if given {
			count++
		}
	}
	return count
}

func validateOperations(where string, operations []Operation) error {
	for _, o := range operations {
		if !slices.Contains(allOperations(), o) {
			return fmt.Errorf("%s: deny: unknown operation %q; known are %q", where, o, allOperations())
		}
	}
	return nil
}

func (p Profile) validate() error {
	var problems []error
	if !profileIDPattern.MatchString(p.ID) {
		problems = append(problems, errors.New(`id must be "IOT_" and a lower-case UUID`))
	}
	for _, t := range append(slices.Clone(p.KeyTypes), p.DefaultKeyType, p.FixedKeyType) {
		problems = append(problems, oneOf("key type", t, keyTypeNames()...))
	}
	if p.DefaultKeyType != "" && !slices.Contains(p.keyTypes(), p.DefaultKeyType) {
		problems = append(problems, fmt.Errorf("defaultKeyType %s is not among keyTypes", p.DefaultKeyType))
	}
	if p.Validity < 0 || p.UsageLimit < 0 {
		problems = append(problems, errors.New("validity and usageLimit must not be negative"))
	}
	problems = append(problems,
		oneOf("keyGenerationOption", p.KeyGenerationOption, serverSide, clientOrServerSide, clientSide),
		oneOf("approval", p.Approval, approvalAuto, approvalManual),
		oneOf("duplicateDevice", p.DuplicateDevice, duplicateReuse, duplicateReject),
		p.Renewal.validate(),
		validateFields("certificateFields", p.CertificateFields),
		validateFields("deviceFields", p.DeviceFields))
	return errors.Join(problems...)
}

func (r Renewal) validate() error {
	problems := []error{
		oneOf("renewal.renewValidCert", r.RenewValidCert, renewAnytime, renewInWindow, renewNever),
		oneOf("renewal.renewExpiredCert", r.RenewExpiredCert, renewAnytime, renewInWindow, renewNever),
	}
	if r.RenewValidCert == renewInWindow && r.RenewBeforeExpirationWindow <= 0 {
		problems = append(problems, errors.New("renewal.renewBeforeExpirationWindow is needed with in_specific_window"))
	}
	if r.RenewExpiredCert == renewInWindow && r.RenewAfterExpirationWindow <= 0 {
		problems = append(problems, errors.New("renewal.renewAfterExpirationWindow is needed with in_specific_window"))
	}
	return errors.Join(problems...)
}

func validateFields(where string, fields []Field) error {
	seen := map[string]bool{}
	for _, f := range fields {
		switch {
		case f.ID == "" || seen[f.ID]:
			return fmt.Errorf("%s: id %q must be set and unique", where, f.ID)
		case len(f.Default) > 0 && len(f.Fixed) > 0:
			return fmt.Errorf("%s: %s has both default and fixed", where, f.ID)
		}
		seen[f.ID] = true
	}
	return nil
}

// oneOf accepts the empty string, which stands for the default.
func oneOf(what, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: unknown value %q; known are %q", what, value, allowed)
}

// keyTypes are the key types a request to the profile may name.
func (p Profile) keyTypes() []string {
	if len(p.KeyTypes) == 0 {
		return keyTypeNames()
	}
	return p.KeyTypes
}

// withDefaults fills in everything the configuration left out.
func (p Profile) withDefaults() Profile {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&p.Name, p.ID)
	fill(&p.KeyGenerationOption, serverSide)
	fill(&p.Approval, approvalAuto)
	fill(&p.DuplicateDevice, duplicateReuse)
	fill(&p.Renewal.RenewValidCert, renewAnytime)
	fill(&p.Renewal.RenewExpiredCert, renewNever)
	p.KeyTypes = p.keyTypes()
	fill(&p.DefaultKeyType, p.KeyTypes[0])
	if len(p.Methods) == 0 {
		p.Methods = []string{methodAPI}
	}
	if len(p.CertificateFields) == 0 {
		p.CertificateFields = []Field{{ID: attributeCommonName, Name: "Common name", Mandatory: true}}
	}
	if len(p.DeviceFields) == 0 {
		p.DeviceFields = []Field{{ID: attributeDeviceIdentifier, Name: "Device identifier"}}
	}
	if p.Validity == 0 {
		p.Validity = Duration(defaultValidity)
	}
	if p.Backdate == nil {
		backdate := Duration(defaultBackdate)
		p.Backdate = &backdate
	}
	if p.Renewal.RenewRevokedCert == nil {
		allowed := true
		p.Renewal.RenewRevokedCert = &allowed
	}
	return p
}
