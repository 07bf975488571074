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
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.notAfter`
// +kubebuilder:printcolumn:name="Renews",type=string,JSONPath=`.status.renewalTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Profile",type=string,JSONPath=`.spec.enrollmentProfileID`,priority=1
// +kubebuilder:printcolumn:name="Serial",type=string,JSONPath=`.status.serialNumber`,priority=1
// +kubebuilder:printcolumn:name="Issuer",type=string,JSONPath=`.spec.issuerRef.name`,priority=1
// +kubebuilder:validation:XValidation:rule="self.spec.privateKey.delivery == oldSelf.spec.privateKey.delivery || (has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name) != (has(oldSelf.spec.secret.name) ? oldSelf.spec.secret.name : oldSelf.metadata.name)",message="privateKey.delivery cannot change for a Secret that exists already, because its type is fixed: set secret.name to a new name in the same change",fieldPath=".spec.privateKey.delivery"
// +kubebuilder:validation:XValidation:rule="!((has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name) in [self.spec.privateKey.?encryption.?decryptionKeyRef.?name.orValue(\"\"), self.spec.privateKey.?encryption.?certificateRef.?kind.orValue(\"\") == 'Secret' ? self.spec.privateKey.encryption.certificateRef.name : \"\", self.spec.secret.?outputs.?pkcs12.?passwordSecretRef.?name.orValue(\"\"), self.spec.secret.?outputs.?jks.?passwordSecretRef.?name.orValue(\"\")])",message="secret.name (by default the name of the DeviceCertificate) must not be a Secret that this object reads its encryption or passwords from: choose another secret.name",fieldPath=".spec.secret"
type DeviceCertificate struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. A name may have up to 253 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec DeviceCertificateSpec `json:"spec,omitzero"`
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
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the DeviceCertificates.
	Items []DeviceCertificate `json:"items"`
}

