// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// bought is what the operator writes when it has stored what the spec asks for.
func (w *world) bought(name string, edit ...func(*v1alpha1.DeviceCertificate)) *v1alpha1.DeviceCertificate {
	w.Helper()
	hash := ""
	c := w.certificate(name, append(edit, ready(30), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.PrivateKey.Delivery = v1alpha1.DeliveryDecrypted
		var err error
		hash, err = plan.IssuanceHash("one.digicert.com", &c.Spec, "")
		w.must(err)
		c.Status.IssuanceHash = hash
		c.Status.Issued = &v1alpha1.IssuedCertificate{SerialNumber: "0A17", NotAfter: *c.Status.NotAfter, Host: "one.digicert.com"}
	})...)
	w.store(c, "p_256", hash)
	return c
}

// manifest writes the object as a user keeps it in a repository: without status, and with the changes of a branch.
func (w *world) manifest(c *v1alpha1.DeviceCertificate, edit ...func(*v1alpha1.DeviceCertificate)) string {
	w.Helper()
	fresh := &v1alpha1.DeviceCertificate{}
	fresh.APIVersion, fresh.Kind, fresh.Name, fresh.Namespace = "devicecert.io/v1alpha1", "DeviceCertificate", c.Name, c.Namespace
	c.Spec.DeepCopyInto(&fresh.Spec)
	for _, e := range edit {
		e(fresh)
	}
	content, err := json.Marshal(fresh)
	w.must(err)
	var fields map[string]any
	w.must(json.Unmarshal(content, &fields))
	delete(fields, "status")
	text, err := yaml.Marshal(fields)
	w.must(err)
	return string(text)
}

// files writes texts into a folder of their own.
func (w *world) files(texts ...string) string {
	w.Helper()
	name := filepath.Join(w.TempDir(), "certs.yaml")
	w.must(os.WriteFile(name, []byte(strings.Join(texts, "\n---\n")), 0o600))
	return name
}

func commonName(name string) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &name}}
	}
}

func TestPlanSaysWhatApplyingWouldCost(t *testing.T) {
	w := newWorld(t, "factory")
	w.issuer()
	same, other, shown := w.bought("gateway-1"), w.bought("gateway-2"), w.bought("gateway-3")
	fresh := &v1alpha1.DeviceCertificate{}
	fresh.Namespace, fresh.Name, fresh.Spec = w.namespace, "gateway-4", *same.Spec.DeepCopy()
	fresh.Spec.Secret.Name = ""
	unchanged := w.manifest(same)
	rendered := w.manifest(shown, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Outputs = &v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputDER}}
	})
	costly := w.manifest(other, commonName("gateway-2.new.example"))
	first := w.manifest(fresh)
	bad := w.manifest(fresh, func(c *v1alpha1.DeviceCertificate) { c.Name, c.Spec.EnrollmentProfileID = "gateway-5", "IOT_1" })

	w.wants(w.plugin("plan", "-f", w.files(unchanged)), 0, "factory/gateway-1 buys nothing", "Applying this costs nothing")
	w.wants(w.plugin("plan", "-f", w.files(unchanged, rendered)), 0, "factory/gateway-3 re-renders its Secret", "costs nothing; 1 Secret is re-rendered")
	w.wants(w.plugin("plan", "-f", w.files(costly)), 2, "factory/gateway-2 buys a certificate", "subject.common_name from gateway-2.edge.example to gateway-2.new.example")
	w.wants(w.plugin("plan", "-f", w.files(bad)), 3, "factory/gateway-5 is refused", "enrollmentProfileID must be IOT_")
	all := w.files(unchanged, costly, rendered, first, bad)
	r := w.plugin("plan", "-f", all)
	r.command = "kubectl devicecert plan -f certs.yaml"
	w.golden("plan", r)
	w.input = costly
	w.wants(w.plugin("plan", "-f", "-"), 2)

	var forecast struct {
		Buys, Renders, Refused int
		Certificates           []struct{ Name, Verdict, Reason string }
	}
	r = w.plugin("plan", "-f", all, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &forecast); err != nil || forecast.Buys != 2 || forecast.Renders != 1 || forecast.Refused != 1 || r.status != 3 ||
		len(forecast.Certificates) != 5 || forecast.Certificates[1].Reason != v1alpha1.ReasonOutOfDate {
		t.Errorf("-o json: %+v, %v, exit status %d\n%s", forecast, err, r.status, r.out)
	}
	for _, name := range []string{"gateway-1", "gateway-2", "gateway-3"} {
		if c := w.get(name); c.Generation != 1 || len(c.Annotations) > 0 {
			t.Errorf("%s was changed: %+v", name, c.ObjectMeta)
		}
	}
}

