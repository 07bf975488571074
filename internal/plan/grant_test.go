// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestARequestMustSatisfyOneGrantWhole(t *testing.T) {
	teamA := metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	bound := func(grants ...v1alpha1.AttributeGrant) []v1alpha1.AttributeGrant { return grants }
	name := func(suffixes ...string) v1alpha1.AttributeGrant {
		return v1alpha1.AttributeGrant{ID: "subject.common_name", Suffixes: suffixes}
	}
	asked := func(edits ...func(*v1alpha1.DeviceCertificateSpec)) *v1alpha1.DeviceCertificateSpec {
		cn := "gw.a.example"
		spec := &v1alpha1.DeviceCertificateSpec{
			IssuerRef: v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "digicert"}, EnrollmentProfileID: "IOT_1",
			CertificateAttributes: []v1alpha1.Attribute{{ID: "subject.common_name", Value: &cn}, {ID: "san.dns_name", Values: []string{"gw.a.example", "gw.b.example"}}},
		}
		for _, edit := range edits {
			edit(spec)
		}
		return spec
	}
	// A profile in which two attributes are called Name, and one Unit.
	idsOf := func(idOrName string) []string {
		switch {
		case idOrName == "Name":
			return []string{"subject.serial_number", "subject.common_name"}
		case strings.Contains(idOrName, " "):
			return nil
		}
		return []string{idOrName}
	}
	for what, c := range map[string]struct {
		grants []v1alpha1.Grant
		spec   *v1alpha1.DeviceCertificateSpec
		// says is part of the denial; empty when granted.
		says string
	}{
		"no grants at all":              {nil, asked(), "grants nothing to anybody"},
		"another namespace":             {[]v1alpha1.Grant{{Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}}}, asked(), "no grant selects this namespace"},
		"this namespace":                {[]v1alpha1.Grant{{Namespaces: teamA}}, asked(), ""},
		"every namespace":               {[]v1alpha1.Grant{{}}, asked(), ""},
		"a selector that is invalid":    {[]v1alpha1.Grant{{Namespaces: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Like"}}}}}, asked(), "invalid"},
		"the profile":                   {[]v1alpha1.Grant{{Namespaces: teamA, Profiles: []string{"IOT_0", "IOT_1"}}}, asked(), ""},
		"another profile":               {[]v1alpha1.Grant{{Namespaces: teamA, Profiles: []string{"IOT_0"}}}, asked(), "profile IOT_1"},
		"name by suffix":                {[]v1alpha1.Grant{{Attributes: bound(name(".a.example"))}}, asked(), ""},
		"name by exact value":           {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "subject.common_name", Values: []string{"gw.a.example"}})}}, asked(), ""},
		"name by prefix":                {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "subject.common_name", Prefixes: []string{"gw."}})}}, asked(), ""},
		"name outside":                  {[]v1alpha1.Grant{{Attributes: bound(name(".c.example"))}}, asked(), `value "gw.a.example" of attribute subject.common_name`},
		"id in another case":            {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "SUBJECT.Common_Name", Suffixes: []string{".c.example"}})}}, asked(), "outside"},
		"one of several values outside": {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "san.dns_name", Suffixes: []string{".a.example"}})}}, asked(), `"gw.b.example"`},
		"empty bounds admit nothing":    {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "san.dns_name", Prefixes: []string{""}, Suffixes: []string{""}})}}, asked(), "outside"},
		"an attribute not asked for":    {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "subject.organization_name"})}}, asked(), ""},
		"device attributes are bound too": {
			[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "DEVICE_IDENTIFIER", Prefixes: []string{"a-"}})}},
			asked(func(s *v1alpha1.DeviceCertificateSpec) {
				id := "b-1"
				s.DeviceAttributes = []v1alpha1.Attribute{{ID: "device_identifier", Value: &id}}
			}), `"b-1"`,
		},
		"a bound by its attribute's name":     {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "Name", Suffixes: []string{".c.example"}})}}, asked(), `"gw.a.example" of attribute subject.common_name`},
		"a bound by name that is kept":        {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "Name", Suffixes: []string{".a.example"}})}}, asked(), ""},
		"a bound on what nobody knows":        {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "Comon name", Suffixes: []string{".a.example"}})}}, asked(), `"Comon name", which is no id`},
		"a suffix is no part of a longer one": {[]v1alpha1.Grant{{Attributes: bound(name("a.example"))}}, asked(func(s *v1alpha1.DeviceCertificateSpec) { *s.CertificateAttributes[0].Value = "gw.A.example" }), "outside"},
		"letters that only look alike":        {[]v1alpha1.Grant{{Attributes: bound(name(".a.example"))}}, asked(func(s *v1alpha1.DeviceCertificateSpec) { *s.CertificateAttributes[0].Value = "gw.\u0430.example" }), "outside"},
		"a letter and its accent apart":       {[]v1alpha1.Grant{{Attributes: bound(v1alpha1.AttributeGrant{ID: "subject.common_name", Values: []string{"caf\u00e9"}})}}, asked(func(s *v1alpha1.DeviceCertificateSpec) { *s.CertificateAttributes[0].Value = "cafe\u0301" }), "outside"},
		"an attribute twice in two cases": {[]v1alpha1.Grant{{Attributes: bound(name(".a.example"))}}, asked(func(s *v1alpha1.DeviceCertificateSpec) {
			other := "gw.b.example"
			s.CertificateAttributes = append(s.CertificateAttributes, v1alpha1.Attribute{ID: "Subject.Common_Name", Value: &other})
		}), `"gw.b.example"`},
		"an attribute of the certificate among the device's": {[]v1alpha1.Grant{{Attributes: bound(name(".a.example"))}}, asked(func(s *v1alpha1.DeviceCertificateSpec) {
			other := "gw.b.example"
			s.DeviceAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &other}}
		}), `"gw.b.example"`},
		"the second grant":               {[]v1alpha1.Grant{{Attributes: bound(name(".c.example"))}, {Attributes: bound(name(".a.example"))}}, asked(), ""},
		"two halves do not add up":       {[]v1alpha1.Grant{{Profiles: []string{"IOT_1"}, Attributes: bound(name(".c.example"))}, {Profiles: []string{"IOT_0"}, Attributes: bound(name(".a.example"))}}, asked(), "does not grant this request"},
		"the nearest miss is what helps": {[]v1alpha1.Grant{{Attributes: bound(name(".c.example"))}, {Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}}}, asked(), "outside what is granted"},
	} {
		t.Run(what, func(t *testing.T) {
			got := Denied(c.grants, map[string]string{"team": "a"}, c.spec, idsOf)
			if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
				t.Errorf("denied with %q, want %q", got, c.says)
			}
			if got != "" && !(strings.HasPrefix(got, "ClusterDeviceIssuer digicert ") && strings.Contains(got, "owner")) {
				t.Errorf("%q does not say whose owner to ask", got)
			}
		})
	}
}
