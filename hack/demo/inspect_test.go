// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// pair makes a key and its self-signed certificate, in PEM.
func pair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})
}

// lay writes a Secret's files and a root to trust.
func lay(t *testing.T, root []byte, files map[string][]byte) (unpacked, string) {
	t.Helper()
	s := unpacked{dir: t.TempDir()}
	for name, content := range files {
		s.keys = append(s.keys, name)
		if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rootFile := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(rootFile, root, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, rootFile
}

func TestBothJudgesSeeWhatIsWrongWithASecret(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := pair(t)
	otherCertificate, otherKey := pair(t)
	for name, test := range map[string]struct {
		root, certificate, key []byte
		want                   string // in the verdict; empty for a refusal
	}{
		"all is well":             {certificate, certificate, key, "key matches"},
		"the key of another":      {certificate, certificate, otherKey, ""},
		"the wrong root":          {otherCertificate, certificate, key, ""},
		"a key that is no key":    {certificate, certificate, []byte("rehearsal"), ""},
		"a missing certificate":   {certificate, nil, key, ""},
		"a certificate cut short": {certificate, certificate[:100], key, ""},
	} {
		s, root := lay(t, test.root, map[string][]byte{v1alpha1.KeyCertificate: test.certificate, v1alpha1.KeyPrivateKey: test.key})
		for _, judge := range []judge{opensslJudge{program: openssl, root: root}, ownJudge{root: root}} {
			verdict, err := judge.check(t.Context(), s)
			if test.want == "" && err == nil || test.want != "" && !strings.Contains(verdict, test.want) {
				t.Errorf("%s: %T says %q, error %v", name, judge, verdict, err)
			}
		}
	}
}

func TestBothJudgesOpenASealedKeyAsTheDeviceWould(t *testing.T) {
	certificate, key := pair(t)
	device, err := newTransport("device")
	if err != nil {
		t.Fatal(err)
	}
	s, root := lay(t, certificate, map[string][]byte{
		v1alpha1.KeyCertificate: certificate, deviceKey: device[v1alpha1.KeyPrivateKey], deviceCertificate: device[v1alpha1.KeyCertificate],
	})
	seal := exec.CommandContext(t.Context(), "openssl", "smime", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-out", v1alpha1.KeySealedKey, deviceCertificate)
	seal.Dir, seal.Stdin = s.dir, bytes.NewReader(key)
	if output, err := seal.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	s.keys = []string{v1alpha1.KeyCertificate, v1alpha1.KeySealedKey}
	private, public := filepath.Join(s.dir, deviceKey), filepath.Join(s.dir, deviceCertificate)
	for _, judge := range []judge{
		opensslJudge{program: "openssl", root: root, deviceKey: private},
		ownJudge{root: root, deviceKey: private, deviceCertificate: public},
	} {
		if verdict, err := judge.check(t.Context(), s); err != nil || !strings.Contains(verdict, "key matches") {
			t.Errorf("%T says %q, error %v", judge, verdict, err)
		}
	}
}

func TestATableAlignsItsColumnsByCharacters(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	cells := func(serial string) []string {
		return []string{"a", "pem", "Decrypted", "DeviceIssuer", "token", "p_256", serial, "in 1s"}
	}
	s.table([]row{{cells: cells("AB…CD")}, {cells: cells("ABxCD")}})
	columns := map[int]bool{}
	for line := range strings.Lines(out.String()) {
		if before, _, ok := strings.Cut(line, "in 1s"); ok {
			columns[len([]rune(before))] = true
		}
	}
	if len(columns) != 1 {
		t.Errorf("the last column begins at %v:\n%s", columns, out.String())
	}
}

func TestOutputOfOtherProgramsIsShownByLine(t *testing.T) {
	var out bytes.Buffer
	notes := (&screen{out: &out}).notes()
	for _, part := range []string{"one", " line\nanother", " line\n"} {
		if _, err := notes.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := out.String(), "    one line\n    another line\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
