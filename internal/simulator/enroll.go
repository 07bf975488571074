// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Words of the answer to enroll and renew. PENDING is invented: no answer awaiting approval was ever seen.
const (
	requestApproved = "AUTO_APPROVED"
	requestPending  = "PENDING"
	resultSuccess   = "SUCCESS"
)

// maxDeviceIdentifier is the vendor's limit in characters.
const maxDeviceIdentifier = 255

var pkcs12Password = regexp.MustCompile(`^[A-Za-z0-9]{6,20}$`)

// order is what is about to be issued.
type order struct {
	profile               Profile
	certificateAttributes []Attribute
	deviceAttributes      []Attribute
	deviceIdentifier      string
	kind                  string
}

// identifyIssue reads the body of an enroll.
func (s *Server) identifyIssue(c *call) error {
	request, err := decodeIssueRequest(c.body)
	if err != nil {
		return err
	}
	c.issue = request
	c.profileID = request.EnrollmentProfileID
	for _, a := range request.CertificateProfileAttributes {
		if a.ID == attributeCommonName && len(a.Value) > 0 {
			c.commonName = a.Value[0]
		}
	}
	return nil
}

// enroll is POST /iot/api/v1/certificate.
func (s *Server) enroll(c *call) (reply, error) {
	o, err := s.orderFor(c, kindEnroll)
	if err != nil {
		return reply{}, err
	}
	return s.fulfil(c, o)
}

// orderFor checks a request against its profile.
func (s *Server) orderFor(c *call, kind string) (order, error) {
	profile, ok := s.profiles[c.profileID]
	if !ok {
		return order{}, invalidInput("enrollment profile %q does not exist", c.profileID)
	}
	profile = s.Switches().over(profile)
	if c.credential.profileID != "" && c.credential.profileID != c.profileID {
		return order{}, denied("credential %s belongs to another enrollment profile", c.credential.name)
	}
	if !slices.Contains(profile.Methods, methodAPI) {
		return order{}, invalidInput("enrollment profile %s does not allow the API method", profile.ID)
	}
	if err := checkKeyRequest(&c.issue, profile); err != nil {
		return order{}, err
	}
	certificateAttributes, err := fromWire(c.issue.CertificateProfileAttributes)
	if err != nil {
		return order{}, err
	}
	deviceAttributes, err := fromWire(c.issue.DeviceAttributes)
	if err != nil {
		return order{}, err
	}
	if c.predecessor != nil && !s.Switches().StrictRenew {
		certificateAttributes = inherit(certificateAttributes, c.predecessor.CertificateAttributes)
		deviceAttributes = inherit(deviceAttributes, c.predecessor.DeviceAttributes)
	}
	if c.credential.passcode != nil {
		if certificateAttributes, err = pin(certificateAttributes, c.credential.passcode.RegisteredValues); err != nil {
			return order{}, err
		}
	}
	o := order{profile: profile, kind: kind}
	if o.certificateAttributes, err = resolve(profile.CertificateFields, certificateAttributes); err != nil {
		return order{}, err
	}
	if o.deviceAttributes, err = resolve(profile.DeviceFields, deviceAttributes); err != nil {
		return order{}, err
	}
	o.deviceIdentifier = identifierOf(o)
	if utf8.RuneCountInString(o.deviceIdentifier) > maxDeviceIdentifier {
		return order{}, invalidInput("attribute %s is longer than %d characters", attributeDeviceIdentifier, maxDeviceIdentifier)
	}
	return o, nil
}

// identifierOf is the device's name; without one the stand-in uses the common name, and without that makes one up.
func identifierOf(o order) string {
	named := orDefault(first(o.deviceAttributes, attributeDeviceIdentifier), first(o.certificateAttributes, attributeCommonName))
	return orDefault(named, "device-"+uuid.NewString())
}

