// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/fips140"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/devicecert/devicecert-operator/internal/certs"
)

func TestDecodePKCS12OfEveryAge(t *testing.T) {
	tests := map[string]struct {
		kind                 string
		intermediates, roots int
	}{
		"rsa_2048.modern": {"rsa_2048", 1, 1},
		"p_256.modern":    {"p_256", 1, 1},
		"p_384.modern":    {"p_384", 1, 1},
		"ed_25519.modern": {"ed_25519", 1, 1},
		"p_256.legacy":    {"p_256", 1, 1},
		"rsa_2048.legacy": {"rsa_2048", 1, 1},
		"p_256.des":       {"p_256", 1, 1},
		"p_256.plain":     {"p_256", 1, 1},
		"p_256.named":     {"p_256", 1, 1},
		"p_256.leafonly":  {"p_256", 0, 0},
		"p_256.nomac":     {"p_256", 1, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { wantBundle(t, pfx(t, name), test.kind, test.intermediates, test.roots) })
	}
}

func TestDecodePKCS12JoinsItsCertificatesWithPEM(t *testing.T) {
	payload := pfx(t, "p_256.leafonly")
	payload.PEM = string(fixture(t, "p_256.chain.pem"))
	wantBundle(t, payload, "p_256", 1, 1)
}

func TestDecodePKCS12FindsTheLeafByItsKey(t *testing.T) {
	// OpenSSL always puts the leaf first, others need not.
	for name, encoder := range map[string]*pkcs12.Encoder{"modern": pkcs12.Modern2023, "newest": pkcs12.Modern2026, "legacy": pkcs12.LegacyRC2} {
		t.Run(name, func(t *testing.T) {
			file, err := encoder.Encode(keyOf(t, "p_256.pkcs8.pem"), leafOf(t, "root"), []*x509.Certificate{leafOf(t, "ica"), leafOf(t, "p_256")}, password)
			if err != nil {
				t.Fatal(err)
			}
			wantBundle(t, Payload{Format: FormatPKCS12, PrivateKey: base64Of(file), Password: password}, "p_256", 1, 1)
		})
	}
}

func TestDecodePKCS12AcceptsAnEmptyPassword(t *testing.T) {
	payload := pfx(t, "empty-password")
	payload.Password = ""
	wantBundle(t, payload, "p_256", 1, 1)
}

// replaced returns a PKCS#12 fixture in which some octets were replaced, as
// often as they occur, by as many others.
func replaced(t *testing.T, name, old, replacement string) []byte {
	t.Helper()
	file := fixture(t, name+".pfx")
	if len(old) != len(replacement) || !bytes.Contains(file, []byte(old)) {
		t.Fatalf("cannot replace %x in %s", old, name)
	}
	return bytes.ReplaceAll(file, []byte(old), []byte(replacement))
}

