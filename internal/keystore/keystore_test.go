// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"bytes"
	"crypto"
	"crypto/fips140"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

const (
	password   = "changeit-2"
	fixtureDir = "../decode/testdata/fixtures"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtureDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func bundle(t *testing.T, kind string) certs.Bundle {
	t.Helper()
	key, err := certs.ParsePrivateKeyPEM(fixture(t, kind+".pkcs8.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := certs.ParseCertificatesPEM(fixture(t, kind+".chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := certs.Assemble(key, pool)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func roots(t *testing.T, names ...string) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, name := range names {
		pool, err := certs.ParseCertificatesPEM(fixture(t, name+".pem"))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pool...)
	}
	return out
}

// run gives a file to a program of somebody else and returns what it says.
func run(t *testing.T, file []byte, name string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("these tests need %s: install openssl and a Java runtime (Debian: openssl default-jre-headless)", name)
	}
	path := filepath.Join(t.TempDir(), "store")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "FILE", path)
	}
	output, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, output)
	}
	return string(output)
}

func TestOpenSSLReadsPKCS12(t *testing.T) {
	for _, kind := range []string{"rsa_2048", "p_256", "p_384", "ed_25519"} {
		for _, profile := range []Profile{"", Modern2023, LegacyDES, LegacyRC2} {
			t.Run(kind+" "+string(profile), func(t *testing.T) {
				file, err := PKCS12(bundle(t, kind), password, profile)
				if err != nil {
					t.Fatal(err)
				}
				legacy := "-info"
				if profile == LegacyDES || profile == LegacyRC2 {
					legacy = "-legacy"
				}
				output := run(t, file, "openssl", "pkcs12", "-in", "FILE", "-passin", "pass:"+password, "-nodes", legacy)
				for _, name := range []string{kind + ".pkcs8.pem", kind + ".pem", "ica.pem"} {
					if !strings.Contains(output, strings.TrimSpace(string(fixture(t, name)))) {
						t.Errorf("%s is not in the file", name)
					}
				}
				if got := strings.Count(output, "BEGIN CERTIFICATE"); got != 2 {
					t.Errorf("%d certificates, want the leaf and its intermediate", got)
				}
				if modern := strings.Contains(output, "PBES2, PBKDF2, AES-256-CBC"); legacy == "-info" && !modern {
					t.Errorf("not the algorithms of the profile:\n%s", output)
				}
			})
		}
	}
}

func TestModern2026IsProtectedByPBMAC1(t *testing.T) {
	file, err := PKCS12(bundle(t, "p_256"), password, Modern2026)
	if err != nil {
		t.Fatal(err)
	}
	// OpenSSL before 3.4 cannot read the file, but all show its structure.
	if output := run(t, file, "openssl", "asn1parse", "-inform", "DER", "-in", "FILE"); !strings.Contains(output, "1.2.840.113549.1.5.14") && !strings.Contains(output, "PBMAC1") {
		t.Errorf("no PBMAC1 in\n%s", output)
	}
}

func TestKeytoolReadsKeyStores(t *testing.T) {
	for _, kind := range []string{"rsa_2048", "p_256"} {
		t.Run(kind, func(t *testing.T) {
			pfx, err := PKCS12(bundle(t, kind), password, Modern2023)
			if err != nil {
				t.Fatal(err)
			}
			java, err := JKS(bundle(t, kind), password, "Gateway", now)
			if err != nil {
				t.Fatal(err)
			}
			leaf := strings.TrimSpace(string(fixture(t, kind+".pem")))
			ica := strings.TrimSpace(string(fixture(t, "ica.pem")))
			for storeType, file := range map[string][]byte{"PKCS12": pfx, "JKS": java} {
				output := normalised(run(t, file, "keytool", "-list", "-rfc", "-storetype", storeType, "-keystore", "FILE", "-storepass", password))
				for _, want := range []string{"Entry type: PrivateKeyEntry", "Certificate chain length: 2", normalised(leaf), normalised(ica)} {
					if !strings.Contains(output, want) {
						t.Errorf("%s: no %q in\n%s", storeType, want, output)
					}
				}
			}
		})
	}
}

