// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/profile"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// Attribute ids of the vendor that the operator itself understands (docs/vendor-api.md, section 4.4).
const (
	attributeCommonName = "subject.common_name"
	attributeDNSName    = "san.dns_name"
	attributeDevice     = "DEVICE_IDENTIFIER"
)

// newAttempt is the snapshot of what is about to be bought: all that resolving it will ever need.
func (r *DeviceCertificateReconciler) newAttempt(s *scope, p plan.Plan) *v1alpha1.Attempt {
	spec := &s.cert.Spec
	a := &v1alpha1.Attempt{
		ID: uuid.NewString(), Kind: v1alpha1.AttemptEnroll, Reason: p.Reason, Generation: s.cert.Generation,
		IssuerKind: s.issuer.ID.Kind, IssuerName: s.issuer.ID.Name, IssuerUID: string(s.issuer.UID),
		Host: s.issuer.Host(), ProfileID: spec.EnrollmentProfileID,
		CommonName: attributeValue(s.asked.CertificateAttributes, attributeCommonName),
		DeviceID:   attributeValue(s.asked.DeviceAttributes, attributeDevice),
		KeyType:    spec.PrivateKey.KeyType, SecretName: s.layout.Name, IssuanceHash: s.snapshot.IssuanceHash,
		StartedAt: metav1.NewTime(r.Clock.Now()),
	}
	if names := dnsNames(s.asked); len(names) > 0 {
		a.SANDigest = certs.SANDigest(names)
	}
	if p.Action == plan.ActionRenew {
		a.Kind = v1alpha1.AttemptRenew
	}
	a.RequestTimeoutSeconds = int32(max(s.account.RequestTimeout/time.Second, 1))
	if known := predecessor(s); known != nil {
		a.PredecessorSerial = known.SerialNumber
		if known == s.cert.Status.Issued { // any other id stood on a Secret that others may edit
			a.PredecessorID = known.CertificateID
		}
	}
	return a
}

// predecessor is the certificate that the purchase replaces: the one in the Secret or, when that is gone, the one last stored there.
func predecessor(s *scope) *v1alpha1.IssuedCertificate {
	known := s.secret
	if known.Serial == "" {
		known = s.previous
	}
	if issued := s.cert.Status.Issued; issued != nil && (known.Serial == "" || known.fingerprint == issued.FingerprintSHA256) {
		return issued
	}
	if known.Serial == "" {
		return lastDescribed(s.cert)
	}
	return identify(known)
}

// identify is what a Secret shows of a certificate. A sealed one shows no proof of possession, and so has no fingerprint.
func identify(f facts) *v1alpha1.IssuedCertificate {
	kind, name, _ := strings.Cut(f.issuer, "/")
	c := &v1alpha1.IssuedCertificate{
		CertificateID: f.CertificateID, SerialNumber: f.Serial, NotAfter: *timeOf(f.NotAfter),
		IssuerKind: issuerKind(kind), IssuerName: name, Host: f.host, ProfileID: f.profileID,
	}
	if !f.sealed {
		c.FingerprintSHA256 = f.fingerprint
	}
	return c
}

// issuerKind reads an annotation that anybody may have edited.
func issuerKind(text string) v1alpha1.IssuerKind {
	if kind := v1alpha1.IssuerKind(text); kind == v1alpha1.KindClusterDeviceIssuer {
		return kind
	}
	return v1alpha1.KindDeviceIssuer
}

// lastDescribed is the certificate the status describes without proof that it was ours.
func lastDescribed(c *v1alpha1.DeviceCertificate) *v1alpha1.IssuedCertificate {
	status := &c.Status
	if status.SerialNumber == "" || status.NotAfter == nil {
		return nil
	}
	return &v1alpha1.IssuedCertificate{CertificateID: status.CertificateID, SerialNumber: status.SerialNumber, NotAfter: *status.NotAfter}
}

// keyRequest is what is sent to the vendor. The chain is always asked for, because verifying needs it; only a sealed bundle, which the
// operator cannot repack, is asked for as it shall be stored.
func keyRequest(s *scope, attemptID string) trustmanager.KeyRequest {
	spec := &s.cert.Spec
	q := trustmanager.KeyRequest{
		ProfileID:                spec.EnrollmentProfileID,
		CertificateAttributes:    wireAttributes(s.asked.CertificateAttributes, s.wants, profile.Certificate),
		DeviceAttributes:         wireAttributes(s.asked.DeviceAttributes, s.wants, profile.Device),
		KeyType:                  spec.PrivateKey.KeyType,
		PrivateKeyFormat:         string(spec.PrivateKey.Format),
		PrivateKeySyntax:         spec.PrivateKey.Syntax,
		EncryptionCertificatePEM: s.encryption.pem,
		IncludeChain:             true,
	}
	if spec.PrivateKey.Format == v1alpha1.FormatPKCS12 {
		q.PKCS12Password = transportPassword()
	}
	if spec.PrivateKey.Format == v1alpha1.FormatCertEncrypted && spec.PrivateKey.Delivery == v1alpha1.DeliverySealed {
		q.IncludeChain = plan.ChainWanted(spec) == v1alpha1.ChainInclude
	}
	if marker := s.issuer.Spec.Orphans.MarkerAttribute; marker != "" {
		q.CertificateAttributes = append(q.CertificateAttributes, trustmanager.Attribute{ID: marker, Value: attemptID})
	}
	return q
}

// transportPassword protects one PKCS#12 answer on its way and is thrown away with it: 20 characters, the most the vendor takes, of the
// base32 alphabet.
func transportPassword() string {
	return rand.Text()[:20]
}

// expectation is what the issued certificate is compared with.
func expectation(s *scope, a *v1alpha1.Attempt) certs.Expectation {
	want := certs.Expectation{
		CommonName: a.CommonName, DeviceIdentifier: a.DeviceID, DNSNames: dnsNames(s.asked),
		KeyType: a.KeyType, PredecessorSerial: a.PredecessorSerial,
	}
	if b := s.cert.Spec.Renewal.RenewBefore; b != nil {
		want.MinRemaining = b.Duration
	}
	return want
}

func dnsNames(spec *v1alpha1.DeviceCertificateSpec) []string {
	for _, a := range spec.CertificateAttributes {
		if strings.EqualFold(a.ID, attributeDNSName) {
			return attributeValues(a)
		}
	}
	return nil
}

func attributeValue(attributes []v1alpha1.Attribute, id string) string {
	for _, a := range attributes {
		if values := attributeValues(a); strings.EqualFold(a.ID, id) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

func attributeValues(a v1alpha1.Attribute) []string {
	if a.Value != nil {
		return []string{*a.Value}
	}
	return slices.Clone(a.Values)
}

// describePurchase names what is bought, for events and logs.
func describePurchase(a *v1alpha1.Attempt) string {
	if a.CommonName != "" {
		return fmt.Sprintf("%s from profile %s", a.CommonName, a.ProfileID)
	}
	return "profile " + a.ProfileID
}
