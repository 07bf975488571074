// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

type schema = apiextensionsv1.JSONSchemaProps

// schemas returns the schema of every kind, by kind.
func schemas(t *testing.T) map[string]schema {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(crdFolder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]schema{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(content, &crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		kinds[crd.Spec.Names.Kind] = *crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	if len(kinds) != 3 {
		t.Fatalf("%d kinds in %s, want 3", len(kinds), crdFolder)
	}
	return kinds
}

// walk visits every value below a schema, which is at the path; "[]" stands for the items of a list, "{}" for the values of a map.
func walk(path string, s schema, visit func(path string, s schema)) {
	for name, property := range s.Properties {
		visit(path+"."+name, property)
		walk(path+"."+name, property, visit)
	}
	if s.Items != nil {
		visit(path+"[]", *s.Items.Schema)
		walk(path+"[]", *s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil {
		visit(path+"{}", *s.AdditionalProperties.Schema)
		walk(path+"{}", *s.AdditionalProperties.Schema, visit)
	}
}

// at returns the schema at a path as walk builds it.
func at(t *testing.T, kind, path string) schema {
	t.Helper()
	var found *schema
	walk("", schemas(t)[kind], func(p string, s schema) {
		if p == path {
			found = &s
		}
	})
	if found == nil {
		t.Fatalf("%s has no %s", kind, path)
	}
	return *found
}

func TestEveryFieldIsDocumented(t *testing.T) {
	for kind, root := range schemas(t) {
		walk("", root, func(path string, s schema) {
			isField := !strings.HasSuffix(path, "[]") && !strings.HasSuffix(path, "{}")
			if isField && len(s.Description) < 10 && path != ".metadata" {
				t.Errorf("%s%s has the description %q: say meaning, default, unit and limit", kind, path, s.Description)
			}
		})
	}
}

func TestEveryOptionalFieldOfASpecTellsItsDefault(t *testing.T) {
	for kind, root := range schemas(t) {
		walk(".spec", root.Properties["spec"], func(path string, s schema) {
			if s.Default != nil && !strings.Contains(s.Description, "Default: ") {
				t.Errorf("%s%s has a default that its description does not tell", kind, path)
			}
		})
	}
}

// Without a bound a value may be too large for Go, for etcd or for the cost that the API server allows its rules.
func TestEveryValueIsBounded(t *testing.T) {
	// Kubernetes' own types, which bound themselves or are bounded by a rule above them.
	foreign := []string{".metadata", ".apiVersion", ".kind", ".spec.grants[].namespaces.", ".status.conditions[].observedGeneration"}
	for kind, root := range schemas(t) {
		walk("", root, func(path string, s schema) {
			if slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
				return
			}
			// The entries of secret.labels and secret.annotations are bounded by rules of the map.
			if !strings.HasSuffix(path, "{}") && !bounded(s) {
				t.Errorf("%s%s, of type %s, has no upper bound", kind, path, s.Type)
			}
		})
	}
}

func bounded(s schema) bool {
	switch s.Type {
	case "string":
		return s.MaxLength != nil || s.Enum != nil || s.Format == "date-time"
	case "integer":
		return s.Minimum != nil && s.Maximum != nil
	case "array":
		return s.MaxItems != nil
	case "object":
		return s.Properties != nil || s.MaxProperties != nil
	default:
		return s.Type == "boolean"
	}
}

func TestTheConstantsAreTheSchemasBounds(t *testing.T) {
	const certificate = "DeviceCertificate"
	for path, want := range map[string]int64{
		".spec.certificateAttributes[].value":    v1alpha1.MaxValueLength,
		".spec.certificateAttributes[].values[]": v1alpha1.MaxValueLength,
		".status.subject":                        v1alpha1.MaxSubjectLength,
		".status.dnsNames[]":                     v1alpha1.MaxValueLength,
		".status.attempt.commonName":             v1alpha1.MaxValueLength,
		".status.attempt.deviceID":               v1alpha1.MaxValueLength,
		".status.attempt.failure":                v1alpha1.MaxMessageLength,
		".status.failures.message":               v1alpha1.MaxMessageLength,
		".status.orphans[].commonName":           v1alpha1.MaxValueLength,
		".status.orphans[].message":              v1alpha1.MaxMessageLength,
	} {
		if got := at(t, certificate, path).MaxLength; got == nil || *got != want {
			t.Errorf("%s allows %v characters, the constant says %d", path, got, want)
		}
	}
	for path, want := range map[string]int64{
		".status.dnsNames":   v1alpha1.MaxDNSNames,
		".status.superseded": v1alpha1.MaxSuperseded,
		".status.orphans":    v1alpha1.MaxOrphans,
	} {
		if got := at(t, certificate, path).MaxItems; got == nil || *got != want {
			t.Errorf("%s allows %v items, the constant says %d", path, got, want)
		}
	}
	for kind := range issuerKinds {
		if got := at(t, kind, ".status.blockedProfiles").MaxItems; got == nil || *got != v1alpha1.MaxBlockedProfiles {
			t.Errorf("%s allows %v blocked profiles, the constant says %d", kind, got, v1alpha1.MaxBlockedProfiles)
		}
		if got := at(t, kind, ".status.blockedProfiles[].message").MaxLength; got == nil || *got != v1alpha1.MaxMessageLength {
			t.Errorf("%s allows %v characters of message, the constant says %d", kind, got, v1alpha1.MaxMessageLength)
		}
	}
}

func TestKubectlExplainsAField(t *testing.T) {
	for field, phrase := range map[string]string{
		"devicecertificate.spec.renewal.renewBefore":          "1m to 87600h",
		"dcert.status.orphans":                                "devicecert.io/acknowledge-orphan",
		"deviceissuer.spec.limits.issuancesPerDay":            "Default: 5000",
		"clusterdeviceissuer.spec.grants.attributes.suffixes": ".edge.example",
	} {
		explain := exec.CommandContext(t.Context(), plane.Kubectl(), "--kubeconfig", plane.Kubeconfig(), "explain", field)
		output, err := explain.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, output)
		}
		// kubectl breaks lines where it likes.
		if text := strings.Join(strings.Fields(string(output)), " "); !strings.Contains(text, phrase) {
			t.Errorf("kubectl explain %s lacks %q:\n%s", field, phrase, output)
		}
	}
}
