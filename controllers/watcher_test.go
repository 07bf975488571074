// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// renewals is how many the watcher sees: `make watcher` has it see a thousand.
var renewals = flag.Int("renewals", 60, "renewals that the watcher on the Secret sees")

// shapes are the outputs that the spec asks for in turn, with the keys that a Secret of each has beside those of all.
func shapes() (shapes []*v1alpha1.Outputs, keys [][]string) {
	ref := v1alpha1.SecretKeyReference{Name: "password", Key: "one"}
	shapes = []*v1alpha1.Outputs{
		nil,
		{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM, v1alpha1.OutputDER}},
		{PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: ref}},
		{Chain: v1alpha1.ChainLeafOnly, KeyEncoding: v1alpha1.KeyEncodingTraditional},
		{JKS: &v1alpha1.JKSOutput{PasswordSecretRef: ref}, Formats: []v1alpha1.OutputFormat{v1alpha1.OutputDER}},
	}
	return shapes, [][]string{
		nil, {"key.der", "tls-combined.pem", "tls.der"}, {"keystore.p12", "truststore.p12"}, {"chain.crt"},
		{"key.der", "keystore.jks", "tls.der", "truststore.jks"},
	}
}

// watcher judges every version of a Secret that the API server shows.
type watcher struct {
	seen      int
	serials   []string
	problems  []string
	lastSeen  chan string // the version of each event
	shapeKeys [][]string
}

func (w *world) watchSecret(name string) *watcher {
	w.t.Helper()
	_, keys := shapes()
	v := &watcher{lastSeen: make(chan string, 10000), shapeKeys: keys}
	events, err := w.client.Watch(w.ctx, &corev1.SecretList{}, client.InNamespace(w.namespace))
	w.must(err)
	go func() {
		defer close(v.lastSeen)
		for e := range events.ResultChan() {
			if s, ok := e.Object.(*corev1.Secret); ok && s.Name == name && e.Type != watch.Deleted {
				v.see(s)
				v.lastSeen <- s.ResourceVersion
			}
		}
	}()
	w.t.Cleanup(events.Stop)
	return v
}

// see takes a version apart as a program that mounts it would.
func (v *watcher) see(s *corev1.Secret) {
	v.seen++
	serial, err := v.judge(s)
	if err != nil {
		v.problems = append(v.problems, fmt.Sprintf("version %s: %v", s.ResourceVersion, err))
	}
	if len(v.serials) == 0 || v.serials[len(v.serials)-1] != serial {
		if slices.Contains(v.serials, serial) {
			v.problems = append(v.problems, fmt.Sprintf("version %s: certificate %s came back", s.ResourceVersion, serial))
		}
		v.serials = append(v.serials, serial)
	}
}

func (v *watcher) judge(s *corev1.Secret) (serial string, err error) {
	pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
	if err != nil {
		return "", err
	}
	serial = fmt.Sprintf("%X", pair.Leaf.SerialNumber)
	extra := slices.DeleteFunc(slices.Sorted(maps.Keys(s.Data)), func(k string) bool { return k == "tls.crt" || k == "tls.key" || k == "ca.crt" })
	if !slices.ContainsFunc(v.shapeKeys, func(keys []string) bool { return slices.Equal(keys, extra) }) {
		return serial, fmt.Errorf("beside the pair it holds %v, which no spec asked for", extra)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Data["ca.crt"])
	between.AppendCertsFromPEM(slices.Concat(s.Data["tls.crt"], s.Data["chain.crt"]))
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: pair.Leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return serial, err
	}
	return serial, errors.Join(sameInFiles(s, pair), sameInStores(s, pair.Leaf))
}

func sameInFiles(s *corev1.Secret, pair tls.Certificate) error {
	if combined := s.Data["tls-combined.pem"]; combined != nil && !bytes.Equal(combined, slices.Concat(s.Data["tls.key"], s.Data["tls.crt"])) {
		return errors.New("tls-combined.pem is of another pair")
	}
	if der := s.Data["tls.der"]; der != nil && !bytes.Equal(der, pair.Leaf.Raw) {
		return errors.New("tls.der is another certificate")
	}
	if block, _ := pem.Decode(s.Data["tls.key"]); s.Data["key.der"] != nil && !bytes.Equal(s.Data["key.der"], block.Bytes) {
		return errors.New("key.der is another key")
	}
	return nil
}

// sameInStores opens keystores with the passwords that were ever asked for.
func sameInStores(s *corev1.Secret, leaf *x509.Certificate) error {
	passwords := []string{"changeit-0", "changeit-1"}
	open := func(name string, read func(file []byte, password string) ([]byte, error)) error {
		file, ok := s.Data[name]
		if !ok {
			return nil
		}
		var found []byte
		var err error
		for _, password := range passwords {
			if found, err = read(file, password); err == nil {
				break
			}
		}
		if err != nil || !bytes.Equal(found, leaf.Raw) {
			return fmt.Errorf("%s is of another certificate, or cannot be opened: %w", name, err)
		}
		return nil
	}
	return errors.Join(
		open("keystore.p12", func(file []byte, password string) ([]byte, error) {
			_, found, _, err := pkcs12.DecodeChain(file, password)
			if err != nil {
				return nil, err
			}
			return found.Raw, nil
		}),
		open("keystore.jks", func(file []byte, password string) ([]byte, error) {
			store := jks.New()
			if err := store.Load(bytes.NewReader(file), []byte(password)); err != nil {
				return nil, err
			}
			chain, err := store.GetPrivateKeyEntryCertificateChain("certificate")
			if err != nil {
				return nil, err
			}
			return chain[0].Content, nil
		}),
	)
}

// TestAWatcherNeverSeesAMismatchedOrPartialSet renews again and again while the spec, the passwords and the Secret's metadata are edited.
func TestAWatcherNeverSeesAMismatchedOrPartialSet(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.createSecret("password", map[string]string{"one": "changeit-0"})
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	v := w.watchSecret("gateway")
	w.settle()
	outputs, _ := shapes()
	for i := range *renewals {
		w.edit("gateway", func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Secret.Outputs = outputs[i%len(outputs)]
			c.Spec.Secret.Labels = map[string]string{"round": fmt.Sprint(i)}
		})
		switch i % 7 {
		case 1: // before the edit is rendered, the renewal is due
			w.clock.Step(7 * time.Minute)
		case 2:
			w.editSecret("password", func(s *corev1.Secret) { s.Data["one"] = fmt.Appendf(nil, "changeit-%d", i/7%2) })
		case 3:
			w.editSecret("gateway", func(s *corev1.Secret) {
				maps.DeleteFunc(s.Labels, func(string, string) bool { return true })
				maps.DeleteFunc(s.Annotations, func(k, _ string) bool { return !strings.Contains(k, "certificate-name") && i%2 == 0 })
			})
		case 4:
			w.restart()
		}
		w.settle()
		w.advance(7 * time.Minute)
	}
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Outputs = outputs[1] })
	w.settle()
	final := w.secret("gateway").ResourceVersion
	for version := range v.lastSeen {
		if version == final {
			break
		}
	}
	g.Expect(v.problems).To(BeEmpty())
	g.Expect(len(v.serials)).To(BeNumerically(">", *renewals), "the first certificate and every renewal")
	g.Expect(v.seen).To(BeNumerically(">", *renewals*3/2), "and the renderings in between")
	g.Expect(w.issued()).To(Equal(len(v.serials)), "every certificate was seen in the Secret")
	g.Expect(w.shows("gateway", v1alpha1.ConditionSecretInSync)).To(Equal("True InSync"), w.message("gateway", v1alpha1.ConditionSecretInSync))
}
