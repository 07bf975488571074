// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pretender is a private key in name: it belongs to a public key that nobody could make one for in a test's time.
type pretender struct {
	crypto.Signer
	public crypto.PublicKey
}

func (p pretender) Public() crypto.PublicKey { return p.public }

// issue makes a server's certificate for 127.0.0.1 that a CA has signed.
func issue(t *testing.T, ca tls.Certificate, public crypto.PublicKey) []byte {
	t.Helper()
	parent, err := x509.ParseCertificate(ca.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestAServersHugeOrBadlyRootedCertificateIsSentNothing(t *testing.T) {
	ca := newCertificate(t, nil)
	expired := newCertificate(t, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = c.NotBefore.Add(-48*time.Hour), c.NotAfter.Add(-48*time.Hour)
	})
	leafAsCA := newCertificate(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	own := newCertificate(t, nil)
	signer, ok := own.PrivateKey.(crypto.Signer)
	if !ok {
		t.Fatal("the key cannot sign")
	}
	huge := &rsa.PublicKey{N: new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 16_384), big.NewInt(1)), E: 65537}
	var long [][]byte
	for range 10_000 {
		long = append(long, bytes.Repeat([]byte{0}, 1<<10))
	}
	for name, tc := range map[string]struct {
		chain [][]byte
		key   crypto.PrivateKey
		root  tls.Certificate
	}{
		"a key of 16384 bits":           {[][]byte{issue(t, ca, huge)}, pretender{signer, huge}, ca},
		"a chain of 10 MB":              {append([][]byte{issue(t, ca, signer.Public())}, long...), signer, ca},
		"a root that has expired":       {[][]byte{issue(t, expired, signer.Public())}, signer, expired},
		"a root that is none":           {[][]byte{issue(t, leafAsCA, signer.Public())}, signer, leafAsCA},
		"a root of another of its name": {[][]byte{issue(t, ca, signer.Public())}, signer, own},
	} {
		t.Run(name, func(t *testing.T) {
			var bytesRead atomic.Int64
			v := newRawVendor(t, &tls.Config{Certificates: []tls.Certificate{{Certificate: tc.chain, PrivateKey: tc.key}}}, func(conn net.Conn, _ int) {
				n, _ := io.Copy(io.Discard, conn)
				bytesRead.Add(n)
			})
			roots := x509.NewCertPool()
			root, err := x509.ParseCertificate(tc.root.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			roots.AddCert(root)
			_, err = newTestClient(t, v.url, roots).Enroll(t.Context(), testKeyRequest())
			failure := mustFail(t, err)
			if diff := cmp.Diff(verdict{NotSent, Issuer, 0}, verdictOf(failure)); diff != "" {
				t.Errorf("verdict of %v (-want +got):\n%s", err, diff)
			}
			if bytesRead.Load() != 0 {
				t.Errorf("the server read %d bytes", bytesRead.Load())
			}
		})
	}
}
