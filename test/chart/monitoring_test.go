// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

// prometheusOperatorCRDs writes the Prometheus operator's CustomResourceDefinitions, made of its types as that project makes them.
func prometheusOperatorCRDs(t *testing.T) []string {
	t.Helper()
	generator, err := filepath.Abs(tool("controller-gen"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), generator, "crd:maxDescLen=0", "output:crd:dir="+dir,
		"paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1")
	command.Dir = "../../hack/monitoring"
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make the CRDs (is there %s? make test builds it): %v\n%s", generator, err, output)
	}
	return []string{filepath.Join(dir, "monitoring.coreos.com_servicemonitors.yaml"), filepath.Join(dir, "monitoring.coreos.com_prometheusrules.yaml")}
}

// observability are the objects that other programs read.
func observability(t *testing.T) map[string]unstructured.Unstructured {
	t.Helper()
	found := map[string]unstructured.Unstructured{}
	for _, o := range template(t, everything) {
		if kind := o.GetKind(); kind == "ServiceMonitor" || kind == "PrometheusRule" || kind == "ConfigMap" || kind == "Service" {
			found[kind] = o
		}
	}
	if len(found) != 4 {
		t.Fatalf("the chart makes %d of the four", len(found))
	}
	return found
}

func TestThePrometheusOperatorKnowsEveryField(t *testing.T) {
	plane, err := controlplane.Start(t.Context(), controlplane.Options{CRDPaths: prometheusOperatorCRDs(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	admin, err := client.New(plane.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	strict := func(o unstructured.Unstructured) error {
		return admin.Create(t.Context(), &o, client.FieldValidation(metav1.FieldValidationStrict))
	}
	for kind, o := range observability(t) {
		if err := strict(*o.DeepCopy()); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		stored := &unstructured.Unstructured{}
		stored.SetGroupVersionKind(o.GroupVersionKind())
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(&o), stored); err != nil {
			t.Fatal(err)
		}
		if kind == "Service" { // which the API server completes
			continue
		}
		for _, part := range []string{"spec", "data"} {
			if diff := cmp.Diff(o.Object[part], stored.Object[part]); diff != "" {
				t.Errorf("%s of the %s (-rendered +stored):\n%s", part, kind, diff)
			}
		}
	}
	misspelt := observability(t)["ServiceMonitor"]
	misspelt.SetName("misspelt")
	if err := unstructured.SetNestedField(misspelt.Object, true, "spec", "honorLabel"); err != nil {
		t.Fatal(err)
	}
	if err := strict(misspelt); err == nil || !strings.Contains(err.Error(), "honorLabel") {
		t.Errorf("a field that does not exist is taken: %v", err)
	}
}

// What the e2e tests scrape with is what the ServiceMonitor tells the Prometheus operator.
func TestTheServiceMonitorScrapesAsTheTestsDo(t *testing.T) {
	objects := observability(t)
	monitor := objects["ServiceMonitor"]
	endpoints, _, err := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	if err != nil || len(endpoints) != 1 {
		t.Fatalf("endpoints are %v: %v", endpoints, err)
	}
	endpoint, ok := endpoints[0].(map[string]any)
	if !ok {
		t.Fatalf("the endpoint is %v", endpoints[0])
	}
	if endpoint["bearerTokenFile"] != "/var/run/secrets/kubernetes.io/serviceaccount/token" {
		t.Errorf("the token is read from %v", endpoint["bearerTokenFile"])
	}
	tls, _ := endpoint["tlsConfig"].(map[string]any)
	told := map[string]any{
		"job_name": "devicecert-operator", "scheme": endpoint["scheme"], "metrics_path": endpoint["path"], "honor_labels": endpoint["honorLabels"],
		"authorization": map[string]any{"credentials_file": "token"}, "tls_config": map[string]any{"insecure_skip_verify": tls["insecureSkipVerify"]},
	}
	text, err := os.ReadFile("../e2e/testdata/scrape.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tried map[string]any
	if err := yaml.Unmarshal(text, &tried); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tried, told); diff != "" {
		t.Errorf("scraping (-tried +told):\n%s", diff)
	}
	findsThePods(t, objects["Service"], monitor, endpoint["port"])
}

// findsThePods follows the labels from the ServiceMonitor to the pods.
func findsThePods(t *testing.T, o, monitor unstructured.Unstructured, port any) {
	t.Helper()
	wanted, _, err := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	if err != nil || len(wanted) == 0 || !labels.SelectorFromSet(wanted).Matches(labels.Set(o.GetLabels())) {
		t.Errorf("the ServiceMonitor selects %v (%v), the Service has %v", wanted, err, o.GetLabels())
	}
	service := &corev1.Service{}
	only(t, []unstructured.Unstructured{o}, "Service", service)
	pod := deploymentOf(t, template(t, everything)).Spec.Template
	if len(service.Spec.Selector) == 0 || !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
		t.Errorf("the Service selects %v, pods have %v", service.Spec.Selector, pod.Labels)
	}
	var ports []string
	for _, p := range service.Spec.Ports {
		for _, c := range pod.Spec.Containers[0].Ports {
			if p.TargetPort.StrVal == c.Name {
				ports = append(ports, p.Name)
			}
		}
	}
	if diff := cmp.Diff([]string{"metrics"}, ports); diff != "" || port != "metrics" {
		t.Errorf("ports that lead to the pods (-want +got), of which %v is scraped:\n%s", port, diff)
	}
}
