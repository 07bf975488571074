// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestOutputsAndMetadataAreRenderedFromTheStoredKey(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	before := w.secret("gateway")

	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Labels = map[string]string{"team": "edge"}
		c.Spec.Secret.Annotations = map[string]string{"contact": "edge@example.com"}
		c.Spec.Secret.Outputs = &v1alpha1.Outputs{
			Chain: v1alpha1.ChainLeafOnly, KeyEncoding: v1alpha1.KeyEncodingTraditional,
			Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM, v1alpha1.OutputDER},
		}
	})
	w.settle()
	after := w.secret("gateway")
	g.Expect(after.UID).To(Equal(before.UID))
	g.Expect(after.Labels).To(HaveKeyWithValue("team", "edge"))
	g.Expect(after.Annotations).To(HaveKeyWithValue("contact", "edge@example.com"))
	block, rest := pem.Decode(after.Data["tls.key"])
	g.Expect(block.Type).To(Equal("EC PRIVATE KEY"))
	g.Expect(rest).To(BeEmpty())
	g.Expect(bytes.Equal(after.Data["key.der"], block.Bytes)).To(BeTrue())
	g.Expect(bytes.Equal(after.Data["tls-combined.pem"], append(after.Data["tls.key"], after.Data["tls.crt"]...))).To(BeTrue())
	leaf, err := x509.ParseCertificate(after.Data["tls.der"])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(after.Data["tls.crt"])).To(Equal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))), "the leaf alone")

	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Labels, c.Spec.Secret.Annotations, c.Spec.Secret.Outputs = nil, nil, nil
	})
	w.settle()
	again := w.secret("gateway")
	g.Expect(digests(again)).To(Equal(digests(before)), "byte for byte as before")
	g.Expect(again.Labels).NotTo(HaveKey("team"))
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionSecretInSync)).To(Equal("True InSync"))
}

func TestKeystoresAppearWhenTheirPasswordDoesAndHoldNothingBack(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", withPKCS12, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Outputs.JKS = &v1alpha1.JKSOutput{PasswordSecretRef: c.Spec.Secret.Outputs.PKCS12.PasswordSecretRef}
	})
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionOutputsIncomplete)).To(Equal("True CredentialMissing"))
	g.Expect(digests(w.secret("gateway"))).NotTo(HaveKey("keystore.p12"))

	w.createSecret("password", map[string]string{"one": "changeit"})
	w.pass(5 * time.Minute)
	g.Expect(digests(w.secret("gateway"))).To(And(HaveKey("keystore.p12"), HaveKey("truststore.p12"), HaveKey("keystore.jks"), HaveKey("truststore.jks")))
	g.Expect(w.shows("gateway", v1alpha1.ConditionOutputsIncomplete)).To(BeEmpty())
	g.Expect(w.issued()).To(Equal(1))

	first := digests(w.secret("gateway"))["keystore.p12"]
	w.pass(time.Hour)
	g.Expect(digests(w.secret("gateway"))["keystore.p12"]).To(Equal(first), "keystores are not encoded anew without a reason")
	w.editSecret("password", func(s *corev1.Secret) { s.Data["one"] = []byte("changed!") })
	w.pass(5 * time.Minute)
	g.Expect(digests(w.secret("gateway"))["keystore.p12"]).NotTo(Equal(first), "the password is new")
	g.Expect(w.issued()).To(Equal(1))
}

func TestTheSecretMovesWithItsNameAndNothingIsBought(t *testing.T) {
	for policy, remains := range map[v1alpha1.DeletionPolicy]bool{v1alpha1.DeletionRetain: true, v1alpha1.DeletionDelete: false} {
		t.Run(string(policy), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.DeletionPolicy = policy })
			w.settle()
			before := w.secret("gateway")
			var oldIsThere bool
			w.api.on(apiRule{step: stepStore, name: "moved", act: func(c apiCall) error {
				oldIsThere = w.hasSecret("gateway")
				return c.forward()
			}})
			w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "moved" })
			w.settle()

			g.Expect(oldIsThere).To(BeTrue(), "the new Secret is written first")
			g.Expect(digests(w.secret("moved"))).To(Equal(digests(before)))
			g.Expect(w.hasSecret("gateway")).To(Equal(remains))
			g.Expect(w.posts()).To(Equal(1))
			g.Expect(w.get("gateway").Status.SecretName).To(Equal("moved"))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
		})
	}
}

func TestAMoveIntoSomebodyElsesSecretIsRefusedAndUndone(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.createSecret("taken", map[string]string{"password": "precious"})
	w.certificate("gateway")
	w.settle()
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "taken" })
	w.settle()
	g.Expect(w.secret("taken").Data).To(HaveKey("password"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "" })
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.posts()).To(Equal(1))
}

