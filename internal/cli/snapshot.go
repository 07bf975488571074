// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/profile"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// typed reads an object as the kind it is.
func typed(object *unstructured.Unstructured) (*v1alpha1.DeviceCertificate, error) {
	c := &v1alpha1.DeviceCertificate{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, c); err != nil {
		return nil, fmt.Errorf("read the answer to the dry run: %w", err)
	}
	return c, nil
}

// snapshot is what the operator would see if wanted were applied; live is nil for a new object. What cannot be read is taken to stay as
// the status says, with a remark.
func (p *planner) snapshot(ctx context.Context, f *foreseen, live, wanted *v1alpha1.DeviceCertificate) (*plan.Snapshot, error) {
	s := &plan.Snapshot{Now: p.now, Certificate: wanted, Secret: plan.Secret{Name: tlssecret.SecretName(wanted)}}
	if live != nil {
		wanted.UID, wanted.Status = live.UID, *live.Status.DeepCopy()
	}
	found, err := p.secret(ctx, f, wanted, s.Secret.Name)
	if err != nil {
		return nil, err
	}
	s.Secret = found
	s.Secret.InSync = inSync(live, wanted)
	if previous := wanted.Status.SecretName; previous != "" && previous != s.Secret.Name {
		if s.Previous, err = p.secret(ctx, f, wanted, previous); err != nil {
			return nil, err
		}
	}
	asked, wants := p.resolved(ctx, f, wanted)
	host, err := p.observeIssuer(ctx, f, s, live, asked, wants)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return s, nil // nothing is called out of date by what is not known
	}
	key, err := p.encryptionKey(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if s.RequestHash, err = plan.IssuanceHash(host, &wanted.Spec, key); err != nil {
		return nil, err
	}
	s.IssuanceHash, err = plan.IssuanceHash(host, asked, key)
	return s, err
}

// resolved is the spec with its attributes under their ids, as far as a published specification of the profile tells them, and that
// specification; nil if there is none. It notes what the operator would not ask for, and what the vendor may refuse.
func (p *planner) resolved(ctx context.Context, f *foreseen, c *v1alpha1.DeviceCertificate) (*v1alpha1.DeviceCertificateSpec, *profile.Specification) {
	spec := c.Spec.DeepCopy()
	request := profile.Request{KeyType: spec.PrivateKey.KeyType, Format: string(spec.PrivateKey.Format)}
	found, _, err := p.published(ctx, spec.EnrollmentProfileID, operatorNamespace)
	if err != nil || len(found) == 0 {
		f.Doubts = (&profile.Specification{}).Check(request).Warnings
		return spec, nil
	}
	wants := found[0].Specification
	for _, part := range []struct {
		kind       profile.Kind
		attributes []v1alpha1.Attribute
		sent       *[]profile.Value
	}{{profile.Certificate, spec.CertificateAttributes, &request.CertificateAttributes}, {profile.Device, spec.DeviceAttributes, &request.DeviceAttributes}} {
		for i := range part.attributes {
			a := &part.attributes[i]
			id, err := wants.ResolveID(part.kind, a.ID)
			if err != nil {
				f.unwanted = err.Error()
				return &c.Spec, wants
			}
			a.ID = id
			*part.sent = append(*part.sent, profile.Value{ID: id, Values: attributeValues(*a)})
		}
	}
	report := wants.Check(request)
	f.Doubts = report.Warnings
	if len(report.Problems) > 0 {
		f.unwanted = "the profile's published specification says: " + strings.Join(report.Problems, "; ")
	}
	return spec, wants
}

func attributeValues(a v1alpha1.Attribute) []string {
	if a.Value != nil {
		return []string{*a.Value}
	}
	return a.Values
}

