// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/internal/testkit/address"
)

// monitoring is a Prometheus that is configured by the PrometheusRules and ServiceMonitors of the cluster, as the Prometheus operator does it.
type monitoring struct {
	*demo
	process *process
	url     string
	// configured is the last configuration.
	configured []byte
}

// startMonitoring starts Prometheus, which has nothing to scrape yet. There is none where the program is missing.
func (d *demo) startMonitoring(ctx context.Context) (*monitoring, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		d.screen.note("no program prometheus on the PATH (Debian's package prometheus has it): no metrics and no alerts")
		return nil, nil
	}
	if err := d.kubectl(ctx, "apply", "-f", filepath.Join(d.root, "hack", "demo", "monitoring.yaml")); err != nil {
		return nil, err
	}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 60 * 60)}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "prometheus"}}
	if err := d.cluster.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, err
	}
	if err := d.folder.write([]byte(token.Status.Token), "prometheus", "token"); err != nil {
		return nil, err
	}
	free, err := address.Free()
	if err != nil {
		return nil, err
	}
	m := &monitoring{demo: d, url: "http://" + free}
	if m.configured, err = m.write(nil, nil); err != nil {
		return nil, err
	}
	m.process, err = d.folder.start(io.Discard, program, "--config.file="+d.folder.path("prometheus", "prometheus.yaml"),
		"--storage.tsdb.path="+d.folder.path("prometheus", "data"), "--web.listen-address="+free, "--web.enable-lifecycle", "--log.level=warn")
	return m, err
}

// look brings Prometheus up to date with the cluster.
func (m *monitoring) look(ctx context.Context, pods map[types.UID]*pod) error {
	var rules []prometheusRule
	if err := m.list(ctx, "PrometheusRule", &rules); err != nil {
		return err
	}
	var monitors []serviceMonitor
	if err := m.list(ctx, "ServiceMonitor", &monitors); err != nil {
		return err
	}
	var groups []any
	for _, rule := range rules {
		groups = append(groups, rule.Spec.Groups...)
	}
	var scrapes []scrape
	for i := range monitors {
		found, err := m.scrapes(ctx, &monitors[i], pods)
		if err != nil {
			return err
		}
		scrapes = append(scrapes, found...)
	}
	configured, err := m.write(groups, scrapes)
	if err != nil || bytes.Equal(configured, m.configured) {
		return err
	}
	if err := m.reload(ctx); err != nil {
		return err
	}
	m.configured = configured
	return nil
}

// prometheusRule and serviceMonitor are what is read of the kinds.
type prometheusRule struct {
	Spec struct {
		Groups []any `json:"groups"`
	} `json:"spec"`
}

type serviceMonitor struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port        string `json:"port"`
			Scheme      string `json:"scheme"`
			Path        string `json:"path"`
			Interval    string `json:"interval"`
			HonorLabels bool   `json:"honorLabels"`
			TLSConfig   struct {
				InsecureSkipVerify bool `json:"insecureSkipVerify"`
			} `json:"tlsConfig"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// scrape is an entry of Prometheus's configuration.
type scrape struct {
	Name        string         `json:"job_name"`
	Scheme      string         `json:"scheme"`
	Path        string         `json:"metrics_path"`
	Interval    string         `json:"scrape_interval"`
	HonorLabels bool           `json:"honor_labels"`
	Token       map[string]any `json:"authorization"`
	TLS         map[string]any `json:"tls_config"`
	Targets     []target       `json:"static_configs"`
}

type target struct {
	Addresses []string          `json:"targets"`
	Labels    map[string]string `json:"labels"`
}

func (m *monitoring) list(ctx context.Context, kind string, into any) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: kind + "List"})
	if err := m.cluster.List(ctx, list); err != nil {
		return err
	}
	text, err := yaml.Marshal(list.Items)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, into)
}

// scrapes are what a ServiceMonitor asks for: the pods behind the Services it selects.
func (m *monitoring) scrapes(ctx context.Context, monitor *serviceMonitor, pods map[types.UID]*pod) ([]scrape, error) {
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil {
		return nil, err
	}
	var services corev1.ServiceList
	if err := m.cluster.List(ctx, &services, client.InNamespace(monitor.Metadata.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, err
	}
	var all []scrape
	for i, endpoint := range monitor.Spec.Endpoints {
		s := scrape{
			Name:   fmt.Sprintf("%s/%s/%d", monitor.Metadata.Namespace, monitor.Metadata.Name, i),
			Scheme: endpoint.Scheme, Path: endpoint.Path, Interval: endpoint.Interval, HonorLabels: endpoint.HonorLabels,
			Token: map[string]any{"credentials_file": "token"}, TLS: map[string]any{"insecure_skip_verify": endpoint.TLSConfig.InsecureSkipVerify},
		}
		for j := range services.Items {
			s.Targets = append(s.Targets, targets(&services.Items[j], endpoint.Port, pods)...)
		}
		all = append(all, s)
	}
	return all, nil
}

// targets are the ready pods of a Service, at one of its ports.
func targets(service *corev1.Service, port string, pods map[types.UID]*pod) []target {
	at := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == port })
	if at < 0 {
		return nil
	}
	var found []target
	for _, p := range pods {
		selected := p.object.Namespace == service.Namespace && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(p.object.Labels))
		address := p.addresses[service.Spec.Ports[at].TargetPort.StrVal]
		if selected && p.ready && address != "" {
			found = append(found, target{[]string{address}, map[string]string{"namespace": p.object.Namespace, "pod": p.object.Name}})
		}
	}
	slices.SortFunc(found, func(a, b target) int { return strings.Compare(a.Labels["pod"], b.Labels["pod"]) })
	return found
}

// write writes the configuration and answers with all of it.
func (m *monitoring) write(groups []any, scrapes []scrape) ([]byte, error) {
	rules, err := yaml.Marshal(map[string]any{"groups": groups})
	if err != nil {
		return nil, err
	}
	configuration, err := yaml.Marshal(map[string]any{
		"global":     map[string]string{"scrape_interval": "5s", "evaluation_interval": "1s"},
		"rule_files": []string{"rules.yaml"}, "scrape_configs": scrapes,
	})
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{"rules.yaml": rules, "prometheus.yaml": configuration} {
		if err := m.folder.write(text, "prometheus", name); err != nil {
			return nil, err
		}
	}
	return append(rules, configuration...), nil
}

// reload has Prometheus read its configuration again.
func (m *monitoring) reload(ctx context.Context) error {
	if !m.process.alive() {
		return fmt.Errorf("prometheus has ended by itself\n%s", m.folder.lastWords())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url+"/-/reload", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // the status says enough
		return fmt.Errorf("prometheus does not take its configuration: %s", why)
	}
	return nil
}
