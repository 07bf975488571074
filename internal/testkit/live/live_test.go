// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

var key = client.ObjectKey{Namespace: "edge", Name: "settings"}

// contested is a client of a ConfigMap; before each of its first writes, somebody else writes too.
func contested(t *testing.T, conflicts int) client.Client {
	t.Helper()
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: map[string]string{"old": "yes"}}
	return fake.NewClientBuilder().WithObjects(settings).WithInterceptorFuncs(interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if conflicts > 0 {
				conflicts--
				theirs := &corev1.ConfigMap{}
				if err := c.Get(ctx, key, theirs); err != nil {
					return err
				}
				theirs.Data = map[string]string{"theirs": "yes"}
				if err := c.Update(ctx, theirs); err != nil {
					return err
				}
			}
			return c.Update(ctx, o, opts...)
		},
	}).Build()
}

func TestAnEditLosesNothingOfWhoWroteInBetween(t *testing.T) {
	for name, conflicts := range map[string]int{"one writer": 1, "several in a row": 5} {
		t.Run(name, func(t *testing.T) {
			c := contested(t, conflicts)
			written, err := live.Edit(t.Context(), c, key, func(m *corev1.ConfigMap) { m.Data["ours"] = "yes" })
			if err != nil {
				t.Fatal(err)
			}
			stored, err := live.Get[corev1.ConfigMap](t.Context(), c, key)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"theirs": "yes", "ours": "yes"}
			if diff := cmp.Diff(want, stored.Data); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(stored, written); diff != "" {
				t.Errorf("the answer is not what is stored (-stored +answer):\n%s", diff)
			}
		})
	}
}

func TestAnEditThatNeverComesThroughSaysSo(t *testing.T) {
	_, err := live.Edit(t.Context(), contested(t, 1000), key, func(m *corev1.ConfigMap) { m.Data["ours"] = "yes" })
	if !apierrors.IsConflict(err) {
		t.Errorf("got %v, want the conflict", err)
	}
	_, err = live.Edit(t.Context(), contested(t, 0), client.ObjectKey{Namespace: "edge", Name: "missing"}, func(*corev1.ConfigMap) { t.Error("changed what is not there") })
	if !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want that there is none", err)
	}
}
