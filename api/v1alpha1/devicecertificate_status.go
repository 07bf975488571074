// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DeviceCertificateStatus is the operator's notebook about one DeviceCertificate.
type DeviceCertificateStatus struct {
	// observedGeneration is the last generation of the spec that this status speaks of; -1 until the object was seen.
	// +kubebuilder:default=-1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Reconciling, Stalled, Issuing, RenewalFailing, SecretInSync, Suspended and others, as documented by their constants.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// certificateID is the vendor's id of the certificate in the Secret.
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// requestID is the vendor's id of the request that issued it.
	// +optional
	RequestID string `json:"requestID,omitempty"`
	// serialNumber of the certificate in the Secret: upper-case hex in whole octets.
	// +optional
	SerialNumber string `json:"serialNumber,omitempty"`
	// fingerprintSHA256 of the certificate in the Secret: lower-case hex.
	// +optional
	FingerprintSHA256 string `json:"fingerprintSHA256,omitempty"`
	// subject of the certificate in the Secret.
	// +optional
	Subject string `json:"subject,omitempty"`
	// dnsNames of the certificate in the Secret, at most 20.
	// +listType=atomic
	// +optional
	DNSNames []string `json:"dnsNames,omitempty"`
	// keyType as issued, in the vendor's words.
	// +optional
	KeyType string `json:"keyType,omitempty"`
	// notBefore of the certificate in the Secret.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// notAfter of the certificate in the Secret.
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// renewalTime is when the renewal becomes due. Absent when renewal.policy is Disabled.
	// +optional
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`
	// secretName is the Secret that holds the certificate.
	// +optional
	SecretName string `json:"secretName,omitempty"`
	// secretResourceVersion is the version of that Secret that this status speaks of.
	// +optional
	SecretResourceVersion string `json:"secretResourceVersion,omitempty"`
	// issuanceHash is the hash of what was bought: the fields of the spec that cost a certificate.
	// +optional
	IssuanceHash string `json:"issuanceHash,omitempty"`
	// attempt is the open attempt to issue: written before the request leaves, removed when its outcome is known.
	// +optional
	Attempt *Attempt `json:"attempt,omitempty"`
	// failures counts the failed attempts since the last success and says when the next one starts.
	// +optional
	Failures *Failures `json:"failures,omitempty"`
	// superseded are earlier certificates of this object that are still valid at the vendor, newest first, at most 10.
	// +listType=atomic
	// +optional
	Superseded []SupersededCertificate `json:"superseded,omitempty"`
	// orphans are certificates, known or feared, whose private key was lost, newest first, at most 10. See devicecert.io/acknowledge-orphan.
	// +listType=atomic
	// +optional
	Orphans []Orphan `json:"orphans,omitempty"`
	// lastHandledRenewRequest is the last value of devicecert.io/renew-requested-at that was acted on.
	// +optional
	LastHandledRenewRequest string `json:"lastHandledRenewRequest,omitempty"`
	// lastHandledRetryRequest is the last value of devicecert.io/retry-requested-at that was acted on.
	// +optional
	LastHandledRetryRequest string `json:"lastHandledRetryRequest,omitempty"`
}

// AttemptKind is Enroll or Renew.
// +kubebuilder:validation:Enum=Enroll;Renew
type AttemptKind string

// The kinds of attempt.
const (
	AttemptEnroll AttemptKind = "Enroll"
	AttemptRenew  AttemptKind = "Renew"
)

// Attempt is the full snapshot of one try to issue: what is bought, where, and for which Secret. Resolving it uses this
// snapshot alone, never the spec of the day.
type Attempt struct {
	// id of the attempt, a UUID; also on the Secret it ends in.
	// +required
	ID string `json:"id"`
	// kind is Enroll or Renew.
	// +required
	Kind AttemptKind `json:"kind"`
	// generation of the spec that is bought.
	// +required
	Generation int64 `json:"generation"`
	// issuerKind, issuerName and issuerUID name the issuer object.
	// +required
	IssuerKind IssuerKind `json:"issuerKind"`
	// issuerName is the issuer object's name.
	// +required
	IssuerName string `json:"issuerName"`
	// issuerUID is the issuer object's UID.
	// +optional
	IssuerUID string `json:"issuerUID,omitempty"`
	// host is the vendor's host, without the clientauth prefix.
	// +required
	Host string `json:"host"`
	// profileID is the enrollment profile.
	// +required
	ProfileID string `json:"profileID"`
	// commonName asked for.
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// deviceID is the DEVICE_IDENTIFIER asked for.
	// +optional
	DeviceID string `json:"deviceID,omitempty"`
	// sanDigest is a digest of the subject alternative names asked for.
	// +optional
	SANDigest string `json:"sanDigest,omitempty"`
	// keyType asked for; absent when the profile chooses.
	// +optional
	KeyType string `json:"keyType,omitempty"`
	// secretName is the Secret it is stored in.
	// +required
	SecretName string `json:"secretName"`
	// issuanceHash of what is bought.
	// +required
	IssuanceHash string `json:"issuanceHash"`
	// predecessorID is the vendor's id of the certificate that is renewed or replaced.
	// +optional
	PredecessorID string `json:"predecessorID,omitempty"`
	// predecessorSerial is its serial number.
	// +optional
	PredecessorSerial string `json:"predecessorSerial,omitempty"`
	// startedAt is when the attempt was recorded, by the operator's clock.
	// +required
	StartedAt metav1.Time `json:"startedAt"`
	// requestID is the vendor's id of a request that waits for approval. Such an attempt ends by devicecert.io/abandon-attempt alone.
	// +optional
	RequestID string `json:"requestID,omitempty"`
	// certificateID is known once the vendor answered with one; it proves that the certificate is ours.
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// failure says why the attempt is being resolved, in words for a person.
	// +optional
	Failure string `json:"failure,omitempty"`
}

// Failures counts failed attempts since the last success. It survives restarts.
type Failures struct {
	// count of failed attempts since the last success.
	// +required
	Count int32 `json:"count"`
	// lastTime is when the last attempt failed.
	// +optional
	LastTime *metav1.Time `json:"lastTime,omitempty"`
	// nextTime is when the next attempt may start. A spec change, a changed issuer or devicecert.io/retry-requested-at brings it forward.
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`
	// kind of the attempt that failed last.
	// +optional
	Kind AttemptKind `json:"kind,omitempty"`
	// generation of the spec that failed.
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// issuanceHash of what failed to be bought.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	IssuanceHash string `json:"issuanceHash,omitempty"`
	// lostRenewalOf is the certificate whose renewal was lost; when the vendor refuses to renew it once more, a new one is enrolled.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	LostRenewalOf string `json:"lostRenewalOf,omitempty"`
	// issuerVersion is the issuer's object and credential version that failed.
	// +optional
	IssuerVersion string `json:"issuerVersion,omitempty"`
	// reason of the failure, as on the condition.
	// +optional
	Reason string `json:"reason,omitempty"`
	// message of the failure, as on the condition.
	// +optional
	Message string `json:"message,omitempty"`
	// terminal failures wait for the user or for hours, not for minutes.
	// +optional
	Terminal bool `json:"terminal,omitempty"`
}

