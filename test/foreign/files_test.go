// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package foreign

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/decode"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
)

// readers tell, for each key of a Secret's data, how a program that is not ours reads it. They answer with what identifies the pair: the
// public key, or the certificate's serial number, of the leaf or of the root.
var readers = map[string]func(t *testing.T, v *volume, legacy bool) (what, found string){
	"tls.crt": func(t *testing.T, v *volume, _ bool) (string, string) {
		run(t, "openssl", "verify", "-x509_strict", "-CAfile", v.file("ca.crt"), "-untrusted", v.file("tls.crt"), v.file("tls.crt"))
		return "serial", run(t, "openssl", "x509", "-in", v.file("tls.crt"), "-noout", "-serial")
	},
	"tls.key": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "public key", run(t, "openssl", "pkey", "-in", v.file("tls.key"), "-pubout")
	},
	"ca.crt": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "root", run(t, "openssl", "x509", "-in", v.file("ca.crt"), "-noout", "-serial")
	},
	"tls-combined.pem": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "public key", run(t, "openssl", "pkey", "-in", v.file("tls-combined.pem"), "-pubout")
	},
	"key.der": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "public key", run(t, "openssl", "pkey", "-inform", "DER", "-in", v.file("key.der"), "-pubout")
	},
	"tls.der": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "serial", run(t, "openssl", "x509", "-inform", "DER", "-in", v.file("tls.der"), "-noout", "-serial")
	},
	"keystore.p12": func(t *testing.T, v *volume, legacy bool) (string, string) {
		args := []string{"pkcs12", "-in", v.file("keystore.p12"), "-passin", "pass:" + password, "-nodes", "-out", v.file("..opened")}
		if legacy {
			args = append(args, "-legacy")
		}
		run(t, "openssl", args...)
		return "public key", run(t, "openssl", "pkey", "-in", v.file("..opened"), "-pubout")
	},
	"truststore.p12": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "root", keytool(t, v.file("truststore.p12"), "PKCS12", "trustedCertEntry")
	},
	"keystore.jks": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "serial", keytool(t, v.file("keystore.jks"), "JKS", "PrivateKeyEntry")
	},
	"truststore.jks": func(t *testing.T, v *volume, _ bool) (string, string) {
		return "root", keytool(t, v.file("truststore.jks"), "JKS", "trustedCertEntry")
	},
}

// keytool answers with the first serial number in a store, spelt as OpenSSL spells them.
func keytool(t *testing.T, path, kind, entry string) string {
	t.Helper()
	said := run(t, "keytool", "-J-Duser.language=en", "-list", "-v", "-keystore", path, "-storetype", kind, "-storepass", password)
	if !strings.Contains(said, "Entry type: "+entry) {
		t.Errorf("%s has no %s:\n%s", path, entry, said)
	}
	_, rest, _ := strings.Cut(said, "Serial number: ")
	number, _, _ := strings.Cut(rest, "\n")
	number = strings.ToUpper(strings.TrimSpace(number))
	if len(number)%2 == 1 {
		number = "0" + number
	}
	return "serial=" + number + "\n"
}

func TestEveryKeyOfTheSecretIsReadByTheProgramsItIsFor(t *testing.T) {
	for name, c := range map[string]struct {
		keyType  string
		profile  v1alpha1.PKCS12Profile
		encoding v1alpha1.KeyEncoding
	}{
		"EC, modern":       {"p_256", v1alpha1.PKCS12Modern2023, v1alpha1.KeyEncodingPKCS8},
		"RSA, traditional": {"rsa_2048", v1alpha1.PKCS12LegacyDES, v1alpha1.KeyEncodingTraditional},
		"Ed25519":          {"ed_25519", v1alpha1.PKCS12Modern2023, v1alpha1.KeyEncodingPKCS8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outputs := everything(c.profile)
			outputs.KeyEncoding = c.encoding
			p := newVendor(t).order("gateway.example", c.keyType, outputs)
			data := p.data()
			if diff := symmetric(slices.Sorted(maps.Keys(readers)), slices.Sorted(maps.Keys(data))); len(diff) > 0 {
				t.Fatalf("keys without a reader, or readers without a key: %v", diff)
			}
			v := mount(t, data)
			want := map[string]string{
				"serial": "serial=" + p.serial() + "\n", "root": "serial=" + certs.SerialString(p.content.Bundle.Roots[0]) + "\n",
				"public key": run(t, "openssl", "x509", "-in", v.file("tls.crt"), "-noout", "-pubkey"),
			}
			for _, key := range slices.Sorted(maps.Keys(readers)) {
				if what, found := readers[key](t, v, c.profile == v1alpha1.PKCS12LegacyDES); found != want[what] {
					t.Errorf("%s has the %s %q, want %q", key, what, found, want[what])
				}
			}
		})
	}
}

