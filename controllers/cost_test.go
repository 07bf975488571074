// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

// change is an edit of one field of the spec, and what it costs.
type change struct {
	field string
	// from is the spec before it; nil for the usual one.
	from func(*v1alpha1.DeviceCertificate)
	to   func(*v1alpha1.DeviceCertificateSpec)
	cost int
}

// opened asks for a format that travels encrypted and is opened by the operator.
func opened(c *v1alpha1.DeviceCertificate) {
	c.Spec.PrivateKey = v1alpha1.PrivateKey{Format: v1alpha1.FormatCertEncrypted, Encryption: &v1alpha1.KeyEncryption{
		CertificateRef:   &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindSecret, Name: "transport", Key: "tls.crt"},
		DecryptionKeyRef: &v1alpha1.SecretKeyReference{Name: "transport", Key: "tls.key"},
	}}
}

// withPKCS12 and withJKS ask for keystores.
func withPKCS12(c *v1alpha1.DeviceCertificate) {
	c.Spec.Secret.Outputs = &v1alpha1.Outputs{PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "password", Key: "one"}}}
}

func withJKS(c *v1alpha1.DeviceCertificate) {
	c.Spec.Secret.Outputs = &v1alpha1.Outputs{JKS: &v1alpha1.JKSOutput{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "password", Key: "one"}}}
}

