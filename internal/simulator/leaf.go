// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// leafTemplate turns attributes into a certificate template. Key usages follow the key later, in leafKeyUsage.
func leafTemplate(profile Profile, attributes []Attribute, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		NotBefore:             now.Add(-time.Duration(*profile.Backdate)).Truncate(time.Second),
		NotAfter:              now.Add(time.Duration(profile.Validity)).Truncate(time.Second),
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, a := range attributes {
		for _, value := range a.Value {
			if err := applyAttribute(template, a.ID, value); err != nil {
				return nil, err
			}
		}
	}
	if profile.SubjectRewrite.CommonName != "" {
		template.Subject.CommonName = profile.SubjectRewrite.CommonName
	}
	if extra := profile.SubjectRewrite.AppendOrganization; extra != "" {
		template.Subject.Organization = append(template.Subject.Organization, extra)
	}
	return template, nil
}

// applyAttribute puts one value in its place. The first six ids are documented by the vendor or seen in its samples, the
// others are spelt by analogy.
func applyAttribute(template *x509.Certificate, id, value string) error {
	subject := &template.Subject
	switch id {
	case attributeCommonName:
		subject.CommonName = value
	case "subject.organization_name":
		subject.Organization = append(subject.Organization, value)
	case "subject.organization_unit":
		subject.OrganizationalUnit = append(subject.OrganizationalUnit, value)
	case "subject.country":
		subject.Country = append(subject.Country, value)
	case "subject.state":
		subject.Province = append(subject.Province, value)
	case "san.dns_name":
		template.DNSNames = append(template.DNSNames, value)
	case "subject.locality":
		subject.Locality = append(subject.Locality, value)
	case "subject.serial_number":
		subject.SerialNumber = value
	case "subject.user_id":
		subject.ExtraNames = append(subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: value})
	case "san.ip_address":
		ip := net.ParseIP(value)
		if ip == nil {
			return invalidInput("attribute %s: %q is not an IP address", id, value)
		}
		template.IPAddresses = append(template.IPAddresses, ip)
	case "san.email":
		template.EmailAddresses = append(template.EmailAddresses, value)
	case "san.uri":
		u, err := url.Parse(value)
		if err != nil || u.Scheme == "" {
			return invalidInput("attribute %s: %q is not an absolute URI", id, value)
		}
		template.URIs = append(template.URIs, u)
	case "signature_algorithm":
		if !strings.EqualFold(value, "match_issuer") {
			return invalidInput("attribute signature_algorithm: the stand-in supports match_issuer only, not %q", value)
		}
	default:
		return invalidInput("attribute %s: the stand-in does not know where it goes in a certificate", id)
	}
	return nil
}

// leafKeyUsage is what the key can do: only RSA encrypts keys.
func leafKeyUsage(public crypto.PublicKey) x509.KeyUsage {
	if _, ok := public.(*rsa.PublicKey); ok {
		return x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	return x509.KeyUsageDigitalSignature
}

// subjectPublicKeyBits takes the bit string out of a SubjectPublicKeyInfo.
func subjectPublicKeyBits(spki []byte) ([]byte, error) {
	var parsed struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &parsed); err != nil {
		return nil, fmt.Errorf("read a public key: %w", err)
	}
	return parsed.PublicKey.Bytes, nil
}
