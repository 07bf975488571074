// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// issuer is what both kinds have in common.
type issuer struct {
	client.Object
	kind   v1alpha1.IssuerKind
	spec   *v1alpha1.IssuerSpec
	status *v1alpha1.IssuerStatus
	grants []v1alpha1.Grant
}

func (i *issuer) String() string { return string(i.kind) + " " + i.GetName() }

func issuerOf(object client.Object) *issuer {
	switch o := object.(type) {
	case *v1alpha1.DeviceIssuer:
		return &issuer{Object: o, kind: v1alpha1.KindDeviceIssuer, spec: &o.Spec.IssuerSpec, status: &o.Status}
	case *v1alpha1.ClusterDeviceIssuer:
		return &issuer{Object: o, kind: v1alpha1.KindClusterDeviceIssuer, spec: &o.Spec.IssuerSpec, status: &o.Status, grants: o.Spec.Grants}
	}
	return nil
}

// issuer reads the one that a DeviceCertificate of namespace refers to.
func (s *session) issuer(ctx context.Context, namespace string, ref v1alpha1.IssuerReference) (*issuer, error) {
	var object client.Object = &v1alpha1.DeviceIssuer{}
	key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
	if ref.Kind == v1alpha1.KindClusterDeviceIssuer {
		object, key.Namespace = &v1alpha1.ClusterDeviceIssuer{}, ""
	}
	if err := s.Get(ctx, key, object); err != nil {
		return nil, err
	}
	return issuerOf(object), nil
}

// host is the vendor's host, spelled as the operator spells it: in lower case, without the port 443, an IPv6 address in its shortest form.
// The schema admits no URL that would need more.
func (i *issuer) host() string {
	parsed, err := url.Parse(i.spec.URL)
	if err != nil {
		return i.spec.URL
	}
	name, port := strings.ToLower(parsed.Hostname()), parsed.Port()
	if address, err := netip.ParseAddr(name); err == nil {
		name = address.String()
	}
	if strings.Contains(name, ":") && (port == "" || port == "443") {
		return "[" + name + "]"
	}
	if port == "" || port == "443" {
		return name
	}
	return net.JoinHostPort(name, port)
}