func changes(w *world, r recipient) []change {
	word, number := "Edge", int32(20)
	type spec = v1alpha1.DeviceCertificateSpec
	output := func(set func(*v1alpha1.Outputs)) func(*spec) {
		return func(s *spec) {
			if s.Secret.Outputs == nil {
				s.Secret.Outputs = &v1alpha1.Outputs{}
			}
			set(s.Secret.Outputs)
		}
	}
	attributed := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.DeviceAttributes = []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: &c.Name}}
	}
	return []change{
		{"enrollmentProfileID", nil, func(s *spec) { s.EnrollmentProfileID = profileShort }, 1},
		{"certificateAttributes.id", nil, func(s *spec) {
			s.CertificateAttributes = append(s.CertificateAttributes, v1alpha1.Attribute{ID: "subject.organization_unit", Value: &word})
		}, 1},
		{"certificateAttributes.value", func(c *v1alpha1.DeviceCertificate) {
			c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: "subject.organization_unit", Value: &c.Name})
		}, func(s *spec) { s.CertificateAttributes[1].Value = &word }, 1},
		{"certificateAttributes.values", nil, func(s *spec) {
			s.CertificateAttributes = append(s.CertificateAttributes, v1alpha1.Attribute{ID: "san.dns_name", Values: []string{"a.example"}})
		}, 1},
		{"deviceAttributes.id", nil, func(s *spec) { s.DeviceAttributes = []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: &word}} }, 1},
		{"deviceAttributes.value", attributed, func(s *spec) { s.DeviceAttributes[0].Value = &word }, 1},
		{"deviceAttributes.values", attributed, func(s *spec) {
			s.DeviceAttributes[0] = v1alpha1.Attribute{ID: "DEVICE_IDENTIFIER", Values: []string{word}}
		}, 1},
		{"privateKey.keyType", nil, func(s *spec) { s.PrivateKey.KeyType = "p_384" }, 1},
		{"privateKey.delivery", opened, func(s *spec) {
			s.Secret.Name, s.PrivateKey.Delivery, s.PrivateKey.Encryption.DecryptionKeyRef = "sealed", v1alpha1.DeliverySealed, nil
		}, 1},
		// A sealed bundle cannot be repacked.
		{"secret.outputs.chain", sealedIn(v1alpha1.FormatCertEncrypted), output(func(o *v1alpha1.Outputs) { o.Chain = v1alpha1.ChainLeafOnly }), 1},

		{"issuerRef.name", nil, func(s *spec) { s.IssuerRef.Name = "twin" }, 0},
		{"issuerRef.kind", nil, func(s *spec) {
			s.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: w.namespace}
		}, 0},
		{"privateKey.format", nil, func(s *spec) { s.PrivateKey.Format = v1alpha1.FormatDER }, 0},
		{"privateKey.syntax", nil, func(s *spec) { s.PrivateKey.Syntax = "pkcs_8" }, 0},
		{"privateKey.encryption.certificateRef.kind", opened, func(s *spec) { s.PrivateKey.Encryption.CertificateRef.Kind = v1alpha1.ObjectKindConfigMap }, 0},
		{"privateKey.encryption.certificateRef.name", opened, func(s *spec) { s.PrivateKey.Encryption.CertificateRef.Name = "nowhere" }, 0},
		{"privateKey.encryption.certificateRef.key", opened, func(s *spec) { s.PrivateKey.Encryption.CertificateRef.Key = "nothing" }, 0},
		{"privateKey.encryption.certificate", opened, func(s *spec) {
			s.PrivateKey.Encryption.CertificateRef, s.PrivateKey.Encryption.Certificate = nil, r.certificatePEM
		}, 0},
		{"privateKey.encryption.decryptionKeyRef.name", opened, func(s *spec) { s.PrivateKey.Encryption.DecryptionKeyRef.Name = "nowhere" }, 0},
		{"privateKey.encryption.decryptionKeyRef.key", opened, func(s *spec) { s.PrivateKey.Encryption.DecryptionKeyRef.Key = "nothing" }, 0},
		{"renewal.policy", nil, func(s *spec) { s.Renewal.Policy = v1alpha1.RenewalDisabled }, 0},
		{"renewal.renewBefore", nil, func(s *spec) { s.Renewal.RenewBefore = &metav1.Duration{Duration: 240 * time.Hour} }, 0},
		{"renewal.renewBeforePercentage", nil, func(s *spec) { s.Renewal.RenewBeforePercentage = &number }, 0},
		{"renewal.onRevoked", nil, func(s *spec) { s.Renewal.OnRevoked = v1alpha1.OnRevokedReenroll }, 0},
		{"secret.name", nil, func(s *spec) { s.Secret.Name = "elsewhere" }, 0},
		{"secret.labels", nil, func(s *spec) { s.Secret.Labels = map[string]string{"team": "edge"} }, 0},
		{"secret.annotations", nil, func(s *spec) { s.Secret.Annotations = map[string]string{"team": "edge"} }, 0},
		{"secret.deletionPolicy", nil, func(s *spec) { s.Secret.DeletionPolicy = v1alpha1.DeletionDelete }, 0},
		{"secret.outputs.chain", nil, output(func(o *v1alpha1.Outputs) { o.Chain = v1alpha1.ChainLeafOnly }), 0},
		{"secret.outputs.keyEncoding", nil, output(func(o *v1alpha1.Outputs) { o.KeyEncoding = v1alpha1.KeyEncodingTraditional }), 0},
		{"secret.outputs.formats", nil, output(func(o *v1alpha1.Outputs) {
			o.Formats = []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM, v1alpha1.OutputDER}
		}), 0},
		{"secret.outputs.pkcs12.passwordSecretRef.name", withPKCS12, output(func(o *v1alpha1.Outputs) { o.PKCS12.PasswordSecretRef.Name = "nowhere" }), 0},
		{"secret.outputs.pkcs12.passwordSecretRef.key", withPKCS12, output(func(o *v1alpha1.Outputs) { o.PKCS12.PasswordSecretRef.Key = "two" }), 0},
		{"secret.outputs.pkcs12.profile", withPKCS12, output(func(o *v1alpha1.Outputs) { o.PKCS12.Profile = v1alpha1.PKCS12LegacyDES }), 0},
		{"secret.outputs.jks.passwordSecretRef.name", withJKS, output(func(o *v1alpha1.Outputs) { o.JKS.PasswordSecretRef.Name = "nowhere" }), 0},
		{"secret.outputs.jks.passwordSecretRef.key", withJKS, output(func(o *v1alpha1.Outputs) { o.JKS.PasswordSecretRef.Key = "two" }), 0},
		{"secret.outputs.jks.alias", withJKS, output(func(o *v1alpha1.Outputs) { o.JKS.Alias = "gateway" }), 0},
		{"revocation.onDelete", nil, func(s *spec) { s.Revocation.OnDelete = v1alpha1.RevocationRevoke }, 0},
		{"revocation.onSupersede", nil, func(s *spec) { s.Revocation.OnSupersede = v1alpha1.RevocationRevoke }, 0},
		{"revocation.gracePeriod", nil, func(s *spec) { s.Revocation.GracePeriod = &metav1.Duration{Duration: time.Hour} }, 0},
		{"revocation.reason", nil, func(s *spec) { s.Revocation.Reason = "unspecified" }, 0},
		{"suspend", nil, func(s *spec) { s.Suspend = true }, 0},
	}
}

