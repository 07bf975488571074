// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IssuerSpec is the connection to one DigiCert ONE account; both issuer kinds share it.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.caBundle) && has(self.caBundleRef))",message="set caBundle or caBundleRef, not both; without either the system's roots are used"
// +kubebuilder:validation:XValidation:rule="!has(self.auth.clientCertificate) || has(self.auth.clientCertificate.url) || !self.url.matches('^https://([[]|[0-9.]+(:[0-9]+)?$)')",message="auth.clientCertificate.url is required when url names an IP address, because clientauth. cannot be put in front of one: set it to the URL of the mutual TLS host"
type IssuerSpec struct {
	// url of the DigiCert ONE host, such as https://one.digicert.com: https, a host name in lower case or an IP address, and a port if
	// it is not 443; nothing else. With a client certificate the host is prefixed by `clientauth.`.
	// The operator's --allowed-hosts must admit it, because whoever chooses the host receives the credential.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=267
	// +kubebuilder:validation:XValidation:rule="self.startsWith('https://')",message="url must begin with https://, because the credential is never sent unencrypted"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('https://') || self.matches('^https://(([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z]([-a-z0-9]{0,61}[a-z0-9])?|((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|[[][0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}[]])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$')",message="url must be https://, a host in lower case and an optional port, without user, path, query, trailing slash or dot, such as https://one.digicert.com"
	// +required
	URL string `json:"url,omitempty"`
	// auth is the way in: exactly one of apiToken, clientCertificate and enrollmentPasscode.
	// +required
	Auth IssuerAuth `json:"auth,omitzero"`
	// caBundleRef names a Secret or ConfigMap with the CA certificates, in PEM, that vouch for the host. Not together with caBundle.
	// Default with neither: the system's roots.
	// +optional
	CABundleRef *ObjectKeyReference `json:"caBundleRef,omitempty"`
	// caBundle is those CA certificates themselves, in PEM, at most 65536 characters; a larger bundle goes into caBundleRef.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	// +kubebuilder:validation:XValidation:rule="self.contains('-----BEGIN CERTIFICATE-----') && self.contains('-----END CERTIFICATE-----') && !self.contains('PRIVATE KEY-----')",message="caBundle must be CA certificates in PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, and never a private key"
	// +optional
	CABundle string `json:"caBundle,omitempty"`
	// proxyURL is the HTTP proxy to the vendor, such as http://proxy.corp.example:3128: http or https, host and port alone.
	// The operator's --allowed-proxies must admit it, because whoever chooses the proxy and the CA bundle receives the credential.
	// Default: no proxy; the environment's proxy settings are not used.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=267
	// +kubebuilder:validation:XValidation:rule="!self.contains('@')",message="proxyURL must not contain a user or password, because everybody who may read this object would read them: use a proxy that asks for none"
	// +kubebuilder:validation:XValidation:rule="self.contains('@') || self.matches('^https?://(([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z]([-a-z0-9]{0,61}[a-z0-9])?|((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|[[][0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}[]])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$')",message="proxyURL must be http:// or https://, a host in lower case and an optional port, without path, query or trailing slash, such as http://proxy.corp.example:3128"
	// +optional
	ProxyURL string `json:"proxyURL,omitempty"`
	// limits bound the calls of everything that shares this host and credential. Default: each member's own.
	// +kubebuilder:default={requestsPerSecond: 5, burst: 20, maxConcurrent: 8, issuancesPerDay: 5000}
	// +optional
	Limits IssuerLimits `json:"limits,omitempty,omitzero"`
	// requestTimeout is the absolute deadline of one vendor call, in whole minutes and seconds such as 60s or 1m30s: 5s to 5m. Default: 60s.
	// +kubebuilder:default="1m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && self != '' && duration(self) >= duration('5s') && duration(self) <= duration('5m')",message="requestTimeout must be whole minutes and seconds in this order, such as 60s or 1m30s, from 5s to 5m"
	// +optional
	RequestTimeout *metav1.Duration `json:"requestTimeout,omitempty"`
	// orphans says how certificates whose answer was lost are treated. Default: reported, after five minutes of inventory lag.
	// +kubebuilder:default={policy: "Report", inventoryLag: "5m0s"}
	// +optional
	Orphans OrphanPolicySpec `json:"orphans,omitempty,omitzero"`
	// publishProfiles are enrollment profiles whose specification is published as a ConfigMap for the kubectl plugin: at most 50, each once.
	// Default: none.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=40
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^IOT_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="publishProfiles must be enrollment profile ids: IOT_ and a lower-case UUID, such as IOT_00000000-0000-0000-0000-000000000001"
	// +optional
	PublishProfiles []string `json:"publishProfiles,omitempty"`
	// suspend stops buying for the whole account while it is true. Requests under way still end. Default: false.
	// +kubebuilder:default=false
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// IssuerAuth is the way in: exactly one member is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.apiToken), has(self.clientCertificate), has(self.enrollmentPasscode)].filter(x, x).size() == 1",message="set exactly one of auth.apiToken, auth.clientCertificate and auth.enrollmentPasscode"
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
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`
}

// ClientCertificateAuth names the Secret that holds a client certificate.
type ClientCertificateAuth struct {
	// secretRef names a Secret of type kubernetes.io/tls. A DeviceIssuer reads its own namespace, a ClusterDeviceIssuer the operator's.
	// +required
	SecretRef SecretReference `json:"secretRef,omitzero"`
	// url is the mutual TLS host, under the rules of spec.url. Required when spec.url names an IP address.
	// Default: `clientauth.` before the host of spec.url.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=267
	// +kubebuilder:validation:XValidation:rule="self.matches('^https://(([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])*[a-z]([-a-z0-9]{0,61}[a-z0-9])?|((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|[[][0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}[]])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$')",message="auth.clientCertificate.url must be https://, a host in lower case and an optional port, without user, path, query, trailing slash or dot, such as https://clientauth.one.digicert.com"
	// +optional
	URL string `json:"url,omitempty"`
}

// EnrollmentPasscodeAuth names the Secret that holds an enrollment passcode.
type EnrollmentPasscodeAuth struct {
	// secretRef names the Secret and key. A DeviceIssuer reads its own namespace, a ClusterDeviceIssuer the operator's.
	// +required
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`
}