func TestDamageThatLeavesTheKeyIsRepairedForNothing(t *testing.T) {
	for name, damage := range map[string]func(*corev1.Secret){
		"a label is removed":           func(s *corev1.Secret) { delete(s.Labels, "team") },
		"the watch label is removed":   func(s *corev1.Secret) { delete(s.Labels, v1alpha1.LabelWatch) },
		"an annotation is edited":      func(s *corev1.Secret) { s.Annotations["contact"] = "nobody" },
		"the digest is removed":        func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationContentDigest) },
		"the UID is removed":           func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationCertificateUID) },
		"ca.crt is removed":            func(s *corev1.Secret) { delete(s.Data, "ca.crt") },
		"ca.crt is edited":             func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("trust me") },
		"tls.crt loses its issuing CA": func(s *corev1.Secret) { s.Data["tls.crt"] = firstBlock(s.Data["tls.crt"]) },
		"tls.key gains a newline":      func(s *corev1.Secret) { s.Data["tls.key"] = append(s.Data["tls.key"], '\n') },
		"the combined file is edited":  func(s *corev1.Secret) { s.Data["tls-combined.pem"] = []byte("?") },
		"a label is edited":            func(s *corev1.Secret) { s.Labels["team"] = "nobody" },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
				c.Spec.Secret.Labels, c.Spec.Secret.Annotations = map[string]string{"team": "edge"}, map[string]string{"contact": "edge"}
				c.Spec.Secret.Outputs = &v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM}}
			})
			w.settle()
			before := w.secret("gateway")
			w.editSecret("gateway", damage)
			w.settle()
			after := w.secret("gateway")
			g.Expect(w.posts()).To(Equal(1))
			g.Expect(digests(after)).To(Equal(digests(before)))
			g.Expect(after.Labels).To(Equal(before.Labels))
			g.Expect(after.Annotations).To(Equal(before.Annotations))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(w.shows("gateway", v1alpha1.ConditionSecretInSync)).To(Equal("True InSync"))
		})
	}
}

// digests stand for a Secret's data where it is compared, so that no key is ever printed.
func digests(s *corev1.Secret) map[string]string {
	sums := make(map[string]string)
	for name, value := range s.Data {
		sums[name] = hexSHA256(value)[:8]
	}
	return sums
}

// firstBlock is the first block of a PEM file.
func firstBlock(text []byte) []byte {
	block, _ := pem.Decode(text)
	return pem.EncodeToMemory(block)
}

func TestAKeyThatIsGoneCostsExactlyOneCertificate(t *testing.T) {
	for name, damage := range map[string]func(*world){
		"the Secret is deleted": func(w *world) { w.deleteSecret("gateway") },
		"tls.key is deleted":    func(w *world) { w.editSecret("gateway", func(s *corev1.Secret) { s.Data["tls.key"] = []byte{} }) },
		"tls.key is another's": func(w *world) {
			w.certificate("other")
			w.settle()
			w.editSecret("gateway", func(s *corev1.Secret) { s.Data["tls.key"] = w.secret("other").Data["tls.key"] })
		},
		"the pair is another's": func(w *world) {
			w.certificate("other")
			w.settle()
			w.editSecret("gateway", func(s *corev1.Secret) { s.Data = w.secret("other").Data })
		},
		"tls.crt is garbage": func(w *world) { w.editSecret("gateway", func(s *corev1.Secret) { s.Data["tls.crt"] = []byte("?") }) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway")
			w.settle()
			first := w.get("gateway").Status.CertificateID
			damage(w)
			w.settle()
			w.pass(time.Hour)
			g.Expect(w.vendor.Summary().ByCommonName["gateway.example"].Issued).To(Equal(2))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(w.stored("gateway").Bundle.Leaf.Subject.CommonName).To(Equal("gateway.example"))
			status := w.get("gateway").Status
			g.Expect(status.CertificateID).NotTo(Equal(first))
			g.Expect(status.Superseded).To(ConsistOf(HaveField("CertificateID", first)), "the lost one is on record")
		})
	}
}

func TestASecretWithoutItsAnnotationsIsStillKnownByWhatItHolds(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	before := w.secret("gateway")
	w.editSecret("gateway", func(s *corev1.Secret) { s.Labels, s.Annotations = nil, nil })
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(digests(w.secret("gateway"))).To(Equal(digests(before)))
	g.Expect(w.secret("gateway").Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationCertificateUID, string(w.get("gateway").UID)))
}

func TestASecretWithoutAnnotationsThatHoldsSomethingElseIsNobodys(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.certificate("other")
	w.settle()
	w.editSecret("gateway", func(s *corev1.Secret) { s.Annotations, s.Data = nil, w.secret("other").Data })
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
	g.Expect(w.secret("gateway").Annotations).To(BeEmpty())
	g.Expect(w.posts()).To(Equal(2))
}

func TestAPairThatIsAdoptedWithItsOwnersConsentIsNotBoughtAgain(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	cn := "gateway.example"
	w.certificate("donor", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete
		c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: attributeCommonName, Value: &cn}}
	})
	w.settle()
	donated := w.secret("donor")
	w.createSecret("gateway", nil, func(s *corev1.Secret) {
		s.Type, s.Data = donated.Type, donated.Data
		s.Annotations = map[string]string{v1alpha1.AnnotationAdoptableBy: "gateway"}
	})
	w.delete("donor")
	w.certificate("gateway")
	w.pass(time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	g.Expect(w.posts()).To(Equal(1), "the pair in it is taken over")
	g.Expect(w.get("gateway").Status.CertificateID).To(Equal(w.vendor.Ledger()[0].CertificateID), "with the id the inventory knows it by")
	g.Expect(w.secret("gateway").Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationCertificateID, w.vendor.Ledger()[0].CertificateID))
}
