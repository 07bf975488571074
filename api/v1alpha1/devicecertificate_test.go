// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

const (
	inlineCertificate = `"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ2Vy\ndGlmaWNhdGU=\n-----END CERTIFICATE-----\n"`
	opened            = `{certificateRef: {name: transport, key: tls.crt}, decryptionKeyRef: {name: transport, key: tls.key}}`
	unopened          = `{certificateRef: {name: transport, key: tls.crt}}`
)

func TestADeviceCertificateGetsItsDefaults(t *testing.T) {
	certificate := decoded[v1alpha1.DeviceCertificate](t, accepts(t, object(t, minimalCertificate)))

	want := v1alpha1.DeviceCertificateSpec{
		IssuerRef:           v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"},
		EnrollmentProfileID: "IOT_00000000-0000-0000-0000-000000000001",
		PrivateKey:          v1alpha1.PrivateKey{Format: v1alpha1.FormatPEM, Delivery: v1alpha1.DeliveryDecrypted},
		Renewal:             v1alpha1.Renewal{Policy: v1alpha1.RenewalAutomatic, OnRevoked: v1alpha1.OnRevokedHold},
		Secret:              v1alpha1.SecretTarget{DeletionPolicy: v1alpha1.DeletionRetain},
		Revocation: v1alpha1.RevocationPolicy{
			OnDelete: v1alpha1.RevocationKeep, OnSupersede: v1alpha1.RevocationKeep,
			GracePeriod: &metav1.Duration{Duration: 24 * time.Hour}, Reason: v1alpha1.ReasonCessationOfOperation,
		},
	}
	if diff := cmp.Diff(want, certificate.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(v1alpha1.DeviceCertificateStatus{ObservedGeneration: -1}, certificate.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestAPartOfADeviceCertificateGetsTheDefaultsOfTheRest(t *testing.T) {
	stored := accepts(t, object(t, minimalCertificate, `
spec:
  privateKey: {keyType: p_256}
  renewal: {renewBefore: 720h}
  secret: {outputs: {pkcs12: {passwordSecretRef: {name: ks, key: password}}, jks: {passwordSecretRef: {name: ks, key: password}}}}
  revocation: {onDelete: Revoke}
`))
	spec := decoded[v1alpha1.DeviceCertificate](t, stored).Spec

	password := v1alpha1.SecretKeyReference{Name: "ks", Key: "password"}
	wantKey := v1alpha1.PrivateKey{KeyType: "p_256", Format: v1alpha1.FormatPEM, Delivery: v1alpha1.DeliveryDecrypted}
	if diff := cmp.Diff(wantKey, spec.PrivateKey); diff != "" {
		t.Errorf("privateKey (-want +got):\n%s", diff)
	}
	wantRenewal := v1alpha1.Renewal{
		Policy: v1alpha1.RenewalAutomatic, RenewBefore: &metav1.Duration{Duration: 720 * time.Hour}, OnRevoked: v1alpha1.OnRevokedHold,
	}
	if diff := cmp.Diff(wantRenewal, spec.Renewal); diff != "" {
		t.Errorf("renewal (-want +got):\n%s", diff)
	}
	wantOutputs := &v1alpha1.Outputs{
		Chain: v1alpha1.ChainInclude, KeyEncoding: v1alpha1.KeyEncodingPKCS8,
		PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: password, Profile: v1alpha1.PKCS12Modern2023},
		JKS:    &v1alpha1.JKSOutput{PasswordSecretRef: password, Alias: "certificate"},
	}
	if diff := cmp.Diff(wantOutputs, spec.Secret.Outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	if got := spec.Revocation; got.OnDelete != v1alpha1.RevocationRevoke || got.OnSupersede != v1alpha1.RevocationKeep {
		t.Errorf("revocation is %+v, want Revoke on delete and Keep on supersede", got)
	}
}

func TestAGoodDeviceCertificateIsAccepted(t *testing.T) {
	for name, patch := range map[string]string{
		"everything at once": `
spec:
  issuerRef: {kind: ClusterDeviceIssuer, name: digicert}
  certificateAttributes:
  - {id: subject.common_name, value: gateway-17.edge.example}
  - {id: san.dns_name, values: [a.example, b.example]}
  deviceAttributes:
  - {id: DEVICE_IDENTIFIER, value: gateway-17}
  - {id: Serial number of the case, value: "Gerät 4711 / Süd"}
  privateKey: {keyType: rsa_2048, format: cert_encrypted, syntax: pkcs_8, delivery: Decrypted, encryption: ` + opened + `}
  renewal: {policy: Automatic, renewBefore: 720h, onRevoked: Reenroll}
  secret:
    name: gateway-17-tls
    labels: {team: edge, example.com/tier: "1", empty: ""}
    annotations: {example.com/notes: "any text: {\"a\": [1]}\nof lines", reloader.stakater.com/match: "true"}
    deletionPolicy: Delete
    outputs:
      chain: LeafOnly
      keyEncoding: Traditional
      formats: [CombinedPEM, DER]
      pkcs12: {passwordSecretRef: {name: ks, key: password}, profile: LegacyRC2}
      jks: {passwordSecretRef: {name: ks, key: password}, alias: Gateway_17.key}
  revocation: {onDelete: Revoke, onSupersede: Revoke, gracePeriod: 0s, reason: key_compromise}
  suspend: true`,
		"a name of 253 characters":                            `metadata: {name: "` + longName() + `"}`,
		"a Secret's name of 253 characters":                   `spec: {secret: {name: "` + longName() + `"}}`,
		"sealed, by reference":                                `spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: ` + unopened + `}}`,
		"sealed, inline":                                      `spec: {privateKey: {format: cert_encrypted_key_only, delivery: Sealed, encryption: {certificate: ` + inlineCertificate + `}}}`,
		"sealed, with a chain choice":                         `spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: ` + unopened + `}, secret: {outputs: {chain: LeafOnly}}}`,
		"a ConfigMap of the Secret's name":                    `spec: {secret: {name: gw}, privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificateRef: {kind: ConfigMap, name: gw, key: tls.crt}}}}`,
		"the shortest renewBefore":                            `spec: {renewal: {renewBefore: 1m}}`,
		"the longest renewBefore":                             `spec: {renewal: {renewBefore: 87600h}}`,
		"a renewBefore as Go writes it":                       `spec: {renewal: {renewBefore: 720h0m0s}}`,
		"the smallest percentage":                             `spec: {renewal: {renewBeforePercentage: 1}}`,
		"the largest percentage":                              `spec: {renewal: {renewBeforePercentage: 90}}`,
		"the longest gracePeriod":                             `spec: {revocation: {gracePeriod: 8760h}}`,
		"a renewBefore that waits until renewals are resumed": `spec: {renewal: {policy: Disabled, renewBefore: 720h}}`,
		"the longest attribute":                               `spec: {certificateAttributes: [{id: "` + strings.Repeat("i", 128) + `", value: "` + strings.Repeat("ü", 1024) + `"}]}`,
		"the most text in all":                                `spec: {certificateAttributes: [{id: a, values: [` + items(16, "%q", "%04d"+strings.Repeat("ü", 1020)) + `]}]}`,
		"the most values":                                     `spec: {certificateAttributes: [{id: san.dns_name, values: [` + items(100, "%q", "n%d.example") + `]}]}`,
		"the most attributes":                                 `spec: {deviceAttributes: [` + items(50, "{id: %s, value: x}", "a%d") + `]}`,
		"the most labels":                                     `spec: {secret: {labels: {` + items(10, "%s: x", "k%d") + `}}}`,
		"a prefix that only resembles a reserved one":         `spec: {secret: {labels: {mykubernetes.io/a: x, helm.sh.example/a: x, notargoproj.io/b: x}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			listDecodes(t, accepts(t, object(t, minimalCertificate, patch)).GetKind())
		})
	}
}

func TestABadDeviceCertificateIsRefusedWithTheFixInTheMessage(t *testing.T) {
	const (
		nameRule    = "lower-case letters, digits, - and ."
		controlRule = "must not contain control or invisible characters"
	)
	for name, bad := range map[string]struct{ patch, message string }{
		"no spec":                      {`spec: null`, "spec: Required"},
		"no issuerRef":                 {`spec: {issuerRef: null}`, "spec.issuerRef: Required"},
		"no issuer name":               {`spec: {issuerRef: {name: null}}`, "spec.issuerRef.name: Required"},
		"an empty issuer name":         {`spec: {issuerRef: {name: ""}}`, "spec.issuerRef.name"},
		"an upper-case issuer name":    {`spec: {issuerRef: {name: DigiCert}}`, nameRule},
		"an issuer with namespace":     {`spec: {issuerRef: {name: other/digicert}}`, nameRule},
		"an issuer name of 254":        {`spec: {issuerRef: {name: "` + longName() + `x"}}`, "may not be more than 253"},
		"another kind of issuer":       {`spec: {issuerRef: {kind: ClusterIssuer}}`, `supported values: "DeviceIssuer", "ClusterDeviceIssuer"`},
		"no profile":                   {`spec: {enrollmentProfileID: null}`, "spec.enrollmentProfileID: Required"},
		"an empty profile":             {`spec: {enrollmentProfileID: ""}`, "IOT_ and a lower-case UUID"},
		"a profile without IOT_":       {`spec: {enrollmentProfileID: 00000000-0000-0000-0000-000000000001}`, "IOT_ and a lower-case UUID"},
		"an upper-case profile":        {`spec: {enrollmentProfileID: IOT_ABCDEF00-0000-0000-0000-000000000001}`, "IOT_ and a lower-case UUID"},
		"a profile with a line feed":   {`spec: {enrollmentProfileID: "IOT_00000000-0000-0000-0000-00000000001\n"}`, "IOT_ and a lower-case UUID"},
		"a profile with a header":      {`spec: {enrollmentProfileID: "IOT_1\r\nX-Evil: 1"}`, "IOT_ and a lower-case UUID"},
		"a profile with a path":        {`spec: {enrollmentProfileID: "IOT_../../certificate/1/revoke"}`, "IOT_ and a lower-case UUID"},
		"an attribute with both":       {`spec: {certificateAttributes: [{id: a, value: b, values: [c]}]}`, "set exactly one of value and values"},
		"an attribute with neither":    {`spec: {deviceAttributes: [{id: a}]}`, "set exactly one of value and values"},
		"an attribute without id":      {`spec: {deviceAttributes: [{value: a}]}`, "deviceAttributes[0].id: Required"},
		"an attribute with empty id":   {`spec: {deviceAttributes: [{id: "", value: a}]}`, "deviceAttributes[0].id"},
		"an id of 129 characters":      {`spec: {deviceAttributes: [{id: "` + strings.Repeat("i", 129) + `", value: a}]}`, "may not be more than 128"},
		"an id with a space at an end": {`spec: {deviceAttributes: [{id: "a ", value: a}]}`, "nor begin or end with a space"},
		"an id with a control":         {`spec: {deviceAttributes: [{id: "a\tb", value: a}]}`, controlRule},
		"an id twice":                  {`spec: {certificateAttributes: [{id: a, value: b}, {id: a, value: c}]}`, "Duplicate value"},
		"an empty value":               {`spec: {certificateAttributes: [{id: a, value: ""}]}`, "certificateAttributes[0].value"},
		"an empty list of values":      {`spec: {certificateAttributes: [{id: a, values: []}]}`, "certificateAttributes[0].values"},
		"an empty value among values":  {`spec: {certificateAttributes: [{id: a, values: [b, ""]}]}`, "certificateAttributes[0].values[1]"},
		"a value of 1025 characters":   {`spec: {certificateAttributes: [{id: a, value: "` + strings.Repeat("v", 1025) + `"}]}`, "may not be more than 1024"},
		"a value of a megabyte":        {`spec: {certificateAttributes: [{id: a, value: "` + strings.Repeat("v", 1<<20) + `"}]}`, "may not be more than 1024"},
		"too much text in all":         {`spec: {certificateAttributes: [{id: a, values: [` + items(15, "%q", "%04d"+strings.Repeat("v", 1020)) + `]}], deviceAttributes: [{id: a, value: ` + strings.Repeat("v", 1024) + `}, {id: b, value: v}]}`, "at most 16384 characters in all"},
		"101 values":                   {`spec: {certificateAttributes: [{id: a, values: [` + items(101, "%q", "v%d") + `]}]}`, "must have at most 100 items"},
		"51 attributes":                {`spec: {certificateAttributes: [` + items(51, "{id: %s, value: x}", "a%d") + `]}`, "must have at most 50 items"},
		"no attributes but a list":     {`spec: {certificateAttributes: []}`, "spec.certificateAttributes"},
		"NUL in a value":               {`spec: {certificateAttributes: [{id: a, value: "a\0b"}]}`, controlRule},
		"a line feed in a value":       {`spec: {certificateAttributes: [{id: a, value: "a\nb"}]}`, controlRule},
		"a trailing line feed":         {`spec: {certificateAttributes: [{id: a, value: "a\n"}]}`, controlRule},
		"an escape sequence":           {`spec: {certificateAttributes: [{id: a, value: "\e[31mred"}]}`, controlRule},
		"a right-to-left override":     {`spec: {certificateAttributes: [{id: a, value: "a\u202Eb"}]}`, controlRule},
		"a zero-width space":           {`spec: {certificateAttributes: [{id: a, value: "a\u200Bb"}]}`, controlRule},
		"a line separator":             {`spec: {certificateAttributes: [{id: a, value: "a\u2028b"}]}`, controlRule},
		"a control among values":       {`spec: {certificateAttributes: [{id: a, values: [b, "c\x7f"]}]}`, controlRule},
		"a number as value":            {`spec: {certificateAttributes: [{id: a, value: 17}]}`, "must be of type string"},

		"an empty keyType":                {`spec: {privateKey: {keyType: ""}}`, "such as p_256 or rsa_2048"},
		"a keyType in capitals":           {`spec: {privateKey: {keyType: RSA_2048}}`, "such as p_256 or rsa_2048"},
		"a keyType of 33 characters":      {`spec: {privateKey: {keyType: "` + strings.Repeat("k", 33) + `"}}`, "may not be more than 32"},
		"another format":                  {`spec: {privateKey: {format: jks}}`, `supported values: "pem", "der", "pkcs_12", "cert_encrypted", "cert_encrypted_key_only"`},
		"an empty format":                 {`spec: {privateKey: {format: ""}}`, "supported values"},
		"another delivery":                {`spec: {privateKey: {delivery: Encrypted}}`, `supported values: "Decrypted", "Sealed"`},
		"an empty syntax":                 {`spec: {privateKey: {syntax: ""}}`, "one word of printable ASCII"},
		"a syntax with a line feed":       {`spec: {privateKey: {syntax: "pkcs_8\n"}}`, "one word of printable ASCII"},
		"cert_encrypted alone":            {`spec: {privateKey: {format: cert_encrypted}}`, "need encryption: name the certificate"},
		"cert_encrypted_key_only alone":   {`spec: {privateKey: {format: cert_encrypted_key_only}}`, "need encryption: name the certificate"},
		"sealed without certificate":      {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed}}`, "need encryption: name the certificate"},
		"encryption of pem":               {`spec: {privateKey: {encryption: ` + opened + `}}`, "encryption is only for format cert_encrypted"},
		"encryption of pkcs_12":           {`spec: {privateKey: {format: pkcs_12, encryption: ` + opened + `}}`, "encryption is only for format cert_encrypted"},
		"sealed pem":                      {`spec: {privateKey: {delivery: Sealed}}`, "delivery Sealed needs format cert_encrypted"},
		"sealed pkcs_12":                  {`spec: {privateKey: {format: pkcs_12, delivery: Sealed}}`, "delivery Sealed needs format cert_encrypted"},
		"decrypted without a key":         {`spec: {privateKey: {format: cert_encrypted, encryption: ` + unopened + `}}`, "delivery Decrypted needs encryption.decryptionKeyRef"},
		"sealed with a key":               {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: ` + opened + `}}`, "remove encryption.decryptionKeyRef"},
		"encryption to nothing":           {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {}}}`, "set exactly one of encryption.certificateRef and encryption.certificate"},
		"encryption to two":               {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificateRef: {name: t, key: c}, certificate: ` + inlineCertificate + `}}}`, "set exactly one of encryption.certificateRef and encryption.certificate"},
		"an inline word":                  {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificate: transport}}}`, "must be one certificate in PEM"},
		"two inline certificates":         {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificate: "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"}}}`, "must be one certificate in PEM"},
		"an inline private key":           {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificate: "-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n"}}}`, "must be one certificate in PEM"},
		"an empty inline certificate":     {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificate: ""}}}`, "must be one certificate in PEM"},
		"a certificate in a Pod":          {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificateRef: {kind: Pod, name: t, key: c}}}}`, `supported values: "Secret", "ConfigMap"`},
		"a certificate elsewhere":         {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificateRef: {name: ns/t, key: c}}}}`, "without a namespace"},
		"a certificate without key":       {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificateRef: {name: t}}}}`, "certificateRef.key: Required"},
		"a key that is a path":            {`spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: {certificateRef: {name: t, key: ../c}}}}`, "letters, digits, -, _ and ."},
		"both renewBefore and percentage": {`spec: {renewal: {renewBefore: 720h, renewBeforePercentage: 33}}`, "set renewBefore or renewBeforePercentage, not both"},
		"renewBefore of 0s":               {`spec: {renewal: {renewBefore: 0s}}`, "from 1m to 87600h"},
		"renewBefore of 59s":              {`spec: {renewal: {renewBefore: 59s}}`, "from 1m to 87600h"},
		"renewBefore of 87600h1s":         {`spec: {renewal: {renewBefore: 87600h1s}}`, "from 1m to 87600h"},
		"gracePeriod of 8761h":            {`spec: {revocation: {gracePeriod: 8761h}}`, "from 0s to 8760h"},
		"0 percent":                       {`spec: {renewal: {renewBeforePercentage: 0}}`, "greater than or equal to 1"},
		"91 percent":                      {`spec: {renewal: {renewBeforePercentage: 91}}`, "less than or equal to 90"},
		"100 percent":                     {`spec: {renewal: {renewBeforePercentage: 100}}`, "less than or equal to 90"},
		"101 percent":                     {`spec: {renewal: {renewBeforePercentage: 101}}`, "less than or equal to 90"},
		"the least int64 of percent":      {`spec: {renewal: {renewBeforePercentage: -9223372036854775808}}`, "spec.renewal.renewBeforePercentage"},
		"half a percent":                  {`spec: {renewal: {renewBeforePercentage: 33.5}}`, "must be of type integer"},
		"more percent than an int64":      {`spec: {renewal: {renewBeforePercentage: 9223372036854775808}}`, "spec.renewal.renewBeforePercentage"},
		"another renewal policy":          {`spec: {renewal: {policy: Never}}`, `supported values: "Automatic", "Disabled"`},
		"another reaction":                {`spec: {renewal: {onRevoked: Ignore}}`, `supported values: "Hold", "Reenroll"`},
		"another action on delete":        {`spec: {revocation: {onDelete: true}}`, `spec.revocation.onDelete`},
		"another action on supersede":     {`spec: {revocation: {onSupersede: Delete}}`, `supported values: "Keep", "Revoke"`},
		"superseded, not a vendor reason": {`spec: {revocation: {reason: superseded}}`, `supported values: "unspecified", "key_compromise"`},
		"suspend as a word":               {`spec: {suspend: "yes"}`, "must be of type boolean"},

		"an empty Secret's name":          {`spec: {secret: {name: ""}}`, "spec.secret.name"},
		"a Secret's name of 254":          {`spec: {secret: {name: "` + longName() + `x"}}`, "may not be more than 253"},
		"a Secret elsewhere":              {`spec: {secret: {name: kube-system/x}}`, nameRule},
		"another deletion policy":         {`spec: {secret: {deletionPolicy: Orphan}}`, `supported values: "Retain", "Delete"`},
		"a Secret over its key":           {`spec: {secret: {name: transport}, privateKey: {format: cert_encrypted, encryption: ` + opened + `}}`, "choose another secret.name"},
		"a Secret over its certificate":   {`spec: {secret: {name: transport}, privateKey: {format: cert_encrypted, delivery: Sealed, encryption: ` + unopened + `}}`, "choose another secret.name"},
		"a Secret over a keystore's word": {`spec: {secret: {name: ks, outputs: {pkcs12: {passwordSecretRef: {name: ks, key: p}}}}}`, "choose another secret.name"},
		"the default Secret over a word":  {`{metadata: {name: ks}, spec: {secret: {outputs: {jks: {passwordSecretRef: {name: ks, key: p}}}}}}`, "choose another secret.name"},
		"11 labels":                       {`spec: {secret: {labels: {` + items(11, "%s: x", "k%d") + `}}}`, "must have at most 10 items"},
		"11 annotations":                  {`spec: {secret: {annotations: {` + items(11, "%s: x", "k%d") + `}}}`, "must have at most 10 items"},
		"no label but a map":              {`spec: {secret: {labels: {}}}`, "spec.secret.labels"},
		"a label with a space":            {`spec: {secret: {labels: {"a b": x}}}`, "must be label keys"},
		"a label with two slashes":        {`spec: {secret: {labels: {a/b/c: x}}}`, "must be label keys"},
		"an empty label":                  {`spec: {secret: {labels: {"": x}}}`, "must be label keys"},
		"a label with a capital prefix":   {`spec: {secret: {labels: {Kubernetes.io/a: x}}}`, "must be label keys"},
		"a label of 64 characters":        {`spec: {secret: {labels: {` + strings.Repeat("k", 64) + `: x}}}`, "must be label keys"},
		"a label with a long prefix":      {`spec: {secret: {labels: {` + strings.Repeat("k", 254) + `/` + strings.Repeat("k", 63) + `: x}}}`, "must be label keys"},
		"a label value of 64":             {`spec: {secret: {labels: {a: ` + strings.Repeat("v", 64) + `}}}`, "must be label values"},
		"a label value with a slash":      {`spec: {secret: {labels: {a: b/c}}}`, "must be label values"},
		"a label value ending in a dot":   {`spec: {secret: {labels: {a: b.}}}`, "must be label values"},
		"a label value with a dash first": {`spec: {secret: {labels: {a: -b}}}`, "must be label values"},
		"an annotation with a space":      {`spec: {secret: {annotations: {"a b": x}}}`, "must be annotation keys"},
		"an annotation of 4097":           {`spec: {secret: {annotations: {a: ` + strings.Repeat("v", 4097) + `}}}`, "at most 4096 characters"},
		"another chain":                   {`spec: {secret: {outputs: {chain: Full}}}`, `supported values: "Include", "LeafOnly"`},
		"another key encoding":            {`spec: {secret: {outputs: {keyEncoding: PKCS1}}}`, `supported values: "PKCS8", "Traditional"`},
		"another output":                  {`spec: {secret: {outputs: {formats: [PFX]}}}`, `supported values: "CombinedPEM", "DER"`},
		"an output twice":                 {`spec: {secret: {outputs: {formats: [DER, DER]}}}`, "Duplicate value"},
		"no output but a list":            {`spec: {secret: {outputs: {formats: []}}}`, "spec.secret.outputs.formats"},
		"another PKCS#12 profile":         {`spec: {secret: {outputs: {pkcs12: {passwordSecretRef: {name: a, key: b}, profile: Modern}}}}`, `supported values: "Modern2023"`},
		"a keystore without password":     {`spec: {secret: {outputs: {pkcs12: {}}}}`, "passwordSecretRef: Required"},
		"an alias with a control":         {`spec: {secret: {outputs: {jks: {passwordSecretRef: {name: a, key: b}, alias: "a\u0007"}}}}`, "alias must be letters"},
		"an empty alias":                  {`spec: {secret: {outputs: {jks: {passwordSecretRef: {name: a, key: b}, alias: ""}}}}`, "alias must be letters"},
		"a PKCS#12 of a sealed key":       {sealedWith(`{pkcs12: {passwordSecretRef: {name: ks, key: p}}}`), "secret.outputs.pkcs12 and secret.outputs.jks need the private key"},
		"a JKS of a sealed key":           {sealedWith(`{jks: {passwordSecretRef: {name: ks, key: p}}}`), "secret.outputs.pkcs12 and secret.outputs.jks need the private key"},
		"a DER of a sealed key":           {sealedWith(`{formats: [DER]}`), "secret.outputs.formats (CombinedPEM, DER) need the private key"},
		"a PEM of a sealed key":           {sealedWith(`{formats: [CombinedPEM]}`), "secret.outputs.formats (CombinedPEM, DER) need the private key"},
		"a PKCS#1 of a sealed key":        {sealedWith(`{keyEncoding: Traditional}`), "secret.outputs.keyEncoding Traditional needs the private key"},
	} {
		t.Run(name, func(t *testing.T) { refuses(t, object(t, minimalCertificate, bad.patch), bad.message) })
	}
}

