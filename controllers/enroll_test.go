// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/smallstep/pkcs7"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// recipient is a device's transport key: what the vendor encrypts to.
type recipient struct {
	key                 *rsa.PrivateKey
	certificate         *x509.Certificate
	certificatePEM, pem string
}

var newRecipient = sync.OnceValues(func() (recipient, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return recipient{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "transport"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return recipient{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return recipient{
		key: key, certificate: certificate,
		certificatePEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		pem:            string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}, err
})

// transport makes the Secret "transport" with the recipient's certificate and key.
func (w *world) transport() recipient {
	w.t.Helper()
	r, err := newRecipient()
	w.must(err)
	w.createSecret("transport", map[string]string{"tls.crt": r.certificatePEM, "tls.key": r.pem})
	return r
}

// sealedIn asks for a format whose key only the recipient can open.
func sealedIn(format v1alpha1.KeyFormat) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		c.Spec.PrivateKey = v1alpha1.PrivateKey{Format: format, Delivery: v1alpha1.DeliverySealed, Encryption: &v1alpha1.KeyEncryption{
			CertificateRef: &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindSecret, Name: "transport", Key: "tls.crt"},
		}}
	}
}

func TestEveryTransportFormatEndsAsTheSamePair(t *testing.T) {
	for _, format := range []v1alpha1.KeyFormat{
		v1alpha1.FormatPEM, v1alpha1.FormatDER, v1alpha1.FormatPKCS12, v1alpha1.FormatCertEncrypted, v1alpha1.FormatCertEncryptedKeyOnly,
	} {
		t.Run(string(format), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.transport()
			w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
				c.Spec.PrivateKey.Format = format
				if format.Encrypted() {
					c.Spec.PrivateKey.Encryption = &v1alpha1.KeyEncryption{
						CertificateRef:   &v1alpha1.ObjectKeyReference{Name: "transport", Key: "tls.crt"},
						DecryptionKeyRef: &v1alpha1.SecretKeyReference{Name: "transport", Key: "tls.key"},
					}
				}
			})
			w.settle()

			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
			secret := w.secret("gateway")
			g.Expect(secret.Type).To(Equal(corev1.SecretTypeTLS))
			pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(pair.Certificate).To(HaveLen(2), "leaf and issuing CA")
			g.Expect(pair.Leaf.Subject.CommonName).To(Equal("gateway.example"))
			g.Expect(string(secret.Data["ca.crt"])).To(Equal(w.vendor.RootCertificate()))
			g.Expect(string(secret.Data["tls.key"])).To(HavePrefix("-----BEGIN PRIVATE KEY-----"))
			g.Expect(w.issued()).To(Equal(1))
			g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Current"))
		})
	}
}

func TestASealedKeyOnlyReachesItsOwnerUnopened(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	to := w.transport()
	w.certificate("gateway", sealedIn(v1alpha1.FormatCertEncryptedKeyOnly))
	w.settle()

	secret := w.secret("gateway")
	g.Expect(secret.Type).To(Equal(corev1.SecretTypeOpaque))
	g.Expect(secret.Data).NotTo(HaveKey("tls.key"))
	key := open(g, to, secret.Data["key.p7m"])
	if block, _ := pem.Decode(key); block == nil {
		key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	_, err := tls.X509KeyPair(secret.Data["tls.crt"], key)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestASealedBundleReachesItsOwnerUnopenedAlsoWhenItHidesTheCertificate(t *testing.T) {
	for name, pemAbsent := range map[string]bool{"the certificate beside it": false, "the certificate inside it alone": true} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			switches := w.vendor.Switches()
			switches.PEMAbsent = pemAbsent
			w.must(w.vendor.SetSwitches(switches))
			to := w.transport()
			w.certificate("gateway", sealedIn(v1alpha1.FormatCertEncrypted))
			w.settle()

			secret := w.secret("gateway")
			g.Expect(secret.Data).NotTo(HaveKey("tls.key"))
			files := unzip(g, open(g, to, secret.Data["bundle.p7m"]))
			_, err := tls.X509KeyPair(secret.Data["tls.crt"], files["private_key.pem"])
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.issued()).To(Equal(1))
			g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Current"))
		})
	}
}

func TestASealedBundleThatCouldNotBeMatchedIsNotBought(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansReport, func(c *account.Connection) { c.CanSearch = v1alpha1.CapabilityNo })
	w.transport()
	w.certificate("gateway", sealedIn(v1alpha1.FormatCertEncrypted))
	w.settle()

	g.Expect(w.posts()).To(BeZero())
	g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True InvalidSpec"))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Failed"))
}

func TestTheEncryptionCertificateComesFromASecretAConfigMapOrTheSpec(t *testing.T) {
	for name, encryption := range map[string]func(recipient) *v1alpha1.KeyEncryption{
		"Secret": func(recipient) *v1alpha1.KeyEncryption {
			return &v1alpha1.KeyEncryption{CertificateRef: &v1alpha1.ObjectKeyReference{Name: "transport", Key: "tls.crt"}}
		},
		"ConfigMap": func(recipient) *v1alpha1.KeyEncryption {
			return &v1alpha1.KeyEncryption{CertificateRef: &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindConfigMap, Name: "transport", Key: "crt"}}
		},
		"inline": func(r recipient) *v1alpha1.KeyEncryption {
			return &v1alpha1.KeyEncryption{Certificate: r.certificatePEM}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			r := w.transport()
			w.must(w.client.Create(w.ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "transport"}, Data: map[string]string{"crt": r.certificatePEM},
			}))
			w.certificate("gateway", sealedIn(v1alpha1.FormatCertEncryptedKeyOnly), func(c *v1alpha1.DeviceCertificate) {
				c.Spec.PrivateKey.Encryption = encryption(r)
			})
			w.settle()
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
			open(g, r, w.secret("gateway").Data["key.p7m"])
		})
	}
}

