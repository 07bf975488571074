// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/profile"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// readProfile reads what the profile wants, puts the attributes of what is asked for under their ids, and says what the vendor would
// refuse. Only a purchase needs it: an object that has what its spec asks for is told by the hash of the request as it is written.
func (r *DeviceCertificateReconciler) readProfile(ctx context.Context, s *scope) (*plan.Problem, error) {
	wants := specificationOf(ctx, r.Accounts, s.issuer.ID, s.cert.Spec.EnrollmentProfileID)
	s.wants = wants
	request, err := wants.Resolve(requestOfSpec(&s.cert.Spec))
	if err != nil {
		r.Accounts.SpecificationDoubted(s.issuer.ID, s.cert.Spec.EnrollmentProfileID)
		return invalid("nothing was asked of the vendor: %v", err), nil
	}
	s.asked = s.cert.Spec.DeepCopy()
	for i, v := range request.CertificateAttributes {
		s.asked.CertificateAttributes[i].ID = v.ID
	}
	for i, v := range request.DeviceAttributes {
		s.asked.DeviceAttributes[i].ID = v.ID
	}
	s.snapshot.IssuanceHash, err = plan.IssuanceHash(s.issuer.Host(), s.asked, s.encryption.keySHA256)
	if err != nil || wants == nil || s.boughtBefore() {
		return nil, err
	}
	if err := wants.Check(request).Err(); err != nil {
		r.Accounts.SpecificationDoubted(s.issuer.ID, s.cert.Spec.EnrollmentProfileID)
		return invalid("nothing was asked of the vendor, as the enrollment profile does not admit the request: %v. The profile wants %s", err, wants.Wants()), nil
	}
	return nil, nil
}

// specificationOf is what a profile wants; nil while that cannot be known.
func specificationOf(ctx context.Context, accounts *account.Registry, id account.ID, profileID string) *profile.Specification {
	answer := accounts.Specification(ctx, id, profileID)
	if answer == nil {
		return nil
	}
	fields := make([]profile.Field, 0, len(answer.Fields))
	for _, f := range answer.Fields {
		fields = append(fields, profile.Field{Type: f.Type, Attribute: profile.Attribute{
			ID: f.ID, Name: f.Name, ValueType: f.ValueType, Mandatory: f.Mandatory, Fixed: f.Fixed, Multiple: f.Multiple,
			Default: f.Default, Options: f.Options,
		}})
	}
	return profile.New(profileID, fields)
}

// boughtBefore tells whether the vendor has sold the very same before: a reading of the profile that says it would not must then not keep
// a fleet from being renewed. A refusal costs nothing.
func (s *scope) boughtBefore() bool {
	return s.secret.IssuanceHash != "" && s.secret.IssuanceHash == s.snapshot.IssuanceHash
}

// requestOfSpec is what a spec asks for, in the words of a profile.
func requestOfSpec(spec *v1alpha1.DeviceCertificateSpec) profile.Request {
	values := func(attributes []v1alpha1.Attribute) []profile.Value {
		var values []profile.Value
		for _, a := range attributes {
			values = append(values, profile.Value{ID: a.ID, Values: attributeValues(a)})
		}
		return values
	}
	return profile.Request{
		CertificateAttributes: values(spec.CertificateAttributes), DeviceAttributes: values(spec.DeviceAttributes),
		KeyType: spec.PrivateKey.KeyType, Format: string(spec.PrivateKey.Format),
	}
}

// wireAttributes are attributes as they are sent: a list where the profile takes several values, and else as the spec has them.
func wireAttributes(attributes []v1alpha1.Attribute, wants *profile.Specification, kind profile.Kind) []trustmanager.Attribute {
	wire := make([]trustmanager.Attribute, 0, len(attributes))
	for _, a := range attributes {
		values, list := attributeValues(a), a.Value == nil
		if known, ok := wants.Find(kind, a.ID); ok {
			list = known.Multiple
		}
		if list || len(values) != 1 {
			wire = append(wire, trustmanager.Attribute{ID: a.ID, Values: values})
		} else {
			wire = append(wire, trustmanager.Attribute{ID: a.ID, Value: values[0]})
		}
	}
	return wire
}

// profileHint is what to add to the vendor's refusal: what the profile lists, and what of the request looks odd beside it.
func (s *scope) profileHint() string {
	if s.wants == nil {
		return ""
	}
	report := s.wants.Check(requestOfSpec(s.asked))
	hint := ". The profile wants " + s.wants.Wants()
	if remarks := append(report.Problems, report.Warnings...); len(remarks) > 0 {
		hint += fmt.Sprintf("; note that %s", strings.Join(remarks, "; "))
	}
	return hint
}
