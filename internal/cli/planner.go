// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// planner finds out what applying objects would do.
type planner struct {
	*session
	manifests *manifests
	now       time.Time
}

// foresee says what applying one object would do. What the API server refuses is a verdict; an error is what keeps it from being known.
func (p *planner) foresee(ctx context.Context, written *unstructured.Unstructured) (foreseen, error) {
	f := foreseen{Namespace: written.GetNamespace(), Name: written.GetName()}
	live := &v1alpha1.DeviceCertificate{}
	err := p.Get(ctx, client.ObjectKeyFromObject(written), live)
	if apierrors.IsNotFound(err) && !unknownKind(err) {
		live, err = nil, nil
	}
	if err != nil {
		return f, explain(err, "read DeviceCertificate "+written.GetName())
	}
	wanted, err := p.dryRun(ctx, written, live)
	switch {
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		f.Verdict, f.Reason, f.Message = verdictRefused, v1alpha1.ReasonInvalidSpec, refusal(err)
		return f, nil
	case apierrors.IsNotFound(err):
		f.Verdict, f.Reason, f.Message = verdictBuys, v1alpha1.ReasonIssuing, "the first certificate is issued"
		f.remark("it was not validated, because namespace %s does not exist yet", f.Namespace)
		return f, nil
	case err != nil:
		return f, explain(err, fmt.Sprintf("try DeviceCertificate %s/%s by a dry run", f.Namespace, f.Name))
	}
	if live != nil && live.DeletionTimestamp != nil {
		f.Verdict, f.Reason, f.Message = verdictRefused, v1alpha1.ReasonTerminating, "the object is being deleted: wait until it is gone"
		return f, nil
	}
	return f, p.compare(ctx, &f, live, wanted)
}

// strict has the API server refuse a field that is none, as it does for `kubectl apply`.
const strict = client.FieldValidation(metav1.FieldValidationStrict)

// unchecked is what the API server adds when it stops at the first errors; it says nothing of the object.
const unchecked = "some validation rules were not checked because the object was invalid"

// refusal is what the API server said, without its preamble.
func refusal(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil && len(status.Status().Details.Causes) > 0 {
		var texts []string
		for _, cause := range status.Status().Details.Causes {
			text := cause.Message
			if strings.Contains(text, unchecked) {
				continue
			}
			if cause.Field != "" && cause.Field != "<nil>" {
				text = cause.Field + ": " + text
			}
			texts = append(texts, text)
		}
		return enumerate(texts)
	}
	return err.Error()
}

// dryRun answers with the object as it would be stored. An existing one gets the spec that was written, whole, as Argo CD and Flux see to
// it in the end, and the annotations on top of those it has.
func (p *planner) dryRun(ctx context.Context, written *unstructured.Unstructured, live *v1alpha1.DeviceCertificate) (*v1alpha1.DeviceCertificate, error) {
	wanted := &unstructured.Unstructured{}
	wanted.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("DeviceCertificate"))
	if live == nil {
		wanted.Object["metadata"] = map[string]any{"name": written.GetName(), "namespace": written.GetNamespace()}
		wanted.SetAnnotations(written.GetAnnotations())
		wanted.Object["spec"] = written.Object["spec"]
		if err := p.Create(ctx, wanted, client.DryRunAll, strict, fieldOwner); err != nil {
			return nil, err
		}
		return typed(wanted)
	}
	annotations := maps.Clone(live.Annotations)
	if annotations == nil {
		annotations = make(map[string]string)
	}
	maps.Copy(annotations, written.GetAnnotations())
	patch, err := json.Marshal([]map[string]any{
		{"op": "add", "path": "/spec", "value": written.Object["spec"]},
		{"op": "add", "path": "/metadata/annotations", "value": annotations},
	})
	if err != nil {
		return nil, err
	}
	wanted.SetNamespace(live.Namespace)
	wanted.SetName(live.Name)
	if err := p.Patch(ctx, wanted, client.RawPatch(types.JSONPatchType, patch), client.DryRunAll, strict, fieldOwner); err != nil {
		return nil, err
	}
	return typed(wanted)
}