// DeviceCertificateSpec says which certificate is wanted, from whom, and how it is kept.
//
// +kubebuilder:validation:XValidation:rule="self.privateKey.delivery != 'Sealed' || !(has(self.secret.outputs) && (has(self.secret.outputs.pkcs12) || has(self.secret.outputs.jks)))",message="secret.outputs.pkcs12 and secret.outputs.jks need the private key, which privateKey.delivery Sealed never opens: remove them or set delivery to Decrypted"
// +kubebuilder:validation:XValidation:rule="self.privateKey.delivery != 'Sealed' || !(has(self.secret.outputs) && has(self.secret.outputs.formats))",message="secret.outputs.formats (CombinedPEM, DER) need the private key, which privateKey.delivery Sealed never opens: remove them or set delivery to Decrypted"
// +kubebuilder:validation:XValidation:rule="self.privateKey.delivery != 'Sealed' || !(has(self.secret.outputs) && self.secret.outputs.keyEncoding == 'Traditional')",message="secret.outputs.keyEncoding Traditional needs the private key, which privateKey.delivery Sealed never opens: remove it or set delivery to Decrypted"
// +kubebuilder:validation:XValidation:rule="(has(self.certificateAttributes) ? self.certificateAttributes.map(a, (has(a.value) ? a.value.size() : 0) + (has(a.values) ? a.values.map(v, v.size()).sum() : 0)).sum() : 0) + (has(self.deviceAttributes) ? self.deviceAttributes.map(a, (has(a.value) ? a.value.size() : 0) + (has(a.values) ? a.values.map(v, v.size()).sum() : 0)).sum() : 0) <= 16384",message="the values of certificateAttributes and deviceAttributes must have at most 16384 characters in all: ask for fewer or shorter ones"
type DeviceCertificateSpec struct {
	// issuerRef names the DeviceIssuer or ClusterDeviceIssuer through which the certificate is bought.
	// Changing it costs a certificate only if the new issuer speaks to another vendor host.
	// +required
	IssuerRef IssuerReference `json:"issuerRef,omitzero"`
	// enrollmentProfileID is the vendor's id of the enrollment profile: IOT_ and a lower-case UUID. The profile must allow the API
	// method and key generation by the server, and the issuer must grant it to this namespace. Changing it costs a certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^IOT_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="enrollmentProfileID must be IOT_ and a lower-case UUID, as DigiCert shows it, such as IOT_00000000-0000-0000-0000-000000000001"
	// +required
	EnrollmentProfileID string `json:"enrollmentProfileID,omitempty"`
	// certificateAttributes are the values the profile wants in the certificate, such as subject.common_name or san.dns_name:
	// at most 50, each id once, and 16384 characters of values together with deviceAttributes. Which are mandatory, the profile decides.
	// Default: none. Changing them costs a certificate.
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +optional
	CertificateAttributes []Attribute `json:"certificateAttributes,omitempty"`
	// deviceAttributes are the values the profile wants in the vendor's device record, such as DEVICE_IDENTIFIER: at most 50, each id once.
	// An id is the attribute's id, or its name as the profile's enrollment specification spells it, if that is unique; so it is with
	// certificateAttributes. Spelling one otherwise costs nothing. Default: none. Changing them costs a certificate.
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
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
	// secret says where key and certificates are stored. Nothing in it costs a certificate.
	// Default: a Secret of the same name that is kept when the DeviceCertificate is deleted.
	// +kubebuilder:default={deletionPolicy: "Retain"}
	// +optional
	Secret SecretTarget `json:"secret,omitempty,omitzero"`
	// revocation says when certificates are revoked at the vendor. Default: never.
	// +kubebuilder:default={onDelete: "Keep", onSupersede: "Keep", gracePeriod: "24h0m0s", reason: "cessation_of_operation"}
	// +optional
	Revocation RevocationPolicy `json:"revocation,omitempty,omitzero"`
	// suspend stops buying, renewing and re-rendering for this object while it is true. A request under way still ends. Default: false.
	// +kubebuilder:default=false
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// IssuerReference names an issuer object.
type IssuerReference struct {
	// kind of the issuer: DeviceIssuer, in the namespace of the DeviceCertificate, or ClusterDeviceIssuer, which must grant the request.
	// Default: DeviceIssuer.
	// +kubebuilder:default=DeviceIssuer
	// +optional
	Kind IssuerKind `json:"kind,omitempty"`
	// name of the issuer, at most 253 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="issuerRef.name must be the name of an object: lower-case letters, digits, - and ., beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
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
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.values)",message="set exactly one of value and values"
type Attribute struct {
	// id of the attribute in the vendor's words, such as subject.common_name, or its name; at most 128 characters, without control characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\pC\\u2028\\u2029]|^ | $')",message="id must not contain control or invisible characters, nor begin or end with a space: copy it from the profile's enrollment specification"
	// +required
	ID string `json:"id,omitempty"`
	// value is the attribute's single value: 1 to 1024 characters, without control characters. Leave the whole attribute out to send nothing.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\pC\\u2028\\u2029]|^ | $')",message="value must not contain control or invisible characters, nor begin or end with a space: remove them"
	// +optional
	Value *string `json:"value,omitempty"`
	// values are the values of an attribute that takes several: 1 to 100, each of 1 to 1024 characters without control characters.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:XValidation:rule="!self.matches('[\\\\pC\\u2028\\u2029]|^ | $')",message="values must not contain control or invisible characters, nor begin or end with a space: remove them"
	// +optional
	Values []string `json:"values,omitempty"`
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

// Renewal says when the certificate is renewed. Nothing in it costs a certificate by being changed, unless it makes the renewal due.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.renewBefore) && has(self.renewBeforePercentage))",message="set renewBefore or renewBeforePercentage, not both; without either the certificate is renewed at two thirds of its lifetime"
type Renewal struct {
	// policy Automatic renews when due; Disabled only on request, by the annotation devicecert.io/renew-requested-at. Default: Automatic.
	// +kubebuilder:default=Automatic
	// +optional
	Policy RenewalPolicy `json:"policy,omitempty"`
	// renewBefore is how long before its end the certificate is renewed, in whole hours, minutes and seconds such as 720h: 1m to 87600h (ten years).
	// It must be shorter than the lifetime and inside the profile's renewal window, else the vendor refuses the renewal as too early.
	// Not together with renewBeforePercentage. Default with neither: a third of the lifetime.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && self != '' && duration(self) >= duration('1m') && duration(self) <= duration('87600h')",message="renewBefore must be whole hours, minutes and seconds in this order, such as 720h or 36h30m, from 1m to 87600h"
	// +optional
	RenewBefore *metav1.Duration `json:"renewBefore,omitempty"`
	// renewBeforePercentage is renewBefore as a percentage of the certificate's lifetime, 1 to 90: 33 renews when a third is left.
	// Not together with renewBefore.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=90
	// +optional
	RenewBeforePercentage *int32 `json:"renewBeforePercentage,omitempty"`
	// onRevoked says what happens when somebody revoked the certificate at the vendor: Hold waits for a person, Reenroll buys a new one. Default: Hold.
	// +kubebuilder:default=Hold
	// +optional
	OnRevoked OnRevoked `json:"onRevoked,omitempty"`
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
	// gracePeriod is how long a predecessor stays valid after its successor was stored, so that devices can take the new one;
	// in whole hours, minutes and seconds, 0s to 8760h (a year). Used only with onSupersede Revoke. Default: 24h.
	// +kubebuilder:default="24h0m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && self != '' && duration(self) <= duration('8760h')",message="gracePeriod must be whole hours, minutes and seconds in this order, such as 24h or 1h30m, from 0s to 8760h"
	// +optional
	GracePeriod *metav1.Duration `json:"gracePeriod,omitempty"`
	// reason is the revocation reason in the vendor's words, sent for onDelete and onSupersede. Default: cessation_of_operation.
	// +kubebuilder:default=cessation_of_operation
	// +optional
	Reason RevocationReason `json:"reason,omitempty"`
}

// RevocationReason is a revocation reason in the vendor's words.
// +kubebuilder:validation:Enum=unspecified;key_compromise;affiliation_changed;suspended;cessation_of_operation;certificate_hold;privilege_withdrawn;aa_compromise
type RevocationReason string

// ReasonCessationOfOperation is the default revocation reason.
const ReasonCessationOfOperation RevocationReason = "cessation_of_operation"

// RevocationReasons are all of them.
func RevocationReasons() []RevocationReason {
	return []RevocationReason{
		"unspecified", "key_compromise", "affiliation_changed", "suspended", ReasonCessationOfOperation, "certificate_hold",
		"privilege_withdrawn", "aa_compromise",
	}
}
