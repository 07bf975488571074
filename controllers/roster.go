// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// Roster walks over the DeviceCertificates of the cache, read only. A list of them is a copy of each, with all that it points to shared: ten
// megabytes for a fleet of ten thousand, several times a minute.
type Roster struct {
	reader client.Reader
	// whole is the cache's own informer. Nil where there is one for each namespace: those are listed.
	whole toolscache.SharedIndexInformer
}

// NewRoster finds the DeviceCertificates of a cache.
func NewRoster(ctx context.Context, c cache.Cache) (*Roster, error) {
	informer, err := c.GetInformer(ctx, &v1alpha1.DeviceCertificate{})
	if err != nil {
		return nil, fmt.Errorf("find the cached certificates: %w", err)
	}
	whole, _ := informer.(toolscache.SharedIndexInformer)
	return &Roster{reader: c, whole: whole}, nil
}

// Each shows every object of a namespace, or of all if it is empty. It waits until the cache is filled.
func (r *Roster) Each(ctx context.Context, namespace string, visit func(*v1alpha1.DeviceCertificate)) error {
	if r.whole == nil {
		return r.list(ctx, namespace, visit)
	}
	if !r.whole.HasSynced() && !toolscache.WaitForCacheSync(ctx.Done(), r.whole.HasSynced) {
		return errors.New("the cache of certificates is not filled yet")
	}
	found, err := r.cached(namespace)
	if err != nil {
		return fmt.Errorf("walk over the certificates of namespace %q: %w", namespace, err)
	}
	for _, object := range found {
		if c, ok := object.(*v1alpha1.DeviceCertificate); ok {
			visit(c)
		}
	}
	return nil
}

func (r *Roster) cached(namespace string) ([]any, error) {
	if namespace == "" {
		return r.whole.GetIndexer().List(), nil
	}
	return r.whole.GetIndexer().ByIndex(toolscache.NamespaceIndex, namespace)
}

func (r *Roster) list(ctx context.Context, namespace string, visit func(*v1alpha1.DeviceCertificate)) error {
	list := &v1alpha1.DeviceCertificateList{}
	if err := r.reader.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the cached certificates: %w", err)
	}
	for i := range list.Items {
		visit(&list.Items[i])
	}
	return nil
}

// ofIssuer shows the objects that name an issuer: those of its namespace, or all for a ClusterDeviceIssuer, whose namespace is empty.
func (r *Roster) ofIssuer(ctx context.Context, kind v1alpha1.IssuerKind, namespace, name string, visit func(*v1alpha1.DeviceCertificate)) error {
	return r.Each(ctx, namespace, func(c *v1alpha1.DeviceCertificate) {
		if c.Spec.IssuerRef.Kind == kind && c.Spec.IssuerRef.Name == name {
			visit(c)
		}
	})
}
