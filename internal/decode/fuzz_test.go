// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

// maxFuzzInput keeps fuzzing fast; maxFuzzAlloc is the most memory one input may
// cost, which is many times what the largest real answer costs.
const (
	maxFuzzInput = 128 << 10
	maxFuzzAlloc = 64 << 20
)

// bounded runs one decoder and fails if it allocates out of proportion.
func bounded(t *testing.T, input int, decode func() error) {
	t.Helper()
	if input > maxFuzzInput {
		return
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := decode()
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > maxFuzzAlloc {
		t.Errorf("%d bytes of input cost %d bytes of memory", input, spent)
	}
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
		bounded(t, len(file), func() error {
			_, err := readPEM(fieldPrivateKey, file)
			return err
		})
	})
}

func FuzzDER(f *testing.F) {
	seed(f, "*.der")
	f.Fuzz(func(t *testing.T, file []byte) {
		bounded(t, len(file), func() error {
			_, err := readFile(fieldPrivateKey, file)
			return err
		})
	})
}

func FuzzPKCS12(f *testing.F) {
	seed(f, "*.pfx")
	f.Fuzz(func(t *testing.T, file []byte) {
		bounded(t, len(file), func() error {
			_, err := openPFX(file, password)
			return err
		})
	})
}

func FuzzCMS(f *testing.F) {
	seed(f, "*.p7m")
	key, certificate := keyOf(f, "transport.key.pem"), leafOf(f, "transport")
	f.Fuzz(func(t *testing.T, message []byte) {
		bounded(t, len(message), func() error {
			_, err := openEnvelope(message, key, certificate)
			return err
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
		bounded(t, len(archive), func() error {
			_, err := openArchive(archive)
			return err
		})
	})
}

func FuzzBase64(f *testing.F) {
	for _, text := range []string{"", "QQ==", "QQ", "Q Q\r\n=", "-_", "QR==", "===="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bounded(t, len(text), func() error {
			data, err := decodeBase64(fieldPEM, text)
			if err != nil {
				return err
			}
			again, err := decodeBase64(fieldPEM, base64Of(data))
			if err != nil || string(again) != string(data) {
				t.Errorf("%q decodes to %x, but that to %x: %v", text, data, again, err)
			}
			return nil
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
		bounded(t, len(text)+len(privateKey), func() error {
			bundle, err := Decode(payload)
			if err == nil && !certs.KeyMatches(bundle.Key.Public(), bundle.Leaf) {
				t.Error("key and leaf do not match")
			}
			return err
		})
		bounded(t, len(text)+len(privateKey), func() error {
			sealed, err := Seal(payload)
			if err == nil && (sealed.Bundle.Key != nil || strings.HasPrefix(format, "p")) {
				t.Error("a key was seen, or a format sealed that cannot be")
			}
			return err
		})
	})
}
