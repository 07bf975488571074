// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"
)

func TestDecodeOpensEnvelopesAroundAKey(t *testing.T) {
	for _, name := range []string{"key.pem", "key.der", "key.ber", "key.aes128", "key.des3", "two-recipients", "oaep"} {
		t.Run(name, func(t *testing.T) {
			payload := enveloped(t, FormatCertEncryptedKeyOnly, name)
			payload.PEM = string(fixture(t, "p_256.chain.pem"))
			wantBundle(t, payload, "p_256", 1, 1)
		})
	}
}

func TestDecodeOpensEnvelopesAroundAnArchive(t *testing.T) {
	for _, name := range []string{"plain", "plain.ber", "names", "onefile", "unrelated"} {
		t.Run(name, func(t *testing.T) {
			wantBundle(t, enveloped(t, FormatCertEncrypted, "zip."+name), "p_256", 1, 1)
		})
	}
	for _, name := range []string{"der", "duplicates"} {
		t.Run(name, func(t *testing.T) {
			wantBundle(t, enveloped(t, FormatCertEncrypted, "zip."+name), "p_256", 1, 0)
		})
	}
}

func TestDecodeJoinsTheArchiveWithPEM(t *testing.T) {
	payload := enveloped(t, FormatCertEncrypted, "zip.keyonly")
	payload.PEM = string(fixture(t, "p_256.chain.pem"))
	wantBundle(t, payload, "p_256", 1, 1)
}

func TestDecodeRefusesEnvelopes(t *testing.T) {
	message := fixture(t, "key.pem.p7m")
	with := func(change func(*Payload)) Payload {
		payload := enveloped(t, FormatCertEncryptedKeyOnly, "key.pem")
		payload.PEM = string(fixture(t, "p_256.chain.pem"))
		change(&payload)
		return payload
	}
	long := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 9000), E: 3}}
	flipped := bytes.Clone(message)
	flipped[len(flipped)-1] ^= 1
	tests := map[string]struct {
		payload Payload
		reason  Reason
		want    string
	}{
		"no encryption certificate":   {with(func(p *Payload) { p.EncryptionCertificate = nil }), Missing, "encryption certificate"},
		"no decryption key":           {with(func(p *Payload) { p.DecryptionKey = nil }), Missing, "RSA decryption key"},
		"an empty decryption key":     {with(func(p *Payload) { p.DecryptionKey = (*rsa.PrivateKey)(nil) }), Missing, "RSA decryption key"},
		"an EC decryption key":        {with(func(p *Payload) { p.DecryptionKey = keyOf(t, "p_256.pkcs8.pem") }), Missing, "RSA decryption key"},
		"an empty EC decryption key":  {with(func(p *Payload) { p.DecryptionKey = (*ecdsa.PrivateKey)(nil) }), Missing, "RSA decryption key"},
		"a very long decryption key":  {with(func(p *Payload) { p.DecryptionKey = long }), TooLarge, "more than 8192 bits"},
		"the key of another":          {with(func(p *Payload) { p.DecryptionKey = keyOf(t, "transport-other.key.pem") }), Locked, "does not belong"},
		"a message for somebody else": {with(func(p *Payload) { p.PrivateKey = base64Of(fixture(t, "other-recipient.p7m")) }), Locked, "does not open"},
		"an EC recipient":             {with(func(p *Payload) { p.PrivateKey = base64Of(fixture(t, "ec.p7m")) }), Locked, "does not open"},
		"a recipient by key id":       {with(func(p *Payload) { p.PrivateKey = base64Of(fixture(t, "keyid.p7m")) }), Locked, "does not open"},
		"AES-192":                     {with(func(p *Payload) { p.PrivateKey = base64Of(fixture(t, "aes192.p7m")) }), Locked, "does not open"},
		"a changed octet":             {with(func(p *Payload) { p.PrivateKey = base64Of(flipped) }), Locked, "does not open"},
		"authenticated encryption":    {with(func(p *Payload) { p.PrivateKey = base64Of(fixture(t, "gcm.p7m")) }), Unsupported, "AuthEnvelopedData"},
		"a signed message":            {with(func(p *Payload) { p.PrivateKey = base64Of(fixture(t, "signed.p7m")) }), Unsupported, "another kind"},
		"no base64":                   {with(func(p *Payload) { p.PrivateKey = "<html>" }), Malformed, "not standard base64"},
		"nothing inside":              {with(func(p *Payload) { p.PrivateKey = base64Of(fixture(t, "nothing.p7m")) }), Missing, "no RSA, EC or Ed25519 private key"},
		"no certificate anywhere":     {with(func(p *Payload) { p.PEM = "" }), Missing, "neither pem nor private_key"},
		"a certificate of another":    {with(func(p *Payload) { p.PEM = string(fixture(t, "p_384.chain.pem")) }), Inconsistent, "belongs to none"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bundle, err := Decode(test.payload)
			wantFault(t, err, test.reason, test.want)
			if bundle.Key != nil {
				t.Error("a key comes with the error")
			}
			wantNoSecret(t, err.Error())
		})
	}
}

