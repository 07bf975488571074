// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// issuerChanged passes changes of an issuer's spec, and of what its Ready condition says: the objects that wait for it say the same.
func issuerChanged() builder.Predicates {
	return builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return readySays(e.ObjectOld) != readySays(e.ObjectNew) },
	}))
}

// readySays is the reason and message of an issuer's Ready condition.
func readySays(o client.Object) string {
	status := issuerOf(o).status
	if status == nil {
		return ""
	}
	ready := apimeta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return ""
	}
	return ready.Reason + ": " + ready.Message
}

// labelsChanged passes changes of labels, which grants select namespaces by.
func labelsChanged() builder.Predicates {
	return builder.WithPredicates(predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels())
		},
	})
}

// indexSecrets is an index of the cache, by every Secret an object keeps its pair in or takes a password or key from, but for one of the
// object's own name: most have no other, which is found without an index. See sharing.
const indexSecrets = "secrets"

func setupIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.DeviceCertificate{}, indexSecrets, func(o client.Object) []string {
		c, ok := o.(*v1alpha1.DeviceCertificate)
		if !ok {
			return nil
		}
		return slices.DeleteFunc(secretsOf(c), func(name string) bool { return name == c.Name })
	})
	if err != nil {
		return fmt.Errorf("index certificates by Secret: %w", err)
	}
	return nil
}

// secretsOf are the Secrets that an object has to do with.
func secretsOf(c *v1alpha1.DeviceCertificate) []string {
	return append(referencedSecrets(&c.Spec), tlssecret.SecretName(c))
}

// referencedSecrets are the Secrets the spec takes passwords and keys from.
func referencedSecrets(spec *v1alpha1.DeviceCertificateSpec) []string {
	var names []string
	if o := spec.Secret.Outputs; o != nil {
		if o.PKCS12 != nil {
			names = append(names, o.PKCS12.PasswordSecretRef.Name)
		}
		if o.JKS != nil {
			names = append(names, o.JKS.PasswordSecretRef.Name)
		}
	}
	if e := spec.PrivateKey.Encryption; e != nil {
		if e.CertificateRef != nil && e.CertificateRef.Kind != v1alpha1.ObjectKindConfigMap {
			names = append(names, e.CertificateRef.Name)
		}
		if e.DecryptionKeyRef != nil {
			names = append(names, e.DecryptionKeyRef.Name)
		}
	}
	return names
}

// certificatesOfIssuer finds the objects that name an issuer.
func (r *DeviceCertificateReconciler) certificatesOfIssuer(kind v1alpha1.IssuerKind) handler.MapFunc {
	return func(ctx context.Context, issuer client.Object) (requests []reconcile.Request) {
		// Only the cache is read, and what is not in it yet is queued when it comes.
		_ = r.Roster.ofIssuer(ctx, kind, issuer.GetNamespace(), issuer.GetName(), func(c *v1alpha1.DeviceCertificate) {
			requests = append(requests, requestFor(c))
		})
		return requests
	}
}

// certificatesOfNamespace finds the objects of a namespace.
func (r *DeviceCertificateReconciler) certificatesOfNamespace(ctx context.Context, namespace client.Object) (requests []reconcile.Request) {
	_ = r.Roster.Each(ctx, namespace.GetName(), func(c *v1alpha1.DeviceCertificate) { requests = append(requests, requestFor(c)) }) // as above
	return requests
}

// certificatesOfSecret finds the objects that keep their pair in a Secret or take something from it. The Secret's own annotation is not
// asked: an edit may have removed it.
func (r *DeviceCertificateReconciler) certificatesOfSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	found := r.sharing(ctx, client.ObjectKeyFromObject(secret))
	for i := range found {
		if tlssecret.SecretName(&found[i]) != secret.GetName() {
			r.memory.change(found[i].UID, func(m *recollection) { m.distrusted, m.repairs = true, 0 }) // what was read from it may be of yesterday
		}
	}
	return requestsOf(slices.DeleteFunc(found, func(c v1alpha1.DeviceCertificate) bool { return r.Flights.InFlight(c.UID) }))
}

// sharing finds the objects that have to do with a Secret, read only.
func (r *DeviceCertificateReconciler) sharing(ctx context.Context, secret types.NamespacedName) []v1alpha1.DeviceCertificate {
	found := r.find(ctx, secret.Namespace, client.MatchingFields{indexSecrets: secret.Name})
	var namesake v1alpha1.DeviceCertificate
	if err := r.Client.Get(ctx, secret, &namesake, client.UnsafeDisableDeepCopy); err == nil && slices.Contains(secretsOf(&namesake), secret.Name) {
		found = append(found, namesake)
	}
	return found
}

// find lists objects from the cache, read only. An empty namespace means all.
func (r *DeviceCertificateReconciler) find(ctx context.Context, namespace string, matching ...client.ListOption) []v1alpha1.DeviceCertificate {
	list := &v1alpha1.DeviceCertificateList{}
	options := append(matching, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
	if err := r.Client.List(ctx, list, options...); err != nil {
		return nil // only the cache is read, and it is synced before anything is watched
	}
	return list.Items
}

func requestsOf(found []v1alpha1.DeviceCertificate) []reconcile.Request {
	requests := make([]reconcile.Request, 0, len(found))
	for i := range found {
		requests = append(requests, requestFor(&found[i]))
	}
	return requests
}

func requestFor(c *v1alpha1.DeviceCertificate) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: c.Namespace, Name: c.Name}}
}
