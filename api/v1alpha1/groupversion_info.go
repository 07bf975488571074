// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the kinds a user writes: DeviceCertificate, the wish for one certificate, and DeviceIssuer and
// ClusterDeviceIssuer, the connection to one DigiCert ONE account.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="../../internal/applyconfiguration"
// +groupName=devicecert.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// SchemeGroupVersion is the group and version of every kind in this package.
	SchemeGroupVersion = schema.GroupVersion{Group: "devicecert.io", Version: "v1alpha1"}
	// SchemeBuilder collects the kinds of this package.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme registers the kinds of this package in a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion,
		&DeviceCertificate{}, &DeviceCertificateList{},
		&DeviceIssuer{}, &DeviceIssuerList{},
		&ClusterDeviceIssuer{}, &ClusterDeviceIssuerList{},
	)
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