// SupersededCertificate is an earlier certificate of this object.
type SupersededCertificate struct {
	// certificateID is the vendor's id.
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// serialNumber of the certificate.
	// +required
	SerialNumber string `json:"serialNumber"`
	// notAfter of the certificate.
	// +required
	NotAfter metav1.Time `json:"notAfter"`
	// supersededAt is when its successor was stored.
	// +required
	SupersededAt metav1.Time `json:"supersededAt"`
}

// OrphanOutcome says what became of an orphan.
// +kubebuilder:validation:Enum=Reported;Revoked;RevokeFailed
type OrphanOutcome string

// The outcomes of an orphan.
const (
	// OrphanReported is left to a person: revoke it at the vendor or acknowledge it.
	OrphanReported OrphanOutcome = "Reported"
	// OrphanRevoked was revoked by the operator.
	OrphanRevoked OrphanOutcome = "Revoked"
	// OrphanRevokeFailed could not be revoked; it is left to a person.
	OrphanRevokeFailed OrphanOutcome = "RevokeFailed"
)

// Orphan is a certificate, known by its id or feared within a time window, whose private key was lost.
type Orphan struct {
	// attemptID is the attempt that may have bought it.
	// +required
	AttemptID string `json:"attemptID"`
	// certificateID is the vendor's id, when it was found.
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// serialNumber, when it was found.
	// +optional
	SerialNumber string `json:"serialNumber,omitempty"`
	// profileID, commonName and the window are what to search the vendor's inventory for.
	// +required
	ProfileID string `json:"profileID"`
	// commonName asked for.
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// windowStart is the earliest issuing time.
	// +required
	WindowStart metav1.Time `json:"windowStart"`
	// windowEnd is the latest issuing time.
	// +required
	WindowEnd metav1.Time `json:"windowEnd"`
	// outcome says what became of it.
	// +required
	Outcome OrphanOutcome `json:"outcome"`
	// message says why it was not revoked and what a person can do.
	// +optional
	Message string `json:"message,omitempty"`
}
