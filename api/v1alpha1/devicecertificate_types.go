// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DeviceCertificate is the wish for one device certificate and its private key in one Secret.
//
// The vendor makes the private key and hands it out once, in the answer to the request that issues the certificate.
// The operator stores both in the Secret in one write and renews them before they expire.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dcert,categories=devicecert
// +kubebuilder:selectablefield:JSONPath=`.spec.issuerRef.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.enrollmentProfileID`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`
// +kubebuilder:printcolumn:name="Expires",type=date,JSONPath=`.status.notAfter`
// +kubebuilder:printcolumn:name="Renews",type=date,JSONPath=`.status.renewalTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.enrollmentProfileID`,priority=1
// +kubebuilder:printcolumn:name="Serial",type=string,JSONPath=`.status.serialNumber`,priority=1
// +kubebuilder:printcolumn:name="Issuer",type=string,JSONPath=`.spec.issuerRef.name`,priority=1
type DeviceCertificate struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec DeviceCertificateSpec `json:"spec"`
	// status is what the operator has seen and done. It is a notebook, not the truth: it is rebuilt from the Secret and the vendor's inventory.
	// +kubebuilder:default={observedGeneration:-1}
	// +optional
	Status DeviceCertificateStatus `json:"status,omitempty,omitzero"`
}

// DeviceCertificateList is a list of DeviceCertificates.
//
// +kubebuilder:object:root=true
type DeviceCertificateList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the DeviceCertificates.
	Items []DeviceCertificate `json:"items"`
}

