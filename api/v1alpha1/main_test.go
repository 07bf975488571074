// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	namespace = "default"
	crdFolder = "../../config/crd/bases"

	minimalCertificate = `
apiVersion: devicecert.io/v1alpha1
kind: DeviceCertificate
metadata: {generateName: gateway-, namespace: default}
spec:
  issuerRef: {name: digicert}
  enrollmentProfileID: IOT_00000000-0000-0000-0000-000000000001
`
	minimalIssuer = `
apiVersion: devicecert.io/v1alpha1
kind: DeviceIssuer
metadata: {generateName: digicert-, namespace: default}
spec:
  url: https://one.digicert.com
  auth: {apiToken: {secretRef: {name: digicert, key: token}}}
`
	minimalClusterIssuer = `
apiVersion: devicecert.io/v1alpha1
kind: ClusterDeviceIssuer
metadata: {generateName: digicert-}
spec:
  url: https://one.digicert.com
  auth: {apiToken: {secretRef: {name: digicert, key: token}}}
`
)

// The API server that all tests of this package share, and an administrator's client of it.
var (
	plane *controlplane.ControlPlane
	api   client.Client
)

func TestMain(m *testing.M) {
	code, err := runWithControlPlane(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithControlPlane(m *testing.M) (code int, err error) {
	plane, err = controlplane.Start(context.Background(), controlplane.Options{CRDPaths: []string{crdFolder}})
	if err != nil {
		return 0, err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return 0, err
	}
	config := plane.Config()
	config.QPS = -1 // thousands of small requests, one after another
	if api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, plane.Stop()
}

// object returns what the manifest describes, changed by JSON merge patches in YAML: null removes a field.
func object(t *testing.T, manifest string, patches ...string) *unstructured.Unstructured {
	t.Helper()
	content := fromYAML(t, manifest)
	for _, patch := range patches {
		merge(content, fromYAML(t, patch))
	}
	return &unstructured.Unstructured{Object: content}
}

func fromYAML(t *testing.T, text string) map[string]any {
	t.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("the test's own YAML: %v\n%s", err, text)
	}
	return content
}

func merge(into, patch map[string]any) {
	for key, value := range patch {
		inner, isMap := value.(map[string]any)
		outer, wasMap := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(outer, inner)
		default:
			into[key] = value
		}
	}
}

// accepts creates the object, returns it as stored and deletes it when the test ends.
func accepts(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	if err := api.Create(t.Context(), o); err != nil {
		t.Fatalf("want it accepted, got: %v", err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), o); err != nil {
			t.Error(err)
		}
	})
	return o
}

// refuses wants the object refused as invalid with each of the phrases in the message, and the kind's list still decodable.
func refuses(t *testing.T, o *unstructured.Unstructured, phrases ...string) {
	t.Helper()
	err := api.Create(t.Context(), o)
	listDecodes(t, o.GetKind())
	if err == nil {
		t.Errorf("want it refused, but it was stored: %v", o.Object["spec"])
		if err := api.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		return
	}
	checkRefusal(t, err, phrases...)
}

func checkRefusal(t *testing.T, err error, phrases ...string) {
	t.Helper()
	if !apierrors.IsInvalid(err) {
		t.Errorf("want it refused as invalid, got: %v", err)
	}
	for _, phrase := range phrases {
		if !strings.Contains(err.Error(), phrase) {
			t.Errorf("want %q in the message, got: %v", phrase, err)
		}
	}
}

// listDecodes wants every stored object of the kind decodable: one that is not would blind the informers of its kind.
func listDecodes(t *testing.T, kind string) {
	t.Helper()
	list, err := api.Scheme().New(v1alpha1.SchemeGroupVersion.WithKind(kind + "List"))
	if err != nil {
		t.Fatal(err)
	}
	if err := api.List(t.Context(), list.(client.ObjectList)); err != nil {
		t.Errorf("list %s: %v", kind, err)
	}
}

// decoded reads a stored object as its Go type.
func decoded[T any](t *testing.T, o *unstructured.Unstructured) *T {
	t.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, typed); err != nil {
		t.Fatal(err)
	}
	return typed
}