func TestDecodeRefusesArchives(t *testing.T) {
	tests := map[string]struct {
		reason Reason
		want   string
	}{
		"bomb":         {TooLarge, "more than 2097152 bytes after decompression"},
		"members":      {TooLarge, "more than 64 members"},
		"truncated":    {Malformed, "not a complete ZIP archive"},
		"crc":          {Malformed, "member is damaged"},
		"method":       {Unsupported, "compression unknown"},
		"password":     {Unsupported, "ZIP password"},
		"nokey":        {Missing, "no RSA, EC or Ed25519 private key"},
		"keyonly":      {Missing, "neither pem nor private_key"},
		"twokeys":      {Inconsistent, "more than one private key"},
		"mismatch":     {Inconsistent, "belongs to none"},
		"encryptedkey": {Malformed, "encrypted"},
		"damagedkey":   {Malformed, "no complete PEM block"},
		"damagedcert":  {Malformed, "cannot be parsed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bundle, err := Decode(enveloped(t, FormatCertEncrypted, "zip."+name))
			wantFault(t, err, test.reason, test.want)
			if bundle.Key != nil {
				t.Error("a key comes with the error")
			}
			wantNoSecret(t, err.Error())
		})
	}
}

// envelopeOf builds an EnvelopedData out of its fields.
func envelopeOf(fields ...string) string {
	return der(tagSequence, der(tagOID, oidEnvelopedData), der(tagContext0Constr, der(tagSequence, fields...)))
}

