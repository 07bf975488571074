// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package uninstall lets go of everything that only a running operator could let go of, so that nothing stays in Terminating once the
// operator is gone. It deletes nothing: objects, Secrets and the records in their statuses stay.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

// Options say what to let go of. Client, Namespace and Out are required.
type Options struct {
	Client client.Client
	// Namespace is the operator's: where its Deployment is and the report goes.
	Namespace string
	// Deployment is stopped first, or it would take hold again. Empty: whoever calls sees to that.
	Deployment string
	// Report is the name of the ConfigMap that says what is left. None is written if nothing is.
	Report string
	// Namespaces are those that the operator serves; empty means all.
	Namespaces []string
	// Issuers selects the issuers that the operator serves. Certificates of others are left alone.
	Issuers labels.Selector
	// Out is told what is done.
	Out io.Writer
}

// Run stops the operator, writes down what it leaves undone, and takes its finalizer off every DeviceCertificate. It may be repeated.
func Run(ctx context.Context, o Options) error {
	if o.Deployment != "" {
		if err := stop(ctx, o); err != nil {
			return fmt.Errorf("stop the operator: %w", err)
		}
	}
	held, err := heldBy(ctx, o)
	if err != nil {
		return err
	}
	// First the record: once the finalizer is off, an object that is being deleted takes its status with it.
	if err := report(ctx, o, leftovers(held)); err != nil {
		return err
	}
	var errs []error
	for i := range held {
		errs = append(errs, release(ctx, o.Client, client.ObjectKeyFromObject(&held[i])))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "%d DeviceCertificates are let go; they and their Secrets stay\n", len(held))
	return err
}

// pollInterval is how often the pods are looked at.
const pollInterval = time.Second

// stop scales the operator to zero and waits until its pods are gone: one that stops may still store a certificate.
func stop(ctx context.Context, o Options) error {
	deployment := &appsv1.Deployment{}
	err := o.Client.Get(ctx, types.NamespacedName{Namespace: o.Namespace, Name: o.Deployment}, deployment)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	scale := &autoscalingv1.Scale{}
	if err := o.Client.SubResource("scale").Patch(ctx, deployment, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`)), client.WithSubResourceBody(scale)); err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(deployment.Spec.Selector)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		pods := &corev1.PodList{}
		if err := o.Client.List(ctx, pods, client.InNamespace(o.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
			return false, err
		}
		return len(pods.Items) == 0, nil
	})
}

// heldBy are the DeviceCertificates with the finalizer of the operator that is uninstalled.
func heldBy(ctx context.Context, o Options) ([]v1alpha1.DeviceCertificate, error) {
	elsewhere, err := servedElsewhere(ctx, o)
	if err != nil {
		return nil, err
	}
	var held []v1alpha1.DeviceCertificate
	for _, namespace := range places(o.Namespaces) {
		list := &v1alpha1.DeviceCertificateList{}
		if err := o.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list the DeviceCertificates: %w", err)
		}
		for i := range list.Items {
			c := &list.Items[i]
			ref := c.Spec.IssuerRef
			id := account.ID{Kind: ref.Kind, Name: ref.Name}
			if ref.Kind != v1alpha1.KindClusterDeviceIssuer {
				id = account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: c.Namespace, Name: ref.Name}
			}
			if controllerutil.ContainsFinalizer(c, v1alpha1.Finalizer) && !elsewhere[id] {
				held = append(held, *c)
			}
		}
	}
	return held, nil
}

// servedElsewhere are the issuers that another instance serves.
func servedElsewhere(ctx context.Context, o Options) (map[account.ID]bool, error) {
	elsewhere := map[account.ID]bool{}
	if o.Issuers == nil || o.Issuers.Empty() {
		return elsewhere, nil
	}
	note := func(kind v1alpha1.IssuerKind, issuer client.Object) {
		if !o.Issuers.Matches(labels.Set(issuer.GetLabels())) {
			elsewhere[account.ID{Kind: kind, Namespace: issuer.GetNamespace(), Name: issuer.GetName()}] = true
		}
	}
	var wide v1alpha1.ClusterDeviceIssuerList
	if err := o.Client.List(ctx, &wide); err != nil {
		return nil, fmt.Errorf("list the ClusterDeviceIssuers: %w", err)
	}
	for i := range wide.Items {
		note(v1alpha1.KindClusterDeviceIssuer, &wide.Items[i])
	}
	for _, namespace := range places(o.Namespaces) {
		var list v1alpha1.DeviceIssuerList
		if err := o.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list the DeviceIssuers: %w", err)
		}
		for i := range list.Items {
			note(v1alpha1.KindDeviceIssuer, &list.Items[i])
		}
	}
	return elsewhere, nil
}

// places are the namespaces to list; an empty name lists all.
func places(namespaces []string) []string {
	if len(namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return namespaces
}

// release takes the finalizer off one object, whatever else changes it meanwhile.
func release(ctx context.Context, c client.Client, key types.NamespacedName) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		cert := &v1alpha1.DeviceCertificate{}
		if err := c.Get(ctx, key, cert); err != nil {
			return err
		}
		base := cert.DeepCopy()
		if !controllerutil.RemoveFinalizer(cert, v1alpha1.Finalizer) {
			return nil
		}
		return c.Patch(ctx, cert, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("let go of DeviceCertificate %s: %w", key, err)
	}
	return nil
}