func TestAMissingEncryptionKeyIsAskedForBeforeAnythingIsBought(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.PrivateKey = v1alpha1.PrivateKey{Format: v1alpha1.FormatCertEncrypted, Encryption: &v1alpha1.KeyEncryption{
			CertificateRef:   &v1alpha1.ObjectKeyReference{Name: "transport", Key: "tls.crt"},
			DecryptionKeyRef: &v1alpha1.SecretKeyReference{Name: "transport", Key: "tls.key"},
		}}
	})
	w.settle()
	g.Expect(w.posts()).To(BeZero())
	g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True CredentialMissing"))

	w.transport()
	w.pass(5 * time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.issued()).To(Equal(1))
}

func TestThePasswordOfAPKCS12AnswerIsSeenByNobody(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	var body []byte
	vendor := w.vendor.Handler()
	desk := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body) // a short read shows as a password that is not there
		r.Body = io.NopCloser(bytes.NewReader(body))
		vendor.ServeHTTP(rw, r)
	}))
	t.Cleanup(desk.Close)
	w.vendorURL, w.roots = desk.URL, x509.NewCertPool()
	w.roots.AddCert(desk.Certificate())
	w.connect(v1alpha1.OrphansReport)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.Format = v1alpha1.FormatPKCS12 })
	w.settle()

	var sent struct {
		Password string `json:"pkcs12_password"`
	}
	g.Expect(json.Unmarshal(body, &sent)).To(Succeed())
	g.Expect(sent.Password).To(HaveLen(20))
	seen, err := json.Marshal([]any{w.get("gateway"), w.secret("gateway"), w.events.notes})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(seen)).NotTo(ContainSubstring(sent.Password))
	g.Expect(processLog.since(w.logged)).NotTo(ContainSubstring(sent.Password))
	for _, value := range w.secret("gateway").Data {
		g.Expect(string(value)).NotTo(ContainSubstring(sent.Password))
	}
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAttributesReachTheVendorAsValueOrValues(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	unit, device := "Edge", "gw-0017"
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes,
			v1alpha1.Attribute{ID: "subject.organization_unit", Value: &unit},
			v1alpha1.Attribute{ID: "san.dns_name", Values: []string{"a.example", "b.example"}})
		c.Spec.DeviceAttributes = []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: &device}}
		c.Spec.PrivateKey.KeyType = "p_384"
	})
	w.settle()

	leaf := w.stored("gateway").Bundle.Leaf
	g.Expect(leaf.Subject.OrganizationalUnit).To(Equal([]string{"Edge"}))
	g.Expect(leaf.DNSNames).To(Equal([]string{"a.example", "b.example"}))
	g.Expect(w.vendor.Ledger()[0].DeviceIdentifier).To(Equal("gw-0017"))
	status := w.get("gateway").Status
	g.Expect(status.KeyType).To(Equal("p_384"))
	g.Expect(status.DNSNames).To(Equal([]string{"a.example", "b.example"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionDiffersFromRequest)).To(BeEmpty())
}

func TestAProfileThatFixesTheKeyTypeCausesAWarningOnly(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, func(c *simulator.Config) { c.Profiles[0].FixedKeyType = "p_256" })
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = "p_384" })
	w.settle()

	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionDiffersFromRequest)).To(HavePrefix("True"))
	w.pass(24 * time.Hour)
	g.Expect(w.issued()).To(Equal(1), "what the profile fixes must not be bought again and again")
}

func TestASettledCertificateCausesNoFurtherWritesOrRequests(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	writes, asked := w.api.writes(), len(w.vendor.Requests())

	for range 3 {
		w.wakeAll()
		w.settle()
	}
	w.pass(48 * time.Hour)
	g.Expect(w.api.writes()).To(Equal(writes))
	w.restart()
	g.Expect(w.api.writes()).To(BeZero())
	g.Expect(w.vendor.Requests()).To(HaveLen(asked))
}

func TestAFirstCertificateTakesSixRequestsAndARenewalFive(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	g.Expect(w.api.writes() + len(w.events.reasons)).To(BeNumerically("<=", 6))
	g.Expect(w.api.count("live Secret", "live DeviceCertificate")).To(BeZero())

	before := w.api.writes() + len(w.events.reasons)
	w.untilRenewal("gateway")
	g.Expect(w.issued()).To(Equal(2))
	g.Expect(w.api.writes() + len(w.events.reasons) - before).To(BeNumerically("<=", 5))
	g.Expect(w.api.count("live Secret", "live DeviceCertificate")).To(BeZero())
}

// open decrypts what was sealed for the recipient.
func open(g *WithT, to recipient, sealed []byte) []byte {
	message, err := pkcs7.Parse(sealed)
	g.Expect(err).NotTo(HaveOccurred())
	content, err := message.Decrypt(to.certificate, to.key)
	g.Expect(err).NotTo(HaveOccurred())
	return content
}

func unzip(g *WithT, archive []byte) map[string][]byte {
	reader, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	g.Expect(err).NotTo(HaveOccurred())
	files := make(map[string][]byte)
	for _, f := range reader.File {
		content, err := f.Open()
		g.Expect(err).NotTo(HaveOccurred())
		files[f.Name[strings.LastIndex(f.Name, "/")+1:]], err = io.ReadAll(content)
		g.Expect(err).NotTo(HaveOccurred())
	}
	return files
}