func TestAReservedKeyOnTheSecretIsRefused(t *testing.T) {
	for _, key := range []string{
		"devicecert.io/watch",
		"kubernetes.io/service-account.name",
		"kubectl.kubernetes.io/last-applied-configuration",
		"app.kubernetes.io/instance",
		"config.kubernetes.io/origin",
		"config.k8s.io/owning-inventory",
		"hnc.x-k8s.io/inherited-from",
		"argocd.argoproj.io/tracking-id",
		"kustomize.toolkit.fluxcd.io/name",
		"helm.toolkit.fluxcd.io/name",
		"helm.sh/resource-policy",
		"meta.helm.sh/release-name",
		"kapp.k14s.io/app",
		"objectset.rio.cattle.io/id",
		"cert-manager.io/certificate-name",
		"sealedsecrets.bitnami.com/managed",
		"external-secrets.io/type",
		"generate.kyverno.io/clone-source",
		"replicator.v1.mittwald.de/replicate-to",
		"reflector.v1.k8s.emberstack.com/reflection-allowed",
		"kubed.appscode.com/sync",
		"jenkins.io/credentials-type",
	} {
		for _, field := range []string{"labels", "annotations"} {
			t.Run(field+" "+key, func(t *testing.T) {
				patch := fmt.Sprintf(`spec: {secret: {%s: {ours: x, %s: x}}}`, field, key)
				refuses(t, object(t, minimalCertificate, patch), "secret."+field+" must not use a reserved prefix", "use a prefix of your own")
			})
		}
	}
}

