// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// manifests are the objects of the files that a plan is made of.
type manifests struct {
	// certificates are as they were written: what is no field must not get lost before the API server has seen it.
	certificates []*unstructured.Unstructured
	// issuers by kind, namespace and name.
	issuers map[[3]string]*issuer
	// namespaces are the labels of those among the files.
	namespaces map[string]map[string]string
	// secrets are those among the files. What they hold may be encrypted there.
	secrets map[client.ObjectKey]bool
}

// files reads the objects. Certificates and issuers without a namespace belong to the one given.
func (o *planOptions) files(namespace string) (*manifests, error) {
	builder := resource.NewBuilder(o.Flags).Unstructured().Local().ContinueOnError().Flatten()
	source := o.source
	if source.Filenames = slices.DeleteFunc(slices.Clone(source.Filenames), func(name string) bool { return name == "-" }); len(source.Filenames) < len(o.source.Filenames) {
		builder.Stream(o.In, "standard input")
	}
	if len(source.Filenames) > 0 || source.Kustomize != "" {
		builder.FilenameParam(false, &source)
	}
	result := builder.Do()
	infos, err := result.Infos()
	if err != nil {
		return nil, fmt.Errorf("read the files: %w", err)
	}
	read := &manifests{issuers: make(map[[3]string]*issuer), namespaces: make(map[string]map[string]string), secrets: make(map[client.ObjectKey]bool)}
	for _, info := range infos {
		object, ok := info.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		if err := read.add(object, namespace); err != nil {
			return nil, fmt.Errorf("%s: %w", info.Source, err)
		}
	}
	return read, nil
}

func (m *manifests) add(object *unstructured.Unstructured, namespace string) error {
	kind := object.GroupVersionKind()
	if kind.Group == "" && kind.Kind == "Namespace" {
		m.namespaces[object.GetName()] = object.GetLabels()
		return nil
	}
	if kind.Group == "" && kind.Kind == "Secret" {
		m.secrets[client.ObjectKey{Namespace: cmp.Or(object.GetNamespace(), namespace), Name: object.GetName()}] = true
	}
	if kind.Group != v1alpha1.SchemeGroupVersion.Group {
		return nil
	}
	if kind.Version != v1alpha1.SchemeGroupVersion.Version {
		return fmt.Errorf("%s is not known to this plugin, %s is: bring one of the two up to date", kind.GroupVersion(), v1alpha1.SchemeGroupVersion)
	}
	if kind.Kind != string(v1alpha1.KindClusterDeviceIssuer) && object.GetNamespace() == "" {
		object.SetNamespace(namespace)
	}
	switch kind.Kind {
	case "DeviceCertificate":
		m.certificates = append(m.certificates, object)
	case string(v1alpha1.KindDeviceIssuer):
		return m.addIssuer(object, &v1alpha1.DeviceIssuer{})
	case string(v1alpha1.KindClusterDeviceIssuer):
		return m.addIssuer(object, &v1alpha1.ClusterDeviceIssuer{})
	}
	return nil
}

func (m *manifests) addIssuer(object *unstructured.Unstructured, into client.Object) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	i := issuerOf(into)
	m.issuers[[3]string{string(i.kind), i.GetNamespace(), i.GetName()}] = i
	return nil
}
