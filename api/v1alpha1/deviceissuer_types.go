// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is the connection.
	// +required
	Spec DeviceIssuerSpec `json:"spec,omitzero"`
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
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the DeviceIssuers.
	Items []DeviceIssuer `json:"items"`
}
