// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// What the floor writes has the fields that the operator writes, filled with something of the same length: what the API server spends on a
// write (validation, rules, field management) goes by fields, not by bytes.

// lifetime of what the floor pretends to have got.
const lifetime = 365 * 24 * time.Hour

func digest() string { return strings.Repeat("0123456789abcdef", 4) }

// intended is the status of an attempt that is about to be made.
func intended(name string, predecessor *v1alpha1.IssuedCertificate) map[string]any {
	attempt := v1alpha1.Attempt{
		ID: uuid.NewString(), Kind: v1alpha1.AttemptEnroll, Reason: "Missing", Generation: 1, IssuerKind: v1alpha1.KindDeviceIssuer, IssuerName: issuerName,
		IssuerUID: uuid.NewString(), Host: vendorAddress, ProfileID: profile, CommonName: name + ".example", SecretName: name, IssuanceHash: "v1:" + digest(),
		StartedAt: metav1.Now(), RequestTimeoutSeconds: 60,
	}
	if predecessor != nil {
		attempt.Kind, attempt.PredecessorID, attempt.PredecessorSerial = v1alpha1.AttemptRenew, predecessor.CertificateID, predecessor.SerialNumber
	}
	return map[string]any{"observedGeneration": 1, "attempt": attempt, "conditions": []metav1.Condition{
		condition("Ready", metav1.ConditionFalse, "Issuing"), condition("Reconciling", metav1.ConditionTrue, "Issuing"),
	}}
}

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{
		Type: kind, Status: status, Reason: reason, ObservedGeneration: 1, LastTransitionTime: metav1.Now(),
		Message: "the certificate is stored in its Secret; it is valid until 2030-01-01T00:00:00Z",
	}
}

// received is what the status says of a certificate. Nothing of it is read from the certificate: the floor decodes nothing.
func received(issued *trustmanager.Issued) *v1alpha1.IssuedCertificate {
	return &v1alpha1.IssuedCertificate{
		CertificateID: issued.CertificateID, SerialNumber: digest()[:40], FingerprintSHA256: digest(), NotAfter: metav1.NewTime(time.Now().Add(lifetime)),
		IssuerKind: v1alpha1.KindDeviceIssuer, IssuerName: issuerName, Host: vendorAddress, ProfileID: profile,
	}
}

// reported is the status of a certificate that is stored.
func reported(name string, c, predecessor *v1alpha1.IssuedCertificate) map[string]any {
	now := time.Now()
	status := map[string]any{
		"attempt": nil, "issued": c, "certificateID": c.CertificateID, "requestID": uuid.NewString(), "serialNumber": c.SerialNumber,
		"fingerprintSHA256": c.FingerprintSHA256, "subject": "CN=" + name + ".example", "keyType": "p_256", "secretName": name, "secretResourceVersion": "123456",
		"issuanceHash": "v1:" + digest(), "notBefore": metav1.NewTime(now), "notAfter": c.NotAfter, "renewalTime": metav1.NewTime(now.Add(lifetime / 3 * 2)),
		"conditions": []metav1.Condition{condition("Ready", metav1.ConditionTrue, "Stored")},
	}
	if predecessor != nil {
		status["superseded"] = []v1alpha1.SupersededCertificate{{IssuedCertificate: *predecessor, SupersededAt: metav1.NewTime(now)}}
		status["lastHandledRenewRequest"] = now.UTC().Format(time.RFC3339)
	}
	return status
}

// described are the annotations of a Secret that say where its content comes from.
func described(name string) map[string]string {
	return map[string]string{
		v1alpha1.AnnotationCertificateName: name, v1alpha1.AnnotationCertificateUID: uuid.NewString(), v1alpha1.AnnotationCertificateID: uuid.NewString(),
		v1alpha1.AnnotationRequestID: uuid.NewString(), v1alpha1.AnnotationAttemptID: uuid.NewString(), v1alpha1.AnnotationIssuanceHash: "v1:" + digest(),
		v1alpha1.AnnotationIssuedAt: time.Now().UTC().Format(time.RFC3339), v1alpha1.AnnotationIssuer: "DeviceIssuer/" + issuerName,
		v1alpha1.AnnotationHost: vendorAddress, v1alpha1.AnnotationProfile: profile, v1alpha1.AnnotationContentDigest: "v1:" + digest(),
		v1alpha1.AnnotationFingerprint: digest(), v1alpha1.AnnotationChainDigest: digest(),
	}
}
