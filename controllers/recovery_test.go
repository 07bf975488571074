// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// specField is a field of the spec as the schema describes it. A number in its path is the index of a list's item.
type specField struct {
	path   []any
	schema apiextensionsv1.JSONSchemaProps
}

func (f specField) String() string {
	var names []string
	for _, step := range f.path {
		if name, ok := step.(string); ok {
			names = append(names, name)
		}
	}
	return strings.Join(names, ".")
}

// specFields are all fields of the spec, inner ones included, by the shipped schema: a new field is tried without anybody adding it here.
func specFields(t *testing.T) []specField {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "config", "crd", "bases", "devicecert.io_devicecertificates.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, crd); err != nil {
		t.Fatal(err)
	}
	var fields []specField
	var walk func(path []any, schema apiextensionsv1.JSONSchemaProps)
	walk = func(path []any, schema apiextensionsv1.JSONSchemaProps) {
		if len(path) > 0 {
			fields = append(fields, specField{slices.Clone(path), schema})
		}
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			walk(append(path, name), schema.Properties[name])
		}
		if schema.Items != nil && schema.Items.Schema != nil && len(schema.Items.Schema.Properties) > 0 {
			walk(append(path, 0), *schema.Items.Schema)
		}
	}
	walk(nil, crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"])
	return fields
}

// values are every kind of value for the field, those that the API server refuses included.
func (f specField) values() []any {
	values := []any{
		nil, "", "text", "x y\n", strings.Repeat("x", 3000), "../../etc", "24h", "-1h", "9999999999h", "0s",
		int64(0), int64(1), int64(33), int64(-1), int64(math.MaxInt64), 1.5, true, false,
		[]any{}, []any{"text"}, []any{map[string]any{}}, map[string]any{}, map[string]any{"key": "text"},
	}
	for _, word := range f.schema.Enum {
		var value any
		if json.Unmarshal(word.Raw, &value) == nil {
			values = append(values, value)
		}
	}
	return values
}

// put sets a value in a tree of maps and lists, and makes the maps on the way. It tells whether there is such a place.
func put(tree any, path []any, value any) bool {
	if len(path) == 0 {
		return false
	}
	switch step := path[0].(type) {
	case string:
		node, ok := tree.(map[string]any)
		if !ok {
			return false
		}
		if len(path) == 1 {
			node[step] = value
			return true
		}
		if node[step] == nil {
			node[step] = map[string]any{}
		}
		return put(node[step], path[1:], value)
	case int:
		list, ok := tree.([]any)
		return ok && step < len(list) && put(list[step], path[1:], value)
	}
	return false
}

// startOf is the spec in which a field is tried: one in which it has a meaning.
func startOf(field string) func(*v1alpha1.DeviceCertificate) {
	switch {
	case strings.HasPrefix(field, "privateKey.encryption."):
		return opened
	case strings.HasPrefix(field, "secret.outputs.pkcs12"):
		return withPKCS12
	case strings.HasPrefix(field, "secret.outputs.jks"):
		return withJKS
	case strings.HasPrefix(field, "deviceAttributes."):
		return func(c *v1alpha1.DeviceCertificate) {
			c.Spec.DeviceAttributes = []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: &c.Name}}
		}
	default:
		return func(*v1alpha1.DeviceCertificate) {}
	}
}

// costs tells whether a change of the field, or of one inside of it, may cost a certificate.
func costs(field string) bool {
	return slices.ContainsFunc(changes(&world{}, recipient{}), func(c change) bool {
		return c.cost > 0 && c.field != "secret.outputs.chain" && (c.field == field || strings.HasPrefix(c.field, field+"."))
	})
}

func TestEveryFieldMayTakeAnyValueAndComeBackWithoutATrace(t *testing.T) {
	fields := specFields(t)
	w := newWorld(t)
	w.transport()
	w.createSecret("password", map[string]string{"one": "changeit1", "two": "changeit2"})
	for i, f := range fields {
		w.certificate(fmt.Sprintf("c%d", i), startOf(f.String()))
	}
	w.settle()
	before := map[string]*corev1.Secret{}
	for i := range fields {
		name := fmt.Sprintf("c%d", i)
		before[name] = w.secret(name)
	}
	accepted := make([]int, len(fields))
	for i, f := range fields {
		name := fmt.Sprintf("c%d", i)
		original := w.spec(name)
		for _, value := range f.values() {
			if changed := runtime.DeepCopyJSON(original); put(changed, f.path, value) && w.thereAndBack(name, original, changed) {
				accepted[i]++
			}
		}
	}
	w.pass(7 * time.Hour) // what waited to be bought or undone has been
	for i, f := range fields {
		t.Run(f.String(), func(t *testing.T) {
			g := NewWithT(t)
			name := fmt.Sprintf("c%d", i)
			g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message(name, v1alpha1.ConditionReady))
			bought := w.vendor.Summary().ByCommonName[name+".example"].Issued
			if costs(f.String()) {
				g.Expect(bought).To(BeNumerically("<=", 1+2*accepted[i]))
				return
			}
			g.Expect(bought).To(Equal(1))
			if diff := cmp.Diff(content(before[name]), content(w.secret(name))); diff != "" {
				t.Errorf("the Secret is not what it was (-before +after):\n%s", diff)
			}
		})
	}
}

// thereAndBack changes a spec and takes it back, and lets the operator see both. It tells whether the API server took the change.
func (w *world) thereAndBack(name string, original, changed map[string]any) bool {
	w.t.Helper()
	if err := w.setSpec(name, changed); err != nil {
		if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
			w.t.Errorf("%.200v: %v", changed, err)
		}
		return false
	}
	w.settle()
	if err := w.setSpec(name, original); err != nil {
		w.t.Errorf("%.200v cannot be taken back: %v", changed, err)
	}
	w.settle()
	return true
}

// spec is the spec as JSON has it.
func (w *world) spec(name string) map[string]any {
	w.t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("DeviceCertificate"))
	w.must(w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, object))
	spec, _, err := unstructured.NestedMap(object.Object, "spec")
	w.must(err)
	return spec
}

func (w *world) setSpec(name string, spec map[string]any) error {
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec", "value": spec}})
	if err != nil {
		return err
	}
	c := &v1alpha1.DeviceCertificate{}
	c.Namespace, c.Name = w.namespace, name
	if err := w.client.Patch(w.ctx, c, client.RawPatch(types.JSONPatchType, patch)); err != nil {
		return err
	}
	w.wake(client.ObjectKeyFromObject(c))
	return nil
}

// content is what users see of a Secret. Keystores are left out: whenever they are made anew they have a new salt.
func content(s *corev1.Secret) *corev1.Secret {
	data := maps.Clone(s.Data)
	for _, keystore := range []string{"keystore.p12", "truststore.p12", "keystore.jks", "truststore.jks"} {
		delete(data, keystore)
	}
	c := &corev1.Secret{Data: data, Type: s.Type}
	c.Labels = s.Labels
	return c
}
