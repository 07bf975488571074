// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	redacted = "[redacted]"

	// windowBytes is the length of the shortest piece of a longer secret that is
	// recognised. Shorter pieces occur in ordinary words.
	windowBytes = 8
)

// redactor removes secrets from text that others wrote.
type redactor struct {
	windows map[string]struct{} // every piece of windowBytes of every spelling, lower case
	short   []string            // whole secrets shorter than a window, lower case
}

// redactor knows the client's credential and the secrets of one call.
func (c *Client) redactor(call call) redactor {
	r := redactor{windows: map[string]struct{}{}}
	for _, secret := range append(append([]string{}, c.secrets...), call.secrets...) {
		if secret == "" {
			continue
		}
		for _, spelling := range spellings(secret) {
			r.add(lowerASCII(spelling))
		}
	}
	return r
}

func (r *redactor) add(spelling string) {
	if len(spelling) < windowBytes {
		r.short = append(r.short, spelling)
		return
	}
	for i := range len(spelling) - windowBytes + 1 {
		r.windows[spelling[i:i+windowBytes]] = struct{}{}
	}
}

// spellings returns a secret as it is, and as it looks when somebody encodes it.
// Base64 of a longer text that contains the secret depends on where in a group of
// three bytes it starts, hence the offsets.
func spellings(secret string) []string {
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
	if len(secret) < windowBytes {
		return all // encodings of so little are shorter than a window, or look like words
	}
	for offset := range 3 {
		shifted := []byte(strings.Repeat("\x00", offset) + secret)
		all = append(all, base64.RawStdEncoding.EncodeToString(shifted), base64.RawURLEncoding.EncodeToString(shifted))
	}
	return all
}

// clean makes foreign text fit for a log line or a condition: one line of printable
// characters without secrets and key material, at most limit bytes long.
func (r redactor) clean(text string, limit int) string {
	text = printable(text)
	text = keyMaterial.ReplaceAllString(text, redacted)
	text = r.redact(text)
	return truncate(text, limit)
}

// keyMaterial matches PEM blocks, also unfinished ones, and runs of base64 or hex
// longer than any identifier the vendor uses (a serial has up to 40 digits).
var keyMaterial = regexp.MustCompile(`-----BEGIN .*?(?:-----END [^-]*-----|$)|[A-Za-z0-9+/=_]{48,}`)

// ansiSequence matches terminal control sequences.
var ansiSequence = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// printable drops terminal sequences and invisible formatting characters, and turns
// line breaks and other control characters into single spaces.
func printable(text string) string {
	text = ansiSequence.ReplaceAllString(strings.ToValidUTF8(text, "?"), "")
	text = strings.Map(func(char rune) rune {
		switch {
		case unicode.IsSpace(char) || unicode.IsControl(char):
			return ' '
		case !unicode.IsPrint(char):
			return -1
		}
		return char
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// redact replaces every piece of a secret, ignoring ASCII case.
func (r redactor) redact(text string) string {
	lower := lowerASCII(text)
	secret := make([]bool, len(text))
	for i := range max(len(lower)-windowBytes+1, 0) {
		if _, found := r.windows[lower[i:i+windowBytes]]; found {
			mark(secret[i : i+windowBytes])
		}
	}
	for _, short := range r.short {
		for from := 0; ; {
			at := strings.Index(lower[from:], short)
			if at < 0 {
				break
			}
			mark(secret[from+at : from+at+len(short)])
			from += at + len(short)
		}
	}
	return replaceMarked(text, secret)
}

func mark(positions []bool) {
	for i := range positions {
		positions[i] = true
	}
}

func replaceMarked(text string, marked []bool) string {
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !marked[i]:
			out.WriteByte(text[i])
		case i == 0 || !marked[i-1]:
			out.WriteString(redacted)
		}
	}
	return out.String()
}

// lowerASCII keeps the length, unlike strings.ToLower.
func lowerASCII(text string) string {
	lower := []byte(text)
	for i, char := range lower {
		if 'A' <= char && char <= 'Z' {
			lower[i] = char + ('a' - 'A')
		}
	}
	return string(lower)
}

// truncate cuts text to at most limit bytes at a character's edge.
func truncate(text string, limit int) string {
	const ellipsis = "..."
	if len(text) <= limit {
		return text
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
