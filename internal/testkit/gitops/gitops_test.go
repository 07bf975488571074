// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops_test

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/devicecert/devicecert-operator/internal/testkit/gitops"
)

func load(t *testing.T) *gitops.Kit {
	t.Helper()
	kit, err := gitops.Load("../../../config/gitops")
	if err != nil {
		t.Fatal(err)
	}
	return kit
}

// object is one that was issued, as the API server shows it. The empty map is what Lua cannot tell from an empty list.
func object(kind string, edit ...func(o map[string]any)) map[string]any {
	o := map[string]any{
		"apiVersion": "devicecert.io/v1alpha1", "kind": kind,
		"metadata": map[string]any{"name": "gateway", "generation": int64(2), "labels": map[string]any{}},
		"spec": map[string]any{
			"suspend": false, "certificateAttributes": []any{map[string]any{"id": "subject.common_name", "value": "gateway"}},
			"renewal": map[string]any{}, "limits": map[string]any{"requestsPerSecond": int64(5)},
		},
		"status": map[string]any{"observedGeneration": int64(2), "serialNumber": "0A17"},
	}
	for _, e := range edit {
		e(o)
	}
	return o
}

func suspended(o map[string]any) { o["spec"].(map[string]any)["suspend"] = true }

func failing(o map[string]any) {
	o["status"].(map[string]any)["failures"] = map[string]any{"count": int64(1)}
}

func unissued(o map[string]any) { delete(o, "status") }

func TestArgoOffersWhatCanBeDoneNow(t *testing.T) {
	kit := load(t)
	for name, test := range map[string]struct {
		object  map[string]any
		enabled []string
	}{
		"stored":           {object("DeviceCertificate"), []string{"renew", "suspend"}},
		"renewal failing":  {object("DeviceCertificate", failing), []string{"renew", "retry", "suspend"}},
		"not issued yet":   {object("DeviceCertificate", unissued), []string{"suspend"}},
		"suspended":        {object("DeviceCertificate", suspended, failing), []string{"resume"}},
		"issuer":           {object("DeviceIssuer"), []string{"suspend"}},
		"suspended issuer": {object("ClusterDeviceIssuer", suspended), []string{"resume"}},
	} {
		t.Run(name, func(t *testing.T) {
			actions, err := kit.ArgoActions(test.object)
			if err != nil {
				t.Fatal(err)
			}
			enabled := map[string]bool{}
			for name, action := range actions {
				if !action.Disabled {
					enabled[name] = true
				}
			}
			want := map[string]bool{}
			for _, name := range test.enabled {
				want[name] = true
			}
			if diff := cmp.Diff(want, enabled); diff != "" {
				t.Errorf("enabled (-want +got):\n%s", diff)
			}
		})
	}
}

// An action may change one thing. Argo CD patches whatever else differs, so nothing else may.
func TestAnActionChangesNothingButWhatItIsFor(t *testing.T) {
	kit := load(t)
	for _, kind := range []string{"DeviceCertificate", "DeviceIssuer", "ClusterDeviceIssuer"} {
		for name, before := range map[string]map[string]any{"suspend": object(kind), "resume": object(kind, suspended)} {
			after, err := kit.RunArgoAction(name, before)
			if err != nil {
				t.Fatal(err)
			}
			want := object(kind)
			if name == "suspend" {
				want = object(kind, suspended)
			}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("%s of a %s (-want +got):\n%s", name, kind, diff)
			}
		}
	}
	for _, name := range []string{"renew", "retry"} {
		annotated := object("DeviceCertificate", func(o map[string]any) {
			o["metadata"].(map[string]any)["annotations"] = map[string]any{"team": "edge"}
		})
		for _, before := range []map[string]any{object("DeviceCertificate"), annotated} {
			after, err := kit.RunArgoAction(name, before)
			if err != nil {
				t.Fatal(err)
			}
			annotation := "devicecert.io/" + name + "-requested-at"
			requested, _, _ := unstructured.NestedString(after, "metadata", "annotations", annotation)
			if at, err := time.Parse(time.RFC3339, requested); err != nil || time.Since(at).Abs() > time.Minute {
				t.Errorf("%s asks for %q (%v), want the present time", name, requested, err)
			}
			unstructured.RemoveNestedField(after, "metadata", "annotations", annotation)
			if len(after["metadata"].(map[string]any)["annotations"].(map[string]any)) == 0 {
				unstructured.RemoveNestedField(after, "metadata", "annotations")
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%s changes (-before +after):\n%s", name, diff)
			}
		}
	}
}

// What the operator never saw has no conditions, and after a restore no status at all.
func TestAnObjectThatNobodyHasSeenIsProgressing(t *testing.T) {
	kit := load(t)
	for name, status := range map[string]map[string]any{
		"no status": nil, "as created": {"observedGeneration": int64(-1)}, "of an older spec": {"observedGeneration": int64(1)},
	} {
		o := object("DeviceCertificate", unissued)
		if status != nil {
			o["status"] = maps.Clone(status)
		}
		if health, message, err := kit.ArgoHealth(o); health != "Progressing" || message == "" || err != nil {
			t.Errorf("%s: health %s, message %q, error %v", name, health, message, err)
		}
	}
}
