// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart tries the Helm chart with Helm itself, on a real API server. Without a kubelet no pod runs: the manager, and the job
// that Helm runs before it deletes a release, are started as processes, with the arguments and under the service accounts that the
// chart gave them.
package chart

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	chartPath = "../../charts/devicecert-operator"
	namespace = "devicecert-system"
	release   = "devicecert-operator"
)

// program is built once for all tests.
var program string

func TestMain(m *testing.M) {
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chart-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "manager")
	if output, err := exec.Command("go", "build", "-o", program, "../../cmd/manager").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the manager: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// tool is a program that `make test` builds.
func tool(name string) string {
	tools := os.Getenv("TOOLS")
	if tools == "" {
		tools = "../../bin/tools"
	}
	return filepath.Join(tools, name)
}

// cluster is where Helm installs; the zero value is none.
type cluster struct {
	*testing.T
	plane *controlplane.ControlPlane
}

// helm runs Helm and answers with both of its outputs.
func (c cluster) helm(args ...string) (string, error) {
	c.Helper()
	home := c.TempDir()
	command := exec.CommandContext(c.Context(), tool("helm"), args...)
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null")
	if c.plane != nil {
		command.Env = append(command.Env, "KUBECONFIG="+c.plane.Kubeconfig())
	}
	output, err := command.CombinedOutput()
	if os.IsNotExist(err) {
		c.Fatalf("%v: run make helm", err)
	}
	return string(output), err
}

func (c cluster) mustHelm(args ...string) string {
	c.Helper()
	output, err := c.helm(args...)
	if err != nil {
		c.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return output
}

// template renders the chart with values, CRDs left out.
func template(t *testing.T, values string) []unstructured.Unstructured {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	rendered := cluster{T: t}.mustHelm("template", release, chartPath, "--namespace", namespace, "--values", path, "--set", "crds.install=false")
	return objects(t, []byte(rendered))
}

// objects reads a stream of YAML.
func objects(t *testing.T, text []byte) []unstructured.Unstructured {
	t.Helper()
	var all []unstructured.Unstructured
	for document := range bytes.SplitSeq(text, []byte("\n---")) {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal(document, &o.Object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
	return all
}

// only is the one object of a kind.
func only(t *testing.T, all []unstructured.Unstructured, kind string, into any) {
	t.Helper()
	found := 0
	for _, o := range all {
		if o.GetKind() != kind {
			continue
		}
		found++
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
			t.Fatal(err)
		}
	}
	if found != 1 {
		t.Fatalf("%d objects of kind %s, want one", found, kind)
	}
}

func deploymentOf(t *testing.T, all []unstructured.Unstructured) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	only(t, all, "Deployment", d)
	return d
}

func jobOf(t *testing.T, all []unstructured.Unstructured) *batchv1.Job {
	t.Helper()
	j := &batchv1.Job{}
	only(t, all, "Job", j)
	return j
}
