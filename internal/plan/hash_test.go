// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

type spec = v1alpha1.DeviceCertificateSpec

// openSpec asks for a pair in the clear, sealedSpec for one that the vendor encrypts.
func openSpec() *spec {
	cn := "gw.a.example"
	id := "gw-17"
	return &spec{
		IssuerRef: v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"}, EnrollmentProfileID: "IOT_1",
		CertificateAttributes: []v1alpha1.Attribute{{ID: "subject.common_name", Value: &cn}, {ID: "san.dns_name", Values: []string{"a", "b"}}},
		DeviceAttributes:      []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: &id}},
		PrivateKey:            v1alpha1.PrivateKey{KeyType: "p_256", Format: v1alpha1.FormatPEM, Delivery: v1alpha1.DeliveryDecrypted},
	}
}

func sealedSpec() *spec {
	s := openSpec()
	s.PrivateKey.Format, s.PrivateKey.Delivery = v1alpha1.FormatCertEncrypted, v1alpha1.DeliverySealed
	return s
}

func hash(t *testing.T, host string, s *spec, encryptionKey string) string {
	t.Helper()
	h, err := IssuanceHash(host, s, encryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEveryFieldOfTheSpecIsKnownToCostACertificateOrNot(t *testing.T) {
	other := "other"
	percentage := int32(50)
	outputs := func(s *spec) *v1alpha1.Outputs {
		if s.Secret.Outputs == nil {
			s.Secret.Outputs = &v1alpha1.Outputs{}
		}
		return s.Secret.Outputs
	}
	encryption := func(e v1alpha1.KeyEncryption) func(*spec) { return func(s *spec) { s.PrivateKey.Encryption = &e } }
	type row struct {
		change             func(*spec)
		whenOpen, whenSeal bool // whether it costs
	}
	rows := map[string]row{
		"IssuerRef.Kind":        {func(s *spec) { s.IssuerRef.Kind = v1alpha1.KindClusterDeviceIssuer }, false, false},
		"IssuerRef.Name":        {func(s *spec) { s.IssuerRef.Name = other }, false, false},
		"EnrollmentProfileID":   {func(s *spec) { s.EnrollmentProfileID = "IOT_2" }, true, true},
		"CertificateAttributes": {func(s *spec) { s.CertificateAttributes[0].Value = &other }, true, true},
		"DeviceAttributes":      {func(s *spec) { s.DeviceAttributes[0].Value = &other }, true, true},

		"PrivateKey.KeyType":  {func(s *spec) { s.PrivateKey.KeyType = "p_384" }, true, true},
		"PrivateKey.Delivery": {func(s *spec) { s.PrivateKey.Delivery = opposite(s.PrivateKey.Delivery) }, true, true},
		// An open key is stored alike however it travelled. A sealed one is stored as it travelled, and nobody can seal it otherwise.
		"PrivateKey.Format":                      {func(s *spec) { s.PrivateKey.Format = v1alpha1.FormatCertEncryptedKeyOnly }, false, true},
		"PrivateKey.Syntax":                      {func(s *spec) { s.PrivateKey.Syntax = "pkcs_8" }, false, false},
		"PrivateKey.Encryption.CertificateRef":   {encryption(v1alpha1.KeyEncryption{CertificateRef: &v1alpha1.ObjectKeyReference{Name: other}}), false, false},
		"PrivateKey.Encryption.Certificate":      {encryption(v1alpha1.KeyEncryption{Certificate: other}), false, false},
		"PrivateKey.Encryption.DecryptionKeyRef": {encryption(v1alpha1.KeyEncryption{DecryptionKeyRef: &v1alpha1.SecretKeyReference{Name: other}}), false, false},

		"Renewal.Policy":                {func(s *spec) { s.Renewal.Policy = v1alpha1.RenewalDisabled }, false, false},
		"Renewal.RenewBefore":           {func(s *spec) { s.Renewal.RenewBefore = &metav1.Duration{Duration: time.Hour} }, false, false},
		"Renewal.RenewBeforePercentage": {func(s *spec) { s.Renewal.RenewBeforePercentage = &percentage }, false, false},
		"Renewal.OnRevoked":             {func(s *spec) { s.Renewal.OnRevoked = v1alpha1.OnRevokedReenroll }, false, false},

		"Secret.Name":           {func(s *spec) { s.Secret.Name = other }, false, false},
		"Secret.Labels":         {func(s *spec) { s.Secret.Labels = map[string]string{"a": "b"} }, false, false},
		"Secret.Annotations":    {func(s *spec) { s.Secret.Annotations = map[string]string{"a": "b"} }, false, false},
		"Secret.DeletionPolicy": {func(s *spec) { s.Secret.DeletionPolicy = v1alpha1.DeletionDelete }, false, false},
		// Of a sealed bundle the chain is inside.
		"Secret.Outputs.Chain":       {func(s *spec) { outputs(s).Chain = v1alpha1.ChainLeafOnly }, false, true},
		"Secret.Outputs.KeyEncoding": {func(s *spec) { outputs(s).KeyEncoding = v1alpha1.KeyEncodingTraditional }, false, false},
		"Secret.Outputs.Formats":     {func(s *spec) { outputs(s).Formats = []v1alpha1.OutputFormat{v1alpha1.OutputDER} }, false, false},
		"Secret.Outputs.PKCS12":      {func(s *spec) { outputs(s).PKCS12 = &v1alpha1.PKCS12Output{} }, false, false},
		"Secret.Outputs.JKS":         {func(s *spec) { outputs(s).JKS = &v1alpha1.JKSOutput{} }, false, false},

		"Revocation.OnDelete":    {func(s *spec) { s.Revocation.OnDelete = v1alpha1.RevocationRevoke }, false, false},
		"Revocation.OnSupersede": {func(s *spec) { s.Revocation.OnSupersede = v1alpha1.RevocationRevoke }, false, false},
		"Revocation.GracePeriod": {func(s *spec) { s.Revocation.GracePeriod = &metav1.Duration{} }, false, false},
		"Revocation.Reason":      {func(s *spec) { s.Revocation.Reason = v1alpha1.ReasonCessationOfOperation }, false, false},
		"Suspend":                {func(s *spec) { s.Suspend = true }, false, false},
	}
	if diff := cmp.Diff(fieldsOf(reflect.TypeFor[spec](), "", 2), slices.Sorted(maps.Keys(rows))); diff != "" {
		t.Errorf("fields (-of the spec +in this table): decide whether a new one costs a certificate:\n%s", diff)
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				delivery string
				build    func() *spec
				costs    bool
			}{{"open", openSpec, r.whenOpen}, {"sealed", sealedSpec, r.whenSeal}} {
				changed := c.build()
				r.change(changed)
				if costs := hash(t, "one.digicert.com", c.build(), "key") != hash(t, "one.digicert.com", changed, "key"); costs != c.costs {
					t.Errorf("%s: costs a certificate: %t, want %t", c.delivery, costs, c.costs)
				}
			}
		})
	}
}