func TestAChangedDeliveryNeedsANewSecretName(t *testing.T) {
	const (
		sealed                = `spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: ` + unopened + `}}`
		decrypted             = `spec: {privateKey: {format: pem, delivery: Decrypted, encryption: null}}`
		nameSecond, nameFirst = `spec: {secret: {name: second}}`, `spec: {secret: {name: first}}`
		refusal               = "set secret.name to a new name in the same change"
	)
	for name, change := range map[string]struct {
		before, after []string
		refused       bool
	}{
		"to sealed, same given name":        {[]string{nameFirst}, []string{sealed}, true},
		"to sealed, new name":               {[]string{nameFirst}, []string{sealed, nameSecond}, false},
		"to sealed, default name":           {nil, []string{sealed}, true},
		"to sealed, default name spelt out": {nil, []string{sealed, `spec: {secret: {name: gateway}}`}, true},
		"to sealed, from default to a name": {nil, []string{sealed, nameFirst}, false},
		"to sealed, from a name to default": {[]string{nameFirst}, []string{sealed, `spec: {secret: {name: null}}`}, false},
		"to sealed, default name dropped":   {[]string{`spec: {secret: {name: gateway}}`}, []string{sealed, `spec: {secret: {name: null}}`}, true},
		"to decrypted, same name":           {[]string{sealed, nameFirst}, []string{decrypted}, true},
		"to decrypted, new name":            {[]string{sealed, nameFirst}, []string{decrypted, nameSecond}, false},
		"same delivery, new name":           {[]string{nameFirst}, []string{nameSecond}, false},
		"same delivery, other format":       {[]string{nameFirst}, []string{`spec: {privateKey: {format: der}}`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := accepts(t, object(t, minimalCertificate, append([]string{`metadata: {name: gateway}`}, change.before...)...))
			for _, patch := range change.after {
				merge(o.Object, fromYAML(t, patch))
			}
			err := api.Update(t.Context(), o)
			switch {
			case change.refused && err == nil:
				t.Error("want the change refused, but it was stored")
			case change.refused:
				checkRefusal(t, err, refusal, "spec.privateKey.delivery")
			case err != nil:
				t.Errorf("want the change accepted, got: %v", err)
			}
		})
	}
}