// checkKeyRequest checks everything about keys, and settles the key type.
func checkKeyRequest(request *issueRequest, profile Profile) error {
	switch {
	case request.CSR != "":
		return invalidInput("csr is not supported by the stand-in; it plays server-side key generation only")
	case !request.ServerSideKeyGen:
		return invalidInput("neither csr nor server_side_key_gen=true was sent")
	case profile.KeyGenerationOption == clientSide:
		return invalidInput("enrollment profile %s does not allow server-side key generation", profile.ID)
	case request.PrivateKeyFormat == "":
		return invalidInput("private_key_format is missing; known are %s", strings.Join(privateKeyFormats(), ", "))
	case !slices.Contains(privateKeyFormats(), request.PrivateKeyFormat):
		return invalidInput("private_key_format %q is unknown; known are %s", request.PrivateKeyFormat, strings.Join(privateKeyFormats(), ", "))
	case request.PrivateKeyFormat == formatPKCS12 && !pkcs12Password.MatchString(request.PKCS12Password):
		return invalidInput("pkcs12_password must be 6 to 20 characters out of A-Z, a-z and 0-9")
	}
	if syntax := canonicalSyntax(request.PrivateKeySyntax); syntax != "" && syntax != syntaxPKCS1 && syntax != syntaxPKCS8 {
		return invalidInput("private_key_syntax %q is unknown; the stand-in knows pkcs_1 and pkcs_8", request.PrivateKeySyntax)
	}
	if request.PrivateKeyFormat == formatEncrypted || request.PrivateKeyFormat == formatEncryptedKey {
		if _, err := parseRecipient(request.EncryptionCertificate); err != nil {
			return err
		}
	}
	request.KeyType = orDefault(profile.FixedKeyType, orDefault(request.KeyType, profile.DefaultKeyType))
	if profile.FixedKeyType == "" && !slices.Contains(profile.KeyTypes, request.KeyType) {
		return invalidInput("key_type %q is not allowed by the profile; allowed are %s", request.KeyType, strings.Join(profile.KeyTypes, ", "))
	}
	if request.KeyType == keyEd25519 && canonicalSyntax(request.PrivateKeySyntax) == syntaxPKCS1 {
		return invalidInput("private_key_syntax %s does not exist for %s", request.PrivateKeySyntax, keyEd25519)
	}
	return nil
}

// fulfil issues, commits and answers. The certificate is on disk before the answer exists.
func (s *Server) fulfil(c *call, o order) (reply, error) {
	requestID := uuid.NewString()
	if o.profile.Approval == approvalManual {
		return jsonReply(http.StatusOK, issueResponse{CertificateRequestID: requestID, Status: requestPending, Result: resultSuccess}), nil
	}
	if c.fault.is(ActionSameCertificate) && c.predecessor != nil {
		return s.answerPredecessor(c, requestID)
	}
	i, err := s.issue(c, o)
	if err != nil {
		return reply{}, err
	}
	entry := s.entryFor(c, o, i, requestID)
	device := s.deviceFor(o)
	entry.DeviceID = device.ID
	// Rendered before the commit, so that a request nobody can answer does not cost a certificate.
	body, err := s.renderIssue(c, i, entry)
	if err != nil {
		return reply{}, err
	}
	if err := s.ledger.commit(entry, device, s.admission(c, o, entry)); err != nil {
		return reply{}, err
	}
	c.certificateID = entry.CertificateID
	if c.fault.is(ActionRevokedAtIssue) {
		if err := s.revokeEntry(entry.CertificateID, reasonUnspecified); err != nil {
			return reply{}, err
		}
	}
	return reply{status: http.StatusOK, contentType: mediaJSON, body: body, delivered: func() { s.markAnswered(entry.CertificateID) }}, nil
}