func opposite(d v1alpha1.Delivery) v1alpha1.Delivery {
	if d == v1alpha1.DeliverySealed {
		return v1alpha1.DeliveryDecrypted
	}
	return v1alpha1.DeliverySealed
}

// fieldsOf are the paths of a struct's fields; those of its structs are followed so many levels deep.
func fieldsOf(t reflect.Type, prefix string, levels int) []string {
	var paths []string
	for f := range t.Fields() {
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if levels > 0 && inner.Kind() == reflect.Struct && inner.PkgPath() == t.PkgPath() {
			paths = append(paths, fieldsOf(inner, prefix+f.Name+".", levels-1)...)
			continue
		}
		paths = append(paths, prefix+f.Name)
	}
	slices.Sort(paths)
	return paths
}

func TestWhatElseEntersTheIssuanceHash(t *testing.T) {
	open, sealed := openSpec(), sealedSpec()
	keyOnly := sealedSpec()
	keyOnly.PrivateKey.Format = v1alpha1.FormatCertEncryptedKeyOnly
	keyOnlyLeaf := sealedSpec()
	keyOnlyLeaf.PrivateKey.Format = v1alpha1.FormatCertEncryptedKeyOnly
	keyOnlyLeaf.Secret.Outputs = &v1alpha1.Outputs{Chain: v1alpha1.ChainLeafOnly}
	reordered := openSpec()
	slices.Reverse(reordered.CertificateAttributes)
	undelivered := openSpec()
	undelivered.PrivateKey.Delivery = ""
	included := sealedSpec()
	included.Secret.Outputs = &v1alpha1.Outputs{Chain: v1alpha1.ChainInclude}
	renamedAttribute := openSpec()
	renamedAttribute.CertificateAttributes[0].ID = "subject.organization_name"
	moved := openSpec()
	moved.CertificateAttributes, moved.DeviceAttributes = moved.CertificateAttributes[:1], append(moved.DeviceAttributes, moved.CertificateAttributes[1])
	empty := openSpec()
	empty.DeviceAttributes = []v1alpha1.Attribute{}
	none := openSpec()
	none.DeviceAttributes = nil
	const host = "one.digicert.com"
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"another host":                          {hash(t, host, open, ""), hash(t, "demo.one.digicert.com", open, ""), false},
		"the host in another case":              {hash(t, host, open, ""), hash(t, "One.DigiCert.com", open, ""), true},
		"an encryption key that is not used":    {hash(t, host, open, "a"), hash(t, host, open, "b"), true},
		"the encryption key of a sealed bundle": {hash(t, host, sealed, "a"), hash(t, host, sealed, "b"), false},
		"the encryption key of a sealed key":    {hash(t, host, keyOnly, "a"), hash(t, host, keyOnly, "b"), false},
		"the chain beside a sealed key":         {hash(t, host, keyOnly, "a"), hash(t, host, keyOnlyLeaf, "a"), true},
		"the default chain, spelled out":        {hash(t, host, sealed, "a"), hash(t, host, included, "a"), true},
		"the default delivery, spelled out":     {hash(t, host, open, ""), hash(t, host, undelivered, ""), true},
		"attributes in another order":           {hash(t, host, open, ""), hash(t, host, reordered, ""), true},
		"an attribute under another id":         {hash(t, host, open, ""), hash(t, host, renamedAttribute, ""), false},
		"an attribute of the other list":        {hash(t, host, open, ""), hash(t, host, moved, ""), false},
		"an empty list and none":                {hash(t, host, empty, ""), hash(t, host, none, ""), true},
	} {
		if (c.a == c.b) != c.same {
			t.Errorf("%s: same hash is %t, want %t", name, c.a == c.b, c.same)
		}
	}
}

func TestTheIssuanceHashNamesItsVersionAndLeavesTheSpecAlone(t *testing.T) {
	s := openSpec()
	if h := hash(t, "one.digicert.com", s, ""); !regexp.MustCompile(`^v1:[0-9a-f]{64}$`).MatchString(h) {
		t.Errorf("hash is %q", h)
	}
	if diff := cmp.Diff(openSpec(), s); diff != "" {
		t.Errorf("the spec was changed, such as sorted:\n%s", diff)
	}
}
