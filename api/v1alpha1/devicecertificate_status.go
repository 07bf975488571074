// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DeviceCertificateStatus is the operator's notebook about one DeviceCertificate. Everything in it is bounded (see MaxMessageLength and its
// neighbours); what does not fit is cut or left out, so that a vendor's odd answer cannot keep a status from being written.
type DeviceCertificateStatus struct {
	// observedGeneration is the last generation of the spec that this status speaks of; -1 until the object was seen.
	// +kubebuilder:default=-1
	// +kubebuilder:validation:Minimum=-1
	// +kubebuilder:validation:Maximum=9007199254740991
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions are Ready, always present, and Reconciling, Stalled, Issuing, RenewalFailing, SecretInSync, Suspended and others as they apply.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.lastTransitionTime.getFullYear() >= 2000 && c.lastTransitionTime.getFullYear() <= 9999 && (!has(c.observedGeneration) || c.observedGeneration <= 9007199254740991))",message="lastTransitionTime must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z, and observedGeneration a generation"
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// certificateID is the vendor's id of the certificate in the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// requestID is the vendor's id of the request that issued it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	RequestID string `json:"requestID,omitempty"`
	// serialNumber of the certificate in the Secret: upper-case hex in whole octets.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	SerialNumber string `json:"serialNumber,omitempty"`
	// fingerprintSHA256 of the certificate in the Secret: lower-case hex.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	FingerprintSHA256 string `json:"fingerprintSHA256,omitempty"`
	// subject of the certificate in the Secret, cut to 2048 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Subject string `json:"subject,omitempty"`
	// dnsNames of the certificate in the Secret, the first 20.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +optional
	DNSNames []string `json:"dnsNames,omitempty"`
	// keyType as issued, in the vendor's words.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	KeyType string `json:"keyType,omitempty"`
	// notBefore of the certificate in the Secret.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 1 && self.getFullYear() <= 9999",message="must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// notAfter of the certificate in the Secret.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 1 && self.getFullYear() <= 9999",message="must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// renewalTime is when the renewal becomes due. Absent when renewal.policy is Disabled.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +optional
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`
	// secretName is the Secret that holds the certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SecretName string `json:"secretName,omitempty"`
	// secretResourceVersion is the version of that Secret that this status speaks of.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	SecretResourceVersion string `json:"secretResourceVersion,omitempty"`
	// issuanceHash is the hash of what was bought: the fields of the spec that cost a certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	IssuanceHash string `json:"issuanceHash,omitempty"`
	// attempt is the open attempt to issue: written before the request leaves, removed when its outcome is known.
	// +optional
	Attempt *Attempt `json:"attempt,omitempty"`
	// failures counts the failed attempts since the last success and says when the next one starts.
	// +optional
	Failures *Failures `json:"failures,omitempty"`
	// replacements counts the certificates bought within a day of each other for other reasons than renewal: a lost or broken Secret, a
	// changed spec, a revocation. From the third on each waits longer, so that a fight over the Secret or the spec cannot buy without end.
	// +optional
	Replacements *Replacements `json:"replacements,omitempty"`
	// issued is the certificate this operator last received from the vendor and stored. It is what proves that a certificate is ours to
	// revoke once it is replaced.
	// +optional
	Issued *IssuedCertificate `json:"issued,omitempty"`
	// superseded are earlier certificates of this object that are still valid at the vendor, newest first, at most 10.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +optional
	Superseded []SupersededCertificate `json:"superseded,omitempty"`
	// orphans are certificates, known or feared, whose private key was lost, newest first, at most 10. See devicecert.io/acknowledge-orphan.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +optional
	Orphans []Orphan `json:"orphans,omitempty"`
	// acknowledgedOrphans are the ids, of certificates or attempts, that devicecert.io/acknowledge-orphan took off the list, newest first, at most 50.
	// They are not reported again.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +optional
	AcknowledgedOrphans []string `json:"acknowledgedOrphans,omitempty"`
	// closedAttempts are attempts whose answer was lost and that nothing was found of when they were closed, newest first, at most 5. The sweep
	// of the inventory looks for a week for what they may have bought after all.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	// +optional
	ClosedAttempts []Attempt `json:"closedAttempts,omitempty"`
	// revoked says that the certificate in the Secret was revoked at the vendor by somebody else. What happens then, spec.renewal.onRevoked says.
	// +optional
	Revoked *RevokedCertificate `json:"revoked,omitempty"`
	// lastHandledRenewRequest is the last value of devicecert.io/renew-requested-at that was acted on.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	LastHandledRenewRequest string `json:"lastHandledRenewRequest,omitempty"`
	// lastHandledRetryRequest is the last value of devicecert.io/retry-requested-at that was acted on.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
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
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	ID string `json:"id,omitempty"`
	// kind is Enroll or Renew.
	// +required
	Kind AttemptKind `json:"kind,omitempty"`
	// reason why it is bought, as on the condition.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Reason string `json:"reason,omitempty"`
	// generation of the spec that is bought.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	// +required
	Generation int64 `json:"generation"`
	// issuerKind is the issuer object's kind.
	// +required
	IssuerKind IssuerKind `json:"issuerKind,omitempty"`
	// issuerName is the issuer object's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	IssuerName string `json:"issuerName,omitempty"`
	// issuerUID is the issuer object's UID.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	IssuerUID string `json:"issuerUID,omitempty"`
	// host is the vendor's host, without the clientauth prefix.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=300
	// +required
	Host string `json:"host,omitempty"`
	// profileID is the enrollment profile.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	ProfileID string `json:"profileID,omitempty"`
	// commonName asked for.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// deviceID is the DEVICE_IDENTIFIER asked for.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	DeviceID string `json:"deviceID,omitempty"`
	// sanDigest is a digest of the subject alternative names asked for.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	SANDigest string `json:"sanDigest,omitempty"`
	// keyType asked for; absent when the profile chooses.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	KeyType string `json:"keyType,omitempty"`
	// secretName is the Secret it is stored in.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	SecretName string `json:"secretName,omitempty"`
	// issuanceHash of what is bought.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +required
	IssuanceHash string `json:"issuanceHash,omitempty"`
	// predecessorID is the vendor's id of the certificate that is renewed or replaced.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	PredecessorID string `json:"predecessorID,omitempty"`
	// predecessorSerial is its serial number.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	PredecessorSerial string `json:"predecessorSerial,omitempty"`
	// startedAt is when the attempt was recorded, by the operator's clock.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +required
	StartedAt metav1.Time `json:"startedAt,omitzero"`
	// requestTimeoutSeconds is the deadline of the request: as long as it may still have effects.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	// +optional
	RequestTimeoutSeconds int32 `json:"requestTimeoutSeconds,omitempty"`
	// requestID is the vendor's id of a request that waits for approval. Such an attempt ends by devicecert.io/abandon-attempt alone.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	RequestID string `json:"requestID,omitempty"`
	// certificateID is known once the vendor answered with one; it proves that the certificate is ours.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// certificateSerial is the serial number of a certificate that was answered and cannot be kept.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	CertificateSerial string `json:"certificateSerial,omitempty"`
	// certificateFingerprint is its SHA-256: lower-case hex. It tells the certificate apart from others an answer may name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	CertificateFingerprint string `json:"certificateFingerprint,omitempty"`
	// failureReason is the reason that goes with failure.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	FailureReason string `json:"failureReason,omitempty"`
	// failure says why the attempt is being resolved, in words for a person, at most 2048 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Failure string `json:"failure,omitempty"`
}

// Failures counts failed attempts since the last success. It survives restarts.
type Failures struct {
	// count of failed attempts since the last success.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	Count int32 `json:"count"`
	// lastTime is when the last attempt failed.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +optional
	LastTime *metav1.Time `json:"lastTime,omitempty"`
	// nextTime is when the next attempt may start. A spec change, a changed issuer or devicecert.io/retry-requested-at brings it forward.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +optional
	NextTime *metav1.Time `json:"nextTime,omitempty"`
	// kind of the attempt that failed last.
	// +optional
	Kind AttemptKind `json:"kind,omitempty"`
	// generation of the spec that failed.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=9007199254740991
	// +optional
	Generation int64 `json:"generation,omitempty"`
	// issuanceHash of what failed to be bought.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	IssuanceHash string `json:"issuanceHash,omitempty"`
	// lostRenewalOf is the certificate whose renewal was lost; when the vendor refuses to renew it once more, a new one is enrolled.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	LostRenewalOf string `json:"lostRenewalOf,omitempty"`
	// issuerVersion is the issuer's object and credential version that failed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	IssuerVersion string `json:"issuerVersion,omitempty"`
	// reason of the failure, as on the condition.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Reason string `json:"reason,omitempty"`
	// message of the failure, as on the condition, cut to 2048 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Message string `json:"message,omitempty"`
	// terminal failures wait for the user or for hours, not for minutes.
	// +optional
	Terminal bool `json:"terminal,omitempty"`
}

// Replacements counts unscheduled purchases. It survives restarts; a day without one ends it.
type Replacements struct {
	// count of unscheduled purchases, each within a day of the one before.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	Count int32 `json:"count,omitempty"`
	// lastTime is when the last of them was stored.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +required
	LastTime metav1.Time `json:"lastTime,omitzero"`
}

// IssuedCertificate identifies a certificate and where it was bought.
type IssuedCertificate struct {
	// certificateID is the vendor's id.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// serialNumber of the certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +required
	SerialNumber string `json:"serialNumber,omitempty"`
	// fingerprintSHA256 of the certificate: lower-case hex. Only a certificate whose private key this operator has held has one here, and
	// only such a certificate is ever revoked.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	FingerprintSHA256 string `json:"fingerprintSHA256,omitempty"`
	// notAfter of the certificate.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 1 && self.getFullYear() <= 9999",message="must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"
	// +required
	NotAfter metav1.Time `json:"notAfter,omitzero"`
	// issuerKind of the issuer it was bought through.
	// +optional
	IssuerKind IssuerKind `json:"issuerKind,omitempty"`
	// issuerName of the issuer it was bought through.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	IssuerName string `json:"issuerName,omitempty"`
	// host of the vendor it was bought from.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=300
	// +optional
	Host string `json:"host,omitempty"`
	// profileID is the enrollment profile it was bought from.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	ProfileID string `json:"profileID,omitempty"`
}

// SupersededCertificate is an earlier certificate of this object.
type SupersededCertificate struct {
	IssuedCertificate `json:",inline"`
	// supersededAt is when its successor was stored.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +required
	SupersededAt metav1.Time `json:"supersededAt,omitzero"`
	// revocationFailure says why it was not revoked although it should be, and what a person can do. It is not tried again.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	RevocationFailure string `json:"revocationFailure,omitempty"`
}

// RevokedCertificate is a certificate that the vendor's inventory lists as revoked.
type RevokedCertificate struct {
	// serialNumber of the certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +required
	SerialNumber string `json:"serialNumber,omitempty"`
	// observedAt is when the sweep of the inventory noticed it.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +required
	ObservedAt metav1.Time `json:"observedAt,omitzero"`
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

// Orphan is a certificate, known by its id or feared within a time window, whose private key this operator does not have.
type Orphan struct {
	// attemptID is the attempt that may have bought it. Absent when the sweep of the inventory found it and no attempt on record fits.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	AttemptID string `json:"attemptID,omitempty"`
	// certificateID is the vendor's id, when it was found.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	CertificateID string `json:"certificateID,omitempty"`
	// serialNumber of the certificate, when it was found.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	SerialNumber string `json:"serialNumber,omitempty"`
	// profileID is the enrollment profile. With commonName and the window it is what to search the vendor's inventory for.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	ProfileID string `json:"profileID,omitempty"`
	// commonName asked for.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	CommonName string `json:"commonName,omitempty"`
	// windowStart is the earliest issuing time.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +required
	WindowStart metav1.Time `json:"windowStart,omitzero"`
	// windowEnd is the latest issuing time.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +required
	WindowEnd metav1.Time `json:"windowEnd,omitzero"`
	// notAfter of the certificate, when it was found. The entry goes when it has passed.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 1 && self.getFullYear() <= 9999",message="must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"
	// +optional
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// outcome says what became of it.
	// +required
	Outcome OrphanOutcome `json:"outcome,omitempty"`
	// message says why it was not revoked and what a person can do, in at most 2048 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Message string `json:"message,omitempty"`
}