func TestDecodePKCS12Refuses(t *testing.T) {
	modern := fixture(t, "p_256.modern.pfx")
	payload := func(file []byte) Payload {
		return Payload{Format: FormatPKCS12, PrivateKey: base64Of(file), Password: password}
	}
	wrongPassword, noPassword, oddPassword := pfx(t, "p_256.modern"), pfx(t, "p_256.legacy"), pfx(t, "p_256.modern")
	wrongPassword.Password, noPassword.Password, oddPassword.Password = "Abc12346", "", "\U0001F511"
	other := pfx(t, "p_256.modern")
	other.PEM = string(fixture(t, "p_384.chain.pem"))
	sameKey := pfx(t, "p_256.modern")
	sameKey.PEM = string(fixture(t, "same-key-leaf.pem"))
	tests := map[string]struct {
		payload Payload
		reason  Reason
		want    string
	}{
		"a wrong password":                  {wrongPassword, Locked, "does not open with its password"},
		"a missing password":                {noPassword, Locked, "does not open with its password"},
		"a password PKCS#12 cannot express": {oddPassword, Malformed, "cannot be opened"},
		"no key":                            {pfx(t, "nokey"), Malformed, "0 private keys"},
		"no certificate":                    {pfx(t, "nocert"), Malformed, "at least one certificate"},
		"a leaf in pem of another key":      {other, Inconsistent, "do not belong"},
		"another leaf in pem of its key":    {sameKey, Inconsistent, "could be the leaf"},
		"no base64":                         {Payload{Format: FormatPKCS12, PrivateKey: "<html>", Password: password}, Malformed, "not standard base64"},
		"a PEM key":                         {payload(fixture(t, "p_256.pkcs8.pem")), Malformed, "not well-formed ASN.1"},
		"a DER key":                         {payload(fixture(t, "p_256.pkcs8.der")), Malformed, "not a PKCS#12 file"},
		"a CMS message":                     {payload(fixture(t, "key.pem.p7m")), Malformed, "not a PKCS#12 file"},
		"a message in BER":                  {payload(fixture(t, "key.ber.p7m")), Malformed, "not a PKCS#12 file"},
		"an empty sequence":                 {payload([]byte{0x30, 0}), Malformed, "not a PKCS#12 file"},
		"nothing inside":                    {payload([]byte{0x30, 7, 2, 1, 3, 0x30, 2, 5, 0}), Malformed, "not a PKCS#12 file"},
		"a file cut short":                  {payload(modern[:len(modern)-1]), Malformed, "not well-formed ASN.1"},
		"data after it":                     {payload(append(bytes.Clone(modern), 0)), Malformed, "something follows its end"},
		"a changed octet":                   {payload(replaced(t, "p_256.modern", string(modern[300:304]), "\x00\x00\x00\x00")), Malformed, "cannot be opened"},
		"a bomb of iterations":              {pfx(t, "bomb"), TooLarge, "more than 2000000 key derivation iterations"},
		"negative iterations":               {payload(replaced(t, "p_256.modern", "\x02\x02\x08\x00", "\x02\x02\x88\x00")), TooLarge, "iterations"},
		"version 4":                         {payload(replaced(t, "p_256.modern", string(modern[:7]), string(modern[:6])+"\x04")), Malformed, "version 3"},
		"public key protection":             {payload(replaced(t, "p_256.modern", oidData, oidEnvelopedData)), Malformed, "0 private keys"},
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

func TestDecodePKCS12RefusesTwoKeys(t *testing.T) {
	file := fixture(t, "p_256.plain.pfx")
	root, err := parseASN1(file)
	if err != nil {
		t.Fatal(err)
	}
	// Where every part is unencrypted, the certificate bag can be relabelled.
	const oidCertBag = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03"
	if root.tag != tagSequence || !bytes.Contains(file, []byte(oidCertBag)) {
		t.Fatal("the fixture has no certificate bag in view")
	}
	file = bytes.Replace(file, []byte(oidCertBag), []byte(oidKeyBag), 1)
	_, err = Decode(Payload{Format: FormatPKCS12, PrivateKey: base64Of(file), Password: password})
	wantFault(t, err, Malformed, "2 private keys in view")
}

// ber encodes an element as Java libraries do: indefinite lengths wherever there
// are children, and octet strings in pieces.
func ber(e element) string {
	pieces := func(tag byte) string {
		half := len(e.content) / 2
		return string([]byte{tag, 0x80}) + der(tagOctetString, string(e.content[:half])) + der(tagOctetString, string(e.content[half:])) + "\x00\x00"
	}
	switch {
	case e.tag == tagOctetString:
		return pieces(tagOctetString | tagConstructed)
	case e.tag == tagContext0:
		return pieces(tagContext0Constr)
	case e.tag&tagConstructed == 0:
		return der(e.tag, string(e.content))
	}
	out := string([]byte{e.tag, 0x80})
	for _, child := range e.children {
		out += ber(child)
	}
	return out + "\x00\x00"
}

func TestDecodePKCS12InBER(t *testing.T) {
	for _, name := range []string{"rsa_2048.modern", "p_256.legacy", "p_256.plain", "ed_25519.modern"} {
		t.Run(name, func(t *testing.T) {
			root, err := parseASN1(fixture(t, name+".pfx"))
			if err != nil {
				t.Fatal(err)
			}
			octets := &root.children[1].children[1].children[0]
			safe, err := parseASN1(octets.content)
			if err != nil {
				t.Fatal(err)
			}
			octets.content = []byte(ber(safe))
			kind, _, _ := strings.Cut(name, ".")
			file := ber(root)
			wantBundle(t, Payload{Format: FormatPKCS12, PrivateKey: base64Of([]byte(file)), Password: password}, kind, 1, 1)
			_, err = Decode(Payload{Format: FormatPKCS12, PrivateKey: base64Of([]byte(file[:len(file)-2])), Password: password})
			wantFault(t, err, Malformed, "not well-formed ASN.1")
		})
	}
}

// encryptedWith returns an AlgorithmIdentifier for PBES2 with AES-128 and so many
// iterations, and plain encrypted by it if one iteration is asked for.
func encryptedWith(t *testing.T, iterations, plain string) (algorithm, encrypted string) {
	t.Helper()
	const (
		oidPBES2  = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"
		oidPBKDF2 = "\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c"
		oidAES128 = "\x60\x86\x48\x01\x65\x03\x04\x01\x02"
		salt      = "salt of 16 bytes"
	)
	key, err := pbkdf2.Key(sha1.New, password, []byte(salt), 1, 16)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	padding := 16 - len(plain)%16
	out := []byte(plain + strings.Repeat(string([]byte{byte(padding)}), padding))
	cipher.NewCBCEncrypter(block, []byte(salt)).CryptBlocks(out, out)
	kdf := der(tagSequence, der(tagOID, oidPBKDF2), der(tagSequence, der(tagOctetString, salt), der(tagInteger, iterations)))
	return der(tagSequence, der(tagOID, oidPBES2), der(tagSequence, kdf, der(tagSequence, der(tagOID, oidAES128), der(tagOctetString, salt)))), string(out)
}

func TestDecodePKCS12DerivesNoKeyThatWasHidden(t *testing.T) {
	keyBag := func(algorithm, encrypted string) string {
		return der(tagSequence, der(tagOID, oidShroudedKeyBag), der(tagContext0Constr, der(tagSequence, algorithm, der(tagOctetString, encrypted))))
	}
	// The hidden key asks for as many iterations as there can be. If they were
	// done, this test would not end.
	algorithm, encrypted := encryptedWith(t, "\x7f\xff\xff\xff\xff\xff\xff\xff", "")
	hidden := string(minimal(t, []byte(der(tagSequence, keyBag(algorithm, encrypted)))))
	algorithm, encrypted = encryptedWith(t, "\x01", hidden)
	encryptedPart := der(tagSequence, der(tagOID, oidEncryptedData), der(tagContext0Constr, der(tagSequence, der(tagInteger, "\x00"),
		der(tagSequence, der(tagOID, oidData), algorithm, der(tagContext0, encrypted)))))
	algorithm, encrypted = encryptedWith(t, "\x01", string(fixture(t, "p_256.pkcs8.der")))
	plainPart := der(tagSequence, der(tagOID, oidData), der(tagContext0Constr, der(tagOctetString, der(tagSequence, keyBag(algorithm, encrypted)))))
	for _, safe := range []string{encryptedPart + plainPart, plainPart + encryptedPart} {
		file := der(tagSequence, der(tagInteger, "\x03"), der(tagSequence, der(tagOID, oidData), der(tagContext0Constr, der(tagOctetString, der(tagSequence, safe)))))
		_, err := Decode(Payload{Format: FormatPKCS12, PrivateKey: base64Of([]byte(file)), Password: password})
		wantFault(t, err, Malformed, "cannot be opened")
	}
}

// der builds one ASN.1 element out of its contents.
func der(tag byte, contents ...string) string {
	body := strings.Join(contents, "")
	length := []byte{0x83, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}
	return string([]byte{tag}) + string(length) + body
}

// pfxOf builds the outside of a PKCS#12 file around bags.
func pfxOf(bags ...string) string {
	safe := der(tagSequence, der(tagSequence, der(tagOID, oidData), der(tagContext0Constr, der(tagOctetString, der(tagSequence, bags...)))))
	return der(tagSequence, der(tagInteger, "\x03"), der(tagSequence, der(tagOID, oidData), der(tagContext0Constr, der(tagOctetString, safe))))
}

func TestDecodePKCS12RefusesByStructureAlone(t *testing.T) {
	keyBag := func(content string) string {
		return der(tagSequence, der(tagOID, oidShroudedKeyBag), der(tagContext0Constr, content))
	}
	deep := ""
	for range MaxASN1Depth {
		deep = der(tagSequence, deep)
	}
	iterations := make([]string, 40)
	for i := range iterations {
		iterations[i] = der(tagInteger, "\x00\xff\xff")
	}
	tests := map[string]struct {
		file   string
		reason Reason
		want   string
	}{
		"a large key":             {pfxOf(keyBag(der(tagOctetString, strings.Repeat("x", 17<<10)))), TooLarge, "longer than 16384"},
		"many small iterations":   {pfxOf(keyBag(der(tagSequence, iterations...))), TooLarge, "iterations"},
		"one endless number":      {pfxOf(keyBag(der(tagInteger, "\x01"+strings.Repeat("\x00", 9)))), TooLarge, "iterations"},
		"a deep structure":        {pfxOf(keyBag(deep)), TooLarge, "too deep"},
		"many elements":           {pfxOf(keyBag(strings.Repeat(der(0x05), MaxASN1Elements))), TooLarge, "too many elements"},
		"bags of no structure":    {pfxOf(der(tagOctetString, "x")), Malformed, "0 private keys"},
		"a bag that is no ASN.1":  {strings.Replace(pfxOf(keyBag(der(0x05))), "\x05\x83\x00\x00\x00", "\x1f\x83\x00\x00\x00", 1), Malformed, "not well-formed"},
		"safe that is no ASN.1":   {der(tagSequence, der(tagInteger, "\x03"), der(tagSequence, der(tagOID, oidData), der(tagContext0Constr, der(tagOctetString, "xx")))), Malformed, "not well-formed"},
		"a part without contents": {der(tagSequence, der(tagInteger, "\x03"), der(tagSequence, der(tagOID, oidData), der(tagContext0Constr, der(tagOctetString, der(tagSequence, der(tagSequence, der(tagOID, oidData), der(0x05))))))), Malformed, "protected by a password"},
		"an empty safe":           {pfxOf(), Malformed, "0 private keys"},
		"a key that is none":      {pfxOf(keyBag(der(tagOctetString, "x"))), Malformed, "cannot be opened"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(Payload{Format: FormatPKCS12, PrivateKey: base64Of([]byte(test.file)), Password: password})
			wantFault(t, err, test.reason, test.want)
		})
	}
}

func TestDecodePKCS12RefusesKeysThatCannotSign(t *testing.T) {
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file, err := pkcs12.Modern2023.Encode(agreement, leafOf(t, "p_256"), nil, password)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Decode(Payload{Format: FormatPKCS12, PrivateKey: base64Of(file), Password: password})
	wantFault(t, err, Unsupported, "unsupported kind")
}

func TestDecodePKCS12LimitsItsCertificates(t *testing.T) {
	key := keyOf(t, "p_256.pkcs8.pem")
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		ExtraExtensions: []pkix.Extension{{Id: []int{1, 2, 3}, Value: make([]byte, certs.MaxCertificateBytes)}},
	}
	large, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file, err := pkcs12.Modern2023.Encode(key, &x509.Certificate{Raw: large}, nil, password)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Decode(Payload{Format: FormatPKCS12, PrivateKey: base64Of(file), Password: password})
	wantFault(t, err, Malformed, "longer than 65536 bytes")
}

// The mode is fixed when a process starts, so the test runs itself again.
func TestDecodePKCS12SaysThatFIPSModeForbidsIt(t *testing.T) {
	if fips140.Enforced() {
		for _, name := range []string{"p_256.modern", "p_256.legacy"} {
			_, err := Decode(pfx(t, name))
			wantFault(t, err, Unsupported, "FIPS 140-only mode")
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
