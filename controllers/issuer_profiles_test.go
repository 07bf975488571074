// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/profile"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// published are the ConfigMaps of a namespace that hold specifications.
func (d *issuerDesk) published(namespace string) []corev1.ConfigMap {
	d.t.Helper()
	list := &corev1.ConfigMapList{}
	d.must(d.client.List(d.t.Context(), list, client.InNamespace(namespace), client.HasLabels{v1alpha1.LabelProfile}))
	return list.Items
}

// specificationsRead counts what the vendor was asked.
func (d *issuerDesk) specificationsRead() (n int) {
	for _, r := range d.vendor.Requests() {
		if r.Operation == simulator.OperationSpecification {
			n++
		}
	}
	return n
}

func publishing(profiles ...string) func(*v1alpha1.IssuerSpec) {
	return func(s *v1alpha1.IssuerSpec) { s.PublishProfiles = profiles }
}

func TestProfilesArePublishedForThePlugin(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer(publishing(profileLong))
	d.reconcile(id)

	found := d.published(d.namespace)
	if len(found) != 1 {
		t.Fatalf("%d ConfigMaps, want one", len(found))
	}
	got := found[0]
	// printf DeviceIssuer/digicert | sha256sum begins like this.
	if want := "devicecert-profile-" + strings.TrimPrefix(profileLong, "IOT_") + "-ec9a0247"; got.Name != want {
		t.Errorf("name is %s, want %s", got.Name, want)
	}
	if got.Labels["devicecert.io/profile"] != profileLong || got.Annotations["devicecert.io/issuer"] != "DeviceIssuer/digicert" {
		t.Errorf("labels %v, annotations %v", got.Labels, got.Annotations)
	}
	wants, err := profile.Parse([]byte(got.Data["specification.json"]))
	want := &profile.Specification{
		ProfileID:             profileLong,
		CertificateAttributes: []profile.Attribute{{ID: "subject.common_name", Name: "Common name", ValueType: "STRING", Mandatory: true}},
		DeviceAttributes:      []profile.Attribute{{ID: "DEVICE_IDENTIFIER", Name: "Device identifier", ValueType: "STRING"}},
	}
	if diff := cmp.Diff(want, wants); err != nil || diff != "" {
		t.Errorf("error %v, specification (-want +got):\n%s", err, diff)
	}
	if owner := got.OwnerReferences; len(owner) != 1 || owner[0].UID != d.object(id).GetUID() {
		t.Errorf("owner references %+v: it must go with the issuer", owner)
	}
	if can := d.status(id).Capabilities.Specification; can != v1alpha1.CapabilityYes {
		t.Errorf("capability specification is %s", can)
	}
	if diff := cmp.Diff([]string{profileLong}, d.status(id).PublishedProfiles); diff != "" {
		t.Errorf("status.publishedProfiles (-want +got):\n%s", diff)
	}
}

func TestPublishedProfilesAreRefreshedDaily(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer(publishing(profileLong))
	d.reconcile(id)
	d.clock.Step(20 * time.Hour)
	d.restart()
	d.reconcile(id)
	if n := d.specificationsRead(); n != 1 {
		t.Fatalf("read %d times within a day and over a restart, want once", n)
	}
	version := d.published(d.namespace)[0].ResourceVersion
	d.clock.Step(5 * time.Hour)
	d.reconcile(id)
	if n := d.specificationsRead(); n != 2 || d.published(d.namespace)[0].ResourceVersion == version {
		t.Errorf("read %d times after a day, want twice and the ConfigMap written", n)
	}
	emptied := d.published(d.namespace)[0]
	emptied.Data = nil
	d.must(d.client.Update(t.Context(), &emptied))
	d.reconcile(id)
	if d.published(d.namespace)[0].Data["specification.json"] == "" {
		t.Error("a ConfigMap that somebody emptied stays empty")
	}
}

func TestAProfileThatIsNamedNoMoreIsRemoved(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer(publishing(profileLong))
	d.reconcile(id)
	d.update(id, func(o issuerObject) { o.spec.PublishProfiles = nil })
	d.reconcile(id)
	if left := d.published(d.namespace); len(left) != 0 || len(d.status(id).PublishedProfiles) != 0 {
		t.Errorf("left %d ConfigMaps, status says %v", len(left), d.status(id).PublishedProfiles)
	}
}

func TestAClusterIssuerPublishesInTheOperatorsNamespace(t *testing.T) {
	d := newIssuerDesk(t)
	d.secret(d.operator, corev1.SecretTypeOpaque, map[string]string{"token": token})
	object := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}}
	object.Spec.IssuerSpec = d.spec()
	object.Spec.PublishProfiles = []string{profileLong}
	d.must(d.client.Create(t.Context(), object))
	t.Cleanup(func() { d.must(d.client.Delete(context.Background(), object)) })
	d.reconcile(account.ID{Kind: v1alpha1.KindClusterDeviceIssuer, Name: object.Name})
	if found := d.published(d.operator); len(found) != 1 || found[0].Annotations["devicecert.io/issuer"] != "ClusterDeviceIssuer/"+object.Name {
		t.Errorf("found %+v", found)
	}
}

func TestSomebodyElsesConfigMapIsLeftAlone(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(token)
	id := d.issuer(publishing(profileLong))
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: profileConfigMap(d.object(id), profileLong)}, Data: map[string]string{"a": "b"},
	}
	d.must(d.client.Create(t.Context(), foreign))
	d.reconcile(id)
	d.must(d.client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign))
	if len(foreign.Data) != 1 || len(foreign.Labels) != 0 {
		t.Errorf("it was written to: %+v", foreign)
	}
	c := apimeta.FindStatusCondition(d.status(id).Conditions, v1alpha1.ConditionProfilesUnpublished)
	if c == nil || !strings.Contains(c.Message, foreign.Name+" belongs to somebody else") {
		t.Errorf("condition is %+v", c)
	}
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonConnected, "")
	d.update(id, func(o issuerObject) { o.spec.PublishProfiles = nil })
	d.reconcile(id)
	d.must(d.client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign))
	if apimeta.FindStatusCondition(d.status(id).Conditions, v1alpha1.ConditionProfilesUnpublished) != nil {
		t.Error("the condition stays although nothing is to be published")
	}
}

func TestAPasscodeCannotPublishAndSaysSo(t *testing.T) {
	d := newIssuerDesk(t)
	d.token(passcode)
	id := d.issuer(withPasscode, publishing(profileLong))
	d.reconcile(id)
	c := apimeta.FindStatusCondition(d.status(id).Conditions, v1alpha1.ConditionProfilesUnpublished)
	if c == nil || !strings.Contains(c.Message, "passcode") || len(d.published(d.namespace)) != 0 || d.specificationsRead() != 0 {
		t.Errorf("condition is %+v; asked %d times", c, d.specificationsRead())
	}
	d.wantCondition(id, metav1.ConditionTrue, v1alpha1.ReasonUnverified, "")
}
