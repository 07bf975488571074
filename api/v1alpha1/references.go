// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// SecretReference names a Secret. A DeviceIssuer's is in its own namespace, a ClusterDeviceIssuer's in the operator's.
type SecretReference struct {
	// name of the Secret, at most 253 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name must be the name of a Secret alone, without a namespace: lower-case letters, digits, - and ., beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
}

// SecretKeyReference names one key of a Secret. A DeviceCertificate's and a DeviceIssuer's are in their own namespace, a
// ClusterDeviceIssuer's in the operator's.
type SecretKeyReference struct {
	// name of the Secret, at most 253 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name must be the name of a Secret alone, without a namespace: lower-case letters, digits, - and ., beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
	// key within the Secret's data, at most 253 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key must be a key of a Secret's data: letters, digits, -, _ and ., such as tls.key"
	// +required
	Key string `json:"key,omitempty"`
}

// ObjectKind is Secret or ConfigMap.
// +kubebuilder:validation:Enum=Secret;ConfigMap
type ObjectKind string

// The kinds an ObjectKeyReference may name.
const (
	ObjectKindSecret    ObjectKind = "Secret"
	ObjectKindConfigMap ObjectKind = "ConfigMap"
)

// ObjectKeyReference names one key of a Secret or ConfigMap. A DeviceCertificate's and a DeviceIssuer's are in their own namespace, a
// ClusterDeviceIssuer's in the operator's.
type ObjectKeyReference struct {
	// kind is Secret or ConfigMap. Default: Secret.
	// +kubebuilder:default=Secret
	// +optional
	Kind ObjectKind `json:"kind,omitempty"`
	// name of the object, at most 253 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name must be the name of an object alone, without a namespace: lower-case letters, digits, - and ., beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
	// key within the object's data, at most 253 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key must be a key of the object's data: letters, digits, -, _ and ., such as tls.crt"
	// +required
	Key string `json:"key,omitempty"`
}
