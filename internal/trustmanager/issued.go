// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// KeyRequest asks for a certificate whose private key the vendor makes. Words such as
// key type and format are the vendor's and pass through untouched; see
// docs/vendor-api.md, section 4. It shows itself without password and attributes.
type KeyRequest struct {
	// ProfileID is the enrollment profile, "IOT_" and a UUID. Required.
	ProfileID string

	// CertificateAttributes fill certificate fields, DeviceAttributes device fields.
	// Which are mandatory is told by Client.EnrollmentSpecification.
	CertificateAttributes, DeviceAttributes []Attribute

	// KeyType is e.g. p_256 or rsa_2048; empty means the profile's default.
	KeyType string

	// PrivateKeyFormat is pem, der, pkcs_12, cert_encrypted or cert_encrypted_key_only.
	// Required: the vendor's default is unknown.
	PrivateKeyFormat string

	// PrivateKeySyntax is the ASN.1 syntax of the key; empty means the vendor's default.
	// Its values are not documented.
	PrivateKeySyntax string

	// PKCS12Password protects the bundle of format pkcs_12: 6 to 20 letters and digits.
	// The vendor may keep it in its audit log, so it should be used once.
	PKCS12Password string

	// EncryptionCertificatePEM is the RSA end-entity certificate to whose key the
	// formats cert_encrypted and cert_encrypted_key_only encrypt.
	EncryptionCertificatePEM string

	// IncludeChain asks for the issuing CAs and the root beside the leaf.
	IncludeChain bool
}

// String names profile, key type and format.
func (r KeyRequest) String() string {
	return fmt.Sprintf("key request for profile %s, key type %q, format %q", r.ProfileID, r.KeyType, r.PrivateKeyFormat)
}

// GoString is String.
func (r KeyRequest) GoString() string { return r.String() }

// Format writes String, whatever the verb.
func (r KeyRequest) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, r.String()) }

// LogValue is String.
func (r KeyRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText is String, for encoding/json and its like.
func (r KeyRequest) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Issued is the vendor's answer to Enroll and Renew. The fields are the vendor's and
// unverified. It shows itself without contents.
type Issued struct {
	// RequestID is the id of the request, not of the certificate.
	RequestID string

	// CertificateID is what Renew and Revoke take; empty while pending.
	CertificateID string

	// Status is the request's status; AUTO_APPROVED is the only value known.
	Status string

	// Result is SUCCESS in every known answer.
	Result string

	// PEM holds the leaf, then the chain if it was asked for. It may be empty with the
	// formats pkcs_12 and cert_encrypted, which carry the certificate in PrivateKey.
	PEM string

	// PrivateKey is PEM text with format pem, base64 otherwise.
	PrivateKey string

	// HTTPStatus is the status of the answer, always 2xx.
	HTTPStatus int

	// ServerDate is the vendor's clock when it answered; zero when it did not say.
	ServerDate time.Time

	// Shape describes the answer for a log line, for when it cannot be decoded: names,
	// lengths and PEM block types of the fields present, never their contents.
	Shape string
}

// Pending reports whether the vendor accepted the request and has not issued yet,
// typically because the profile demands an approval. There is no way to poll for it.
func (i *Issued) Pending() bool {
	return i.PEM == "" && i.PrivateKey == "" && (i.RequestID != "" || i.Status != "" && !isApproved(i.Status))
}

func isApproved(status string) bool {
	return strings.EqualFold(status, "AUTO_APPROVED") || strings.EqualFold(status, "APPROVED")
}

// String shows ids, status and shape.
func (i Issued) String() string {
	return fmt.Sprintf("answer %d: request %s, certificate %s, status %q, result %q, shape {%s}",
		i.HTTPStatus, i.RequestID, i.CertificateID, i.Status, i.Result, i.Shape)
}

// GoString is String.
func (i Issued) GoString() string { return i.String() }

// Format writes String, whatever the verb.
func (i Issued) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, i.String()) }

// LogValue is String.
func (i Issued) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText is String, for encoding/json and its like.
func (i Issued) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// maxWordBytes bounds the vendor's ids and status words, which end up in statuses and
// annotations; a UUID has 36.
const maxWordBytes = 128

// parseIssued reads the answer to enroll and renew. word makes a short text of the
// vendor fit for statuses.
func parseIssued(received *answer, word func(string) string) (*Issued, error) {
	var decoded wireIssued
	if err := decodeObject(received.body, &decoded); err != nil {
		return nil, err
	}
	issued := &Issued{
		RequestID:     word(decoded.CertificateRequestID),
		CertificateID: word(decoded.CertificateID),
		Status:        word(decoded.Status),
		Result:        word(decoded.Result),
		PEM:           decoded.PEM,
		PrivateKey:    decoded.PrivateKey,
		HTTPStatus:    received.status,
		ServerDate:    received.serverDate,
		Shape:         shape(received.body),
	}
	if issued.PEM != "" || issued.PrivateKey != "" {
		return issued, nil
	}
	if err := checkNoError(received.body); err != nil {
		return nil, err
	}
	if issued.failed() {
		return nil, fmt.Errorf("the vendor reports result %q, status %q and no certificate", issued.Result, issued.Status)
	}
	if !issued.Pending() {
		return nil, fmt.Errorf("the answer holds neither a certificate nor a request id but {%s}", issued.Shape)
	}
	return issued, nil
}

// failed reports whether the result is a failure. The vendor's words for it are
// unknown; whatever is neither success nor a matter of waiting counts.
func (i *Issued) failed() bool {
	return i.Result != "" && !strings.EqualFold(i.Result, "SUCCESS") && !strings.EqualFold(i.Result, "PENDING")
}
