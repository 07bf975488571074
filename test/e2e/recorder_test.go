// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// recorder keeps every version of the objects of one kind in the test's namespace. A watch skips none.
type recorder[T client.Object] struct {
	mu       sync.Mutex
	versions []T
}

// record starts to watch.
func record[T client.Object](w *world, list client.ObjectList) *recorder[T] {
	w.Helper()
	r := &recorder[T]{}
	events, err := env.admin.Watch(w.ctx, list, client.InNamespace(w.namespace))
	w.must(err)
	w.Cleanup(events.Stop)
	go func() {
		for event := range events.ResultChan() {
			object, ok := event.Object.(T)
			if !ok || event.Type == watch.Deleted {
				continue
			}
			r.mu.Lock()
			r.versions = append(r.versions, object)
			r.mu.Unlock()
		}
	}()
	return r
}

// of are the versions of the object with that name so far, oldest first.
func (r *recorder[T]) of(name string) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.versions), func(o T) bool { return o.GetName() != name })
}

// verifyVersions asks OpenSSL about every version of a Secret, and answers with the serial numbers in their order.
func verifyVersions(t *testing.T, versions []*corev1.Secret) []string {
	t.Helper()
	var serials []string
	for _, s := range versions {
		for _, key := range []string{"tls.crt", "tls.key", "ca.crt"} {
			if len(s.Data[key]) == 0 {
				t.Fatalf("version %s of Secret %s has no %s, only %v", s.ResourceVersion, s.Name, key, slices.Sorted(maps.Keys(s.Data)))
			}
		}
		serials = append(serials, verifyPair(t, s))
	}
	return serials
}
