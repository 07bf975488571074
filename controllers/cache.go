// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/lean"
)

// Cached says how objects are cached: of Secrets only those that are labelled for it, in these namespaces or in all that are served, and of
// everything only what the controllers read. A cache of the whole objects would hold twice as much.
func Cached(secrets map[string]cache.Config) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}:              {Label: labels.SelectorFromSet(watched), Namespaces: secrets, Transform: transform(leanSecret)},
		&v1alpha1.DeviceCertificate{}: {Transform: transform(leanCertificate)},
	}
}

// transform makes smaller what is of the kind; anything else, such as the word of an object that is gone, passes.
func transform[T any](smaller func(T)) toolscache.TransformFunc {
	return func(object any) (any, error) {
		if o, ok := object.(T); ok {
			smaller(o)
		}
		return object, nil
	}
}

// leanCertificate takes from a DeviceCertificate what no controller reads. Patches are made of two objects from the same source, so that
// what is missing in both stays as it is in the cluster.
func leanCertificate(c *v1alpha1.DeviceCertificate) {
	c.ManagedFields, c.OwnerReferences, c.Labels = nil, nil, nil
	// A list is made smaller as it is read, and once more as it is stored.
	keepAnnotations(c, func(name string) bool { return slices.Contains(wishes, name) || name == annotationInPart })
	if len(c.Finalizers) > mostFinalizers {
		held := slices.Contains(c.Finalizers, v1alpha1.Finalizer)
		c.Finalizers = nil
		if held { // once, however often it is there: the second pass must find nothing to do, as maps are shared by then
			c.Finalizers = []string{v1alpha1.Finalizer}
		}
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, annotationInPart, "true")
	}
	lean.Pack(c)
}

const (
	// mostFinalizers are kept. Others' may be as many as fill an object, of a mebibyte and a half.
	mostFinalizers = 16
	// annotationInPart marks an object in the cache that lacks finalizers. Who acts on it reads it live; see current.
	annotationInPart = "devicecert.io/cached-in-part"
)

// wishes are the annotations by which a DeviceCertificate is steered.
var wishes = []string{
	v1alpha1.AnnotationRenewRequestedAt, v1alpha1.AnnotationRetryRequestedAt, v1alpha1.AnnotationAbandonAttempt,
	v1alpha1.AnnotationAcknowledgeOrphan, v1alpha1.AnnotationRevokeRequested,
}

// watched are the labels of every Secret in the cache.
var watched = map[string]string{v1alpha1.LabelWatch: "true"}

// leanSecret takes from a Secret's metadata what no controller reads. What else its annotations say is read live.
func leanSecret(secret *metav1.PartialObjectMetadata) {
	isWatched := secret.Labels[v1alpha1.LabelWatch] == watched[v1alpha1.LabelWatch]
	if secret.Annotations != nil || secret.ManagedFields != nil || len(secret.Finalizers) != 2 { // otherwise it was made smaller before
		secret.Finalizers = nil
		id, fingerprint := bounded(secret.Annotations[v1alpha1.AnnotationCertificateID], maxID), bounded(secret.Annotations[v1alpha1.AnnotationFingerprint], maxID)
		if id != "" || fingerprint != "" {
			secret.Finalizers = []string{id, fingerprint}
		}
	}
	secret.ManagedFields, secret.OwnerReferences, secret.Annotations, secret.Labels = nil, nil, nil, nil
	lean.Pack(secret)
	if isWatched {
		secret.Labels = watched
	}
}

// heldBy is what the annotations of a cached Secret say of its certificate. They are kept where its finalizers were, which nobody reads: as a
// map they would take as much as all the rest.
func heldBy(secret *metav1.PartialObjectMetadata) (certificateID, fingerprint string) {
	if len(secret.Finalizers) != 2 {
		return "", ""
	}
	return secret.Finalizers[0], secret.Finalizers[1]
}

// longestAnnotation is far above any value that means something: times, ids, a serial number with a word.
const longestAnnotation = 1 << 10

// keepAnnotations drops those that are not wanted, which may hold a whole copy of the object, as kubectl's does, and cuts values that mean
// nothing: a tenant must not fill the memory with them.
func keepAnnotations(object client.Object, wanted func(name string) bool) {
	annotations := object.GetAnnotations()
	maps.DeleteFunc(annotations, func(name, _ string) bool { return !wanted(name) })
	for name, value := range annotations {
		if len(value) > longestAnnotation {
			annotations[name] = strings.Clone(value[:longestAnnotation])
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	object.SetAnnotations(annotations)
}
