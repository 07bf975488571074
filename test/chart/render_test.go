// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

// everything turns on all the chart has.
const everything = `
namespaces: [edge, plant]
issuerSelector: team in (a, b)
clusterResourceNamespace: credentials
allowedHosts: [vendor.example, "*.corp.example:8443"]
allowedProxies: ["proxy.corp.example:3128"]
allowedNetworks: [10.0.0.0/8]
watchSecrets: false
networkPolicy: {enabled: true, egressPorts: [8443]}
serviceMonitor: {enabled: true, labels: {release: prometheus}, prometheusServiceAccount: {name: prometheus, namespace: monitoring}}
prometheusRule: {enabled: true, for: {DeviceIssuerDown: 30m}}
dashboard: {enabled: true}
priorityClassName: system-cluster-critical
imagePullSecrets: [{name: registry}]
serviceAccount: {annotations: {a: b}}
podAnnotations: {a: b}
podLabels: {c: d}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{operator: Exists}]
affinity: {podAntiAffinity: {}}
extraArgs: [--zap-devel=true, "--pprof-bind-address=127.0.0.1:6060"]
`

func TestHelmFindsNothingToSayAboutTheChart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, []byte(everything), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--values", path}} {
		output := cluster{T: t}.mustHelm(append([]string{"lint", "--strict", chartPath}, args...)...)
		if strings.Contains(output, "[WARNING]") || strings.Contains(output, "[ERROR]") {
			t.Errorf("helm lint %v:\n%s", args, output)
		}
	}
}

func TestEveryFlagOfTheManagerHasAValue(t *testing.T) {
	var help bytes.Buffer
	command := exec.CommandContext(t.Context(), program, "--help")
	command.Stderr = &help
	if err := command.Run(); err != nil {
		t.Fatal(err)
	}
	args := strings.Join(deploymentOf(t, template(t, everything)).Spec.Template.Spec.Containers[0].Args, "\n")
	flags := regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(help.String(), -1)
	if len(flags) < 10 {
		t.Fatalf("flags are %v", flags)
	}
	byHand := []string{"kubeconfig", "version"}
	for _, flag := range flags {
		if !slices.Contains(byHand, flag[1]) && !regexp.MustCompile(`(?m)^--`+flag[1]+`(=|$)`).MatchString(args) {
			t.Errorf("no value of the chart sets --%s", flag[1])
		}
	}
	if output, err := exec.CommandContext(t.Context(), program, append(strings.Split(args, "\n"), "--kubeconfig=/nowhere")...).CombinedOutput(); err == nil || !strings.Contains(string(output), "/nowhere") {
		t.Errorf("the manager does not accept these flags: %v\n%s", err, output)
	}
}

// ruled is what one kind of role allows, without its name.
func ruled(t *testing.T, all []unstructured.Unstructured) []string {
	t.Helper()
	var found []string
	for _, o := range all {
		if o.GetAnnotations()["helm.sh/hook"] != "" || !strings.HasSuffix(o.GetKind(), "Role") {
			continue
		}
		rules, err := yaml.Marshal(o.Object["rules"])
		if err != nil {
			t.Fatal(err)
		}
		var into []string
		for label := range o.GetLabels() {
			if strings.HasPrefix(label, "rbac.authorization.k8s.io/") {
				into = append(into, label)
			}
		}
		slices.Sort(into)
		found = append(found, strings.Join(append([]string{o.GetKind(), o.GetNamespace()}, into...), " ")+"\n"+string(rules))
	}
	slices.Sort(found)
	return found
}

func TestChartAndKustomizeGiveTheSameRights(t *testing.T) {
	kubectl, err := controlplane.Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	for folder, values := range map[string]string{
		"default":    "",
		"namespaced": "{namespaces: [edge], watchSecrets: false}",
	} {
		t.Run(folder, func(t *testing.T) {
			rendered, err := exec.CommandContext(t.Context(), kubectl, "kustomize", "../../config/"+folder).Output()
			if err != nil {
				t.Fatal(err)
			}
			want := ruled(t, objects(t, rendered))
			if len(want) < 6 {
				t.Fatalf("only %d roles", len(want))
			}
			if diff := cmp.Diff(want, ruled(t, template(t, values))); diff != "" {
				t.Errorf("rights (-kustomize +chart):\n%s", diff)
			}
		})
	}
}

func TestProfilesArePublishedOnlyInTheNamespacesNamed(t *testing.T) {
	var bound []string
	for _, o := range template(t, "publishProfilesIn: [edge, plant]") {
		if o.GetKind() == "RoleBinding" && strings.HasSuffix(o.GetName(), "-profile-publisher") {
			bound = append(bound, o.GetNamespace())
		}
	}
	if want := []string{"edge", "plant"}; !slices.Equal(bound, want) {
		t.Errorf("bound in %v, want %v", bound, want)
	}
}

func TestThePodsAreAsKustomizeMakesThem(t *testing.T) {
	kubectl, err := controlplane.Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := exec.CommandContext(t.Context(), kubectl, "kustomize", "../../config/default").Output()
	if err != nil {
		t.Fatal(err)
	}
	kustomize, chart := deploymentOf(t, objects(t, rendered)).Spec, deploymentOf(t, template(t, "")).Spec
	pod, want := &chart.Template.Spec, &kustomize.Template.Spec
	if diff := cmp.Diff(want.SecurityContext, pod.SecurityContext); diff != "" {
		t.Errorf("security context of the pod (-kustomize +chart):\n%s", diff)
	}
	if diff := cmp.Diff(want.Containers[0].SecurityContext, pod.Containers[0].SecurityContext); diff != "" {
		t.Errorf("security context of the container (-kustomize +chart):\n%s", diff)
	}
	if diff := cmp.Diff(want.Containers[0].Resources, pod.Containers[0].Resources); diff != "" {
		t.Errorf("resources (-kustomize +chart):\n%s", diff)
	}
	if *want.TerminationGracePeriodSeconds != *pod.TerminationGracePeriodSeconds || *kustomize.Replicas != *chart.Replicas {
		t.Errorf("grace is %d s, want %d; replicas %d, want %d", *pod.TerminationGracePeriodSeconds, *want.TerminationGracePeriodSeconds, *chart.Replicas, *kustomize.Replicas)
	}
	hook := jobOf(t, template(t, "")).Spec.Template.Spec
	if diff := cmp.Diff(want.Containers[0].SecurityContext, hook.Containers[0].SecurityContext); diff != "" {
		t.Errorf("security context of the hook (-kustomize +chart):\n%s", diff)
	}
}

func TestAnAlertWaitsAsLongAsItsValueSays(t *testing.T) {
	var shipped struct{ Groups []ruleGroup }
	readYAML(t, filepath.Join(chartPath, "files", "alerts.yaml"), &shipped)
	var rule struct {
		Spec struct {
			Groups []ruleGroup `json:"groups"`
		} `json:"spec"`
	}
	only(t, template(t, "prometheusRule: {enabled: true, for: {DeviceIssuerDown: 30m}}"), "PrometheusRule", &rule)
	for i := range shipped.Groups[0].Rules {
		if shipped.Groups[0].Rules[i]["alert"] == "DeviceIssuerDown" {
			shipped.Groups[0].Rules[i]["for"] = "30m"
		}
	}
	if diff := cmp.Diff(shipped.Groups, rule.Spec.Groups); diff != "" {
		t.Errorf("the chart's rules (-shipped +rendered):\n%s", diff)
	}
}

type ruleGroup struct {
	Name  string           `json:"name"`
	Rules []map[string]any `json:"rules"`
}