// compare makes the operator's own decision about the object as it would be, and as it is.
func (p *planner) compare(ctx context.Context, f *foreseen, live, wanted *v1alpha1.DeviceCertificate) error {
	s, err := p.snapshot(ctx, f, live, wanted)
	if err != nil {
		return err
	}
	needed, actual := plan.Decide(ideal(s)), plan.Decide(s)
	switch {
	case actual.Action == plan.ActionBlock && actual.Reason == v1alpha1.ReasonSecretConflict:
		f.Verdict, f.Reason, f.Message = verdictRefused, actual.Reason, actual.Message
	case !needed.Buys() && actual.Action == plan.ActionBlock:
		f.Verdict, f.Reason, f.Message = verdictRefused, actual.Reason, actual.Message
	case needed.Buys() && p.dueAnyway(ctx, live, s, needed):
		f.Verdict = verdictNothing
		f.remark("a purchase is due anyway: %s", needed.Message)
	case needed.Buys() && actual.Action == plan.ActionBlock && !s.Certificate.Spec.Suspend:
		f.Verdict, f.Reason, f.Message = verdictRefused, actual.Reason, actual.Message
	case needed.Buys() && f.unwanted != "":
		f.Verdict, f.Reason, f.Message, f.unwanted = verdictRefused, v1alpha1.ReasonInvalidSpec, f.unwanted, ""
	case needed.Buys():
		f.Verdict, f.Reason, f.Message = verdictBuys, needed.Reason, needed.Message
		f.Changed = changed(live, wanted)
		if !actual.Buys() {
			f.WaitsFor = actual.Message
		}
	case needed.Action == plan.ActionRender:
		f.Verdict, f.Reason, f.Message = verdictRenders, needed.Reason, needed.Message
	default:
		f.Verdict = verdictNothing
	}
	if f.unwanted != "" {
		f.remark("%s", f.unwanted)
	}
	if f.Verdict != verdictBuys {
		f.Doubts = nil
	}
	if f.Verdict == verdictBuys || f.Verdict == verdictRenders {
		p.keystores(ctx, f, wanted)
	}
	return nil
}

// keystores remarks which ones are left out for want of a password. Secrets among the files count as applied.
func (p *planner) keystores(ctx context.Context, f *foreseen, c *v1alpha1.DeviceCertificate) {
	missing := func(output string, ref v1alpha1.SecretKeyReference) {
		at, secret := client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}, &corev1.Secret{}
		err := p.Get(ctx, at, secret)
		if !p.manifests.secrets[at] && (apierrors.IsNotFound(err) || err == nil && len(secret.Data[ref.Key]) == 0) {
			f.remark("spec.secret.outputs.%s is left out until Secret %s has a key %s", output, ref.Name, ref.Key)
		}
	}
	outputs := cmp.Or(c.Spec.Secret.Outputs, new(v1alpha1.Outputs))
	if outputs.PKCS12 != nil {
		missing("pkcs12", outputs.PKCS12.PasswordSecretRef)
	}
	if outputs.JKS != nil {
		missing("jks", outputs.JKS.PasswordSecretRef)
	}
}

// ideal is the same snapshot with nothing in the way of a purchase: it tells what is needed, whatever holds it up today.
func ideal(s *plan.Snapshot) *plan.Snapshot {
	unhindered := *s
	unhindered.Certificate = s.Certificate.DeepCopy()
	unhindered.Certificate.Spec.Suspend = false
	st := &unhindered.Certificate.Status
	st.Attempt, st.Replacements = nil, nil
	if st.Failures != nil {
		st.Failures.NextTime = nil
	}
	unhindered.Problem = nil
	unhindered.Issuer = plan.Issuer{Found: true, Known: true, Ready: true, Version: s.Issuer.Version}
	return &unhindered
}

// dueAnyway tells whether the object as it is needs the same purchase.
func (p *planner) dueAnyway(ctx context.Context, live *v1alpha1.DeviceCertificate, s *plan.Snapshot, needed plan.Plan) bool {
	if live == nil {
		return false
	}
	var aside foreseen
	today := &planner{session: p.session, manifests: &manifests{}, now: p.now}
	before, err := today.snapshot(ctx, &aside, live, live.DeepCopy())
	if err != nil {
		return false
	}
	is := plan.Decide(ideal(before))
	return is.Buys() && is.Reason == needed.Reason && before.IssuanceHash == s.IssuanceHash
}

// labelsOf are the labels of a namespace; false when they cannot be read.
func (p *planner) labelsOf(ctx context.Context, name string) (map[string]string, bool) {
	if labels, ok := p.manifests.namespaces[name]; ok {
		if labels == nil {
			labels = make(map[string]string, 1)
		}
		labels[corev1.LabelMetadataName] = name // the API server sets it
		return labels, true
	}
	namespace := &corev1.Namespace{}
	if err := p.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return nil, false
	}
	return namespace.Labels, true
}