func TestAnUnknownFieldIsRefusedUnderStrictValidation(t *testing.T) {
	for name, patch := range map[string]string{
		"a Secret type":         `spec: {secret: {type: kubernetes.io/service-account-token}}`,
		"a namespace":           `spec: {issuerRef: {namespace: other}}`,
		"a slip of the pen":     `spec: {renewal: {renewbefore: 720h}}`,
		"an API group":          `spec: {issuerRef: {group: cert-manager.io}}`,
		"a reference elsewhere": `spec: {secret: {outputs: {jks: {passwordSecretRef: {namespace: other, name: a, key: b}}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			err := api.Create(t.Context(), object(t, minimalCertificate, patch), client.FieldValidation(metav1.FieldValidationStrict))
			if err == nil || !strings.Contains(err.Error(), "unknown field") {
				t.Errorf("want an unknown field refused, got: %v", err)
			}
		})
	}
	for kind, manifest := range issuerKinds {
		for _, patch := range []string{`spec: {insecureSkipVerify: true}`, `spec: {tls: {insecureSkipVerify: true}}`, `spec: {auth: {apiToken: {secretRef: {namespace: other}}}}`} {
			t.Run(kind+" "+patch, func(t *testing.T) {
				err := api.Create(t.Context(), object(t, manifest, patch), client.FieldValidation(metav1.FieldValidationStrict))
				if err == nil || !strings.Contains(err.Error(), "unknown field") {
					t.Errorf("want an unknown field refused, got: %v", err)
				}
			})
		}
	}
}

func TestDeviceCertificatesAreSelectedByIssuerAndProfile(t *testing.T) {
	const other = "IOT_00000000-0000-0000-0000-000000000002"
	first := accepts(t, object(t, minimalCertificate, `spec: {issuerRef: {name: selected}}`))
	second := accepts(t, object(t, minimalCertificate, `spec: {enrollmentProfileID: `+other+`}`))

	for field, want := range map[string]struct{ value, name string }{
		"spec.issuerRef.name":      {"selected", first.GetName()},
		"spec.enrollmentProfileID": {other, second.GetName()},
	} {
		var list v1alpha1.DeviceCertificateList
		if err := api.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingFields{field: want.value}); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || list.Items[0].Name != want.name {
			t.Errorf("%s=%s selects %d objects, want %s alone", field, want.value, len(list.Items), want.name)
		}
	}
}

func TestSpecAndStatusAreWrittenApart(t *testing.T) {
	created := accepts(t, object(t, minimalCertificate, `status: {secretName: forged}`))
	key := types.NamespacedName{Namespace: namespace, Name: created.GetName()}
	var certificate v1alpha1.DeviceCertificate
	if err := api.Get(t.Context(), key, &certificate); err != nil {
		t.Fatal(err)
	}
	if got := certificate.Status.SecretName; got != "" {
		t.Errorf("create stored status.secretName %q, want it ignored", got)
	}

	certificate.Status.SecretName = "gateway-tls"
	certificate.Spec.Suspend = true
	if err := api.Status().Update(t.Context(), &certificate); err != nil {
		t.Fatal(err)
	}
	if certificate.Status.SecretName != "gateway-tls" || certificate.Spec.Suspend || certificate.Generation != 1 {
		t.Errorf("a status update changed more or less than the status: %+v", certificate)
	}

	certificate.Status.SecretName = "forged"
	certificate.Spec.Suspend = true
	if err := api.Update(t.Context(), &certificate); err != nil {
		t.Fatal(err)
	}
	if certificate.Status.SecretName != "gateway-tls" || !certificate.Spec.Suspend || certificate.Generation != 2 {
		t.Errorf("an update changed more or less than the spec: %+v", certificate)
	}
}

func TestADefaultIsWrittenAsGoWritesIt(t *testing.T) {
	for kind, manifest := range map[string]string{"DeviceCertificate": minimalCertificate, "DeviceIssuer": minimalIssuer, "ClusterDeviceIssuer": minimalClusterIssuer} {
		stored := accepts(t, object(t, manifest))
		var o client.Object
		switch kind {
		case "DeviceCertificate":
			o = decoded[v1alpha1.DeviceCertificate](t, stored)
		case "DeviceIssuer":
			o = decoded[v1alpha1.DeviceIssuer](t, stored)
		default:
			o = decoded[v1alpha1.ClusterDeviceIssuer](t, stored)
		}
		o.SetAnnotations(map[string]string{"example.com/note": "only this is changed"})
		if err := api.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if o.GetGeneration() != 1 {
			t.Errorf("%s: a program that sets an annotation changes the spec as well: generation is %d", kind, o.GetGeneration())
		}
	}
}

func TestWhatGoWritesIsWhatGoReads(t *testing.T) {
	now := metav1.NewTime(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))
	certificate := &v1alpha1.DeviceCertificate{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "gateway-", Namespace: namespace},
		Spec: v1alpha1.DeviceCertificateSpec{
			IssuerRef:             v1alpha1.IssuerReference{Name: "digicert"},
			EnrollmentProfileID:   "IOT_00000000-0000-0000-0000-000000000001",
			CertificateAttributes: []v1alpha1.Attribute{{ID: "san.dns_name", Values: []string{"a.example"}}},
			Renewal:               v1alpha1.Renewal{RenewBefore: &metav1.Duration{Duration: 36*time.Hour + 30*time.Minute}},
		},
	}
	if err := api.Create(t.Context(), certificate); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), certificate); err != nil {
			t.Error(err)
		}
	})

	certificate.Status = v1alpha1.DeviceCertificateStatus{
		ObservedGeneration: 1,
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonIssuing, Message: "buying", LastTransitionTime: now,
		}},
		NotAfter: &now,
		Attempt: &v1alpha1.Attempt{
			ID: "a", Kind: v1alpha1.AttemptEnroll, Generation: 1, IssuerKind: v1alpha1.KindDeviceIssuer, IssuerName: "digicert",
			Host: "one.digicert.com", ProfileID: "IOT_1", SecretName: "gateway", IssuanceHash: "v1:0", StartedAt: now,
		},
		Failures:   &v1alpha1.Failures{},
		Superseded: []v1alpha1.SupersededCertificate{{IssuedCertificate: v1alpha1.IssuedCertificate{SerialNumber: "01", NotAfter: now}, SupersededAt: now}},
		Orphans: []v1alpha1.Orphan{{
			AttemptID: "a", ProfileID: "IOT_1", WindowStart: now, WindowEnd: now, Outcome: v1alpha1.OrphanReported,
		}},
	}
	written := certificate.DeepCopy()
	if err := api.Status().Update(t.Context(), certificate); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(written.Spec, certificate.Spec); diff != "" {
		t.Errorf("spec (-written +read):\n%s", diff)
	}
	if diff := cmp.Diff(written.Status, certificate.Status); diff != "" {
		t.Errorf("status (-written +read):\n%s", diff)
	}
}

// longName is a name of the 253 characters Kubernetes allows.
func longName() string {
	return strings.Repeat(strings.Repeat("n", 63)+".", 3) + strings.Repeat("n", 61)
}

// items are n elements of a YAML list or map, each made of the element's pattern and the numbered word's.
func items(n int, element, word string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(element, fmt.Sprintf(word, i))
	}
	return strings.Join(list, ", ")
}

func sealedWith(outputs string) string {
	return `spec: {privateKey: {format: cert_encrypted, delivery: Sealed, encryption: ` + unopened + `}, secret: {outputs: ` + outputs + `}}`
}