// issue makes key and certificate.
func (s *Server) issue(c *call, o order) (issued, error) {
	template, err := leafTemplate(o.profile, o.certificateAttributes, s.now())
	if err != nil {
		return issued{}, err
	}
	keyType := c.fault.tamperTemplate(template, c.issue.KeyType, s.now())
	key, err := s.keys.take(keyType)
	if err != nil {
		return issued{}, err
	}
	if !template.IsCA {
		template.KeyUsage = leafKeyUsage(key.Public())
	}
	leaf, err := s.authority.issuing.sign(template, key.Public())
	if err != nil {
		return issued{}, invalidInput("these attributes do not make a certificate: %v", err)
	}
	return issued{leaf: leaf, chain: s.authority.chain(), key: key}, nil
}

func (s *Server) entryFor(c *call, o order, i issued, requestID string) Entry {
	entry := Entry{
		SerialNumber:          serialText(i.leaf.SerialNumber),
		CertificateID:         uuid.NewString(),
		RequestID:             requestID,
		ProfileID:             o.profile.ID,
		CommonName:            i.leaf.Subject.CommonName,
		DeviceIdentifier:      o.deviceIdentifier,
		CertificateAttributes: o.certificateAttributes,
		DeviceAttributes:      o.deviceAttributes,
		Credential:            c.credential.name,
		Kind:                  o.kind,
		IssuedAt:              s.now().UTC(),
		NotBefore:             i.leaf.NotBefore,
		NotAfter:              i.leaf.NotAfter,
		Status:                statusIssued,
		PEM:                   certificatePEM(i.leaf),
	}
	for _, issuer := range i.chain {
		entry.Chain = append(entry.Chain, certificatePEM(issuer))
	}
	if c.predecessor != nil {
		entry.PredecessorID = c.predecessor.CertificateID
	}
	return entry
}

// deviceFor updates the device record of that name, or makes one.
func (s *Server) deviceFor(o order) Device {
	now := s.now().UTC()
	device, ok := s.ledger.device(o.deviceIdentifier)
	if !ok {
		// Derived from the name, so that two first enrolls at the same time agree on the id.
		id := uuid.NewSHA1(uuid.NameSpaceOID, []byte(o.deviceIdentifier)).String()
		device = Device{ID: id, DeviceIdentifier: o.deviceIdentifier, Created: now}
	}
	device.Updated = now
	device.Fields = o.deviceAttributes
	return device
}

// admission checks the limits that depend on what was issued before. It runs under the ledger's lock.
func (s *Server) admission(c *call, o order, e Entry) func([]*record) error {
	return func(records []*record) error {
		now, profileUses, passcodeUses, live, renewed := s.now(), 0, 0, false, false
		for _, r := range records {
			if r.ProfileID == e.ProfileID {
				profileUses++
			}
			if r.Credential == e.Credential {
				passcodeUses++
			}
			live = live || r.DeviceIdentifier == e.DeviceIdentifier && r.statusAt(now) == statusIssued
			renewed = renewed || e.PredecessorID != "" && r.PredecessorID == e.PredecessorID
		}
		passcode := c.credential.passcode
		switch {
		case o.profile.UsageLimit > 0 && profileUses >= o.profile.UsageLimit:
			return invalidInput("the usage limit of enrollment profile %s is exhausted", e.ProfileID)
		case passcode != nil && passcode.UsageLimit > 0 && passcodeUses >= passcode.UsageLimit:
			return invalidInput("the usage limit of passcode %s is exhausted", passcode.Name)
		case o.kind == kindEnroll && o.profile.DuplicateDevice == duplicateReject && live:
			return invalidInput("device %s exists and has a certificate; revoke it first", e.DeviceIdentifier)
		case o.profile.Renewal.RefuseSecondRenew && renewed:
			return invalidInput("certificate %s was renewed already", e.PredecessorID)
		}
		return nil
	}
}

// markAnswered notes that the answer left whole. Best effort: the certificate is issued either way.
func (s *Server) markAnswered(certificateID string) {
	err := s.ledger.change(certificateID, func(e *Entry) error {
		e.Answered = true
		return nil
	})
	if err != nil {
		s.log.Error("cannot note an answer in the ledger", "certificateID", certificateID, "error", err)
	}
}

// formatTime is the vendor's RFC 3339 in UTC.
func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
