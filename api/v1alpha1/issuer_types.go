// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IssuerSpec is the connection to one DigiCert ONE account; both issuer kinds share it.
type IssuerSpec struct {
	// url of the DigiCert ONE host, such as https://one.digicert.com: https, host and port alone.
	// With a client certificate the host is prefixed by `clientauth.`. The operator's --allowed-hosts must admit it.
	// +required
	URL string `json:"url"`
	// auth is the way in: exactly one of apiToken, clientCertificate and enrollmentPasscode.
	// +required
	Auth IssuerAuth `json:"auth"`
	// caBundleRef names a Secret or ConfigMap with the CA certificates, in PEM, that vouch for the host. Not together with caBundle. Absent with both: the system's roots.
	// +optional
	CABundleRef *ObjectKeyReference `json:"caBundleRef,omitempty"`
	// caBundle is those CA certificates themselves, in PEM.
	// +optional
	CABundle string `json:"caBundle,omitempty"`
	// proxyURL is the HTTP proxy to the vendor, such as http://proxy.corp:3128. The environment's proxy settings are not used.
	// +optional
	ProxyURL string `json:"proxyURL,omitempty"`
	// limits bound the calls of everything that shares this host and credential.
	// +kubebuilder:default={requestsPerSecond: 5, burst: 20, maxConcurrent: 8, issuancesPerDay: 5000}
	// +optional
	Limits IssuerLimits `json:"limits,omitempty,omitzero"`
	// requestTimeout is the absolute deadline of one vendor call, 5s to 5m. Default: 60s.
	// +kubebuilder:default="60s"
	// +optional
	RequestTimeout *metav1.Duration `json:"requestTimeout,omitempty"`
	// orphans says how certificates whose answer was lost are treated.
	// +kubebuilder:default={policy: "Report", inventoryLag: "5m"}
	// +optional
	Orphans OrphanPolicySpec `json:"orphans,omitempty,omitzero"`
	// publishProfiles are enrollment profiles whose specification is published as a ConfigMap for the kubectl plugin.
	// +listType=set
	// +optional
	PublishProfiles []string `json:"publishProfiles,omitempty"`
	// suspend stops buying for the whole account while it is true. Requests under way still end. Default: false.
	// +kubebuilder:default=false
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// IssuerAuth is the way in: exactly one member is set.
type IssuerAuth struct {
	// apiToken sends x-api-key. It can enroll, renew, search and revoke, as far as its user may.
	// +optional
	APIToken *APITokenAuth `json:"apiToken,omitempty"`
	// clientCertificate authenticates by mutual TLS at the clientauth host.
	// +optional
	ClientCertificate *ClientCertificateAuth `json:"clientCertificate,omitempty"`
	// enrollmentPasscode sends x-passcode. It can enroll and renew only: lost answers cannot be searched for, nothing can be revoked.
	// +optional
	EnrollmentPasscode *EnrollmentPasscodeAuth `json:"enrollmentPasscode,omitempty"`
}

// APITokenAuth names the Secret that holds an API token.
type APITokenAuth struct {
	// secretRef names the Secret and key. A DeviceIssuer reads its own namespace, a ClusterDeviceIssuer the operator's.
	// +required
	SecretRef SecretKeyReference `json:"secretRef"`
}

// ClientCertificateAuth names the Secret that holds a client certificate.
type ClientCertificateAuth struct {
	// secretRef names a Secret of type kubernetes.io/tls.
	// +required
	SecretRef SecretReference `json:"secretRef"`
	// url is the mutual TLS host where it is not `clientauth.` before the host of spec.url.
	// +optional
	URL string `json:"url,omitempty"`
}

// EnrollmentPasscodeAuth names the Secret that holds an enrollment passcode.
type EnrollmentPasscodeAuth struct {
	// secretRef names the Secret and key.
	// +required
	SecretRef SecretKeyReference `json:"secretRef"`
}

// SecretReference names a Secret.
type SecretReference struct {
	// name of the Secret.
	// +required
	Name string `json:"name"`
}

// IssuerLimits bound the calls of everything that shares a host and credential. Absent means the default; zero is refused.
type IssuerLimits struct {
	// requestsPerSecond to the vendor, 1 to 1000. Default: 5.
	// +kubebuilder:default=5
	// +optional
	RequestsPerSecond int32 `json:"requestsPerSecond,omitempty"`
	// burst of requests above that rate, 1 to 10000. Default: 20.
	// +kubebuilder:default=20
	// +optional
	Burst int32 `json:"burst,omitempty"`
	// maxConcurrent requests in flight, 1 to 256. Default: 8.
	// +kubebuilder:default=8
	// +optional
	MaxConcurrent int32 `json:"maxConcurrent,omitempty"`
	// issuancesPerDay, enrollments and renewals together, 1 to 1000000. Default: 5000.
	// +kubebuilder:default=5000
	// +optional
	IssuancesPerDay int32 `json:"issuancesPerDay,omitempty"`
}

// OrphanPolicy says what happens to a certificate whose answer was lost.
// +kubebuilder:validation:Enum=Report;Revoke
type OrphanPolicy string

// The orphan policies.
const (
	// OrphansReport lists what was found on the DeviceCertificate and revokes only what is proven ours.
	OrphansReport OrphanPolicy = "Report"
	// OrphansRevoke also revokes the single candidate that agrees with the attempt: the issuer's owner declares that this operator
	// alone enrolls with the profiles it uses.
	OrphansRevoke OrphanPolicy = "Revoke"
)

// OrphanPolicySpec says how certificates whose answer was lost are treated.
type OrphanPolicySpec struct {
	// policy Report lists them; Revoke also revokes a single matching candidate, and declares this operator the only enroller of these profiles. Default: Report.
	// +kubebuilder:default=Report
	// +optional
	Policy OrphanPolicy `json:"policy,omitempty"`
	// markerAttribute is a device attribute of the profile that carries the attempt's id to the vendor, as proof of who asked.
	// +optional
	MarkerAttribute string `json:"markerAttribute,omitempty"`
	// inventoryLag is how long the vendor's inventory may take to show a new certificate, 0s to 1h. Default: 5m.
	// +kubebuilder:default="5m"
	// +optional
	InventoryLag *metav1.Duration `json:"inventoryLag,omitempty"`
}

// CapabilityState is Yes, No or Unknown.
// +kubebuilder:validation:Enum=Yes;No;Unknown
type CapabilityState string

// The states of a capability.
const (
	CapabilityYes     CapabilityState = "Yes"
	CapabilityNo      CapabilityState = "No"
	CapabilityUnknown CapabilityState = "Unknown"
)

// Capabilities are what the credential was seen to be able to do.
type Capabilities struct {
	// enroll certificates.
	// +kubebuilder:default=Unknown
	// +optional
	Enroll CapabilityState `json:"enroll,omitempty"`
	// renew certificates.
	// +kubebuilder:default=Unknown
	// +optional
	Renew CapabilityState `json:"renew,omitempty"`
	// search the inventory; without it a lost answer can only be reported.
	// +kubebuilder:default=Unknown
	// +optional
	Search CapabilityState `json:"search,omitempty"`
	// revoke certificates.
	// +kubebuilder:default=Unknown
	// +optional
	Revoke CapabilityState `json:"revoke,omitempty"`
	// specification of enrollment profiles can be read.
	// +kubebuilder:default=Unknown
	// +optional
	Specification CapabilityState `json:"specification,omitempty"`
}

// BlockedProfile is a profile that this issuer does not buy from until somebody acts.
type BlockedProfile struct {
	// profileID is the enrollment profile.
	// +required
	ProfileID string `json:"profileID"`
	// format of the private key that is blocked.
	// +required
	Format KeyFormat `json:"format"`
	// reason why, as a word.
	// +required
	Reason string `json:"reason"`
	// message says why and what to do. Changing the issuer's spec lifts the block.
	// +required
	Message string `json:"message"`
}

// IssuerStatus is the operator's notebook about one issuer.
type IssuerStatus struct {
	// observedGeneration is the last generation of the spec that this status speaks of; -1 until the object was seen.
	// +kubebuilder:default=-1
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Reconciling, Stalled and Suspended.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// capabilities of the credential, probed once for each version of it.
	// +optional
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	// credentialVersion is the version of the credential that was probed: a digest that does not give the credential away.
	// +optional
	CredentialVersion string `json:"credentialVersion,omitempty"`
	// credentialExpiresAt is the end of the client certificate. Absent for tokens and passcodes, whose end is not known.
	// +optional
	CredentialExpiresAt *metav1.Time `json:"credentialExpiresAt,omitempty"`
	// clockSkew is the vendor's clock minus the operator's, in whole seconds, when it was last above a minute.
	// +optional
	ClockSkewSeconds *int64 `json:"clockSkewSeconds,omitempty"`
	// blockedProfiles are not bought from until somebody acts, at most 50.
	// +listType=atomic
	// +optional
	BlockedProfiles []BlockedProfile `json:"blockedProfiles,omitempty"`
}

// DeviceIssuer is the connection to one DigiCert ONE account for the DeviceCertificates of its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dissuer,categories=devicecert
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DeviceIssuer struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the connection.
	// +required
	Spec DeviceIssuerSpec `json:"spec"`
	// status is what the operator has seen of it.
	// +kubebuilder:default={observedGeneration:-1}
	// +optional
	Status IssuerStatus `json:"status,omitempty,omitzero"`
}

