// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

// IssuerReconciler keeps the accounts of DeviceIssuers and ClusterDeviceIssuers up to date: it reads their credentials, tries each
// version of one once, and says on the issuer what can be done with it. It buys nothing and keeps no finalizer.
type IssuerReconciler struct {
	// Client reads issuers from the cache and writes their status; Reader reads Secrets and ConfigMaps live.
	Client client.Client
	Reader client.Reader
	// Roster walks over the certificates that name an issuer.
	Roster *Roster
	// Accounts are told what became of an issuer. Their Options.Probe is Ask.
	Accounts *account.Registry
	Clock    clock.PassiveClock
	// ClusterResourceNamespace is where ClusterDeviceIssuers find their Secrets and ConfigMaps.
	ClusterResourceNamespace string
	// Selector says which issuers this process serves; nil means all.
	Selector labels.Selector
	// WatchSecrets: the manager's cache holds the metadata of Secrets that carry the watch label. Otherwise credentials are read every
	// five minutes only.
	WatchSecrets bool

	queues struct{ namespaced, cluster wakeQueue }

	mu     sync.Mutex
	probes map[account.ID]probe
	// forecasts are what was counted last.
	forecasts map[account.ID]renewal.Forecast
}

// +kubebuilder:rbac:groups=devicecert.io,resources=deviceissuers;clusterdeviceissuers,verbs=get;list;watch
// +kubebuilder:rbac:groups=devicecert.io,resources=deviceissuers/status;clusterdeviceissuers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get

// SetupWithManager registers one controller for each issuer kind.
func (r *IssuerReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	if err := r.setupKind(ctx, mgr, options, v1alpha1.KindDeviceIssuer, &v1alpha1.DeviceIssuer{}); err != nil {
		return err
	}
	return r.setupKind(ctx, mgr, options, v1alpha1.KindClusterDeviceIssuer, &v1alpha1.ClusterDeviceIssuer{})
}

// issuerWorkers is how many issuers of a kind are reconciled at a time by default: a vendor that does not answer holds up one.
const issuerWorkers = 8

func (r *IssuerReconciler) setupKind(ctx context.Context, mgr ctrl.Manager, options controller.Options, kind v1alpha1.IssuerKind, object client.Object) error {
	if options.MaxConcurrentReconciles == 0 {
		options.MaxConcurrentReconciles = issuerWorkers
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, object, indexIssuerSecrets, issuerSecrets); err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).
		For(object, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
		WithOptions(options).
		WatchesRawSource(source.Func(r.queue(kind).start))
	if r.WatchSecrets {
		b = b.WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.issuersOfSecret(kind)))
	}
	return b.Complete(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		return r.reconcile(ctx, account.ID{Kind: kind, Namespace: request.Namespace, Name: request.Name})
	}))
}

// Ask reconciles an issuer soon. It never blocks, and is what an account.Registry calls when it has news of an issuer.
func (r *IssuerReconciler) Ask(id account.ID) {
	r.queue(id.Kind).add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: id.Namespace, Name: id.Name}})
}

func (r *IssuerReconciler) queue(kind v1alpha1.IssuerKind) *wakeQueue {
	if kind == v1alpha1.KindClusterDeviceIssuer {
		return &r.queues.cluster
	}
	return &r.queues.namespaced
}

// reconcile reads the issuer's credential, connects its account, tries the credential if that is due, and reports.
func (r *IssuerReconciler) reconcile(ctx context.Context, id account.ID) (reconcile.Result, error) {
	object, err := getIssuer(ctx, r.Client, id)
	if apierrors.IsNotFound(err) || err == nil && !r.serves(object) {
		r.forget(id)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	found, err := r.observeConnection(ctx, object.issuer())
	if err != nil {
		return reconcile.Result{}, err
	}
	found.remember(object)
	found.watched = r.watches(ctx, object)
	due := r.connect(ctx, id, found)
	forecast, again := r.expect(ctx, object.issuer())
	err = r.reportIssuer(ctx, object, found, forecast, again)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	return reconcile.Result{RequeueAfter: max(due.Sub(r.Clock.Now()), time.Second)}, err
}

// serves tells whether this process is responsible for an issuer.
func (r *IssuerReconciler) serves(o issuerObject) bool {
	return r.Selector == nil || r.Selector.Matches(labels.Set(o.GetLabels()))
}

// forget drops what is remembered of an issuer that is gone or served by somebody else.
func (r *IssuerReconciler) forget(id account.ID) {
	r.mu.Lock()
	delete(r.probes, id)
	delete(r.forecasts, id)
	r.mu.Unlock()
	r.Accounts.Remove(id)
}

// indexIssuerSecrets is the index of issuers by the Secrets they name.
const indexIssuerSecrets = "issuerSecrets"

func issuerSecrets(object client.Object) []string {
	spec := issuerOf(object).spec
	var names []string
	switch auth := spec.Auth; {
	case auth.APIToken != nil:
		names = append(names, auth.APIToken.SecretRef.Name)
	case auth.ClientCertificate != nil:
		names = append(names, auth.ClientCertificate.SecretRef.Name)
	case auth.EnrollmentPasscode != nil:
		names = append(names, auth.EnrollmentPasscode.SecretRef.Name)
	}
	if ref := spec.CABundleRef; ref != nil && ref.Kind != v1alpha1.ObjectKindConfigMap {
		names = append(names, ref.Name)
	}
	return names
}

// watches tells whether a change of anything the issuer's connection is made of is noticed by a watch: the cache holds the metadata of
// Secrets that are labelled for it, and of nothing else.
func (r *IssuerReconciler) watches(ctx context.Context, o issuerObject) bool {
	namespace := o.GetNamespace()
	if o.kind == v1alpha1.KindClusterDeviceIssuer {
		namespace = r.ClusterResourceNamespace
	}
	if ref := o.spec.CABundleRef; !r.WatchSecrets || ref != nil && ref.Kind == v1alpha1.ObjectKindConfigMap {
		return false
	}
	for _, name := range issuerSecrets(o.Object) {
		meta := &metav1.PartialObjectMetadata{}
		meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		if r.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, meta) != nil || meta.Labels[v1alpha1.LabelWatch] != "true" {
			return false
		}
	}
	return true
}

// issuersOfSecret finds the issuers of a kind that name a Secret.
func (r *IssuerReconciler) issuersOfSecret(kind v1alpha1.IssuerKind) handler.MapFunc {
	return func(ctx context.Context, secret client.Object) []reconcile.Request {
		matching := client.MatchingFields{indexIssuerSecrets: secret.GetName()}
		var requests []reconcile.Request
		add := func(o client.Object) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(o)})
		}
		if kind == v1alpha1.KindDeviceIssuer {
			list := &v1alpha1.DeviceIssuerList{}
			if err := r.Client.List(ctx, list, matching, client.InNamespace(secret.GetNamespace())); err != nil {
				return nil // only the cache is read, and it is synced before anything is watched
			}
			for i := range list.Items {
				add(&list.Items[i])
			}
			return requests
		}
		if secret.GetNamespace() != r.ClusterResourceNamespace {
			return nil
		}
		list := &v1alpha1.ClusterDeviceIssuerList{}
		if err := r.Client.List(ctx, list, matching); err != nil {
			return nil
		}
		for i := range list.Items {
			add(&list.Items[i])
		}
		return requests
	}
}
