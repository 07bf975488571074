// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
)

// rewriting has another tool undo, at once, whatever the operator writes to the Secret. It answers with how often the operator wrote.
func (w *world) rewriting(name string, undo func(*corev1.Secret)) *int {
	writes := new(int)
	w.api.on(apiRule{step: stepStore, name: name, act: func(c apiCall) error {
		*writes++
		err := c.forward()
		secret := w.secret(name)
		base := secret.DeepCopy()
		undo(secret)
		w.must(w.client.Patch(w.ctx, secret, client.MergeFrom(base), client.FieldOwner("mirror-controller")))
		w.wakeAll()
		return err
	}})
	return writes
}

func TestAFightOverTheSecretIsStoppedAndNamesTheOther(t *testing.T) {
	const unseen = "one who only removes fields leaves no trace"
	for name, c := range map[string]struct {
		undo func(*corev1.Secret)
		says string
	}{
		"a label":          {func(s *corev1.Secret) { s.Labels["team"] = "core" }, "mirror-controller"},
		"its watch label":  {func(s *corev1.Secret) { delete(s.Labels, v1alpha1.LabelWatch) }, unseen},
		"an annotation":    {func(s *corev1.Secret) { s.Annotations["contact"] = "somebody@example.com" }, "mirror-controller"},
		"the combined PEM": {func(s *corev1.Secret) { s.Data["tls-combined.pem"] = []byte("mine") }, "mirror-controller"},
		"a key's removal":  {func(s *corev1.Secret) { delete(s.Data, "tls-combined.pem") }, unseen},
	} {
		undo := c.undo
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
				c.Spec.Secret.Labels = map[string]string{"team": "edge"}
				c.Spec.Secret.Annotations = map[string]string{"contact": "edge@example.com"}
				c.Spec.Secret.Outputs = &v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM}}
			})
			w.settle()
			writes := w.rewriting("gateway", undo)
			w.editSecret("gateway", undo)
			w.pass(24 * time.Hour)

			g.Expect(*writes).To(BeNumerically(">=", 3), "a few times it is repaired at once")
			g.Expect(*writes).To(BeNumerically("<=", 40), "and then ever more rarely")
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), "the pair itself is good")
			g.Expect(w.shows("gateway", v1alpha1.ConditionSecretInSync)).To(Equal("False SecretContested"))
			g.Expect(w.message("gateway", v1alpha1.ConditionSecretInSync)).To(ContainSubstring(c.says))
			g.Expect(w.posts()).To(Equal(1))

			w.api.clear()
			w.pass(2 * time.Hour)
			g.Expect(w.shows("gateway", v1alpha1.ConditionSecretInSync)).To(Equal("True InSync"), "once the other has stopped it is repaired for good")
			w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Labels["team"] = "core" })
			w.settle()
			g.Expect(w.secret("gateway").Labels).To(HaveKeyWithValue("team", "core"), "what the user asks for is never held back")
		})
	}
}

func TestAFightOverThePairBuysEverMoreRarely(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	undo := func(s *corev1.Secret) { s.Data["tls.key"] = []byte("mine") }
	w.rewriting("gateway", undo)
	w.editSecret("gateway", undo)
	w.pass(24 * time.Hour)
	g.Expect(w.posts()).To(BeNumerically("<=", 15))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(HavePrefix("False"))
	w.api.clear()
	w.pass(7 * time.Hour)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	for _, e := range w.vendor.Ledger() {
		w.release(e.CertificateID) // whoever destroys keys leaves certificates behind
	}
}

func TestHonestChangesAreNoFight(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	for i := range 20 {
		w.edit("gateway", func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Secret.Labels = map[string]string{"version": strings.Repeat("v", i+1)}
		})
		w.settle()
		g.Expect(w.shows("gateway", v1alpha1.ConditionSecretInSync)).To(Equal("True InSync"))
	}
	for range 5 { // a day apart somebody edits by hand
		w.pass(24 * time.Hour)
		w.editSecret("gateway", func(s *corev1.Secret) { delete(s.Labels, "version") })
		w.settle()
		g.Expect(w.shows("gateway", v1alpha1.ConditionSecretInSync)).To(Equal("True InSync"))
	}
}

