// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

// How much of a secret, in each of its writings, is a leak: sixteen bytes of it, or all of it if it is shorter.
const (
	rawWindow    = 16
	base64Window = 20 // fifteen bytes: less than what a line break of PEM leaves whole
	hexWindow    = 32
)

// hunter finds secrets in any text: as they are, in hexadecimal, and in base64 at all three alignments and in both alphabets.
type hunter struct {
	// windows are the parts looked for, by their first eight bytes, and names what each is a part of.
	windows map[uint64][]window
	// begins tells by two bytes whether any window begins with them.
	begins [1 << 16]bool
}

type window struct {
	text []byte
	name string
}

func newHunter() *hunter { return &hunter{windows: map[uint64][]window{}} }

// secret adds a secret of at least ten bytes.
func (h *hunter) secret(name string, value []byte) {
	h.writing(name, value, rawWindow)
	h.writing(name+" in hexadecimal", []byte(hex.EncodeToString(value)), hexWindow)
	h.writing(name+" in capital hexadecimal", bytes.ToUpper([]byte(hex.EncodeToString(value))), hexWindow)
	for shift := range 3 {
		// Characters that also depend on the neighbours are left out.
		padded := append(make([]byte, shift), value...)
		first, last := (8*shift+5)/6, len(padded)*8/6
		for alphabet, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 of URLs": base64.RawURLEncoding} {
			h.writing(fmt.Sprintf("%s in %s, shifted by %d", name, alphabet, shift), []byte(encoding.EncodeToString(padded)[first:last]), base64Window)
		}
	}
}

// key adds what is secret of a private key in PEM: the numbers, not the structure around them, which all keys share.
func (h *hunter) key(t *testing.T, name string, text []byte) {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s: no PEM", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		scalar, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		h.secret(name, scalar)
	case ed25519.PrivateKey:
		h.secret(name, key.Seed())
	case *rsa.PrivateKey:
		h.secret(name, key.D.Bytes())
		for i, prime := range key.Primes {
			h.secret(fmt.Sprintf("prime %d of %s", i, name), prime.Bytes())
		}
	default:
		t.Fatalf("%s: unknown key %T", name, key)
	}
}

func (h *hunter) writing(name string, text []byte, longest int) {
	size := min(longest, len(text))
	for i := range len(text) - size + 1 {
		part := text[i : i+size]
		h.begins[binary.BigEndian.Uint16(part)] = true
		first := binary.BigEndian.Uint64(part)
		h.windows[first] = append(h.windows[first], window{part, name})
	}
}

// find names the secrets of which a part is in the text, each once.
func (h *hunter) find(text []byte) []string {
	var found []string
	for i := range max(0, len(text)-7) {
		if !h.begins[binary.BigEndian.Uint16(text[i:])] {
			continue
		}
		for _, w := range h.windows[binary.BigEndian.Uint64(text[i:])] {
			if bytes.HasPrefix(text[i:], w.text) && !strings.Contains(strings.Join(found, "|"), w.name) {
				found = append(found, w.name)
			}
		}
	}
	return found
}

func TestTheHunterFindsEveryWritingOfASecret(t *testing.T) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	h := newHunter()
	h.secret("canary", secret)
	h.secret("password", []byte("p4ssw0rd-of-the-store"))
	pemLines := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: append(make([]byte, 35), append(secret, make([]byte, 60)...)...)})
	for name, text := range map[string][]byte{
		"as it is":            secret,
		"sixteen bytes of it": secret[7:23],
		"hexadecimal":         []byte(hex.EncodeToString(secret)),
		"capitals":            []byte(fmt.Sprintf("%X", secret[16:])),
		"base64":              []byte(base64.StdEncoding.EncodeToString(secret)),
		"base64 of more":      []byte(base64.URLEncoding.EncodeToString(append([]byte("xy"), secret...))),
		"lines of PEM":        pemLines,
		"a password":          []byte(`{"error":"wrong p4ssw0rd-of-the-store"}`),
		"a password encoded":  []byte(base64.StdEncoding.EncodeToString([]byte("user:p4ssw0rd-of-the-store"))),
	} {
		if found := h.find(append([]byte("before "), append(text, " after"...)...)); len(found) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
	if found := h.find([]byte("nothing of " + hex.EncodeToString(secret[:15]) + " or " + string(secret[:15]))); len(found) > 0 {
		t.Errorf("found %v in too little", found)
	}
}
