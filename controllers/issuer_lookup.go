// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// issuer is what both issuer kinds have in common.
type issuer struct {
	// ID names the object. Its namespace is also the one its Secrets are read from; for a ClusterDeviceIssuer that is the operator's.
	ID         account.ID
	UID        types.UID
	Generation int64
	Labels     map[string]string
	Spec       *v1alpha1.IssuerSpec
	// Grants are a ClusterDeviceIssuer's; a DeviceIssuer has none and needs none.
	Grants []v1alpha1.Grant
}

// Host is the vendor's host as spec.url names it, in its usual spelling; as it was written if it is no URL we know.
func (i issuer) Host() string {
	parsed, err := trustmanager.ParseBaseURL(i.Spec.URL)
	if err != nil {
		return i.Spec.URL
	}
	return parsed.Host
}

// lookupIssuer reads the issuer that a DeviceCertificate of namespace refers to. The error is NotFound if there is none.
func lookupIssuer(ctx context.Context, c client.Reader, namespace string, ref v1alpha1.IssuerReference) (issuer, error) {
	id := account.ID{Kind: ref.Kind, Namespace: namespace, Name: ref.Name}
	if id.Kind == v1alpha1.KindClusterDeviceIssuer {
		id.Namespace = ""
	}
	object, err := getIssuer(ctx, c, id)
	if err != nil {
		return issuer{}, err
	}
	return object.issuer(), nil
}

// issuerObject is an issuer of either kind.
type issuerObject struct {
	client.Object
	kind   v1alpha1.IssuerKind
	spec   *v1alpha1.IssuerSpec
	status *v1alpha1.IssuerStatus
	grants []v1alpha1.Grant
}

func (o issuerObject) issuer() issuer {
	return issuer{
		ID:  account.ID{Kind: o.kind, Namespace: o.GetNamespace(), Name: o.GetName()},
		UID: o.GetUID(), Generation: o.GetGeneration(), Labels: o.GetLabels(), Spec: o.spec, Grants: o.grants,
	}
}

// getIssuer reads an issuer object of either kind. An absent kind means DeviceIssuer.
func getIssuer(ctx context.Context, c client.Reader, id account.ID) (issuerObject, error) {
	key := types.NamespacedName{Namespace: id.Namespace, Name: id.Name}
	if id.Kind == v1alpha1.KindClusterDeviceIssuer {
		object := &v1alpha1.ClusterDeviceIssuer{}
		err := c.Get(ctx, key, object)
		return issuerOf(object), err
	}
	object := &v1alpha1.DeviceIssuer{}
	err := c.Get(ctx, key, object)
	return issuerOf(object), err
}

// issuerOf shows what the issuer kinds have in common; any other object has nothing of it.
func issuerOf(object client.Object) issuerObject {
	switch o := object.(type) {
	case *v1alpha1.DeviceIssuer:
		return issuerObject{Object: o, kind: v1alpha1.KindDeviceIssuer, spec: &o.Spec.IssuerSpec, status: &o.Status}
	case *v1alpha1.ClusterDeviceIssuer:
		return issuerObject{Object: o, kind: v1alpha1.KindClusterDeviceIssuer, spec: &o.Spec.IssuerSpec, status: &o.Status, grants: o.Spec.Grants}
	}
	return issuerObject{Object: object, spec: &v1alpha1.IssuerSpec{}, status: &v1alpha1.IssuerStatus{}}
}
