// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

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
	// name of the Secret, at most 253 characters. A Secret of this name that belongs to somebody else is left alone, and Ready says so.
	// Default: the name of the DeviceCertificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secret.name must be the name of a Secret: lower-case letters, digits, - and ., beginning and ending with a letter or digit"
	// +optional
	Name string `json:"name,omitempty"`
	// labels are copied onto the Secret, at most 10. Refused are keys by which other controllers track, copy or delete Secrets: those under
	// devicecert.io, kubernetes.io, k8s.io, x-k8s.io, of Argo, Flux, Helm and other deployers, of Secret replicators, and of controllers
	// that act on any Secret that bears them. Default: none.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && k.size() <= 317)",message="keys of secret.labels must be label keys: an optional lower-case DNS prefix and /, then up to 63 letters, digits, -, _ and ."
	// +kubebuilder:validation:XValidation:rule="self.all(k, self[k] == '' || (self[k].size() <= 63 && !self[k].matches(r'[^-.\\w]') && !(self[k].charAt(0) in ['-', '_', '.']) && !(self[k].charAt(self[k].size() - 1) in ['-', '_', '.'])))",message="values of secret.labels must be label values: up to 63 letters, digits, -, _ and ., beginning and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.matches('^([^/]*[.])?(devicecert[.]io|kubernetes[.]io|k8s[.]io|x-k8s[.]io|argoproj[.]io|fluxcd[.]io|helm[.]sh|carvel[.]dev|k14s[.]io|cattle[.]io|cert-manager[.]io|bitnami[.]com|external-secrets[.]io|openshift[.]io|kyverno[.]io|karmada[.]io|open-cluster-management[.]io|mittwald[.]de|emberstack[.]com|appscode[.]com|jenkins[.]io)/'))",message="secret.labels must not use a reserved prefix (devicecert.io, kubernetes.io, k8s.io, x-k8s.io, or one of Argo, Flux, Helm, carvel, Rancher, cert-manager, sealed-secrets, external-secrets, OpenShift, kyverno, karmada, open-cluster-management, Jenkins or a Secret replicator): with it another controller would track, copy or delete the Secret; use a prefix of your own"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are copied onto the Secret, at most 10 of at most 4096 characters each, under the same rule as labels. Default: none.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && k.size() <= 317)",message="keys of secret.annotations must be annotation keys: an optional lower-case DNS prefix and /, then up to 63 letters, digits, -, _ and ."
	// +kubebuilder:validation:XValidation:rule="self.all(k, self[k].size() <= 4096)",message="values of secret.annotations must have at most 4096 characters"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.matches('^([^/]*[.])?(devicecert[.]io|kubernetes[.]io|k8s[.]io|x-k8s[.]io|argoproj[.]io|fluxcd[.]io|helm[.]sh|carvel[.]dev|k14s[.]io|cattle[.]io|cert-manager[.]io|bitnami[.]com|external-secrets[.]io|openshift[.]io|kyverno[.]io|karmada[.]io|open-cluster-management[.]io|mittwald[.]de|emberstack[.]com|appscode[.]com|jenkins[.]io)/'))",message="secret.annotations must not use a reserved prefix (devicecert.io, kubernetes.io, k8s.io, x-k8s.io, or one of Argo, Flux, Helm, carvel, Rancher, cert-manager, sealed-secrets, external-secrets, OpenShift, kyverno, karmada, open-cluster-management, Jenkins or a Secret replicator): with it another controller would track, copy or delete the Secret; use a prefix of your own"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// deletionPolicy says whether the Secret is kept (Retain) or deleted (Delete) with the DeviceCertificate. Default: Retain.
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

// Outputs are further forms of the same key and certificates. All but chain need the key in the clear: they are refused with
// privateKey.delivery Sealed.
type Outputs struct {
	// chain Include puts leaf and intermediates in tls.crt, LeafOnly the leaf alone. With privateKey.delivery Sealed and format
	// cert_encrypted it also decides what the vendor puts into the sealed bundle, and changing it costs a certificate. Default: Include.
	// +kubebuilder:default=Include
	// +optional
	Chain ChainOutput `json:"chain,omitempty"`
	// keyEncoding is the syntax of tls.key: PKCS8, or Traditional (PKCS#1 for RSA, SEC1 for EC). Default: PKCS8.
	// +kubebuilder:default=PKCS8
	// +optional
	KeyEncoding KeyEncoding `json:"keyEncoding,omitempty"`
	// formats adds CombinedPEM (tls-combined.pem) and DER (key.der, tls.der), each at most once. Default: neither.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +optional
	Formats []OutputFormat `json:"formats,omitempty"`
	// pkcs12 adds keystore.p12 and truststore.p12. Default: not.
	// +optional
	PKCS12 *PKCS12Output `json:"pkcs12,omitempty"`
	// jks adds keystore.jks and truststore.jks. Default: not.
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
	PasswordSecretRef SecretKeyReference `json:"passwordSecretRef,omitzero"`
	// profile names the algorithms. Modern2023 opens in Java 17 and OpenSSL 3; Modern2026 does not open in Java 17; LegacyDES and LegacyRC2
	// are for old Java and Windows. Default: Modern2023.
	// +kubebuilder:default=Modern2023
	// +optional
	Profile PKCS12Profile `json:"profile,omitempty"`
}

// JKSOutput asks for Java keystore files.
type JKSOutput struct {
	// passwordSecretRef names the Secret of this namespace that holds the password of keystore and trust store, at least six characters.
	// +required
	PasswordSecretRef SecretKeyReference `json:"passwordSecretRef,omitzero"`
	// alias of the key entry: 1 to 64 letters, digits, -, _ and . in their case. Default: certificate.
	// +kubebuilder:default=certificate
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="alias must be letters, digits, -, _ and ., such as gateway"
	// +optional
	Alias string `json:"alias,omitempty"`
}