func TestPlanCountsWhatElseIsInTheFiles(t *testing.T) {
	w := newWorld(t, "overlay")
	w.issuer()
	c := w.bought("gateway-1")
	moved := `{apiVersion: devicecert.io/v1alpha1, kind: DeviceIssuer, metadata: {name: digicert}, spec: {url: "https://demo.one.digicert.com", auth: {apiToken: {secretRef: {name: a, key: b}}}}}`
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c), moved)), 2, "overlay/gateway-1 buys a certificate", "another certificate than the one stored")

	shared := `{apiVersion: devicecert.io/v1alpha1, kind: ClusterDeviceIssuer, metadata: {name: shared}, spec: {url: "https://one.digicert.com", auth: {apiToken: {secretRef: {name: a, key: b}}}, grants: [{namespaces: {matchLabels: {team: edge}}}]}}`
	use := func(name string) func(*v1alpha1.DeviceCertificate) {
		return func(c *v1alpha1.DeviceCertificate) {
			c.Name, c.Spec.Secret.Name = name, name+"-tls"
			c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "shared"}
		}
	}
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, use("gateway-2")), shared)), 3, "overlay/gateway-2 is refused", "no grant selects this namespace")
	granted := `{apiVersion: v1, kind: Namespace, metadata: {name: overlay, labels: {team: edge}}}`
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, use("gateway-2")), shared, granted)), 2, "overlay/gateway-2 buys a certificate")
	// The issuer's name alone costs nothing: the host is the same.
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, use("gateway-1")), shared, granted)), 0, "overlay/gateway-1 buys nothing")
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, use("gateway-2")))), 2, "not at once: ClusterDeviceIssuer shared does not exist")
	elsewhere := func(c *v1alpha1.DeviceCertificate) { c.Namespace = "does-not-exist" }
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, elsewhere))), 2, "was not validated, because namespace does-not-exist does not exist yet")
	w.wants(w.plugin("plan", "-f", w.files(granted)), 1, "no DeviceCertificate in these files")
	w.wants(w.plugin("plan", "-f", w.files("a: [")), 1, "read the files")
	w.wants(w.plugin("plan"), 1, "say which files")
}

func TestPlanRefusesWhatTheClusterWouldRefuse(t *testing.T) {
	w := newWorld(t, "typos")
	w.issuer()
	c := w.bought("gateway-1")
	fresh := w.manifest(c, func(c *v1alpha1.DeviceCertificate) { c.Name, c.Spec.Secret.Name = "gateway-2", "" })
	for name, file := range map[string]string{"of a new object": fresh, "of an old one": w.manifest(c)} {
		typo := strings.Replace(file, "enrollmentProfileID", "enrolmentProfileID", 1)
		w.wants(w.plugin("plan", "-f", w.files(typo)), 3, "enrolmentProfileID")
		optional := strings.Replace(file, "privateKey:", "privatekey:", 1)
		r := w.plugin("plan", "-f", w.files(optional))
		if r.status != 3 || !strings.Contains(r.out, `unknown field "spec.privatekey"`) {
			t.Errorf("a typo in an optional field %s: exit status %d\n%s", name, r.status, r.out)
		}
	}
	format := strings.Replace(fresh, "format: pem", "format: p12", 1)
	r := w.plugin("plan", "-f", w.files(format))
	w.wants(r, 3, `Unsupported value: "p12"`)
	if strings.Contains(r.out, "were not checked") {
		t.Errorf("the API server's small talk is shown:\n%s", r.out)
	}
}

