// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A value that the schema admits and Go cannot decode is poison: one stored object that holds it makes every typed list fail, blinds
// the running informers and keeps fresh ones from syncing.

var kinds = map[string]string{
	"DeviceCertificate": minimalCertificate, "DeviceIssuer": minimalIssuer, "ClusterDeviceIssuer": minimalClusterIssuer,
}

// undecodableTimes look like times to some reader. Go takes none of them.
var undecodableTimes = []any{
	"", "now", "2026-01-31", "2026-01-31T12:00:00", "12:00:00Z", "1769860800", 1769860800, true,
	"2020-01-01t00:00:00z", "2020-01-01T00:00:00z", "2020-01-01 00:00:00Z",
	"2020-01-01T00:00:00+99:99", "2020-01-01T00:00:00+25:00", "2020-01-01T00:00:00+0100", "2020-01-01T00:00:00 Z",
	"2020-02-30T00:00:00Z", "2020-13-01T00:00:00Z", "2020-01-01T24:00:00Z", "2020-12-31T23:59:60Z",
	"2020-01-01T00:00:00x5Z", "2020-1-1T0:0:0Z", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "２０２０-01-01T00:00:00Z",
}

func TestTheUndecodableTimesAreUndecodable(t *testing.T) {
	for _, value := range undecodableTimes {
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var time metav1.Time
		if err := json.Unmarshal(encoded, &time); err == nil {
			t.Errorf("Go takes %s for %s", encoded, time)
		}
	}
}

func TestAFullStatusIsAccepted(t *testing.T) {
	for kind, manifest := range kinds {
		t.Run(kind, func(t *testing.T) {
			o := accepts(t, object(t, manifest))
			o.Object["status"] = fullStatus(t, kind)
			if err := api.Status().Update(t.Context(), o); err != nil {
				t.Errorf("want it accepted, got: %v", err)
			}
			listDecodes(t, kind)
		})
	}
}

func TestNoTimeInAStatusIsPoison(t *testing.T) {
	for kind, manifest := range kinds {
		o := accepts(t, object(t, manifest))
		o.Object["status"] = fullStatus(t, kind)
		times := leaves(o.Object["status"], "status", func(value any) bool { return value == sampleTime })
		if len(times) < 2 {
			t.Fatalf("%s has the times %v, want more", kind, times)
		}
		for _, path := range times {
			for _, poison := range undecodableTimes {
				t.Run(fmt.Sprintf("%s %s %v", kind, path, poison), func(t *testing.T) {
					refusesStatus(t, o, path, poison)
				})
			}
		}
	}
}

// Go decodes these, but writes them back as what it cannot decode: years need four digits.
func TestNoTimeInAStatusIsPoisonOnceWrittenBack(t *testing.T) {
	for kind, manifest := range kinds {
		o := accepts(t, object(t, manifest))
		o.Object["status"] = fullStatus(t, kind)
		for _, path := range leaves(o.Object["status"], "status", func(value any) bool { return value == sampleTime }) {
			for _, poison := range []string{"9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"} {
				t.Run(fmt.Sprintf("%s %s %s", kind, path, poison), func(t *testing.T) {
					refusesStatus(t, o, path, poison)
				})
			}
		}
	}
}

func TestNoNumberInAStatusIsPoison(t *testing.T) {
	for kind, manifest := range kinds {
		o := accepts(t, object(t, manifest))
		o.Object["status"] = fullStatus(t, kind)
		for _, path := range leaves(o.Object["status"], "status", func(value any) bool { return value == int64(sampleInteger) }) {
			for _, poison := range []any{json.Number("9223372036854775808"), json.Number("1e30"), json.Number("-1e30"), 1.5, "1", -9007199254740992} {
				t.Run(fmt.Sprintf("%s %s %v", kind, path, poison), func(t *testing.T) {
					refusesStatus(t, o, path, poison)
				})
			}
		}
	}
}

func TestACertificateOfAnyAgeFitsTheStatus(t *testing.T) {
	o := accepts(t, object(t, minimalCertificate))
	for _, value := range []string{"0001-01-02T00:00:00Z", "1900-01-01T00:00:00Z", "1949-12-31T23:59:59Z", "9999-12-31T23:59:59Z"} {
		o.Object["status"] = map[string]any{"notBefore": value, "notAfter": value}
		if err := api.Status().Update(t.Context(), o); err != nil {
			t.Errorf("a certificate of %s: %v", value, err)
		}
		listDecodes(t, o.GetKind())
	}
}

