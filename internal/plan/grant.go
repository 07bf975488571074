// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// Denied says why no grant covers what the spec, its attributes under ids, asks for from a namespace with these labels; empty when one
// does. A request must satisfy one grant whole: two halves of two grants do not add up. Grants may name attributes by their names:
// idsOf answers with the ids that a bound holds for, and none if nobody can tell; such a grant then covers nothing.
func Denied(grants []v1alpha1.Grant, namespaceLabels map[string]string, spec *v1alpha1.DeviceCertificateSpec, idsOf func(idOrName string) []string) string {
	if len(grants) == 0 {
		return fmt.Sprintf("%s %s grants nothing to anybody: its owner must add spec.grants", spec.IssuerRef.Kind, spec.IssuerRef.Name)
	}
	nearest := "no grant selects this namespace by its labels"
	for i := range grants {
		denied := deniedBy(&grants[i], namespaceLabels, spec, idsOf)
		if denied == "" {
			return ""
		}
		if denied != notSelected {
			nearest = denied
		}
	}
	return fmt.Sprintf("%s %s does not grant this request: %s; correct the request, or ask the issuer's owner for a wider grant", spec.IssuerRef.Kind, spec.IssuerRef.Name, nearest)
}

const notSelected = "namespace not selected"

// deniedBy says why this one grant does not cover the request; empty when it does.
func deniedBy(g *v1alpha1.Grant, namespaceLabels map[string]string, spec *v1alpha1.DeviceCertificateSpec, idsOf func(string) []string) string {
	selector, err := metav1.LabelSelectorAsSelector(&g.Namespaces)
	if err != nil {
		return "its namespace selector is invalid: " + err.Error()
	}
	if !selector.Matches(labels.Set(namespaceLabels)) {
		return notSelected
	}
	if len(g.Profiles) > 0 && !slices.Contains(g.Profiles, spec.EnrollmentProfileID) {
		return "profile " + spec.EnrollmentProfileID + " is not among those granted to this namespace"
	}
	for _, bound := range g.Attributes {
		if denied := outside(bound, spec, idsOf(bound.ID)); denied != "" {
			return denied
		}
	}
	return ""
}

// outside says which value of the request the bound, which holds for attributes of these ids, does not allow.
func outside(bound v1alpha1.AttributeGrant, spec *v1alpha1.DeviceCertificateSpec, ids []string) string {
	if len(ids) == 0 {
		return fmt.Sprintf("it bounds attribute %q, which is no id, and the profile's enrollment specification does not tell whose name it is: its owner must write the id", bound.ID)
	}
	for _, a := range slices.Concat(spec.CertificateAttributes, spec.DeviceAttributes) {
		if !slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, a.ID) }) {
			continue
		}
		for _, value := range attributeValues(a) {
			if !allows(bound, value) {
				return fmt.Sprintf("value %q of attribute %s is outside what is granted to this namespace", value, a.ID)
			}
		}
	}
	return ""
}

func attributeValues(a v1alpha1.Attribute) []string {
	if a.Value != nil {
		return []string{*a.Value}
	}
	return a.Values
}

func allows(bound v1alpha1.AttributeGrant, value string) bool {
	return slices.Contains(bound.Values, value) ||
		slices.ContainsFunc(bound.Prefixes, func(p string) bool { return p != "" && strings.HasPrefix(value, p) }) ||
		slices.ContainsFunc(bound.Suffixes, func(s string) bool { return s != "" && strings.HasSuffix(value, s) })
}