// IssuerLimits bound the calls of everything that shares a host and credential. Absent means the default; zero is refused.
type IssuerLimits struct {
	// requestsPerSecond to the vendor, 1 to 1000. Default: 5.
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	RequestsPerSecond int32 `json:"requestsPerSecond,omitempty"`
	// burst of requests above that rate, 1 to 10000. Default: 20.
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	Burst int32 `json:"burst,omitempty"`
	// maxConcurrent requests in flight, 1 to 256. Default: 8.
	// +kubebuilder:default=8
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=256
	// +optional
	MaxConcurrent int32 `json:"maxConcurrent,omitempty"`
	// issuancesPerDay bounds enrollments and renewals together, 1 to 1000000. Renewals that become urgent pass it. To stop buying use suspend.
	// Default: 5000.
	// +kubebuilder:default=5000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
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
	// policy Report lists them; Revoke also revokes a single matching candidate, and declares this operator the only enroller of these profiles.
	// Default: Report.
	// +kubebuilder:default=Report
	// +optional
	Policy OrphanPolicy `json:"policy,omitempty"`
	// markerAttribute is a certificate attribute of the profile, such as subject.organization_unit or san.dns_name, that carries the
	// attempt's id into the certificate, as proof of who asked; at most 128 characters, without control characters. Default: none, and only ids the operator received are proof.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\pC\\u2028\\u2029]|^ | $')",message="markerAttribute must not contain control or invisible characters, nor begin or end with a space: copy it from the profile's enrollment specification"
	// +optional
	MarkerAttribute string `json:"markerAttribute,omitempty"`
	// inventoryLag is how long the vendor's inventory may take to show a new certificate, in whole minutes and seconds: 0s to 1h. Default: 5m.
	// +kubebuilder:default="5m0s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && self != '' && duration(self) <= duration('1h')",message="inventoryLag must be whole minutes and seconds in this order, such as 5m or 1m30s, from 0s to 1h"
	// +optional
	InventoryLag *metav1.Duration `json:"inventoryLag,omitempty"`
}