// normalised joins the base64 of PEM blocks, which programs wrap differently.
func normalised(text string) string {
	return strings.NewReplacer("\r", "", "\n", " ").Replace(text)
}

func TestJavaKeyIsTheKeyOfTheBundle(t *testing.T) {
	for _, alias := range []string{"gateway", "Gateway", "GATEWAY-17"} {
		file, err := JKS(bundle(t, "p_256"), password, alias, now)
		if err != nil {
			t.Fatal(err)
		}
		// keytool does not show private keys, so Java converts the store to
		// PKCS#12, and OpenSSL reads that.
		target := filepath.Join(t.TempDir(), "converted.p12")
		run(t, file, "keytool", "-importkeystore", "-srckeystore", "FILE", "-srcstoretype", "JKS", "-srcstorepass", password,
			"-srcalias", alias, "-destkeystore", target, "-deststoretype", "PKCS12", "-deststorepass", password)
		converted, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		output := run(t, converted, "openssl", "pkcs12", "-in", "FILE", "-passin", "pass:"+password, "-nodes")
		if !strings.Contains(output, strings.TrimSpace(string(fixture(t, "p_256.pkcs8.pem")))) {
			t.Errorf("another key under %q", alias)
		}
	}
}

func TestKeytoolReadsTrustStores(t *testing.T) {
	// ica and ica-again share their subject, which Java would take for one.
	trusted := roots(t, "root", "other-root", "ica", "ica-again")
	pfx, err := PKCS12TrustStore(trusted, password, Modern2023)
	if err != nil {
		t.Fatal(err)
	}
	java, err := JKSTrustStore(trusted, password, now)
	if err != nil {
		t.Fatal(err)
	}
	for storeType, file := range map[string][]byte{"PKCS12": pfx, "JKS": java} {
		output := normalised(run(t, file, "keytool", "-list", "-rfc", "-storetype", storeType, "-keystore", "FILE", "-storepass", password))
		if got := strings.Count(output, "trustedCertEntry"); got != len(trusted) {
			t.Errorf("%s: %d trusted certificates, want %d\n%s", storeType, got, len(trusted), output)
		}
		for _, name := range []string{"root", "other-root", "ica", "ica-again"} {
			if !strings.Contains(output, normalised(strings.TrimSpace(string(fixture(t, name+".pem"))))) {
				t.Errorf("%s: %s is missing", storeType, name)
			}
		}
	}
}

func TestCreationTimeIsTheGivenOne(t *testing.T) {
	file, err := JKSTrustStore(roots(t, "root"), password, now)
	if err != nil {
		t.Fatal(err)
	}
	output := run(t, file, "keytool", "-J-Duser.language=en", "-list", "-v", "-storetype", "JKS", "-keystore", "FILE", "-storepass", password)
	if !strings.Contains(output, "Creation date: Jan 2, 2030") {
		t.Errorf("no date in\n%s", output)
	}
}

// opaque is a key of a kind nobody knows.
type opaque struct{ crypto.Signer }