// adoptable makes a Secret with a pair that its owner hands over, without a word of where it comes from.
func (w *world) adoptable(data map[string][]byte) {
	w.t.Helper()
	w.createSecret("gateway", nil, func(s *corev1.Secret) {
		s.Type, s.Data = corev1.SecretTypeTLS, data
		s.Annotations = map[string]string{v1alpha1.AnnotationAdoptableBy: "gateway"}
	})
}

func TestAPairOfUnknownOriginIsReplacedWhenItsSecretIsTakenOver(t *testing.T) {
	selfSigned := func(w *world) map[string][]byte {
		r, err := newRecipient()
		w.must(err)
		return map[string][]byte{"tls.crt": []byte(r.certificatePEM), "tls.key": []byte(r.pem)}
	}
	donated := func(edit func(*v1alpha1.DeviceCertificate)) func(w *world) map[string][]byte {
		return func(w *world) map[string][]byte {
			w.certificate("donor", edit)
			w.settle()
			data := w.secret("donor").Data
			w.must(w.client.Delete(w.ctx, w.secret("donor")))
			w.edit("donor", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true })
			return data
		}
	}
	cn := "gateway.example"
	for name, c := range map[string]struct {
		data  func(*world) map[string][]byte
		posts int
	}{
		"self-signed":               {selfSigned, 1},
		"the vendor's, for another": {donated(func(*v1alpha1.DeviceCertificate) {}), 2},
		"the vendor's, of another profile": {donated(func(c *v1alpha1.DeviceCertificate) {
			c.Spec.EnrollmentProfileID = profileShort
			c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: attributeCommonName, Value: &cn}}
		}), 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.adoptable(c.data(w))
			w.certificate("gateway")
			w.pass(time.Minute)
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
			g.Expect(w.posts()).To(Equal(c.posts))
			g.Expect(w.stored("gateway").Bundle.Leaf.Subject.CommonName).To(Equal("gateway.example"))
			w.pass(time.Hour)
			w.restart()
			g.Expect(w.posts()).To(Equal(c.posts))
			for _, e := range w.vendor.Ledger() {
				w.release(e.CertificateID)
			}
		})
	}
}

func TestNothingIsTakenOverBeforeTheIssuerIsConnected(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("donor")
	w.settle()
	data := w.secret("donor").Data
	w.accounts.Remove(w.issuer)
	w.adoptable(data)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = w.get("donor").Spec.CertificateAttributes
	})
	w.pass(10 * time.Minute)
	g.Expect(w.posts()).To(Equal(1))
	w.must(w.accounts.Update(w.issuer, w.connection))
	w.pass(10 * time.Minute)
	g.Expect(w.posts()).To(Equal(1), "the inventory knows the pair")
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	w.connect(v1alpha1.OrphansReport, func(c *account.Connection) { c.CanSearch = v1alpha1.CapabilityNo })
	w.restart()
	g.Expect(w.posts()).To(Equal(1), "and what was taken over is not asked for again")
}

func TestNamesOf253CharactersWorkFromBeginningToEnd(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	name := strings.Join([]string{strings.Repeat("a", 63), strings.Repeat("b", 62), strings.Repeat("c", 62), strings.Repeat("d", 63)}, ".")
	g.Expect(name).To(HaveLen(253))
	cn := "gateway.example"
	w.certificate(name, withPKCS12, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: attributeCommonName, Value: &cn}}
		c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete
	})
	w.settle()
	g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message(name, v1alpha1.ConditionReady))
	g.Expect(w.secret(name).Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationCertificateName, name), "nothing is cut")
	for key, value := range w.secret(name).Labels {
		g.Expect(len(value)).To(BeNumerically("<=", 63), key)
	}
	w.annotate(name, v1alpha1.AnnotationRenewRequestedAt, w.clock.Now().Add(time.Minute).UTC().Format(time.RFC3339))
	w.pass(2 * time.Minute)
	g.Expect(w.posts()).To(Equal(2))
	w.delete(name)
	g.Expect(w.exists(name)).To(BeFalse())
	g.Expect(w.hasSecret(name)).To(BeFalse())
	for _, e := range w.vendor.Ledger() {
		w.release(e.CertificateID)
	}
}
