// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/profile"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestAttributesByNameAndPublishedProfilesUnderTheShippedRights(t *testing.T) {
	w := newWorld(t, func(c *simulator.Config) {
		for i := range c.Profiles {
			c.Profiles[i].DeviceFields = []simulator.Field{{ID: "DEVICE_IDENTIFIER", Name: "Device name"}, {ID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", Name: "Site of use"}}
		}
	})
	w.startManager()
	w.connect(func(i *v1alpha1.DeviceIssuer) { i.Spec.PublishProfiles = []string{profileLong} })
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.DeviceAttributes = []v1alpha1.Attribute{{ID: "Device name", Value: new("gw-17")}, {ID: "Site of use", Value: new("Bern")}}
	})
	w.awaitReady("gateway")
	if bought := w.live(commonName("gateway")); len(bought) != 1 || bought[0].DeviceIdentifier != "gw-17" {
		t.Errorf("bought %s", describe(bought))
	}
	w.awaitIssuer(issuerName, "saying which right is missing", func(i *v1alpha1.DeviceIssuer) bool {
		unpublished := condition(i.Status.Conditions, v1alpha1.ConditionProfilesUnpublished)
		return strings.Contains(unpublished.Message, "may not write ConfigMaps in namespace "+w.namespace+": bind its ClusterRole profile-publisher")
	})
	w.letPublish()
	eventually(t, patience, "the profile is published", func(ctx context.Context) (bool, error) {
		list := &corev1.ConfigMapList{}
		err := env.admin.List(ctx, list, client.InNamespace(w.namespace), client.MatchingLabels{v1alpha1.LabelProfile: profileLong})
		if err != nil || len(list.Items) != 1 {
			return false, err
		}
		wants, err := profile.Parse([]byte(list.Items[0].Data[v1alpha1.KeySpecification]))
		return err == nil && len(wants.DeviceAttributes) == 2, err
	})
	w.editIssuer(func(i *v1alpha1.DeviceIssuer) { i.Spec.PublishProfiles = nil })
	eventually(t, patience, "the profile is published no more", func(ctx context.Context) (bool, error) {
		list := &corev1.ConfigMapList{}
		err := env.admin.List(ctx, list, client.InNamespace(w.namespace), client.HasLabels{v1alpha1.LabelProfile})
		return len(list.Items) == 0, err
	})
	w.wantBought("", 1)
}

// letPublish gives the operator the right to publish in the test's namespace, and has the issuer looked at again.
func (w *world) letPublish() {
	w.Helper()
	w.must(env.admin.Create(w.ctx, &rbacv1.RoleBinding{
		ObjectMeta: w.meta("profile-publisher"),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "devicecert-profile-publisher"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNamespace, Name: operatorAccount}},
	}))
	w.editIssuer(func(i *v1alpha1.DeviceIssuer) { i.Spec.RequestTimeout = &metav1.Duration{Duration: 6 * time.Second} })
}

func TestALabelledPasswordIsFollowedWithinSeconds(t *testing.T) {
	w := newWorld(t)
	w.startManager()
	w.connect()
	password := &corev1.Secret{ObjectMeta: w.meta("keystores"), Data: map[string][]byte{"password": []byte("changeit-1")}}
	metav1.SetMetaDataLabel(&password.ObjectMeta, v1alpha1.LabelWatch, "true")
	w.must(env.admin.Create(w.ctx, password))
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Outputs = &v1alpha1.Outputs{PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "keystores", Key: "password"}}}
	})
	w.awaitReady("gateway")
	before := w.secret("gateway").Data
	w.editSecret("keystores", func(s *corev1.Secret) { s.Data["password"] = []byte("changeit-2") })
	eventually(t, patience, "the keystore has the new password", func(context.Context) (bool, error) {
		return !bytes.Equal(w.secret("gateway").Data["keystore.p12"], before["keystore.p12"]), nil
	})
	dir := files(t, w.secret("gateway").Data)
	output(t, nil, "openssl", "pkcs12", "-in", dir+"/keystore.p12", "-passin", "pass:changeit-2", "-noout")
	if !bytes.Equal(w.secret("gateway").Data["tls.key"], before["tls.key"]) {
		t.Error("the key changed with the password")
	}
	w.wantBought("", 1)
}