// secret is what is stored under a name, or what the status says of it where Secrets cannot be read.
func (p *planner) secret(ctx context.Context, f *foreseen, c *v1alpha1.DeviceCertificate, name string) (plan.Secret, error) {
	secret := &corev1.Secret{}
	err := p.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, secret)
	switch {
	case apierrors.IsForbidden(err):
		f.remark("you are not allowed to read Secrets: what the status says of %s is taken for true", name)
		return secretBySay(c, name), nil
	case apierrors.IsNotFound(err):
		return plan.Secret{Name: name}, nil
	case err != nil:
		return plan.Secret{}, explain(err, "read Secret "+name)
	}
	found := plan.Secret{Name: name, State: plan.SecretOurs}
	stored := tlssecret.Read(secret)
	issued := c.Status.Issued
	switch owner := tlssecret.OwnershipOf(secret, c); {
	case owner.Ours:
	case owner.Adoptable:
		found.State = plan.SecretAdoptable
	case owner.Unclaimed && issued != nil && stored.Broken == nil && certs.FingerprintSHA256(stored.Bundle.Leaf) == issued.FingerprintSHA256:
	default:
		found.State, found.Owner = plan.SecretForeign, owner.Owner
		return found, nil
	}
	found.CertificateID, found.AttemptID, found.IssuanceHash, found.RequestHash = stored.CertificateID, stored.AttemptID, stored.IssuanceHash, stored.RequestHash
	found.IssuedAt, found.HandledRenewRequest = stored.IssuedAt, stored.HandledRenewRequest
	if stored.Broken != nil {
		found.Broken = stored.Broken.Error()
		return found, nil
	}
	leaf := stored.Bundle.Leaf
	found.Serial, found.NotBefore, found.NotAfter = certs.SerialString(leaf), leaf.NotBefore, leaf.NotAfter
	if sealed := c.Spec.PrivateKey.Delivery == v1alpha1.DeliverySealed; sealed != (stored.SealedKey != "") {
		found.Broken = "it was delivered differently than spec.privateKey.delivery asks; choose another spec.secret.name"
	}
	return found, nil
}

// secretBySay is a Secret as the status describes it.
func secretBySay(c *v1alpha1.DeviceCertificate, name string) plan.Secret {
	st := &c.Status
	ready := condition(st.Conditions, v1alpha1.ConditionReady)
	if st.SecretName != name || st.NotBefore == nil || st.NotAfter == nil || ready.Reason == v1alpha1.ReasonSecretMissing {
		return plan.Secret{Name: name}
	}
	return plan.Secret{
		Name: name, State: plan.SecretOurs, NotBefore: st.NotBefore.Time, NotAfter: st.NotAfter.Time, IssuedAt: st.NotBefore.Time,
		Serial: st.SerialNumber, CertificateID: st.CertificateID, IssuanceHash: st.IssuanceHash, HandledRenewRequest: st.LastHandledRenewRequest,
	}
}

// inSync tells whether the Secret would need no rendering: it needs none now, and nothing that shows in it changes.
func inSync(live, wanted *v1alpha1.DeviceCertificate) bool {
	if live == nil || condition(live.Status.Conditions, v1alpha1.ConditionSecretInSync).Status != metav1.ConditionTrue {
		return false
	}
	before, after := live.Spec.Secret.DeepCopy(), wanted.Spec.Secret.DeepCopy()
	before.DeletionPolicy = after.DeletionPolicy
	return apiequality.Semantic.DeepEqual(before, after)
}

// observeIssuer looks at the issuer, the files' own before the cluster's, and answers with the vendor's host.
func (p *planner) observeIssuer(
	ctx context.Context, f *foreseen, s *plan.Snapshot, live *v1alpha1.DeviceCertificate, asked *v1alpha1.DeviceCertificateSpec, wants *profile.Specification,
) (host string, err error) {
	c := s.Certificate
	ref := c.Spec.IssuerRef
	s.Issuer = plan.Issuer{Found: true, Known: true, Ready: true}
	if c.Status.Failures != nil {
		s.Issuer.Version = c.Status.Failures.IssuerVersion
	}
	namespace := c.Namespace
	if ref.Kind == v1alpha1.KindClusterDeviceIssuer {
		namespace = ""
	}
	found := p.manifests.issuers[[3]string{string(ref.Kind), namespace, ref.Name}]
	if found == nil {
		found, err = p.issuer(ctx, c.Namespace, ref)
	}
	switch {
	case apierrors.IsForbidden(err):
		host := ""
		if live != nil {
			host = hostOf(live)
		}
		f.remark("you are not allowed to read %s %s: it is taken for ready, and its host for the same as before", ref.Kind, ref.Name)
		return host, nil
	case apierrors.IsNotFound(err) && !unknownKind(err):
		s.Issuer.Found = false
		return hostOf(c), nil
	case err != nil:
		return "", explain(err, fmt.Sprintf("read %s %s", ref.Kind, ref.Name))
	}
	s.Issuer.Suspended = found.spec.Suspend
	if ready := condition(found.status.Conditions, v1alpha1.ConditionReady); ready.Status == metav1.ConditionFalse {
		s.Issuer.Ready, s.Issuer.Reason, s.Issuer.Message = false, ready.Reason, ready.Message
	}
	if found.kind == v1alpha1.KindClusterDeviceIssuer {
		if labels, ok := p.labelsOf(ctx, c.Namespace); ok {
			s.Issuer.Denied = plan.Denied(found.grants, labels, asked, wants.IDs)
		} else {
			f.remark("you are not allowed to read namespace %s: whether %s grants this was not looked at", c.Namespace, found)
		}
	}
	return found.host(), nil
}

