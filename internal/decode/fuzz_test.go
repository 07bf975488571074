// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

// ours checks that an error is one that says whose fault it is.
func ours(t *testing.T, err error) {
	t.Helper()
	var fault *Error
	if err != nil && !errors.As(err, &fault) {
		t.Errorf("%v is not an *Error", err)
	}
}

// seed adds all fixtures of some kind.
func seed(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "fixtures", pattern))
	if err != nil || len(files) == 0 {
		f.Fatalf("no fixtures %s: %v", pattern, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

func FuzzPEM(f *testing.F) {
	seed(f, "*.pem")
	f.Fuzz(func(t *testing.T, file []byte) {
		limit.Parser.Hold(t, len(file), func() {
			_, err := readPEM(fieldPrivateKey, file)
			ours(t, err)
		})
	})
}

func FuzzDER(f *testing.F) {
	seed(f, "*.der")
	f.Fuzz(func(t *testing.T, file []byte) {
		limit.Parser.Hold(t, len(file), func() {
			_, err := readFile(fieldPrivateKey, file)
			ours(t, err)
		})
	})
}

func FuzzPKCS12(f *testing.F) {
	seed(f, "*.pfx")
	f.Fuzz(func(t *testing.T, file []byte) {
		limit.Parser.Hold(t, len(file), func() {
			_, err := openPFX(file, password)
			ours(t, err)
		})
	})
}

func FuzzCMS(f *testing.F) {
	seed(f, "*.p7m")
	key, certificate := keyOf(f, "transport.key.pem"), leafOf(f, "transport")
	f.Fuzz(func(t *testing.T, message []byte) {
		limit.Parser.Hold(t, len(message), func() {
			_, err := openEnvelope(message, key, certificate)
			ours(t, err)
		})
	})
}

func FuzzZIP(f *testing.F) {
	for _, name := range []string{"zip.plain", "zip.names", "zip.der", "zip.bomb", "zip.crc", "zip.password"} {
		archive, err := openEnvelope(fixture(f, name+".p7m"), keyOf(f, "transport.key.pem"), leafOf(f, "transport"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		limit.Parser.Hold(t, len(archive), func() {
			_, err := openArchive(archive)
			ours(t, err)
		})
	})
}

func FuzzBase64(f *testing.F) {
	for _, text := range []string{"", "QQ==", "QQ", "Q Q\r\n=", "-_", "QR==", "===="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit.Parser.Hold(t, len(text), func() {
			data, err := decodeBase64(fieldPEM, text)
			if ours(t, err); err != nil {
				return
			}
			again, err := decodeBase64(fieldPEM, base64Of(data))
			if err != nil || string(again) != string(data) {
				t.Errorf("%q decodes to %x, but that to %x: %v", text, data, again, err)
			}
		})
	})
}

func FuzzDecode(f *testing.F) {
	chain := string(fixture(f, "p_256.chain.pem"))
	f.Add(string(FormatPEM), chain, string(fixture(f, "p_256.pkcs8.pem")))
	f.Add(string(FormatDER), chain, base64Of(fixture(f, "p_256.traditional.der")))
	f.Add(string(FormatPKCS12), "", base64Of(fixture(f, "p_256.modern.pfx")))
	f.Add(string(FormatCertEncrypted), "", base64Of(fixture(f, "zip.plain.p7m")))
	f.Add(string(FormatCertEncryptedKeyOnly), chain, base64Of(fixture(f, "key.ber.p7m")))
	key, certificate := keyOf(f, "transport.key.pem"), leafOf(f, "transport")
	f.Fuzz(func(t *testing.T, format, text, privateKey string) {
		payload := Payload{Format: Format(format), PEM: text, PrivateKey: privateKey, Password: password, DecryptionKey: key, EncryptionCertificate: certificate}
		limit.Parser.Hold(t, len(text)+len(privateKey), func() {
			bundle, err := Decode(payload)
			if err == nil && !certs.KeyMatches(bundle.Key.Public(), bundle.Leaf) {
				t.Error("key and leaf do not match")
			}
			ours(t, err)
		})
		limit.Parser.Hold(t, len(text)+len(privateKey), func() {
			sealed, err := Seal(payload)
			if err == nil && (sealed.Bundle.Key != nil || strings.HasPrefix(format, "p")) {
				t.Error("a key was seen, or a format sealed that cannot be")
			}
			ours(t, err)
		})
	})
}
