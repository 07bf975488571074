// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// tenant is the namespace of the gateways.
const tenant = "edge"

// startGateways applies the pods first.
func (s *story) startGateways(ctx context.Context) error {
	labels := map[string]string{"team": "edge", "pod-security.kubernetes.io/enforce": "restricted"}
	if err := s.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant, Labels: labels}}); err != nil {
		return err
	}
	if err := s.until(ctx, "the tenant has a service account", func(ctx context.Context) (bool, error) {
		err := s.admin.Get(ctx, client.ObjectKey{Namespace: tenant, Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, client.IgnoreNotFound(err)
	}); err != nil {
		return err
	}
	for name, peer := range map[string]string{"a": "b", "b": "a"} {
		if err := s.admin.Create(ctx, gateway(name, peer)); err != nil {
			return err
		}
		if err := s.until(ctx, "gateway "+name+" waits for its Secret", func(ctx context.Context) (bool, error) {
			events := &corev1.EventList{}
			err := s.admin.List(ctx, events, client.InNamespace(tenant))
			for _, e := range events.Items {
				if e.InvolvedObject.Name == name && e.Reason == "FailedMount" && strings.Contains(e.Message, `"`+name+`-tls" not found`) {
					return true, nil
				}
			}
			return false, err
		}); err != nil {
			return err
		}
	}
	for _, name := range []string{"a", "b"} {
		if err := s.admin.Create(ctx, certificate(name)); err != nil {
			return err
		}
		if err := s.serves(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// gateway is a pod under the restricted standard that mounts the Secret of its name.
func gateway(name, peer string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name}}
	pod.Spec = corev1.PodSpec{
		AutomountServiceAccountToken:  ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To[int64](5),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), FSGroup: ptr.To[int64](65532),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: "gateway", Image: "devicecert.test/workload:node", ImagePullPolicy: corev1.PullNever, Args: []string{"gateway"},
			Env:          []corev1.EnvVar{{Name: "PEER", Value: commonName(peer)}},
			VolumeMounts: []corev1.VolumeMount{{Name: "tls", MountPath: "/tls", ReadOnly: true}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
		Volumes: []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: name + "-tls", DefaultMode: ptr.To[int32](0o440)},
		}}},
	}
	return pod
}

func commonName(name string) string { return name + ".edge.example" }

func certificate(name string) *v1alpha1.DeviceCertificate {
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: name}}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "digicert"}
	c.Spec.EnrollmentProfileID = profile
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{
		{ID: "subject.common_name", Value: new(commonName(name))}, {ID: "san.dns_name", Values: []string{commonName(name)}},
	}
	c.Spec.Secret.Name = name + "-tls"
	return c
}

// serves waits until a gateway serves the certificate that its object says is stored.
func (s *story) serves(ctx context.Context, name string) error {
	return s.until(ctx, "gateway "+name+" serves its certificate", func(ctx context.Context) (bool, error) {
		c, err := s.certificate(ctx, name)
		if err != nil || !apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) {
			return false, err
		}
		serial, err := s.get(ctx, name, "/serial")
		return strings.TrimLeft(c.Status.SerialNumber, "0") == serial, err
	})
}

func (s *story) certificate(ctx context.Context, name string) (*v1alpha1.DeviceCertificate, error) {
	c := &v1alpha1.DeviceCertificate{}
	return c, s.admin.Get(ctx, client.ObjectKey{Namespace: tenant, Name: name}, c)
}

func (s *story) podIP(ctx context.Context, name string) (string, error) {
	pod := &corev1.Pod{}
	if err := s.admin.Get(ctx, client.ObjectKey{Namespace: tenant, Name: name}, pod); err != nil {
		return "", err
	}
	if pod.Status.PodIP == "" {
		return "", fmt.Errorf("pod %s has no address yet", name)
	}
	return pod.Status.PodIP, nil
}

// get asks a gateway's desk.
func (s *story) get(ctx context.Context, name, path string) (string, error) {
	ip, err := s.podIP(ctx, name)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ip+":8080"+path, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return string(answer), err
}

func (s *story) meet(ctx context.Context) error {
	for name, peer := range map[string]string{"a": "b", "b": "a"} {
		ip, err := s.podIP(ctx, peer)
		if err != nil {
			return err
		}
		answer, err := s.get(ctx, name, "/ask?url=https://"+ip+":8443")
		if err != nil || answer != "hello "+commonName(name) {
			return fmt.Errorf("%s asks %s, which answers %q: %w", name, peer, answer, err)
		}
	}
	return nil
}

func (s *story) renew(ctx context.Context) error {
	before, err := s.certificate(ctx, "a")
	if err != nil {
		return err
	}
	if err := s.kubectl(ctx, "annotate", "--namespace="+tenant, "devicecertificate", "a",
		v1alpha1.AnnotationRenewRequestedAt+"="+time.Now().Add(time.Second).UTC().Format(time.RFC3339)); err != nil {
		return err
	}
	if err := s.until(ctx, "a is renewed", func(ctx context.Context) (bool, error) {
		c, err := s.certificate(ctx, "a")
		return err == nil && c.Status.SerialNumber != before.Status.SerialNumber, err
	}); err != nil {
		return err
	}
	if err := s.serves(ctx, "a"); err != nil {
		return err
	}
	return s.meet(ctx)
}