// hostOf is the host the stored certificate was bought from.
func hostOf(c *v1alpha1.DeviceCertificate) string {
	if c.Status.Issued == nil {
		return ""
	}
	return c.Status.Issued.Host
}

// encryptionKey is the digest of the public key that a sealed key is encrypted to; it is part of what is bought.
func (p *planner) encryptionKey(ctx context.Context, c *v1alpha1.DeviceCertificate) (string, error) {
	spec := c.Spec.PrivateKey
	if spec.Delivery != v1alpha1.DeliverySealed || spec.Encryption == nil {
		return "", nil
	}
	text := []byte(spec.Encryption.Certificate)
	if ref := spec.Encryption.CertificateRef; ref != nil {
		value, err := p.value(ctx, c.Namespace, ref)
		if err != nil {
			return "", fmt.Errorf("spec.privateKey.encryption.certificateRef, whose key is part of what is bought: %w", err)
		}
		text = value
	}
	pool, err := certs.ParseCertificatesPEM(text)
	if err != nil || len(pool) != 1 {
		return "", fmt.Errorf("%s/%s: spec.privateKey.encryption must name one certificate in PEM", c.Namespace, c.Name)
	}
	sum := sha256.Sum256(pool[0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}

func (p *planner) value(ctx context.Context, namespace string, ref *v1alpha1.ObjectKeyReference) ([]byte, error) {
	key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
	if ref.Kind == v1alpha1.ObjectKindConfigMap {
		object := &corev1.ConfigMap{}
		if err := p.Get(ctx, key, object); err != nil {
			return nil, explain(err, "read ConfigMap "+ref.Name)
		}
		return []byte(object.Data[ref.Key]), nil
	}
	object := &corev1.Secret{}
	if err := p.Get(ctx, key, object); err != nil {
		return nil, explain(err, "read Secret "+ref.Name)
	}
	return object.Data[ref.Key], nil
}

// changed are the fields that cost a certificate and differ.
func changed(live, wanted *v1alpha1.DeviceCertificate) []string {
	if live == nil {
		return nil
	}
	var fields []string
	note := func(field, before, after string) {
		if before != after {
			fields = append(fields, fmt.Sprintf("%s from %s to %s", field, cmp.Or(before, "nothing"), cmp.Or(after, "nothing")))
		}
	}
	a, b := &live.Spec, &wanted.Spec
	note("spec.issuerRef", fmt.Sprintf("%s/%s", a.IssuerRef.Kind, a.IssuerRef.Name), fmt.Sprintf("%s/%s", b.IssuerRef.Kind, b.IssuerRef.Name))
	note("spec.enrollmentProfileID", a.EnrollmentProfileID, b.EnrollmentProfileID)
	note("spec.privateKey.keyType", a.PrivateKey.KeyType, b.PrivateKey.KeyType)
	note("spec.privateKey.delivery", string(a.PrivateKey.Delivery), string(b.PrivateKey.Delivery))
	attributes("spec.certificateAttributes", a.CertificateAttributes, b.CertificateAttributes, note)
	attributes("spec.deviceAttributes", a.DeviceAttributes, b.DeviceAttributes, note)
	note("the annotation "+v1alpha1.AnnotationRenewRequestedAt, live.Annotations[v1alpha1.AnnotationRenewRequestedAt], wanted.Annotations[v1alpha1.AnnotationRenewRequestedAt])
	note("the annotation "+v1alpha1.AnnotationRevokeRequested, live.Annotations[v1alpha1.AnnotationRevokeRequested], wanted.Annotations[v1alpha1.AnnotationRevokeRequested])
	return fields
}

func attributes(field string, before, after []v1alpha1.Attribute, note func(field, before, after string)) {
	was := make(map[string]string)
	for _, a := range before {
		was[a.ID] = attributeText(a)
	}
	for _, a := range after {
		note(field+" "+a.ID, was[a.ID], attributeText(a))
		delete(was, a.ID)
	}
	for _, a := range before {
		if old, gone := was[a.ID]; gone {
			note(field+" "+a.ID, old, "")
		}
	}
}

func attributeText(a v1alpha1.Attribute) string {
	return strings.Join(attributeValues(a), ",")
}
