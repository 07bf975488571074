// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecret

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// The fixtures were made by OpenSSL, see hack/fixtures/make.sh: one leaf per key kind, all issued by ica.pem, which root.pem issued.
const fixtureDir = "../decode/testdata/fixtures"

var issuedAt = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(fixtureDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// bundle is the pair of one key kind with the certificates of the given fixtures.
func bundle(t *testing.T, kind string, certificates ...string) certs.Bundle {
	t.Helper()
	key, err := certs.ParsePrivateKeyPEM(fixture(t, kind+".pkcs8.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var pem []byte
	for _, name := range certificates {
		pem = append(pem, fixture(t, name)...)
	}
	pool, err := certs.ParseCertificatesPEM(pem)
	if err != nil {
		t.Fatal(err)
	}
	b, err := certs.Assemble(key, pool)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// openContent is an issued pair of the key kind, with its whole chain.
func openContent(t *testing.T, kind string) Content {
	t.Helper()
	return Content{Bundle: bundle(t, kind, kind+".chain.pem"), Provenance: provenance()}
}

// sealedContent is an issued pair whose key only the device can open.
func sealedContent(t *testing.T, name string) Content {
	t.Helper()
	b := bundle(t, "p_256", "p_256.chain.pem")
	b.Key = nil
	return Content{Bundle: b, SealedKey: name, Sealed: fixture(t, "key.der.p7m"), Provenance: provenance()}
}

func provenance() Provenance {
	return Provenance{
		CertificateName: "gateway-17", CertificateUID: "uid-1", CertificateID: "cert-1", RequestID: "request-1",
		AttemptID: "attempt-1", IssuanceHash: "v1:abc", IssuedAt: issuedAt, HandledRenewRequest: "2029-12-31T00:00:00Z",
		Issuer: "DeviceIssuer/digicert", Host: "one.digicert.com", ProfileID: "IOT_1",
	}
}

func layout() Layout {
	return Layout{
		Namespace: "edge", Name: "gateway-17-tls", CertificateName: "gateway-17", CertificateUID: "uid-1",
		Labels: map[string]string{"app": "gateway"}, Annotations: map[string]string{"example.com/note": "hello"},
	}
}

// richLayout asks for every output there is.
func richLayout() Layout {
	l := layout()
	l.Outputs = v1alpha1.Outputs{
		Chain: v1alpha1.ChainLeafOnly, KeyEncoding: v1alpha1.KeyEncodingTraditional,
		Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM, v1alpha1.OutputDER},
		PKCS12:  &v1alpha1.PKCS12Output{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "ks", Key: "p12"}},
		JKS:     &v1alpha1.JKSOutput{PasswordSecretRef: v1alpha1.SecretKeyReference{Name: "ks", Key: "jks"}},
	}
	l.PKCS12Password, l.JKSPassword = "changeit-p12", "changeit-jks"
	return l
}

// mustRender is the Secret as the API server would hold it after the apply.
func mustRender(t *testing.T, c Content, l Layout) *corev1.Secret {
	t.Helper()
	ac, incomplete, err := Render(c, l)
	if err != nil || len(incomplete) > 0 {
		t.Fatalf("render: %v, incomplete: %v", err, incomplete)
	}
	return applied(t, ac)
}

func applied(t *testing.T, ac *corev1ac.SecretApplyConfiguration) *corev1.Secret {
	t.Helper()
	text, err := json.Marshal(ac)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{}
	if err := json.Unmarshal(text, secret); err != nil {
		t.Fatal(err)
	}
	return secret
}
