// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"testing"
)

// names describes a bundle by the subjects of its certificates.
func names(certificates []*x509.Certificate) []string {
	var out []string
	for _, cert := range certificates {
		out = append(out, cert.Subject.CommonName)
	}
	return out
}

func TestAssembleOrdersAnyPoolAroundTheKey(t *testing.T) {
	for _, kind := range []string{"rsa_2048", "rsa_3072", "rsa_4096", "p_256", "p_384", "p_521", "ed_25519"} {
		signer := key(t, kind)
		chain := pool(t, kind, "ica", "root")
		shuffled := append(slices.Clone(chain), chain...)
		for seed := range uint64(20) {
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) {
				shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
			})
			bundle, err := Assemble(signer, shuffled)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if !KeyMatches(bundle.Key.Public(), chain[0]) || !bundle.Leaf.Equal(chain[0]) {
				t.Fatalf("%s: wrong key or leaf", kind)
			}
			if got := names(bundle.Intermediates); !slices.Equal(got, []string{"Example Device CA"}) {
				t.Errorf("%s: intermediates %q", kind, got)
			}
			if got := names(bundle.Roots); !slices.Equal(got, []string{"Example Root"}) {
				t.Errorf("%s: roots %q", kind, got)
			}
			if err := VerifyChain(bundle); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

func TestAssembleAcceptsIncompleteChains(t *testing.T) {
	tests := map[string]struct {
		pool                 []string
		intermediates, roots int
	}{
		"a leaf alone":               {[]string{"p_256"}, 0, 0},
		"no root":                    {[]string{"p_256", "ica"}, 1, 0},
		"a self-signed leaf":         {[]string{"self-signed-leaf"}, 0, 0},
		"the issuer's newer key too": {[]string{"rekeyed-leaf", "ica-rekeyed", "root"}, 1, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bundle, err := Assemble(key(t, "p_256"), pool(t, test.pool...))
			if err != nil {
				t.Fatal(err)
			}
			if len(bundle.Intermediates) != test.intermediates || len(bundle.Roots) != test.roots {
				t.Errorf("got %d intermediates and %d roots, want %d and %d",
					len(bundle.Intermediates), len(bundle.Roots), test.intermediates, test.roots)
			}
			if got := len(bundle.Chain()); got != 1+test.intermediates {
				t.Errorf("chain of %d certificates, want the leaf and its intermediates", got)
			}
		})
	}
}

func TestAssembleWithoutAKeyTakesTheCertificateThatIsNoCA(t *testing.T) {
	for name, certificates := range map[string][]string{
		"last in the pool":  {"root", "ica", "p_256"},
		"first in the pool": {"p_256", "ica", "root"},
		"alone":             {"p_256"},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, err := Assemble(nil, pool(t, certificates...))
			if err != nil {
				t.Fatal(err)
			}
			if bundle.Key != nil || !bundle.Leaf.Equal(cert(t, "p_256")) {
				t.Errorf("leaf is %q", Subject(bundle.Leaf))
			}
		})
	}
}

func TestAssembleWithoutAKeyTakesTheFirstOfNothingButCAs(t *testing.T) {
	bundle, err := Assemble(nil, pool(t, "ca-leaf", "ica", "root"))
	if err != nil {
		t.Fatal(err)
	}
	if !bundle.Leaf.Equal(cert(t, "ca-leaf")) {
		t.Errorf("leaf is %q", Subject(bundle.Leaf))
	}
	if fatal, _ := Check(bundle, Expectation{}, testNow); len(fatal) != 1 || fatal[0].Reason != ReasonLeafIsCA {
		t.Errorf("Check lets a CA pass: %v", fatal)
	}
}

func TestAssembleRefuses(t *testing.T) {
	tests := map[string]struct {
		key  string
		pool []string
		want string
	}{
		"an empty pool":                            {"p_256", nil, "no certificate"},
		"a key of no certificate":                  {"p_384", []string{"p_256", "ica", "root"}, "belongs to none"},
		"two leaves of the same key":               {"p_256", []string{"p_256", "same-key-leaf", "ica"}, "2 different certificates could be the leaf"},
		"two leaves without a key":                 {"", []string{"p_256", "p_384", "ica"}, "2 different certificates could be the leaf"},
		"a leaf of another key":                    {"p_256", []string{"p_256", "p_384", "ica", "root"}, "1 of 4 certificates do not belong"},
		"an unrelated root":                        {"p_256", []string{"p_256", "ica", "root", "other-root"}, "1 of 4 certificates do not belong"},
		"a chain with a gap":                       {"p_256", []string{"p_256", "root"}, "1 of 2 certificates do not belong"},
		"an issuer certified twice":                {"p_256", []string{"p_256", "ica", "ica-again", "root"}, "ambiguous"},
		"issuers of the right name and wrong keys": {"p_256", []string{"wrong-signer", "ica", "ica-again", "root"}, "ambiguous"},
		"an older key of the issuer":               {"p_256", []string{"rekeyed-leaf", "ica", "ica-rekeyed", "root"}, "1 of 4 certificates do not belong"},
		"a loop":                                   {"p_256", []string{"loop-leaf", "loop-a", "loop-b"}, "loop"},
		"eleven certificates":                      {"p_256", []string{"p_256", "long-chain"}, "more than 10"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var signer crypto.Signer
			if test.key != "" {
				signer = key(t, test.key)
			}
			bundle, err := Assemble(signer, pool(t, test.pool...))
			wantError(t, err, test.want)
			if bundle.Leaf != nil || bundle.Key != nil {
				t.Error("a refused pool still yields a bundle")
			}
		})
	}
}

func TestAssembleTakesTenCertificates(t *testing.T) {
	long := pool(t, "long-chain")
	bundle, err := Assemble(nil, long[:MaxChain])
	if err == nil {
		t.Fatalf("the root is not the leaf of %q", names(bundle.Intermediates))
	}
	slices.Reverse(long)
	bundle, err = Assemble(nil, long[1:])
	if err != nil {
		t.Fatal(err)
	}
	if len(bundle.Intermediates) != 8 || len(bundle.Roots) != 1 {
		t.Errorf("%d intermediates, %d roots", len(bundle.Intermediates), len(bundle.Roots))
	}
}

func TestKeyMatchesComparesPublicKeys(t *testing.T) {
	leaf := cert(t, "p_256")
	if !KeyMatches(key(t, "p_256").Public(), leaf) {
		t.Error("the leaf's own key does not match")
	}
	for name, public := range map[string]crypto.PublicKey{
		"another key of the curve": cert(t, "ica").PublicKey,
		"a key of another curve":   key(t, "p_384").Public(),
		"a key of another kind":    ed25519.PublicKey(make([]byte, 32)),
		"no key":                   nil,
		"something else":           "key",
	} {
		if KeyMatches(public, leaf) {
			t.Errorf("%s matches", name)
		}
	}
	if KeyMatches(key(t, "p_256").Public(), nil) {
		t.Error("a missing certificate matches")
	}
}