// DeviceCertificateSpec says which certificate is wanted, from whom, and how it is kept.
type DeviceCertificateSpec struct {
	// issuerRef names the DeviceIssuer or ClusterDeviceIssuer through which the certificate is bought.
	// Changing it costs a certificate only if the new issuer speaks to another vendor host.
	// +required
	IssuerRef IssuerReference `json:"issuerRef"`
	// enrollmentProfileID is the vendor's id of the enrollment profile: IOT_ and a lower-case UUID. Changing it costs a certificate.
	// +required
	EnrollmentProfileID string `json:"enrollmentProfileID"`
	// certificateAttributes are the values the profile wants in the certificate, such as subject.common_name or san.dns_name. Changing them costs a certificate.
	// +listType=map
	// +listMapKey=id
	// +optional
	CertificateAttributes []Attribute `json:"certificateAttributes,omitempty"`
	// deviceAttributes are the values the profile wants in the vendor's device record, such as DEVICE_IDENTIFIER.
	// An id is the attribute's id, or its name as the profile's enrollment specification spells it, if that is unique. Changing them costs a certificate.
	// +listType=map
	// +listMapKey=id
	// +optional
	DeviceAttributes []Attribute `json:"deviceAttributes,omitempty"`
	// privateKey says which key the vendor makes and how it travels. Default: the profile's key type, format pem, delivered decrypted.
	// +kubebuilder:default={format: "pem", delivery: "Decrypted"}
	// +optional
	PrivateKey PrivateKey `json:"privateKey,omitempty,omitzero"`
	// renewal says when the certificate is renewed. Default: automatically, at two thirds of its lifetime.
	// +kubebuilder:default={policy: "Automatic", onRevoked: "Hold"}
	// +optional
	Renewal Renewal `json:"renewal,omitempty,omitzero"`
	// secret says where key and certificates are stored. Nothing in it costs a certificate. Default: a Secret of the same name that is kept when the DeviceCertificate is deleted.
	// +kubebuilder:default={deletionPolicy: "Retain"}
	// +optional
	Secret SecretTarget `json:"secret,omitempty,omitzero"`
	// revocation says when certificates are revoked at the vendor. Default: never.
	// +kubebuilder:default={onDelete: "Keep", onSupersede: "Keep", gracePeriod: "24h", reason: "cessation_of_operation"}
	// +optional
	Revocation RevocationPolicy `json:"revocation,omitempty,omitzero"`
	// suspend stops buying, renewing and re-rendering for this object while it is true. A request under way still ends. Default: false.
	// +kubebuilder:default=false
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// IssuerReference names an issuer object.
type IssuerReference struct {
	// kind of the issuer. Default: DeviceIssuer, in the namespace of the DeviceCertificate.
	// +kubebuilder:default=DeviceIssuer
	// +optional
	Kind IssuerKind `json:"kind,omitempty"`
	// name of the issuer.
	// +required
	Name string `json:"name"`
}

// IssuerKind is the kind of an issuer object.
// +kubebuilder:validation:Enum=DeviceIssuer;ClusterDeviceIssuer
type IssuerKind string

// The kinds an IssuerReference may name.
const (
	KindDeviceIssuer        IssuerKind = "DeviceIssuer"
	KindClusterDeviceIssuer IssuerKind = "ClusterDeviceIssuer"
)

// Attribute is one value, or a list of values, under an id of the vendor's. Exactly one of value and values is set.
type Attribute struct {
	// id of the attribute in the vendor's words, such as subject.common_name.
	// +required
	ID string `json:"id"`
	// value is the attribute's single value.
	// +optional
	Value *string `json:"value,omitempty"`
	// values are the values of an attribute that takes several.
	// +listType=atomic
	// +optional
	Values []string `json:"values,omitempty"`
}

// KeyFormat is the vendor's private_key_format.
// +kubebuilder:validation:Enum=pem;der;pkcs_12;cert_encrypted;cert_encrypted_key_only
type KeyFormat string

// The vendor's private key formats.
const (
	FormatPEM                  KeyFormat = "pem"
	FormatDER                  KeyFormat = "der"
	FormatPKCS12               KeyFormat = "pkcs_12"
	FormatCertEncrypted        KeyFormat = "cert_encrypted"
	FormatCertEncryptedKeyOnly KeyFormat = "cert_encrypted_key_only"
)

// Encrypted tells whether the vendor encrypts the key to a certificate of ours in this format.
func (f KeyFormat) Encrypted() bool {
	return f == FormatCertEncrypted || f == FormatCertEncryptedKeyOnly
}

// Delivery says whether the operator opens the key.
// +kubebuilder:validation:Enum=Decrypted;Sealed
type Delivery string

// The deliveries.
const (
	// DeliveryDecrypted stores the key in the clear, as tls.key.
	DeliveryDecrypted Delivery = "Decrypted"
	// DeliverySealed stores the key as the vendor encrypted it; the operator never sees it.
	DeliverySealed Delivery = "Sealed"
)

// PrivateKey says which key the vendor makes and how it travels.
type PrivateKey struct {
	// keyType in the vendor's own words, such as p_256 or rsa_2048. Absent: the profile's default. Changing it costs a certificate.
	// +optional
	KeyType string `json:"keyType,omitempty"`
	// format in which the key travels from the vendor. It does not show in the Secret unless delivery is Sealed. Default: pem.
	// +kubebuilder:default=pem
	// +optional
	Format KeyFormat `json:"format,omitempty"`
	// syntax is passed to the vendor as private_key_syntax. The operator reads every syntax. Absent: the vendor's default.
	// +optional
	Syntax string `json:"syntax,omitempty"`
	// delivery is Decrypted (tls.key in the clear) or Sealed (the encrypted payload, byte for byte; only with the cert_encrypted formats).
	// Changing it costs a certificate and needs a new secret.name. Default: Decrypted.
	// +kubebuilder:default=Decrypted
	// +optional
	Delivery Delivery `json:"delivery,omitempty"`
	// encryption names the certificate the vendor encrypts the key to. Required for the two cert_encrypted formats, refused for others.
	// +optional
	Encryption *KeyEncryption `json:"encryption,omitempty"`
}

// KeyEncryption names the RSA certificate the vendor encrypts the private key to.
type KeyEncryption struct {
	// certificateRef names a Secret or ConfigMap of this namespace that holds the certificate in PEM.
	// +optional
	CertificateRef *ObjectKeyReference `json:"certificateRef,omitempty"`
	// certificate is the certificate itself, in PEM.
	// +optional
	Certificate string `json:"certificate,omitempty"`
	// decryptionKeyRef names the Secret of this namespace that holds the private key of that certificate. Required for delivery Decrypted, refused for Sealed.
	// +optional
	DecryptionKeyRef *SecretKeyReference `json:"decryptionKeyRef,omitempty"`
}

// RenewalPolicy says who starts renewals.
// +kubebuilder:validation:Enum=Automatic;Disabled
type RenewalPolicy string

// The renewal policies.
const (
	// RenewalAutomatic renews at status.renewalTime.
	RenewalAutomatic RenewalPolicy = "Automatic"
	// RenewalDisabled renews only on request.
	RenewalDisabled RenewalPolicy = "Disabled"
)

// OnRevoked says what to do when somebody revoked the certificate at the vendor.
// +kubebuilder:validation:Enum=Hold;Reenroll
type OnRevoked string

// The reactions to a revocation by somebody else.
const (
	// OnRevokedHold leaves it to a person: Ready=False and Stalled.
	OnRevokedHold OnRevoked = "Hold"
	// OnRevokedReenroll buys a new certificate.
	OnRevokedReenroll OnRevoked = "Reenroll"
)

// Renewal says when the certificate is renewed.
type Renewal struct {
	// policy Automatic renews when due; Disabled only on request. Default: Automatic.
	// +kubebuilder:default=Automatic
	// +optional
	Policy RenewalPolicy `json:"policy,omitempty"`
	// renewBefore is how long before its end the certificate is renewed. It must be shorter than the lifetime and inside the profile's renewal window.
	// Not together with renewBeforePercentage. Absent with both: at two thirds of the lifetime.
	// +optional
	RenewBefore *metav1.Duration `json:"renewBefore,omitempty"`
	// renewBeforePercentage is renewBefore as a percentage of the certificate's lifetime, 1 to 90.
	// +optional
	RenewBeforePercentage *int32 `json:"renewBeforePercentage,omitempty"`
	// onRevoked says what happens when somebody revoked the certificate at the vendor. Default: Hold.
	// +kubebuilder:default=Hold
	// +optional
	OnRevoked OnRevoked `json:"onRevoked,omitempty"`
}

// DeletionPolicy says what happens to the Secret when the DeviceCertificate is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// The deletion policies.
const (
	DeletionRetain DeletionPolicy = "Retain"
	DeletionDelete DeletionPolicy = "Delete"
)

// SecretTarget says where key and certificates are stored. Nothing in it costs a certificate.
type SecretTarget struct {
	// name of the Secret. Default: the name of the DeviceCertificate.
	// +optional
	Name string `json:"name,omitempty"`
	// labels are copied onto the Secret. Keys of this operator, of Kubernetes, of replicators and of GitOps tools are refused.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are copied onto the Secret, under the same rule as labels.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// deletionPolicy says whether the Secret is kept or deleted with the DeviceCertificate. Default: Retain.
	// +kubebuilder:default=Retain
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
	// outputs are further forms of the same key and certificates. Default: tls.crt, tls.key and ca.crt alone.
	// +optional
	Outputs *Outputs `json:"outputs,omitempty"`
}

// ChainOutput says what tls.crt holds.
// +kubebuilder:validation:Enum=Include;LeafOnly
type ChainOutput string

// The chain outputs.
const (
	ChainInclude  ChainOutput = "Include"
	ChainLeafOnly ChainOutput = "LeafOnly"
)

// KeyEncoding is the syntax of tls.key.
// +kubebuilder:validation:Enum=PKCS8;Traditional
type KeyEncoding string

// The encodings of tls.key.
const (
	KeyEncodingPKCS8       KeyEncoding = "PKCS8"
	KeyEncodingTraditional KeyEncoding = "Traditional"
)

// OutputFormat is a further form of key and certificates in the Secret.
// +kubebuilder:validation:Enum=CombinedPEM;DER
type OutputFormat string

// The output formats.
const (
	// OutputCombinedPEM adds tls-combined.pem: the key, then the chain.
	OutputCombinedPEM OutputFormat = "CombinedPEM"
	// OutputDER adds key.der and tls.der.
	OutputDER OutputFormat = "DER"
)

// Outputs are further forms of the same key and certificates.
type Outputs struct {
	// chain Include puts leaf and intermediates in tls.crt, LeafOnly the leaf alone. Default: Include.
	// +kubebuilder:default=Include
	// +optional
	Chain ChainOutput `json:"chain,omitempty"`
	// keyEncoding is the syntax of tls.key: PKCS8, or Traditional (PKCS#1 for RSA, SEC1 for EC). Default: PKCS8.
	// +kubebuilder:default=PKCS8
	// +optional
	KeyEncoding KeyEncoding `json:"keyEncoding,omitempty"`
	// formats adds CombinedPEM (tls-combined.pem) and DER (key.der, tls.der).
	// +listType=set
	// +optional
	Formats []OutputFormat `json:"formats,omitempty"`
	// pkcs12 adds keystore.p12 and truststore.p12.
	// +optional
	PKCS12 *PKCS12Output `json:"pkcs12,omitempty"`
	// jks adds keystore.jks and truststore.jks.
	// +optional
	JKS *JKSOutput `json:"jks,omitempty"`
}

// PKCS12Profile names a set of PKCS#12 algorithms.
// +kubebuilder:validation:Enum=Modern2023;Modern2026;LegacyDES;LegacyRC2
type PKCS12Profile string

// The PKCS#12 profiles.
const (
	PKCS12Modern2023 PKCS12Profile = "Modern2023"
	PKCS12Modern2026 PKCS12Profile = "Modern2026"
	PKCS12LegacyDES  PKCS12Profile = "LegacyDES"
	PKCS12LegacyRC2  PKCS12Profile = "LegacyRC2"
)

// PKCS12Output asks for PKCS#12 files.
type PKCS12Output struct {
	// passwordSecretRef names the Secret of this namespace that holds the password of keystore and trust store.
	// +required
	PasswordSecretRef SecretKeyReference `json:"passwordSecretRef"`
	// profile names the algorithms. Modern2023 opens in Java 17 and OpenSSL 3, LegacyDES in old Java. Default: Modern2023.
	// +kubebuilder:default=Modern2023
	// +optional
	Profile PKCS12Profile `json:"profile,omitempty"`
}

// JKSOutput asks for Java keystore files.
type JKSOutput struct {
	// passwordSecretRef names the Secret of this namespace that holds the password of keystore and trust store, at least six characters.
	// +required
	PasswordSecretRef SecretKeyReference `json:"passwordSecretRef"`
	// alias of the key entry. Default: certificate.
	// +kubebuilder:default=certificate
	// +optional
	Alias string `json:"alias,omitempty"`
}

// RevocationAction says whether a certificate is revoked.
// +kubebuilder:validation:Enum=Keep;Revoke
type RevocationAction string

// The revocation actions.
const (
	RevocationKeep   RevocationAction = "Keep"
	RevocationRevoke RevocationAction = "Revoke"
)

// RevocationPolicy says when certificates are revoked at the vendor.
type RevocationPolicy struct {
	// onDelete Revoke revokes the certificate when the DeviceCertificate is deleted. Default: Keep.
	// +kubebuilder:default=Keep
	// +optional
	OnDelete RevocationAction `json:"onDelete,omitempty"`
	// onSupersede Revoke revokes the predecessor gracePeriod after its successor was stored. Default: Keep.
	// +kubebuilder:default=Keep
	// +optional
	OnSupersede RevocationAction `json:"onSupersede,omitempty"`
	// gracePeriod is how long a predecessor stays valid after its successor was stored. Default: 24h.
	// +kubebuilder:default="24h"
	// +optional
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`
	// reason is the revocation reason in the vendor's words. Default: cessation_of_operation.
	// +kubebuilder:default=cessation_of_operation
	// +optional
	Reason RevocationReason `json:"reason,omitempty"`
}

// RevocationReason is a revocation reason in the vendor's words.
// +kubebuilder:validation:Enum=unspecified;key_compromise;affiliation_changed;suspended;cessation_of_operation;certificate_hold;privilege_withdrawn;aa_compromise
type RevocationReason string

// ReasonCessationOfOperation is the default revocation reason.
const ReasonCessationOfOperation RevocationReason = "cessation_of_operation"

// SecretKeyReference names one key of a Secret of the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	Name string `json:"name"`
	// key within the Secret's data.
	// +required
	Key string `json:"key"`
}

// ObjectKind is Secret or ConfigMap.
// +kubebuilder:validation:Enum=Secret;ConfigMap
type ObjectKind string

// The kinds an ObjectKeyReference may name.
const (
	ObjectKindSecret    ObjectKind = "Secret"
	ObjectKindConfigMap ObjectKind = "ConfigMap"
)

// ObjectKeyReference names one key of a Secret or ConfigMap of the same namespace.
type ObjectKeyReference struct {
	// kind is Secret or ConfigMap. Default: Secret.
	// +kubebuilder:default=Secret
	// +optional
	Kind ObjectKind `json:"kind,omitempty"`
	// name of the object.
	// +required
	Name string `json:"name"`
	// key within the object's data.
	// +required
	Key string `json:"key"`
}