// DeviceIssuerSpec is the connection to one DigiCert ONE account for one namespace.
type DeviceIssuerSpec struct {
	IssuerSpec `json:",inline"`
}

// DeviceIssuerList is a list of DeviceIssuers.
//
// +kubebuilder:object:root=true
type DeviceIssuerList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the DeviceIssuers.
	Items []DeviceIssuer `json:"items"`
}

// ClusterDeviceIssuer is the connection to one DigiCert ONE account that serves the namespaces it grants. Its Secrets and
// ConfigMaps are read from the operator's namespace (--cluster-resource-namespace).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cdissuer,categories=devicecert
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterDeviceIssuer struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the connection and who may use it.
	// +required
	Spec ClusterDeviceIssuerSpec `json:"spec"`
	// status is what the operator has seen of it.
	// +kubebuilder:default={observedGeneration:-1}
	// +optional
	Status IssuerStatus `json:"status,omitempty,omitzero"`
}

// ClusterDeviceIssuerSpec is the connection to one DigiCert ONE account and who may use it.
type ClusterDeviceIssuerSpec struct {
	IssuerSpec `json:",inline"`
	// grants say which namespaces may buy what. No grant, no issuance. A request must satisfy one grant whole.
	// +listType=atomic
	// +optional
	Grants []Grant `json:"grants,omitempty"`
}