// symmetric is what is in one list alone.
func symmetric(a, b []string) (only []string) {
	for _, lists := range [][2][]string{{a, b}, {b, a}} {
		for _, s := range lists[0] {
			if !slices.Contains(lists[1], s) {
				only = append(only, s)
			}
		}
	}
	return only
}

func TestALeafOnlySecretKeepsItsChainForOpenSSL(t *testing.T) {
	p := newVendor(t).order("gateway.example", "p_256", v1alpha1.Outputs{Chain: v1alpha1.ChainLeafOnly})
	v := mount(t, p.data())
	run(t, "openssl", "verify", "-CAfile", v.file("ca.crt"), "-untrusted", v.file("chain.crt"), v.file("tls.crt"))
	if text, err := try(t, "openssl", "verify", "-CAfile", v.file("ca.crt"), "-untrusted", v.file("tls.crt"), v.file("tls.crt")); err == nil {
		t.Errorf("tls.crt holds more than the leaf: %s", text)
	}
}

// TestADeviceOpensWhatWasSealedForIt follows docs/secrets.md: the vendor's documented command, and OpenSSL's newer one.
func TestADeviceOpensWhatWasSealedForIt(t *testing.T) {
	for _, format := range []v1alpha1.KeyFormat{v1alpha1.FormatCertEncryptedKeyOnly, v1alpha1.FormatCertEncrypted} {
		t.Run(string(format), func(t *testing.T) {
			v := newVendor(t)
			device := mount(t, nil)
			run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=transport",
				"-keyout", device.file("transport.key"), "-out", device.file("transport.crt"))
			data := sealed(t, v, format, device)
			secret := mount(t, data)
			name := map[v1alpha1.KeyFormat]string{v1alpha1.FormatCertEncryptedKeyOnly: "key.p7m", v1alpha1.FormatCertEncrypted: "bundle.p7m"}[format]
			if len(data["tls.key"]) > 0 || len(data[name]) == 0 {
				t.Fatalf("the Secret has %v", slices.Sorted(maps.Keys(data)))
			}
			for _, command := range []string{"smime", "cms"} {
				opened := device.file(command)
				run(t, "openssl", command, "-decrypt", "-binary", "-inform", "DER", "-in", secret.file(name), "-inkey", device.file("transport.key"), "-out", opened)
				if format == v1alpha1.FormatCertEncrypted {
					run(t, "jar", "--list", "--file", opened)
					continue
				}
				if key, leaf := run(t, "openssl", "pkey", "-in", opened, "-pubout"), run(t, "openssl", "x509", "-in", secret.file("tls.crt"), "-noout", "-pubkey"); key != leaf {
					t.Error("the key is not that of the certificate")
				}
			}
		})
	}
}

// sealed is the data of a Secret whose key is encrypted to the device's transport key.
func sealed(t *testing.T, v *vendor, format v1alpha1.KeyFormat, device *volume) map[string][]byte {
	t.Helper()
	transport, err := os.ReadFile(device.file("transport.crt"))
	must(t, err)
	p := v.order("sensor.example", "rsa_2048", v1alpha1.Outputs{})
	request := p.request
	request.PrivateKeyFormat, request.EncryptionCertificatePEM = string(format), string(transport)
	issued, err := v.client.Enroll(t.Context(), request)
	must(t, err)
	pool, err := certs.ParseCertificatesPEM(transport)
	must(t, err)
	payload, err := decode.Seal(decode.Payload{
		Format: decode.Format(format), PEM: issued.PEM, PrivateKey: issued.PrivateKey, EncryptionCertificate: pool[0],
	})
	must(t, err)
	p.content = tlssecret.Content{Bundle: payload.Bundle, Sealed: payload.Payload, SealedKey: v1alpha1.KeySealedKey}
	if format == v1alpha1.FormatCertEncrypted {
		p.content.SealedKey = v1alpha1.KeySealedBundle
	}
	return p.data()
}