func TestEnvelopesAreRefusedByStructureAlone(t *testing.T) {
	version := der(tagInteger, "\x00")
	recipients := der(tagSet, der(tagSequence))
	content := func(octets ...string) string {
		return der(tagSequence, append([]string{der(tagOID, oidData), der(tagSequence)}, octets...)...)
	}
	octets := der(tagContext0, "ciphertext")
	if err := checkEnvelope([]byte(envelopeOf(version, recipients, content(octets)))); err != nil {
		t.Fatalf("the complete structure is refused: %v", err)
	}
	if err := checkEnvelope([]byte(envelopeOf(version, der(tagContext0Constr), recipients, content(octets)))); err != nil {
		t.Fatalf("the structure with an originator is refused: %v", err)
	}
	tests := map[string]struct {
		message string
		reason  Reason
		want    string
	}{
		"nothing":                    {"", Malformed, "not well-formed"},
		"one octet":                  {"\x30", Malformed, "not well-formed"},
		"not a sequence":             {der(tagSet), Malformed, "not a CMS message"},
		"an empty sequence":          {der(tagSequence), Malformed, "not a CMS message"},
		"no content":                 {der(tagSequence, der(tagOID, oidEnvelopedData), der(tagContext0Constr)), Malformed, "not a CMS message"},
		"content in another tag":     {der(tagSequence, der(tagOID, oidEnvelopedData), der(tagSequence, der(tagSequence))), Malformed, "not a CMS message"},
		"encrypted for nobody named": {der(tagSequence, der(tagOID, oidEncryptedData), der(tagContext0Constr, der(tagSequence))), Unsupported, "another kind"},
		"no fields":                  {envelopeOf(), Malformed, "incomplete"},
		"no version":                 {envelopeOf(recipients, content(octets), version), Malformed, "incomplete"},
		"no recipients":              {envelopeOf(version, content(octets), content(octets)), Malformed, "incomplete"},
		"originator, then nothing":   {envelopeOf(version, der(tagContext0Constr), recipients), Malformed, "incomplete"},
		"nobody to open it":          {envelopeOf(version, der(tagSet), content(octets)), Malformed, "addressed to nobody"},
		"too many recipients":        {envelopeOf(version, der(tagSet, strings.Repeat(der(tagSequence), 17)), content(octets)), TooLarge, "more than 16 recipients"},
		"no encrypted content":       {envelopeOf(version, recipients, content()), Malformed, "incomplete"},
		"empty encrypted content":    {envelopeOf(version, recipients, content(der(tagContext0))), Malformed, "empty"},
		"content of empty pieces":    {envelopeOf(version, recipients, content(der(tagContext0Constr, der(tagOctetString)))), Malformed, "empty"},
		"content of other pieces":    {envelopeOf(version, recipients, content(der(tagContext0Constr, der(tagInteger, "x")))), Malformed, "not made of octet strings"},
		"content of nested pieces":   {envelopeOf(version, recipients, content(der(tagContext0Constr, der(0x24, der(tagOctetString, "x"))))), Malformed, "not made of octet strings"},
		"content in another tag too": {envelopeOf(version, recipients, content(der(tagOctetString, "x"))), Malformed, "incomplete"},
		"a long tag":                 {"\x3f\x80\x00", Malformed, "not well-formed"},
		"a long tag that never ends": {"\x1f\x80", Malformed, "not well-formed"},
		"a length of five octets":    {"\x30\x85\x00\x00\x00\x00\x00", Malformed, "not well-formed"},
		"a negative length":          {"\x30\x84\xff\xff\xff\xff", Malformed, "not well-formed"},
		"a length without octets":    {"\x30\x82\x06", Malformed, "not well-formed"},
		"a length beyond the end":    {"\x30\x05\x02\x01", Malformed, "not well-formed"},
		"a primitive without end":    {"\x04\x80\x00\x00", Malformed, "not well-formed"},
		"a sequence without end":     {"\x30\x80\x02\x01\x00", Malformed, "not well-formed"},
		"half an end":                {"\x30\x80\x02\x01\x00\x00", Malformed, "not well-formed"},
		"an end without a beginning": {"\x00\x00", Malformed, "not well-formed"},
		"an endless nesting":         {strings.Repeat("\x30\x80", 100_000), TooLarge, "too deep"},
		"a deep nesting with an end": {strings.Repeat("\x30\x80", 40) + strings.Repeat("\x00\x00", 40), TooLarge, "too deep"},
		"very many elements":         {der(tagSequence, strings.Repeat("\x05\x00", MaxASN1Elements)), TooLarge, "too many elements"},
		"damage within":              {der(tagSequence, der(tagOID, oidEnvelopedData), "\x30\x05"), Malformed, "not well-formed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantFault(t, checkEnvelope([]byte(test.message)), test.reason, test.want)
		})
	}
}

func TestContentIsDecryptedOnlyIfItsParserSurvives(t *testing.T) {
	// Cipher text that is no multiple of the block length makes the parser
	// panic; the padding of a wrong length may do so as well.
	message := fixture(t, "key.aes128.p7m")
	root, err := parseASN1(message)
	if err != nil {
		t.Fatal(err)
	}
	fields := root.children[1].children[0].children
	recipients := fields[1].children[0].children
	key := recipients[3].content
	forged := envelopeOf(
		der(tagInteger, "\x00"),
		der(tagSet, der(tagSequence, der(tagInteger, "\x00"), raw(recipients[1]), raw(recipients[2]), der(tagOctetString, string(key)))),
		der(tagSequence, der(tagOID, oidData), raw(fields[2].children[1]), der(tagContext0, "seventeen octets!")))
	payload := enveloped(t, FormatCertEncryptedKeyOnly, "key.aes128")
	payload.PrivateKey = base64Of(minimal(t, []byte(forged)))
	_, err = Decode(payload)
	wantFault(t, err, Locked, "does not open")
}

// raw encodes an element again.
func raw(e element) string {
	if e.content != nil {
		return der(e.tag, string(e.content))
	}
	var children []string
	for _, child := range e.children {
		children = append(children, raw(child))
	}
	return der(e.tag, children...)
}

// minimal encodes a structure with the shortest lengths, as DER demands.
func minimal(t *testing.T, message []byte) []byte {
	t.Helper()
	root, err := parseASN1(message)
	if err != nil {
		t.Fatal(err)
	}
	return shortest(root)
}

func shortest(e element) []byte {
	body := e.content
	for _, child := range e.children {
		body = append(body, shortest(child)...)
	}
	length := []byte{byte(len(body))}
	switch {
	case len(body) > 0xff:
		length = []byte{0x82, byte(len(body) >> 8), byte(len(body))}
	case len(body) > 0x7f:
		length = []byte{0x81, byte(len(body))}
	}
	return append(append([]byte{e.tag}, length...), body...)
}
