// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

const (
	operator = "devicecert-system"
	// release is the name of the Helm release, of its Deployment and of the lease.
	release = "devicecert-operator"
	// kustomized is the Deployment of config/default.
	kustomized = "devicecert-controller-manager"
	// leaving is a namespace that is deleted when the operator is gone.
	leaving = "leaving"

	// defaultOverlay changes what a node without a registry and a vendor in the cluster need, and nothing else.
	defaultOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
images: [{name: devicecert-operator, newName: devicecert.test/manager, newTag: node}]
patches:
  - target: {kind: Deployment, name: ` + kustomized + `}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/imagePullPolicy, value: Never}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: "--allowed-hosts=simulator.` + rehearsal + `.svc"}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --allowed-networks=` + serviceNetwork + `}
`
)

func (s *story) kubectl(ctx context.Context, args ...string) error {
	return run(ctx, s.plane.Kubectl(), append([]string{"--cache-dir=" + s.folder + "/cache"}, args...)...)
}

func (s *story) helm(ctx context.Context, args ...string) error {
	return run(ctx, s.helmProgram, args...)
}

// applyOverlay applies what is shipped in a folder, with an overlay over it.
func (s *story) applyOverlay(ctx context.Context, shipped, overlay string) error {
	folder := filepath.Join(s.folder, "overlay", filepath.Base(shipped))
	shipped, err := filepath.Abs(shipped)
	if err != nil {
		return err
	}
	relative, err := filepath.Rel(folder, shipped)
	if err != nil {
		return err
	}
	if _, err := s.write(filepath.Join("overlay", filepath.Base(shipped), "kustomization.yaml"), fmt.Sprintf(overlay, relative)); err != nil {
		return err
	}
	return s.kubectl(ctx, "apply", "--server-side", "-k", folder)
}

// awaitDeployment waits until all replicas of the present manifest are ready and no other pod is left.
func (s *story) awaitDeployment(ctx context.Context, namespace, name string, replicas int32) error {
	return s.until(ctx, fmt.Sprintf("the %d replicas of %s are ready", replicas, name), func(ctx context.Context) (bool, error) {
		d := &appsv1.Deployment{}
		err := s.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d)
		status := d.Status
		return err == nil && status.ObservedGeneration == d.Generation && status.ReadyReplicas == replicas &&
			status.UpdatedReplicas == replicas && status.Replicas == replicas, err
	})
}

// install does what docs/install.md tells: a namespace that enforces the restricted standard, and the packaged chart.
func (s *story) install(ctx context.Context) error {
	labels := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	if err := s.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operator, Labels: labels}}); err != nil {
		return err
	}
	if err := s.helm(ctx, "package", "charts/devicecert-operator", "--destination="+s.folder); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(s.folder, "devicecert-operator-*.tgz"))
	if err != nil || len(packages) != 1 {
		return errors.Join(fmt.Errorf("packages are %v", packages), err)
	}
	s.chart = packages[0]
	if err := s.helm(ctx, "install", release, s.chart, "--namespace="+operator, "--wait", "--timeout="+patience.String(),
		"--set=image.repository=devicecert.test/manager", "--set=image.tag=node", "--set=image.pullPolicy=Never",
		"--set=allowedHosts={simulator."+rehearsal+".svc}", "--set=allowedNetworks={"+serviceNetwork+"}"); err != nil {
		return err
	}
	return s.awaitDeployment(ctx, operator, release, 2)
}

// uninstall lets the cluster run the job that comes before, with one certificate that waits for the vendor's approval.
func (s *story) uninstall(ctx context.Context) error {
	waiting := certificate("waiting")
	waiting.Spec.EnrollmentProfileID = manual
	guest := certificate("guest")
	guest.Namespace = leaving
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaving, Labels: map[string]string{"team": "edge"}}}, waiting, guest,
	} {
		if err := s.admin.Create(ctx, o); err != nil {
			return err
		}
	}
	if err := s.until(ctx, "the certificates are ordered", func(ctx context.Context) (bool, error) {
		c, err := s.certificate(ctx, "waiting")
		if err != nil || c.Status.Attempt == nil || c.Status.Attempt.RequestID == "" {
			return false, err
		}
		err = s.admin.Get(ctx, client.ObjectKeyFromObject(guest), guest)
		return guest.Status.SerialNumber != "", err
	}); err != nil {
		return err
	}
	before, err := s.tlsSecrets(ctx)
	if err != nil {
		return err
	}
	if err := s.helm(ctx, "uninstall", release, "--namespace="+operator, "--wait", "--timeout="+patience.String()); err != nil {
		return err
	}
	after, err := s.tlsSecrets(ctx)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(before, after, func(a, b corev1.Secret) bool {
		return a.UID == b.UID && bytes.Equal(a.Data[corev1.TLSPrivateKeyKey], b.Data[corev1.TLSPrivateKeyKey])
	}) {
		return errors.New("a Secret was lost or changed")
	}
	if err := s.meet(ctx); err != nil {
		return err
	}
	return s.isLetGo(ctx)
}

// tlsSecrets are those with certificates, in order.
func (s *story) tlsSecrets(ctx context.Context) ([]corev1.Secret, error) {
	list := &corev1.SecretList{}
	if err := s.admin.List(ctx, list, client.MatchingFields{"type": string(corev1.SecretTypeTLS)}); err != nil {
		return nil, err
	}
	if len(list.Items) < 3 {
		return nil, fmt.Errorf("only %d Secrets hold certificates", len(list.Items))
	}
	return list.Items, nil
}

// isLetGo holds when nothing of the operator runs or holds anything back.
func (s *story) isLetGo(ctx context.Context) error {
	if err := s.until(ctx, "no pod of the operator is left", func(ctx context.Context) (bool, error) {
		pods := &corev1.PodList{}
		err := s.admin.List(ctx, pods, client.InNamespace(operator))
		return len(pods.Items) == 0, err
	}); err != nil {
		return err
	}
	held, err := s.withFinalizer(ctx)
	if err != nil || len(held) > 0 {
		return errors.Join(fmt.Errorf("still with the finalizer: %v", held), err)
	}
	report := &corev1.ConfigMap{}
	if err := s.admin.Get(ctx, client.ObjectKey{Namespace: operator, Name: release + "-left-behind"}, report); err != nil {
		return err
	}
	if text := report.Data["left-behind.txt"]; !strings.Contains(text, tenant+"/waiting: attempt") || strings.Count(text, "\n") != 1 {
		return fmt.Errorf("what is left behind is told as:\n%s", text)
	}
	if err := s.admin.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaving}}); err != nil {
		return err
	}
	return s.until(ctx, "a namespace with a certificate is deleted", func(ctx context.Context) (bool, error) {
		err := s.admin.Get(ctx, client.ObjectKey{Name: leaving}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}

func (s *story) withFinalizer(ctx context.Context) ([]string, error) {
	list := &v1alpha1.DeviceCertificateList{}
	if err := s.admin.List(ctx, list); err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		if controllerutil.ContainsFinalizer(&list.Items[i], v1alpha1.Finalizer) {
			names = append(names, list.Items[i].Name)
		}
	}
	return names, nil
}

// installAgain installs config/default where the chart was.
func (s *story) installAgain(ctx context.Context) error {
	before, err := s.bought(ctx, "")
	if err != nil {
		return err
	}
	if err := s.applyOverlay(ctx, "config/default", defaultOverlay); err != nil {
		return err
	}
	if err := s.awaitDeployment(ctx, operator, kustomized, 2); err != nil {
		return err
	}
	list := &v1alpha1.DeviceCertificateList{}
	if err := s.admin.List(ctx, list); err != nil {
		return err
	}
	if err := s.until(ctx, "every certificate is taken over", func(ctx context.Context) (bool, error) {
		names, err := s.withFinalizer(ctx)
		return len(names) == len(list.Items), err
	}); err != nil {
		return err
	}
	for _, name := range []string{"a", "b"} {
		if err := s.serves(ctx, name); err != nil {
			return err
		}
	}
	after, err := s.bought(ctx, "")
	if err != nil || len(after) != len(before) {
		return errors.Join(fmt.Errorf("%d certificates were bought, and %d before", len(after), len(before)), err)
	}
	return nil
}
