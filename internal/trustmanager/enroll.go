// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	opEnroll        = "enroll"
	opRenew         = "renew"
	opSearch        = "search"
	opRevoke        = "revoke"
	opSpecification = "specification"
)

// Attribute is one value of a certificate or device field.
type Attribute struct {
	// ID is the vendor's name of the field, e.g. subject.common_name or
	// DEVICE_IDENTIFIER, or the UUID of a custom device field.
	ID string

	// Value is the value of a single-valued field; ignored if Values is not nil.
	Value string

	// Values are the values of a multi-valued field, sent as a JSON array.
	Values []string
}

// CertificateRef names the certificate to renew: exactly one field is set.
type CertificateRef struct {
	// ID is the vendor's certificate id, a UUID.
	ID string

	// Serial is the serial number in hexadecimal without separators; it is sent in
	// upper case, the spelling of the vendor's inventory.
	Serial string
}

// Enroll asks for a new certificate and private key. It sends one POST, whatever
// happens; a certificate may exist if the error's Delivery is Ambiguous or Answered.
// Pass a context that is not cancelled while the answer is on its way, for that answer
// holds the only copy of the key.
func (c *Client) Enroll(ctx context.Context, request KeyRequest) (*Issued, error) {
	return c.issue(ctx, opEnroll, "/certificate", request)
}

// Renew asks for a successor of a certificate, with a new private key. It is as
// unrepeatable as Enroll. The full set of attributes should be sent again: whether the
// vendor takes over missing ones from the predecessor is unknown. A renewal outside
// the window set by the vendor is refused like any invalid request.
func (c *Client) Renew(ctx context.Context, predecessor CertificateRef, request KeyRequest) (*Issued, error) {
	segment, err := predecessor.pathSegment()
	if err != nil {
		return nil, c.refuse(call{op: opRenew}, err)
	}
	return c.issue(ctx, opRenew, "/certificate/"+segment+"/renew", request)
}

func (c *Client) issue(ctx context.Context, op, path string, request KeyRequest) (*Issued, error) {
	call := call{
		op: op, method: http.MethodPost, path: path,
		body: request.wire(), secrets: []string{request.PKCS12Password},
	}
	if err := request.validate(); err != nil {
		return nil, c.refuse(call, err)
	}
	received, err := c.do(ctx, call)
	if err != nil {
		return nil, err
	}
	clean := c.redactor(call)
	issued, err := parseIssued(received, func(text string) string { return clean.clean(text, maxWordBytes) })
	if err != nil {
		return nil, c.unusable(call, received, err)
	}
	return issued, nil
}

func (r KeyRequest) validate() error {
	if r.ProfileID == "" {
		return errors.New("the request names no enrollment profile")
	}
	if r.PrivateKeyFormat == "" {
		return errors.New("the request names no private key format") // the vendor's default is unknown
	}
	for _, list := range [][]Attribute{r.CertificateAttributes, r.DeviceAttributes} {
		for _, attribute := range list {
			if err := attribute.validate(); err != nil {
				return err
			}
		}
	}
	for _, word := range []string{r.ProfileID, r.KeyType, r.PrivateKeyFormat, r.PrivateKeySyntax, r.PKCS12Password, r.EncryptionCertificatePEM} {
		if !utf8.ValidString(word) {
			return errors.New("the request contains text that is not valid UTF-8")
		}
	}
	return nil
}

// validate refuses invalid UTF-8, which encoding/json would silently replace: the
// certificate would then be made out to another name.
func (a Attribute) validate() error {
	if a.ID == "" {
		return errors.New("an attribute has no id")
	}
	if !utf8.ValidString(a.ID + a.Value + strings.Join(a.Values, "")) {
		return fmt.Errorf("attribute %q is not valid UTF-8", a.ID)
	}
	return nil
}

func (r KeyRequest) wire() wireKeyRequest {
	return wireKeyRequest{
		EnrollmentProfileID:          r.ProfileID,
		CertificateProfileAttributes: wireAttributes(r.CertificateAttributes),
		DeviceAttributes:             wireAttributes(r.DeviceAttributes),
		ServerSideKeyGen:             true,
		KeyType:                      r.KeyType,
		PrivateKeyFormat:             r.PrivateKeyFormat,
		PrivateKeySyntax:             r.PrivateKeySyntax,
		PKCS12Password:               r.PKCS12Password,
		EncryptionCertificate:        r.EncryptionCertificatePEM,
		IncludeCertificateChain:      r.IncludeChain,
	}
}

func wireAttributes(attributes []Attribute) []wireAttribute {
	wire := make([]wireAttribute, 0, len(attributes))
	for _, attribute := range attributes {
		var value any = attribute.Value
		if attribute.Values != nil {
			value = attribute.Values
		}
		wire = append(wire, wireAttribute{ID: attribute.ID, Value: value})
	}
	return wire
}

var (
	uuidPattern    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	serialPattern  = regexp.MustCompile(`^[0-9a-fA-F]{1,64}$`)
	profilePattern = regexp.MustCompile(`^[0-9A-Za-z_-]{1,128}$`)
)

// pathSegment returns the id or serial. Both become part of a path, so nothing but
// their own alphabet passes: an id like "../x/revoke" would be another call.
func (r CertificateRef) pathSegment() (string, error) {
	switch {
	case r.ID != "" && r.Serial != "":
		return "", errors.New("a certificate is named by id or by serial number, not by both")
	case r.ID != "":
		return certificateIDSegment(r.ID)
	case serialPattern.MatchString(r.Serial):
		return strings.ToUpper(r.Serial), nil
	}
	return "", errors.New("the serial number of the certificate is not hexadecimal")
}

func certificateIDSegment(id string) (string, error) {
	if !uuidPattern.MatchString(id) {
		return "", errors.New("the certificate id is not a UUID")
	}
	return id, nil
}