func TestNoDurationInASpecIsPoison(t *testing.T) {
	const format = "must be whole"
	for kind, fields := range map[string][]string{
		"DeviceCertificate":   {"spec.renewal.renewBefore", "spec.revocation.gracePeriod"},
		"DeviceIssuer":        {"spec.requestTimeout", "spec.orphans.inventoryLag"},
		"ClusterDeviceIssuer": {"spec.requestTimeout", "spec.orphans.inventoryLag"},
	} {
		for _, field := range fields {
			for _, poison := range []any{
				"", "1x", "1d", "7d12h", "-1h", "+1h", "292y", "0.0000000001s", "1.5h", "9999999999h", "2562047h47m16s", "99999999999999999999s",
				"1", "h", " 1h", "1h ", "1H", "1h1h", "1s1m", "1m1h", "100ms", "1us", "1ns", "1h\n", "٣h", "P1D", 3600, true,
			} {
				t.Run(fmt.Sprintf("%s %s %v", kind, field, poison), func(t *testing.T) {
					o := object(t, kinds[kind])
					if err := unstructured.SetNestedField(o.Object, jsonValue(t, poison), strings.Split(field, ".")...); err != nil {
						t.Fatal(err)
					}
					phrases := []string{field}
					if text, isText := poison.(string); isText {
						phrases = append(phrases, lastOf(field)+" "+format)
						if len(text) > 24 {
							t.Fatalf("%q is refused for its length alone", text)
						}
					}
					refuses(t, o, phrases...)
				})
			}
		}
	}
}

// Every duration is among those that the test above poisons.
func TestEveryDurationIsTested(t *testing.T) {
	var found []string
	for kind, root := range schemas(t) {
		walk("", root, func(path string, s schema) {
			for _, rule := range s.XValidations {
				if strings.Contains(rule.Rule, "duration(") {
					found = append(found, kind+path)
				}
			}
		})
	}
	want := []string{
		"ClusterDeviceIssuer.spec.orphans.inventoryLag", "ClusterDeviceIssuer.spec.requestTimeout",
		"DeviceCertificate.spec.renewal.renewBefore", "DeviceCertificate.spec.revocation.gracePeriod",
		"DeviceIssuer.spec.orphans.inventoryLag", "DeviceIssuer.spec.requestTimeout",
	}
	if slices.Sort(found); !slices.Equal(found, want) {
		t.Errorf("durations are %v, want %v", found, want)
	}
}

const (
	sampleTime    = "2026-01-31T12:00:00Z"
	sampleInteger = 1
)

// fullStatus is a status with a good value in every field that the kind's schema knows.
func fullStatus(t *testing.T, kind string) map[string]any {
	t.Helper()
	root := schemas(t)[kind]
	return sample(root.Properties["status"]).(map[string]any)
}

func sample(s schema) any {
	switch {
	case s.Type == "object":
		o := map[string]any{}
		for name, property := range s.Properties {
			o[name] = sample(property)
		}
		return o
	case s.Type == "array":
		return []any{sample(*s.Items.Schema)}
	case s.Type == "integer":
		return int64(sampleInteger)
	case s.Type == "boolean":
		return true
	case s.Format == "date-time":
		return sampleTime
	case len(s.Enum) > 0:
		return strings.Trim(string(s.Enum[0].Raw), `"`)
	case s.MinLength != nil && *s.MinLength == int64(len(time.DateOnly)):
		return time.DateOnly // the one text of a fixed length is a day
	default:
		return "x"
	}
}

// leaves are the paths of the values that are chosen, as keys and indexes joined by slashes.
func leaves(value any, path string, chosen func(any) bool) []string {
	var paths []string
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			paths = append(paths, leaves(value[key], path+"/"+key, chosen)...)
		}
	case []any:
		for i, item := range value {
			paths = append(paths, leaves(item, fmt.Sprintf("%s/%d", path, i), chosen)...)
		}
	default:
		if chosen(value) {
			paths = append(paths, path)
		}
	}
	return paths
}

// refusesStatus wants the object's status refused for the value at the path alone.
func refusesStatus(t *testing.T, o *unstructured.Unstructured, path string, value any) {
	t.Helper()
	poisoned := o.DeepCopy()
	replace(poisoned.Object, strings.Split(path, "/"), jsonValue(t, value))

	err := api.Status().Update(t.Context(), poisoned)
	listDecodes(t, o.GetKind())
	if err != nil {
		checkRefusal(t, err, "status")
		return
	}
	t.Errorf("want %v refused, but it was stored", value)
	o.SetResourceVersion(poisoned.GetResourceVersion())
}

func replace(in any, path []string, value any) {
	switch in := in.(type) {
	case map[string]any:
		if len(path) == 1 {
			in[path[0]] = value
			return
		}
		replace(in[path[0]], path[1:], value)
	case []any:
		replace(in[0], path[1:], value)
	}
}

// jsonValue returns the value as the JSON decoder of an unstructured object would.
func jsonValue(t *testing.T, value any) any {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func lastOf(field string) string {
	return field[strings.LastIndex(field, ".")+1:]
}
