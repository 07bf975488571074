// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/zip"
	"bytes"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestEveryKeyFormatEndsAsAPairThatOpenSSLVerifies(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	certificate, key := transportKey(t)
	w.createSecret("transport", map[string][]byte{"tls.crt": certificate, "tls.key": key})
	encryption := &v1alpha1.KeyEncryption{
		CertificateRef:   &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindSecret, Name: "transport", Key: "tls.crt"},
		DecryptionKeyRef: &v1alpha1.SecretKeyReference{Name: "transport", Key: "tls.key"},
	}
	keys := map[string]v1alpha1.PrivateKey{
		"pem":                {Format: v1alpha1.FormatPEM, KeyType: "p_256"},
		"pem-rsa":            {Format: v1alpha1.FormatPEM, KeyType: "rsa_2048"},
		"pem-ed25519":        {Format: v1alpha1.FormatPEM, KeyType: "ed_25519"},
		"der":                {Format: v1alpha1.FormatDER, KeyType: "p_256"},
		"pkcs12":             {Format: v1alpha1.FormatPKCS12, KeyType: "p_256"},
		"encrypted":          {Format: v1alpha1.FormatCertEncrypted, KeyType: "p_256", Encryption: encryption},
		"encrypted-key-only": {Format: v1alpha1.FormatCertEncryptedKeyOnly, KeyType: "p_256", Encryption: encryption},
	}
	for name, privateKey := range keys {
		w.certificate(name, func(c *v1alpha1.DeviceCertificate) {
			c.Spec.PrivateKey = privateKey
			c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: "san.dns_name", Values: []string{"san." + commonName(name)}})
		})
	}
	for name := range keys {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			c := w.awaitReady(name)
			s := w.secret(name)
			if s.Type != corev1.SecretTypeTLS {
				t.Errorf("type %s", s.Type)
			}
			w.wantBought(commonName(name), 1)
			number := verifyPair(t, s)
			if entry := w.vendor.ledger(commonName(name))[0]; number != entry.SerialNumber || c.Status.SerialNumber != number || c.Status.CertificateID != entry.CertificateID {
				t.Errorf("stored serial %s, status %s %s, ledger %s %s", number, c.Status.SerialNumber, c.Status.CertificateID, entry.SerialNumber, entry.CertificateID)
			}
			if !bytes.Equal(s.Data["ca.crt"], w.vendor.file("root.crt")) {
				t.Errorf("ca.crt is not the vendor's root:\n%s", s.Data["ca.crt"])
			}
			dir := files(t, s.Data)
			answer := output(t, nil, "openssl", "x509", "-in", dir+"/tls.crt", "-noout", "-checkhost", "san."+commonName(name))
			if !strings.Contains(answer, "does match") {
				t.Errorf("openssl says: %s", answer)
			}
		})
	}
	w.wantBought("", len(keys))
}

func TestASealedKeyIsOpenedOnlyByItsTransportKey(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	certificate, key := transportKey(t)
	for name, format := range map[string]v1alpha1.KeyFormat{"bundle": v1alpha1.FormatCertEncrypted, "key-only": v1alpha1.FormatCertEncryptedKeyOnly} {
		w.certificate(name, func(c *v1alpha1.DeviceCertificate) {
			c.Spec.PrivateKey = v1alpha1.PrivateKey{
				Format: format, Delivery: v1alpha1.DeliverySealed, KeyType: "p_256",
				Encryption: &v1alpha1.KeyEncryption{Certificate: string(certificate)},
			}
		})
	}
	for name, payload := range map[string]string{"bundle": "bundle.p7m", "key-only": "key.p7m"} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.awaitReady(name)
			s := w.secret(name)
			if _, open := s.Data["tls.key"]; open || s.Type != corev1.SecretTypeOpaque {
				t.Errorf("type %s, tls.key present: %t", s.Type, open)
			}
			dir := files(t, s.Data)
			verifyChain(t, dir)
			opened := open(t, s.Data[payload], certificate, key)
			if name == "bundle" {
				opened = member(t, opened, "PRIVATE KEY")
			}
			ofKey := output(t, strings.NewReader(opened), "openssl", "pkey", "-pubout")
			if ofCertificate := output(t, nil, "openssl", "x509", "-in", dir+"/tls.crt", "-noout", "-pubkey"); ofKey != ofCertificate {
				t.Error("the sealed key is not that of the certificate")
			}
			w.wantBought(commonName(name), 1)
		})
	}
}

// open decrypts with the vendor's own command.
func open(t *testing.T, sealed, certificate, key []byte) string {
	t.Helper()
	dir := files(t, map[string][]byte{"in.p7m": sealed, "transport.crt": certificate, "transport.key": key})
	return output(t, nil, "openssl", "smime", "-binary", "-decrypt", "-aes256", "-inform", "DER", "-in", dir+"/in.p7m",
		"-inkey", dir+"/transport.key", dir+"/transport.crt")
}

// member is the file of an archive that holds a PEM block of that type.
func member(t *testing.T, archive, block string) string {
	t.Helper()
	content, err := zip.NewReader(strings.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range content.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), block+"-----") {
			return string(text)
		}
	}
	t.Fatalf("no %s among the %d files of the archive", block, len(content.File))
	return ""
}
