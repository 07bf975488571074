// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

const (
	// publishedFor is how long a published specification is good for; a vendor that cannot be asked does not take it away.
	publishedFor = 24 * time.Hour
	// publishingBound is how long one reconcile spends on publishing; what is left over follows with the next.
	publishingBound = 15 * time.Second
)

// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get

// The right to write ConfigMaps is config/rbac/profile_publisher_role.yaml, bound by whoever wants profiles published, where they are.

// publishProfiles keeps the ConfigMaps that spec.publishProfiles asks for, and removes those it names no more. What cannot be published
// is answered in words; it keeps nothing from being bought.
func (r *IssuerReconciler) publishProfiles(ctx context.Context, o issuerObject) (remarks []string) {
	namespace := o.GetNamespace()
	if o.kind == v1alpha1.KindClusterDeviceIssuer {
		namespace = r.ClusterResourceNamespace
	}
	if namespace == "" || len(o.spec.PublishProfiles)+len(o.status.PublishedProfiles) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishingBound)
	defer cancel()
	published := make([]string, 0, len(o.spec.PublishProfiles))
	for _, id := range o.status.PublishedProfiles {
		if slices.Contains(o.spec.PublishProfiles, id) {
			published = append(published, id)
		} else if err := r.unpublish(ctx, o, namespace, id); err != nil {
			published = append(published, id) // to be tried again
			remarks = append(remarks, err.Error())
		}
	}
	for _, id := range o.spec.PublishProfiles {
		if ctx.Err() != nil {
			break
		}
		if err := r.publish(ctx, o, namespace, id); err != nil {
			remarks = append(remarks, err.Error())
		} else if !slices.Contains(published, id) {
			published = append(published, id)
		}
	}
	o.status.PublishedProfiles = published[:min(len(published), v1alpha1.MaxPublishedProfiles)]
	return remarks
}

// publish writes one profile's specification, unless one of the last day is there.
func (r *IssuerReconciler) publish(ctx context.Context, o issuerObject, namespace, profileID string) error {
	name := profileConfigMap(o, profileID)
	key := types.NamespacedName{Namespace: namespace, Name: name}
	existing := &corev1.ConfigMap{}
	err := r.Reader.Get(ctx, key, existing)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("ConfigMap %s cannot be read: %w", key, err)
	}
	now := r.Clock.Now()
	switch {
	case err == nil && !publishedBy(existing, o, profileID):
		return fmt.Errorf("ConfigMap %s belongs to somebody else and is left alone: delete it", key)
	case err == nil && now.Before(publishedUntil(existing)):
		return nil
	}
	wants := specificationOf(ctx, r.Accounts, o.issuer().ID, profileID)
	if wants == nil {
		if err == nil {
			return nil // better an old one than none
		}
		return fmt.Errorf("the specification of %s cannot be read: a passcode or the permissions of the credential's user may be why", profileID)
	}
	text, err := json.MarshalIndent(wants, "", "  ")
	if err != nil {
		return fmt.Errorf("write the specification of %s: %w", profileID, err)
	}
	version := existing.ResourceVersion
	if version == "" {
		version = absentVersion
	}
	ac := corev1ac.ConfigMap(name, namespace).WithResourceVersion(version).
		WithLabels(map[string]string{v1alpha1.LabelProfile: profileID}).
		WithAnnotations(map[string]string{
			v1alpha1.AnnotationIssuer: issuerKey(o.kind, o.GetName()), v1alpha1.AnnotationPublishedAt: now.UTC().Format(time.RFC3339),
		}).
		WithData(map[string]string{v1alpha1.KeySpecification: string(text) + "\n"}).
		WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion(v1alpha1.SchemeGroupVersion.String()).
			WithKind(string(o.kind)).WithName(o.GetName()).WithUID(o.GetUID()))
	if existing.UID != "" {
		ac.WithUID(existing.UID)
	}
	if err := r.Client.Apply(ctx, ac, fieldOwner, client.ForceOwnership); err != nil {
		return unwritten(key, err)
	}
	return nil
}

// unpublish deletes the ConfigMap of a profile that is not to be published any more, if it is this issuer's.
func (r *IssuerReconciler) unpublish(ctx context.Context, o issuerObject, namespace, profileID string) error {
	key := types.NamespacedName{Namespace: namespace, Name: profileConfigMap(o, profileID)}
	existing := &corev1.ConfigMap{}
	err := r.Reader.Get(ctx, key, existing)
	if err == nil && publishedBy(existing, o, profileID) {
		err = r.Client.Delete(ctx, existing, client.Preconditions{UID: &existing.UID, ResourceVersion: &existing.ResourceVersion})
	}
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return unwritten(key, err)
	}
	return nil
}

// unwritten explains why a ConfigMap could not be written or removed.
func unwritten(key types.NamespacedName, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("the operator may not write ConfigMaps in namespace %s: bind its ClusterRole profile-publisher there, as docs/issuers.md shows (%w)", key.Namespace, err)
	}
	return fmt.Errorf("ConfigMap %s cannot be written: %w", key, err)
}

// profileConfigMap is the name of the ConfigMap that an issuer publishes a profile in. Several issuers may publish the same one.
func profileConfigMap(o issuerObject, profileID string) string {
	return fmt.Sprintf("devicecert-profile-%s-%s", strings.TrimPrefix(profileID, "IOT_"), hexSHA256([]byte(issuerKey(o.kind, o.GetName())))[:8])
}

// publishedBy tells whether a ConfigMap is the one that an issuer publishes a profile in.
func publishedBy(c *corev1.ConfigMap, o issuerObject, profileID string) bool {
	return c.Labels[v1alpha1.LabelProfile] == profileID && c.Annotations[v1alpha1.AnnotationIssuer] == issuerKey(o.kind, o.GetName())
}

// publishedUntil is when a published specification is to be refreshed: at once if somebody has emptied it.
func publishedUntil(c *corev1.ConfigMap) time.Time {
	at, err := time.Parse(time.RFC3339, c.Annotations[v1alpha1.AnnotationPublishedAt])
	if err != nil || c.Data[v1alpha1.KeySpecification] == "" {
		return time.Time{}
	}
	return at.Add(publishedFor - renewal.Jitter(publishedFor/12, c.Namespace+"/"+c.Name))
}

// showUnpublished tells on the issuer what could not be published.
func (o issuerObject) showUnpublished(remarks []string, now time.Time) {
	if len(remarks) == 0 {
		apimeta.RemoveStatusCondition(&o.status.Conditions, v1alpha1.ConditionProfilesUnpublished)
		return
	}
	apimeta.SetStatusCondition(&o.status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionProfilesUnpublished, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonUnpublished,
		ObservedGeneration: o.GetGeneration(), LastTransitionTime: *timeOf(now),
		Message: truncate("spec.publishProfiles is not carried out: " + strings.Join(remarks, "; ")),
	})
}

// issuerKey is an issuer's kind and name in one.
func issuerKey(kind v1alpha1.IssuerKind, name string) string { return string(kind) + "/" + name }
