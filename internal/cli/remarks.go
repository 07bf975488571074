// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// remarkable are the conditions that do not touch Ready and are worth knowing, with the status that makes them so.
var remarkable = []struct {
	kind   string
	status metav1.ConditionStatus
}{
	{v1alpha1.ConditionDiffersFromRequest, metav1.ConditionTrue},
	{v1alpha1.ConditionOutputsIncomplete, metav1.ConditionTrue},
	{v1alpha1.ConditionRevocationFailing, metav1.ConditionTrue},
	{v1alpha1.ConditionRevocationRequested, metav1.ConditionFalse},
}

// remarks are those conditions of an object.
func remarks(c *v1alpha1.DeviceCertificate) []metav1.Condition {
	var found []metav1.Condition
	for _, r := range remarkable {
		if one := condition(c.Status.Conditions, r.kind); one.Type != "" && one.Status == r.status {
			found = append(found, one)
		}
	}
	return found
}

func (o *statusOptions) remarksNode(c *v1alpha1.DeviceCertificate) node {
	n := node{text: o.head("Remarks")}
	for _, one := range remarks(c) {
		n.add(leaf("%s: %s", one.Type, clean(one.Message)))
	}
	if r := c.Status.Replacements; r != nil && r.Count > 1 {
		n.add(leaf("%d unscheduled purchases in a row: find out who asks for renewals, or changes the Secret or the spec", r.Count))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Annotations)) {
		if why := ineffective(key, c.Annotations[key]); why != "" {
			n.add(leaf("annotation %s does nothing: %s", clean(key), why))
		}
	}
	if len(n.children) == 0 {
		return node{}
	}
	return n
}

// ineffective says why an annotation that looks as if it steered the operator does not; empty when it does, or is somebody else's.
func ineffective(key, value string) string {
	if !strings.HasPrefix(key, v1alpha1.SchemeGroupVersion.Group+"/") {
		return ""
	}
	switch key {
	case v1alpha1.AnnotationRenewRequestedAt, v1alpha1.AnnotationRetryRequestedAt:
		if _, err := time.Parse(time.RFC3339, value); err != nil {
			return "its value must be a time as in RFC 3339, such as 2030-06-01T12:00:00Z"
		}
	case v1alpha1.AnnotationAbandonAttempt, v1alpha1.AnnotationAcknowledgeOrphan, v1alpha1.AnnotationRevokeRequested:
	default:
		return "it is none of those that steer a DeviceCertificate"
	}
	return ""
}
