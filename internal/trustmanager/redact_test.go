// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

const testKeyPEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----"

func TestASecretThatIsAWordOrAPatternIsRedactedLiterally(t *testing.T) {
	for passcode, want := range map[string]string{
		"error": "a [redacted] in profile .* and [redacted]s",
		".*":    "a error in profile [redacted] and errors",
	} {
		v := newVendor(t, answeringJSON(400, errorsBody("x", "a error in profile .* and errors")))
		client := v.client(t, func(cfg *Config) { cfg.Credential = Credential{Passcode: passcode} })
		_, err := client.Enroll(t.Context(), testKeyRequest())
		if got := mustFail(t, err).Message; got != want {
			t.Errorf("with passcode %q the message is %q, want %q", passcode, got, want)
		}
	}
}

func TestSecretsThatTheVendorReflectsAreRedacted(t *testing.T) {
	request := testKeyRequest()
	for name, reflected := range map[string]string{
		"token":                      testToken,
		"token in upper case":        strings.ToUpper(testToken),
		"first half of the token":    testToken[:len(testToken)/2],
		"token in base64":            base64.StdEncoding.EncodeToString([]byte(testToken)),
		"token inside longer base64": base64.StdEncoding.EncodeToString([]byte("x-api-key: " + testToken + "\r\n")),
		"token in hexadecimal":       hex.EncodeToString([]byte(testToken)),
		"token split by colours":     testToken[:10] + "\x1b[31m" + testToken[10:],
		"password":                   request.PKCS12Password,
		"private key":                testKeyPEM,
		"unfinished private key":     testKeyPEM[:60],
		"key in base64":              strings.Repeat("TUlHSEFnRUFN", 10),
	} {
		t.Run(name, func(t *testing.T) {
			for _, body := range []string{
				errorsBody("invalid_input", "bad value "+reflected+" given"),
				errorsBody(reflected, "bad value given"),
				`{"message":` + quoteJSON("bad value "+reflected+" given") + `,"code":1}`,
			} {
				_, err := newVendor(t, answeringJSON(400, body)).client(t).Enroll(t.Context(), request)
				failure := mustFail(t, err)
				text := fmt.Sprintf("%v %+v %#v %s %s", err, err, failure, failure.Code, failure.Message)
				assertNoWindow(t, text, reflected)
				assertNoWindow(t, text, testToken)
				if !strings.Contains(failure.Error(), "[redacted]") {
					t.Errorf("%q does not show that something was redacted", failure)
				}
			}
		})
	}
}

// assertNoWindow fails if any 16 bytes of the secret stand in the text.
func assertNoWindow(t *testing.T, text, secret string) {
	t.Helper()
	for i := 0; i+16 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+16]) {
			t.Fatalf("%q shows %q", text, secret[i:i+16])
		}
	}
	if len(secret) < 16 && strings.Contains(text, secret) {
		t.Fatalf("%q shows %q", text, secret)
	}
}

// net/http quotes the vendor's bytes in errors about malformed answers.
func TestSecretsInTransportErrorsAreRedacted(t *testing.T) {
	v := newRawVendor(t, serverTLS(t), func(conn net.Conn, _ int) {
		readRequest(bufio.NewReader(conn))
		fmt.Fprintf(conn, "x-api-key %s\r\n\r\n", testToken)
	})
	_, err := v.client(t).Enroll(t.Context(), testKeyRequest())
	for text := range map[string]bool{err.Error(): true, errors.Unwrap(err).Error(): true, fmt.Sprintf("%#v", err): true} {
		assertNoWindow(t, text, testToken)
	}
	if !strings.Contains(err.Error(), "[redacted]") {
		t.Errorf("got %v, the test needs an error that quotes the answer", err)
	}
}

func TestAShortSecretIsRedactedAsAWhole(t *testing.T) {
	v := newVendor(t, answeringJSON(400, errorsBody("x", "passcode ab1 or AB1 is wrong")))
	client := v.client(t, func(cfg *Config) { cfg.Credential = Credential{Passcode: "ab1"} })
	_, err := client.Enroll(t.Context(), testKeyRequest())
	if got, want := mustFail(t, err).Message, "passcode [redacted] or [redacted] is wrong"; got != want {
		t.Errorf("message is %q, want %q", got, want)
	}
}

func TestTheProxysPasswordIsASecretToo(t *testing.T) {
	v := newVendor(t, answeringJSON(400, errorsBody("x", "proxy-password")))
	proxy := newProxy(t)
	client := v.client(t, func(cfg *Config) {
		cfg.ProxyURL = proxy.url(t)
		cfg.ProxyURL.User = url.UserPassword("user", "proxy-password")
	})
	_, err := client.Enroll(t.Context(), testKeyRequest())
	if got := mustFail(t, err).Message; got != "[redacted]" {
		t.Errorf("message is %q", got)
	}
}

func TestCleanMakesOneBoundedPrintableLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"plain":              {"device gw-17 exists in division 6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "device gw-17 exists in division 6f9619ff-8b86-4d01-b42d-00cf4fc964ff"},
		"line breaks":        {"a\r\n\tb\n\n c\u2028d", "a b c d"},
		"terminal sequences": {"a\x1b[1;31mred\x1b[0m\x07b\u009bc", "ared b c"},
		"right to left":      {"a\u202eb\u200bc\ufeffd", "abcd"},
		"NUL":                {"a\x00b", "a b"},
		"invalid UTF-8":      {"a\xff\xfeb", "a?b"},
		"format verbs":       {"100%s %d", "100%s %d"},
		"a serial number":    {"serial 0A1B2C3D4E5F60718293A4B5C6D7E8F901234567", "serial 0A1B2C3D4E5F60718293A4B5C6D7E8F901234567"},
		"a long run":         {"key " + strings.Repeat("ab", 24) + " end", "key [redacted] end"},
		"two PEM blocks":     {"x " + testKeyPEM + " y " + testKeyPEM + " z", "x [redacted] y [redacted] z"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (redactor{}).clean(tc.text, 512); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCleanCutsAtACharacter(t *testing.T) {
	got := redactor{}.clean(strings.Repeat("é ", 300), 512)
	if len(got) > 512 || len(got) < 500 || !utf8.ValidString(got) || !strings.HasSuffix(got, "...") {
		t.Errorf("got %d bytes: %q", len(got), got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("message with "+testToken, "tail")
	f.Add(testKeyPEM, testToken[:9])
	f.Add("\x1b[31m", "é")
	client, err := New(Config{BaseURL: "https://one.digicert.com", Credential: Credential{APIToken: testToken}})
	if err != nil {
		f.Fatal(err)
	}
	redactor := client.redactor(call{secrets: []string{"Abc12345xyz"}})
	f.Fuzz(func(t *testing.T, before, after string) {
		var got string
		limit.Parser.Hold(t, len(before)+len(after), func() { got = redactor.clean(before+testToken+after, maxMessageBytes) })
		if len(got) > maxMessageBytes || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x1b\x00") {
			t.Errorf("%q is not a clean line", got)
		}
		assertNoWindow(t, got, testToken)
	})
}
