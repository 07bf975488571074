// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestTheRosterShowsWhatTheCacheHolds(t *testing.T) {
	here, there := newWorld(t), worldOf(t)
	here.certificate("a")
	here.certificate("b", func(c *v1alpha1.DeviceCertificate) { c.Spec.IssuerRef.Name = "another" })
	there.certificate("c")
	for name, served := range map[string]map[string]cache.Config{
		"one watch for all":        nil,
		"a watch for each of them": {here.namespace: {}, there.namespace: {}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c, err := cache.New(apiServer, cache.Options{Scheme: here.client.Scheme(), DefaultNamespaces: served})
			here.must(err)
			roster, err := NewRoster(ctx, c)
			here.must(err)
			ended := make(chan error, 1)
			go func() { ended <- c.Start(ctx) }()
			defer func() {
				cancel()
				here.must(<-ended)
			}()

			if !c.WaitForCacheSync(ctx) {
				t.Fatal("the cache is not filled")
			}
			shown := func(each func(func(*v1alpha1.DeviceCertificate)) error) (names []string) {
				here.must(each(func(o *v1alpha1.DeviceCertificate) {
					if o.Namespace == here.namespace || o.Namespace == there.namespace {
						names = append(names, o.Name)
					}
				}))
				slices.Sort(names)
				return names
			}
			want := [3][]string{{"a", "b"}, {"b"}, {"a", "b", "c"}}
			got := [3][]string{
				shown(func(visit func(*v1alpha1.DeviceCertificate)) error { return roster.Each(ctx, here.namespace, visit) }),
				shown(func(visit func(*v1alpha1.DeviceCertificate)) error {
					return roster.ofIssuer(ctx, v1alpha1.KindDeviceIssuer, here.namespace, "another", visit)
				}),
				shown(func(visit func(*v1alpha1.DeviceCertificate)) error { return roster.Each(ctx, "", visit) }),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("of the namespace, of an issuer, of all (-want +got):\n%s", diff)
			}
		})
	}
}