// Grant lets namespaces buy from profiles with bounded attributes.
type Grant struct {
	// namespaces selects by label the namespaces that may buy. An empty selector selects all.
	// +required
	Namespaces metav1.LabelSelector `json:"namespaces"`
	// profiles that may be used. Absent: any.
	// +listType=set
	// +optional
	Profiles []string `json:"profiles,omitempty"`
	// attributes bound the values of certificate and device attributes; attributes that are not named are free.
	// +listType=map
	// +listMapKey=id
	// +optional
	Attributes []AttributeGrant `json:"attributes,omitempty"`
}

// AttributeGrant bounds the values of one attribute: each must equal one of values, start with one of prefixes or end with one of
// suffixes.
type AttributeGrant struct {
	// id of the attribute.
	// +required
	ID string `json:"id"`
	// values that are allowed as they are.
	// +listType=set
	// +optional
	Values []string `json:"values,omitempty"`
	// prefixes an allowed value starts with.
	// +listType=set
	// +optional
	Prefixes []string `json:"prefixes,omitempty"`
	// suffixes an allowed value ends with.
	// +listType=set
	// +optional
	Suffixes []string `json:"suffixes,omitempty"`
}

// ClusterDeviceIssuerList is a list of ClusterDeviceIssuers.
//
// +kubebuilder:object:root=true
type ClusterDeviceIssuerList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the ClusterDeviceIssuers.
	Items []ClusterDeviceIssuer `json:"items"`
}
