// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// The fixtures were made by OpenSSL, see hack/fixtures/make.sh.
const fixtureDir = "../decode/testdata/fixtures"

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(fixtureDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// every asks for every output there is.
func every(c *v1alpha1.DeviceCertificate) {
	password := v1alpha1.SecretKeyReference{Name: "keystore", Key: "password"}
	c.Spec.Secret.Outputs = &v1alpha1.Outputs{
		Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM, v1alpha1.OutputDER},
		PKCS12:  &v1alpha1.PKCS12Output{PasswordSecretRef: password}, JKS: &v1alpha1.JKSOutput{PasswordSecretRef: password, Alias: "gateway"},
	}
}

// store writes the Secret that the operator would: the pair of a fixture, as the spec asks.
func (w *world) store(c *v1alpha1.DeviceCertificate, kind, hash string) *corev1.Secret {
	w.Helper()
	key, err := certs.ParsePrivateKeyPEM(fixture(w.T, kind+".pkcs8.pem"))
	w.must(err)
	pool, err := certs.ParseCertificatesPEM(fixture(w.T, kind+".chain.pem"))
	w.must(err)
	bundle, err := certs.Assemble(key, pool)
	w.must(err)
	layout := tlssecret.LayoutOf(c)
	layout.PKCS12Password, layout.JKSPassword = "hunter22", "hunter22"
	rendered, incomplete, err := tlssecret.Render(tlssecret.Content{Bundle: bundle, Provenance: tlssecret.Provenance{
		CertificateID: "11111111-2222-3333-4444-555555555555", AttemptID: "aaaa", IssuanceHash: hash, IssuedAt: now.Add(-days(30)),
		Issuer: "DeviceIssuer/digicert", Host: "one.digicert.com", ProfileID: profileA,
	}}, layout)
	if err != nil || len(incomplete) > 0 {
		w.Fatal(err, incomplete)
	}
	w.must(api.Apply(w.Context(), rendered, client.FieldOwner("devicecert-operator")))
	secret := &corev1.Secret{}
	w.must(api.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: *rendered.Name}, secret))
	return secret
}

func (w *world) keystorePassword() {
	w.Helper()
	w.must(api.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keystore", Namespace: w.namespace}, Data: map[string][]byte{"password": []byte("hunter22")},
	}))
}

func TestInspectLooksIntoASecretAndNeverShowsTheKey(t *testing.T) {
	w := newWorld(t, "lab")
	w.keystorePassword()
	c := w.certificate("gateway-17", ready(30), every)
	secret := w.store(c, "p_256", "v1:00")
	r := w.plugin("inspect", "gateway-17")
	w.golden("inspect", r)
	reports := w.plugin("inspect", "--secret", "gateway-17-tls", "-o", "yaml")
	w.wants(reports, 0, "privateKey: fits the certificate", "agrees: true")
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
		body := encoding.EncodeToString(secret.Data[v1alpha1.KeyDERKey])
		if text := r.out + reports.out; strings.Contains(text, body[10:40]) {
			t.Errorf("it shows the key:\n%s", text)
		}
	}
	w.wants(w.plugin("inspect", "gateway-18"), 1, "there is no DeviceCertificate gateway-18")
	w.wants(w.plugin("inspect", "--secret", "gateway-18-tls"), 1, "there is no Secret gateway-18-tls in namespace lab")
	w.wants(w.plugin("inspect"), 1, "say what to look into")

	// Who may read the one Secret, and not that with the password, is told so.
	user := w.as("inspect-user", least, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"gateway-17-tls"}, Verbs: []string{"get"}})
	user.wants(user.plugin("inspect", "gateway-17"), 0, "keystore.p12: not judged: Secret keystore with its password: you are not allowed to read it")
}

func TestInspectFindsWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, data map[string][]byte)
		says   []string
	}{
		"foreign-key":       {func(t *testing.T, d map[string][]byte) { d["tls.key"] = fixture(t, "p_384.pkcs8.pem") }, []string{"belongs to another certificate", "belongs to none of the certificates"}},
		"foreign-keystore":  {func(t *testing.T, d map[string][]byte) { d["keystore.jks"] = []byte("\xfe\xed\xfe\xed") }, []string{"keystore.jks: the keystore does not open"}},
		"foreign-der":       {func(t *testing.T, d map[string][]byte) { d["key.der"] = fixture(t, "p_384.pkcs8.der") }, []string{"key.der: it holds another private key"}},
		"foreign-combined":  {func(t *testing.T, d map[string][]byte) { d["tls-combined.pem"] = fixture(t, "rsa_2048.chain.pem") }, []string{"tls-combined.pem: it holds another certificate: serial"}},
		"missing-output":    {func(t *testing.T, d map[string][]byte) { delete(d, "keystore.p12") }, []string{"keystore.p12: asked for by the spec, and missing"}},
		"missing-key":       {func(t *testing.T, d map[string][]byte) { delete(d, "tls.key"); d["tls.key"] = nil }, []string{"it has no tls.key", "Private key absent"}},
		"foreign-authority": {func(t *testing.T, d map[string][]byte) { d["ca.crt"] = fixture(t, "other-root.pem") }, []string{"ca.crt: it holds a certificate that is not above the leaf"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, name)
			w.keystorePassword()
			secret := w.store(w.certificate("gateway-17", ready(30), every), "p_256", "v1:00")
			test.damage(t, secret.Data)
			w.must(api.Update(t.Context(), secret))
			w.wants(w.plugin("inspect", "gateway-17"), 1, append(test.says, "Problems")...)
		})
	}
}

func TestInspectLooksIntoFiles(t *testing.T) {
	w := newWorld(t, "files")
	file := func(name string) string { return filepath.Join(fixtureDir, name) }
	w.wants(w.plugin("inspect", "-f", file("p_256.chain.pem"), "-f", file("p_256.pkcs8.pem")), 0, "gateway-17.edge.example", "Private key fits the certificate", "root CN=Example Root,O=Example")
	w.wants(w.plugin("inspect", "-f", file("p_256.der")), 0, "Private key absent", "came without its issuing CAs")
	w.wants(w.plugin("inspect", "-f", file("expired.pem")), 1, "already ended at 2021-01-01")
	w.wants(w.plugin("inspect", "-f", file("ica.pem"), "-f", file("p_256.pem"), "-f", file("root.pem")), 1, "not in order")
	w.wants(w.plugin("inspect", "-f", file("p_256.pem"), "-f", file("p_384.pkcs8.pem")), 1, "belongs to none of the certificates")
	w.wants(w.plugin("inspect", "-f", file("zip.plain.p7m")), 1, "neither PEM")
	w.wants(w.plugin("inspect", "-f", file("absent.pem")), 1, "no such file")
	secret := w.store(w.certificate("gateway-17", every), "p_256", "v1:00")
	folder := t.TempDir()
	for name, content := range map[string][]byte{"keystore.p12": secret.Data["keystore.p12"], "keystore.jks": secret.Data["keystore.jks"], "password": []byte("hunter22\n"), "wrong": []byte("x")} {
		w.must(os.WriteFile(filepath.Join(folder, name), content, 0o600))
	}
	for _, store := range []string{"keystore.p12", "keystore.jks"} {
		r := w.plugin("inspect", "-f", filepath.Join(folder, store), "--password-file", filepath.Join(folder, "password"), "-o", "json")
		w.wants(r, 0)
		var found struct{ Certificate struct{ SerialNumber string } }
		if err := json.Unmarshal([]byte(r.out), &found); err != nil || !strings.HasPrefix(found.Certificate.SerialNumber, "0A") {
			t.Errorf("%s: %v\n%s", store, err, r.out)
		}
		w.wants(w.plugin("inspect", "-f", filepath.Join(folder, store), "--password-file", filepath.Join(folder, "wrong")), 1, "the keystore does not open")
	}
}