func TestOnlyWhatIsBoughtCostsACertificate(t *testing.T) {
	w := newWorld(t)
	r := w.transport()
	w.createSecret("password", map[string]string{"one": "changeit1", "two": "changeit2"})
	w.twins()
	all := changes(w, r)
	for i, c := range all {
		from := c.from
		if from == nil {
			from = func(*v1alpha1.DeviceCertificate) {}
		}
		w.certificate(fmt.Sprintf("c%d", i), from)
	}
	w.settle()
	for i, c := range all {
		name := fmt.Sprintf("c%d", i)
		if got := w.vendor.Summary().ByCommonName[name+".example"].Issued; got != 1 {
			t.Fatalf("%s: %d certificates to begin with: %s", c.field, got, w.message(name, v1alpha1.ConditionReady))
		}
		w.edit(name, func(d *v1alpha1.DeviceCertificate) { c.to(&d.Spec) })
	}
	w.settle()
	w.pass(2 * time.Minute)
	for i, c := range all {
		t.Run(fmt.Sprint(c.field, " costs ", c.cost), func(t *testing.T) {
			g := NewWithT(t)
			name := fmt.Sprintf("c%d", i)
			g.Expect(w.vendor.Summary().ByCommonName[name+".example"].Issued - 1).To(Equal(c.cost))
			status := w.get(name).Status
			g.Expect(status.ObservedGeneration).To(BeEquivalentTo(2))
			g.Expect(status.Failures).To(BeNil())
		})
	}
}

// twins are issuers of both kinds that speak to the same account.
func (w *world) twins() {
	w.t.Helper()
	twin := &v1alpha1.DeviceIssuer{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "twin"}}
	cluster := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	original := &v1alpha1.DeviceIssuer{}
	w.must(w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: "digicert"}, original))
	twin.Spec = original.Spec
	cluster.Spec.IssuerSpec = original.Spec.IssuerSpec
	w.must(w.client.Create(w.ctx, twin))
	w.must(w.client.Create(w.ctx, cluster))
	w.t.Cleanup(func() { w.must(w.client.Delete(w.ctx, cluster)) })
	w.attach(account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: w.namespace, Name: "twin"}, twin)
	w.attach(account.ID{Kind: v1alpha1.KindClusterDeviceIssuer, Name: w.namespace}, cluster)
}

// attach tells another issuer's account of the same connection.
func (w *world) attach(id account.ID, issuer client.Object) {
	w.t.Helper()
	c := w.connection
	c.UID, c.Generation = string(issuer.GetUID()), issuer.GetGeneration()
	w.must(w.accounts.Update(id, c))
}

func TestEveryFieldOfTheSpecHasAKnownPrice(t *testing.T) {
	var known []string
	for _, c := range changes(&world{}, recipient{}) {
		known = append(known, c.field)
	}
	for _, field := range leaves(reflect.TypeFor[v1alpha1.DeviceCertificateSpec](), "") {
		if !slices.Contains(known, field) {
			t.Errorf("nobody has said what a change of spec.%s costs", field)
		}
	}
}

// leaves are the JSON paths of a type's scalar fields.
func leaves(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[metav1.Duration]() {
		return []string{strings.TrimPrefix(path, ".")}
	}
	var all []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, leaves(f.Type, path+"."+name)...)
	}
	return all
}
