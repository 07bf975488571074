// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// specification is what the operator publishes of a profile.
const specification = `{"profileID": "IOT_00000000-0000-0000-0000-000000000001",
  "certificateAttributes": [
    {"id": "subject.common_name", "name": "Common name", "mandatory": true},
    {"id": "subject.organization_name", "fixed": true, "default": ["Example"]},
    {"id": "san.dns_name", "multiple": true},
    {"id": "subject.country", "options": ["CH", "DE\n# injected: true"]}],
  "deviceAttributes": [{"id": "DEVICE_IDENTIFIER", "name": "Serial no.", "mandatory": true}],
  "keyTypes": ["p_256", "rsa_2048"]}`

// publish plays the operator.
func (w *world) publish(issuer string) {
	w.Helper()
	w.must(api.Create(w.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "devicecert-profile-", Namespace: w.namespace, Labels: map[string]string{v1alpha1.LabelProfile: profileA},
			Annotations: map[string]string{v1alpha1.AnnotationIssuer: "DeviceIssuer/" + issuer, v1alpha1.AnnotationPublishedAt: "2030-06-01T09:00:00Z"},
		},
		Data: map[string]string{v1alpha1.KeySpecification: specification},
	}))
}

func TestProfileWritesACertificateToFillIn(t *testing.T) {
	w := newWorld(t, "profiles")
	w.wants(w.plugin("profile"), 1, "publishProfiles")
	w.publish("digicert")
	w.golden("profile-list", w.plugin("profile"))
	r := w.plugin("profile", profileA, "--name", "gateway-17")
	w.golden("profile", r)

	create := func(text string) error {
		c := &v1alpha1.DeviceCertificate{}
		w.must(yaml.UnmarshalStrict([]byte(text), c))
		return api.Create(t.Context(), c)
	}
	if err := create(r.out); err == nil {
		t.Error("the draft is accepted before it was filled in")
	}
	if err := create(strings.ReplaceAll(r.out, `value: ""`, `value: gateway-17`)); err != nil {
		t.Errorf("the draft is refused although it was filled in: %v\n%s", err, r.out)
	}
	w.wants(w.plugin("profile", profileB), 1, "no such profile is published here", "ProfilesUnpublished")
	w.publish("other")
	w.wants(w.plugin("profile", profileA), 1, "choose one by --issuer DeviceIssuer/digicert")
	w.wants(w.plugin("profile", profileA, "--issuer", "other"), 0, "name: other}")
	w.wants(w.plugin("profile", "--name", "x"), 1, "say which")
	user := w.as("profiles-user", least)
	user.wants(user.plugin("profile"), 1, "you are not allowed to")
}

func TestPlanKnowsAttributesByTheirNames(t *testing.T) {
	w := newWorld(t, "names")
	w.issuer()
	w.publish("digicert")
	c := w.bought("gateway-1")
	named := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes[0].ID = "Common name"
	}
	r := w.plugin("plan", "-f", w.files(w.manifest(c, named)))
	w.wants(r, 0, "names/gateway-1 re-renders", "device attribute DEVICE_IDENTIFIER (Serial no.) is mandatory")
}
