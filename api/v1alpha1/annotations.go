// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Annotations by which a user steers a DeviceCertificate. The operator never writes them.
const (
	// AnnotationRenewRequestedAt asks for a renewal now: an RFC 3339 time. One that is older than the Secret's issued-at counts as handled.
	AnnotationRenewRequestedAt = "devicecert.io/renew-requested-at"
	// AnnotationRetryRequestedAt ends a back-off at once: an RFC 3339 time.
	AnnotationRetryRequestedAt = "devicecert.io/retry-requested-at"
	// AnnotationAbandonAttempt gives up the attempt with this id, such as one that waits for an approval that never comes.
	AnnotationAbandonAttempt = "devicecert.io/abandon-attempt"
	// AnnotationAcknowledgeOrphan removes the orphan with this certificate id or attempt id from status.orphans.
	AnnotationAcknowledgeOrphan = "devicecert.io/acknowledge-orphan"
	// AnnotationRevokeRequested asks to replace, then revoke: "<serial>/<reason>".
	AnnotationRevokeRequested = "devicecert.io/revoke-requested"
	// AnnotationAdoptableBy, on a Secret, is the consent of its owner that the DeviceCertificate of this name takes it over.
	AnnotationAdoptableBy = "devicecert.io/adoptable-by"
)

// Annotations and labels the operator writes on the Secrets it owns.
const (
	// AnnotationCertificateName is the name of the DeviceCertificate a Secret belongs to.
	AnnotationCertificateName = "devicecert.io/certificate-name"
	// AnnotationCertificateUID is its UID.
	AnnotationCertificateUID = "devicecert.io/certificate-uid"
	// AnnotationCertificateID is the vendor's id of the stored certificate.
	AnnotationCertificateID = "devicecert.io/certificate-id"
	// AnnotationRequestID is the vendor's id of the request that issued it.
	AnnotationRequestID = "devicecert.io/request-id"
	// AnnotationAttemptID is the attempt that issued it.
	AnnotationAttemptID = "devicecert.io/attempt-id"
	// AnnotationIssuanceHash is the hash of what was bought.
	AnnotationIssuanceHash = "devicecert.io/issuance-hash"
	// AnnotationRequestHash is the hash of the request as the spec spells it, with attributes by name; absent where they stand by id.
	AnnotationRequestHash = "devicecert.io/request-hash"
	// AnnotationIssuer is the issuer it was bought through: "<kind>/<name>".
	AnnotationIssuer = "devicecert.io/issuer"
	// AnnotationHost is the vendor's host it was bought from.
	AnnotationHost = "devicecert.io/vendor-host"
	// AnnotationProfile is the enrollment profile it was bought from.
	AnnotationProfile = "devicecert.io/enrollment-profile"
	// AnnotationIssuedAt is when it was stored, RFC 3339.
	AnnotationIssuedAt = "devicecert.io/issued-at"
	// AnnotationContentDigest is a digest of everything that was rendered into the Secret.
	AnnotationContentDigest = "devicecert.io/content-digest"
	// AnnotationFingerprint is the SHA-256 of the leaf that was issued for the Secret: a swapped pair shows.
	AnnotationFingerprint = "devicecert.io/fingerprint-sha256"
	// AnnotationChainDigest is the SHA-256 of the other certificates that came with it: a damaged chain shows.
	AnnotationChainDigest = "devicecert.io/chain-sha256"
	// AnnotationSealedDigest is the SHA-256 of the sealed payload that was issued for it.
	AnnotationSealedDigest = "devicecert.io/sealed-sha256"
	// AnnotationHandledRenewRequest is the renew request that was handled when it was stored.
	AnnotationHandledRenewRequest = "devicecert.io/handled-renew-request"
	// AnnotationPublishedAt is when a profile's specification was published.
	AnnotationPublishedAt = "devicecert.io/published-at"
	// LabelProfile marks ConfigMaps that hold the specification of the enrollment profile it names.
	LabelProfile = "devicecert.io/profile"
	// LabelWatch marks Secrets that the operator watches by their metadata.
	LabelWatch = "devicecert.io/watch"
)

// Finalizer keeps a DeviceCertificate until no attempt is open and its deletion policy was carried out.
const Finalizer = "devicecert.io/finalizer"

// Keys of the Secret's data.
const (
	KeyCertificate  = "tls.crt"
	KeyPrivateKey   = "tls.key"
	KeyCA           = "ca.crt"
	KeyChain        = "chain.crt"
	KeySealedBundle = "bundle.p7m"
	KeySealedKey    = "key.p7m"
	KeyCombinedPEM  = "tls-combined.pem"
	KeyDERKey       = "key.der"
	KeyDERCert      = "tls.der"
	KeyPKCS12       = "keystore.p12"
	KeyPKCS12Trust  = "truststore.p12"
	KeyJKS          = "keystore.jks"
	KeyJKSTrust     = "truststore.jks"
)

// KeySpecification is the key of a ConfigMap's data that holds the specification of an enrollment profile, in JSON.
const KeySpecification = "specification.json"