func TestKeyStoresRefuse(t *testing.T) {
	good := bundle(t, "p_256")
	sealed := good
	sealed.Key = nil
	leafless := good
	leafless.Leaf = nil
	trusted := roots(t, "root")
	tests := map[string]struct {
		write func() ([]byte, error)
		want  string
	}{
		"PKCS#12 of a sealed key":            {func() ([]byte, error) { return PKCS12(sealed, password, "") }, "sealed"},
		"PKCS#12 without a leaf":             {func() ([]byte, error) { return PKCS12(leafless, password, "") }, "needs a private key with its certificate"},
		"PKCS#12 without a password":         {func() ([]byte, error) { return PKCS12(good, "", "") }, "password is empty"},
		"PKCS#12 of another profile":         {func() ([]byte, error) { return PKCS12(good, password, "modern2023") }, `"modern2023": use Modern2023`},
		"PKCS#12 with a password beyond BMP": {func() ([]byte, error) { return PKCS12(good, "\U0001F511secret", "") }, "check that the password"},
		"PKCS#12 of a key nobody knows": {func() ([]byte, error) {
			return PKCS12(certs.Bundle{Key: opaque{good.Key}, Leaf: good.Leaf}, password, "")
		}, "cannot be written"},
		"JKS of a sealed key":                {func() ([]byte, error) { return JKS(sealed, password, "a", now) }, "sealed"},
		"JKS without a leaf":                 {func() ([]byte, error) { return JKS(leafless, password, "a", now) }, "needs a private key"},
		"JKS without a password":             {func() ([]byte, error) { return JKS(good, "", "a", now) }, "password is empty"},
		"JKS without an alias":               {func() ([]byte, error) { return JKS(good, password, "", now) }, "alias"},
		"JKS with a password beyond ASCII":   {func() ([]byte, error) { return JKS(good, "pässword", "a", now) }, "printable ASCII"},
		"JKS with a control in its password": {func() ([]byte, error) { return JKS(good, "pass\nword", "a", now) }, "printable ASCII"},
		"JKS of a key nobody knows": {func() ([]byte, error) {
			return JKS(certs.Bundle{Key: opaque{good.Key}, Leaf: good.Leaf}, password, "a", now)
		}, "cannot be encoded"},
		"JKS with an endless alias":          {func() ([]byte, error) { return JKS(good, password, strings.Repeat("a", 1<<17), now) }, "cannot be written"},
		"PKCS#12 trust store of nothing":     {func() ([]byte, error) { return PKCS12TrustStore(nil, password, "") }, "at least one CA certificate"},
		"PKCS#12 trust store, no password":   {func() ([]byte, error) { return PKCS12TrustStore(trusted, "", "") }, "password is empty"},
		"JKS trust store of nothing":         {func() ([]byte, error) { return JKSTrustStore(nil, password, now) }, "at least one CA certificate"},
		"JKS trust store without a password": {func() ([]byte, error) { return JKSTrustStore(trusted, "", now) }, "password is empty"},
		"JKS trust store of an empty CA":     {func() ([]byte, error) { return JKSTrustStore([]*x509.Certificate{{}}, password, now) }, "cannot be written"},
		"PKCS#12 trust store, wrong profile": {func() ([]byte, error) { return PKCS12TrustStore(trusted, password, "RC4") }, "unknown PKCS#12 profile"},
		"PKCS#12 trust store beyond BMP":     {func() ([]byte, error) { return PKCS12TrustStore(trusted, "\U0001F511", "") }, "check that the password"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file, err := test.write()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if file != nil {
				t.Error("a file comes with the error")
			}
			if err != nil && (strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestWrongPasswordDoesNotOpen(t *testing.T) {
	file, err := PKCS12(bundle(t, "p_256"), password, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "store")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("openssl", "pkcs12", "-in", path, "-passin", "pass:wrong", "-nodes").CombinedOutput()
	if err == nil || bytes.Contains(output, []byte("PRIVATE KEY")) {
		t.Errorf("it opens with another password: %s", output)
	}
}

// The mode is fixed when a process starts, so the test runs itself again.
func TestKeyStoresSayThatFIPSModeForbidsThem(t *testing.T) {
	if fips140.Enforced() {
		b, trusted := bundle(t, "p_256"), roots(t, "root")
		for _, profile := range []Profile{Modern2023, Modern2026, LegacyDES, LegacyRC2} {
			if _, err := PKCS12(b, password, profile); !errors.Is(err, ErrFIPS) {
				t.Errorf("%s: %v", profile, err)
			}
		}
		if _, err := PKCS12TrustStore(trusted, password, ""); !errors.Is(err, ErrFIPS) {
			t.Error(err)
		}
		if _, err := JKS(b, password, "a", now); !errors.Is(err, ErrFIPS) {
			t.Error(err)
		}
		if _, err := JKSTrustStore(trusted, password, now); !errors.Is(err, ErrFIPS) {
			t.Error(err)
		}
		return
	}
	again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), "GODEBUG=fips140=only")
	output, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, output)
	}
}
