// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the connection and who may use it.
	// +required
	Spec ClusterDeviceIssuerSpec `json:"spec,omitzero"`
	// status is what the operator has seen of it.
	// +kubebuilder:default={observedGeneration:-1}
	// +optional
	Status IssuerStatus `json:"status,omitempty,omitzero"`
}

// ClusterDeviceIssuerSpec is the connection to one DigiCert ONE account and who may use it.
type ClusterDeviceIssuerSpec struct {
	IssuerSpec `json:",inline"`
	// grants say which namespaces may buy what, at most 64. No grant, no issuance. A request must satisfy one grant whole; it is checked at
	// each issuance and renewal. Default: none.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Grants []Grant `json:"grants,omitempty"`
}

// Grant lets namespaces buy from profiles with bounded attributes.
type Grant struct {
	// namespaces selects by label the namespaces that may buy. An empty selector selects all. At most 8 matchExpressions.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.size() <= 8",message="namespaces.matchExpressions must have at most 8 entries"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || [0, 1, 2, 3, 4, 5, 6, 7].all(i, i >= self.matchExpressions.size() || self.matchExpressions[i].operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="operator of namespaces.matchExpressions must be In, NotIn, Exists or DoesNotExist"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || [0, 1, 2, 3, 4, 5, 6, 7].all(i, i >= self.matchExpressions.size() || (self.matchExpressions[i].operator in ['In', 'NotIn']) == (has(self.matchExpressions[i].values) && self.matchExpressions[i].values.size() > 0))",message="in namespaces.matchExpressions operators In and NotIn need values, Exists and DoesNotExist refuse them"
	// +required
	Namespaces metav1.LabelSelector `json:"namespaces"`
	// profiles that may be used, at most 64, each once. Default: any.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=40
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^IOT_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",message="profiles must be enrollment profile ids: IOT_ and a lower-case UUID, such as IOT_00000000-0000-0000-0000-000000000001"
	// +optional
	Profiles []string `json:"profiles,omitempty"`
	// attributes bound the values of certificate and device attributes, at most 32, each id once; attributes that are not named are free.
	// Default: none is bounded.
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Attributes []AttributeGrant `json:"attributes,omitempty"`
}

// AttributeGrant bounds the values of one attribute: each must equal one of values, start with one of prefixes or end with one of
// suffixes.
//
// +kubebuilder:validation:XValidation:rule="has(self.values) || has(self.prefixes) || has(self.suffixes)",message="set at least one of values, prefixes and suffixes; to leave the attribute free remove its entry"
type AttributeGrant struct {
	// id of the attribute. Its name is looked up in the profile's enrollment specification, and nothing is granted while that does not tell
	// whose name it is. At most 128 characters, without control characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\pC\\u2028\\u2029]|^ | $')",message="id must not contain control or invisible characters, nor begin or end with a space: copy it from the profile's enrollment specification"
	// +required
	ID string `json:"id,omitempty"`
	// values that are allowed as they are: at most 64, of 1 to 1024 characters each.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +optional
	Values []string `json:"values,omitempty"`
	// prefixes an allowed value starts with: at most 16, of 1 to 1024 characters each.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +optional
	Prefixes []string `json:"prefixes,omitempty"`
	// suffixes an allowed value ends with, such as .edge.example with its dot: at most 16, of 1 to 1024 characters each.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +optional
	Suffixes []string `json:"suffixes,omitempty"`
}

// ClusterDeviceIssuerList is a list of ClusterDeviceIssuers.
//
// +kubebuilder:object:root=true
type ClusterDeviceIssuerList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the ClusterDeviceIssuers.
	Items []ClusterDeviceIssuer `json:"items"`
}