func TestPlanTellsWhatTheVendorMayRefuse(t *testing.T) {
	w := newWorld(t, "doubts")
	w.issuer()
	c := w.bought("gateway-1")
	fresh := func(edit func(*v1alpha1.DeviceCertificate)) string {
		return w.files(w.manifest(c, func(c *v1alpha1.DeviceCertificate) { c.Name, c.Spec.Secret.Name = "gateway-2", "" }, edit))
	}
	keyType := func(word string) func(*v1alpha1.DeviceCertificate) {
		return func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = word }
	}
	w.wants(w.plugin("plan", "-f", fresh(keyType("ec256"))), 2, "the vendor may refuse it: key type ec256 is not one the vendor documents: rsa_2048")
	w.publish("digicert")
	w.wants(w.plugin("plan", "-f", fresh(keyType("p_521"))), 3, "doubts/gateway-2 is refused", "device attribute DEVICE_IDENTIFIER (Serial no.) is mandatory")
	identified := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.DeviceAttributes = []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: new("gateway-2")}}
		c.Spec.PrivateKey.KeyType = "p_521"
	}
	w.wants(w.plugin("plan", "-f", fresh(identified)), 2, `the vendor may refuse it: key type p_521 is not among those the profile lists: one of "p_256", "rsa_2048"`)
}

func TestPlanTellsWhichKeystoresWaitForAPassword(t *testing.T) {
	w := newWorld(t, "keystores")
	w.issuer()
	c := w.bought("gateway-1")
	stores := w.manifest(c, func(c *v1alpha1.DeviceCertificate) {
		word := v1alpha1.SecretKeyReference{Name: "keystore", Key: "password"}
		c.Spec.Secret.Outputs = &v1alpha1.Outputs{PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: word}, JKS: &v1alpha1.JKSOutput{PasswordSecretRef: word}}
	})
	waits := "is left out until Secret keystore has a key password"
	w.wants(w.plugin("plan", "-f", w.files(stores)), 0, "spec.secret.outputs.pkcs12 "+waits, "spec.secret.outputs.jks "+waits)
	secret := `{apiVersion: v1, kind: Secret, metadata: {name: keystore}, stringData: {password: changeit}}`
	if r := w.plugin("plan", "-f", w.files(stores, secret)); r.status != 0 || strings.Contains(r.out, waits) {
		t.Errorf("with the Secret among the files: exit status %d\n%s", r.status, r.out)
	}
}

func TestPlanSeesWhatIsStoredAlready(t *testing.T) {
	w := newWorld(t, "stored")
	w.issuer()
	c := w.bought("gateway-1")
	asks := func(c *v1alpha1.DeviceCertificate) {
		c.Annotations = map[string]string{v1alpha1.AnnotationRenewRequestedAt: "2030-06-01T00:00:00Z"}
	}
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, asks))), 2, v1alpha1.AnnotationRenewRequestedAt, "from nothing to 2030-06-01T00:00:00Z")
	suspended := func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true }
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, suspended, commonName("other.example")))), 2, "not at once: spec.suspend is true")

	// A Secret that survived its DeviceCertificate is taken over, and nothing is bought.
	w.must(api.Delete(t.Context(), c))
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c))), 0, "stored/gateway-1 re-renders its Secret")
	taken := func(c *v1alpha1.DeviceCertificate) { c.Name = "gateway-2" }
	w.wants(w.plugin("plan", "-f", w.files(w.manifest(c, taken))), 3, "Secret gateway-1-tls belongs to DeviceCertificate gateway-1")
}

func TestPlanNeedsNoSecretsAndSaysWhatItAssumed(t *testing.T) {
	w := newWorld(t, "plan-least")
	w.issuer()
	c := w.bought("gateway-1")
	user := w.as("plan-user", least)
	unchanged, costly := user.files(user.manifest(c)), user.files(user.manifest(c, commonName("other.example")))
	user.wants(user.plugin("plan", "-f", unchanged), 0, "plan-least/gateway-1 buys nothing", "not allowed to read Secrets", "not allowed to read DeviceIssuer digicert")
	user.wants(user.plugin("plan", "-f", costly), 2, "buys a certificate")
	fresh := user.files(user.manifest(c, func(c *v1alpha1.DeviceCertificate) { c.Name, c.Spec.Secret.Name = "gateway-2", "" }))
	user.wants(user.plugin("plan", "-f", fresh), 1, "by a dry run: you are not allowed to")
	creator := w.as("plan-creator", least, rbacv1.PolicyRule{APIGroups: []string{"devicecert.io"}, Resources: []string{"devicecertificates"}, Verbs: []string{"create"}})
	creator.wants(creator.plugin("plan", "-f", fresh), 2, "plan-least/gateway-2 buys a certificate")
}
