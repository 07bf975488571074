// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/base64"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func admissionRows() []row {
	return []row{
		{id: "K16", name: "admission changes the Secret while it is written", run: admissionSpoils},
	}
}

// spoiltKey is what the policy puts in the place of a private key.
const spoiltKey = "spoilt"

// admissionSpoils lets an admission policy replace every private key that is written, for a while: that is noticed, and the same
// certificate is stored whole when the policy is gone.
func admissionSpoils(w *world) {
	w.spoilt = func(s *corev1.Secret) bool { return string(s.Data[v1alpha1.KeyPrivateKey]) == spoiltKey }
	w.begin()
	remove := w.spoilKeys()
	w.certificate(gateway)
	w.awaitSecret(gateway, "spoilt", w.spoilt)
	remove()
	w.awaitReady(gateway)
	if s := w.secret(gateway); s == nil || w.spoilt(s) {
		w.Error("the Secret is still spoilt")
	}
	w.wantBought(1)
	if !strings.Contains(w.manager.log(), "admission webhook") {
		w.Error("nothing in the log says that somebody changes the Secret")
	}
}

// spoilKeys installs the policy for the case's namespace, and waits until it works. It ends with remove.
func (w *world) spoilKeys() (remove func()) {
	w.Helper()
	policy := &admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	policy.Spec = admissionv1.MutatingAdmissionPolicySpec{
		ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
			}}},
		},
		MatchConditions: []admissionv1.MatchCondition{{Name: "holds-a-key", Expression: "has(object.data) && 'tls.key' in object.data"}},
		Mutations: []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{
			Expression: `[JSONPatch{op: "replace", path: "/data/tls.key", value: "` + base64.StdEncoding.EncodeToString([]byte(spoiltKey)) + `"}]`,
		}}},
	}
	binding := &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	binding.Spec.PolicyName = policy.Name
	w.must(env.admin.Create(w.ctx, policy))
	w.must(env.admin.Create(w.ctx, binding))
	w.Cleanup(func() {
		w.do("remove the policy", client.IgnoreNotFound(env.admin.Delete(context.Background(), binding)))
		w.do("remove the policy", client.IgnoreNotFound(env.admin.Delete(context.Background(), policy)))
	})
	works := func(ctx context.Context) (bool, error) {
		trial := &corev1.Secret{ObjectMeta: w.meta("trial"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": {}, "tls.key": {}}}
		err := env.admin.Create(ctx, trial, client.DryRunAll)
		return string(trial.Data["tls.key"]) == spoiltKey, err
	}
	eventually(w.T, "the policy works", works)
	return func() {
		w.must(env.admin.Delete(w.ctx, binding))
		eventually(w.T, "the policy is gone", func(ctx context.Context) (bool, error) {
			spoils, err := works(ctx)
			return !spoils, err
		})
	}
}
