// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
)

// The key types the vendor documents; further ones may exist at a real tenant.
const (
	keyRSA2048 = "rsa_2048"
	keyRSA3072 = "rsa_3072"
	keyRSA4096 = "rsa_4096"
	keyP256    = "p_256"
	keyP384    = "p_384"
	keyP521    = "p_521"
	keyEd25519 = "ed_25519"

	// keyWeakRSA and keyWeakEC are never accepted in a request; the weakKey fault issues them.
	keyWeakRSA = "rsa_1024"
	keyWeakEC  = "p_224"
)

// keyTypeNames lists what a request may name. p_256 comes first because it is the default of a profile without one.
func keyTypeNames() []string {
	return []string{keyP256, keyP384, keyP521, keyEd25519, keyRSA2048, keyRSA3072, keyRSA4096}
}

func generateKey(keyType string) (crypto.Signer, error) {
	switch keyType {
	case keyWeakRSA:
		return rsa.GenerateKey(rand.Reader, 1024)
	case keyRSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case keyRSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case keyRSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case keyWeakEC:
		return ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case keyP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case keyP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case keyP521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case keyEd25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown key type %q", keyType)
}

// keyPool hands out keys generated ahead, each once.
type keyPool struct {
	ready map[string]chan crypto.Signer
}

// newKeyPool starts filling in the background and stops when closing is closed. The pool is not refilled: a benchmark
// wants the processor for itself.
func newKeyPool(counts map[string]int, closing <-chan struct{}) *keyPool {
	pool := &keyPool{ready: map[string]chan crypto.Signer{}}
	for keyType, count := range counts {
		ready := make(chan crypto.Signer, count)
		pool.ready[keyType] = ready
		go fillKeys(ready, keyType, closing)
	}
	return pool
}

func fillKeys(ready chan<- crypto.Signer, keyType string, closing <-chan struct{}) {
	for range cap(ready) {
		key, err := generateKey(keyType)
		if err != nil {
			return
		}
		select {
		case <-closing:
			return
		case ready <- key:
		}
	}
}

func (p *keyPool) take(keyType string) (crypto.Signer, error) {
	select {
	case key := <-p.ready[keyType]: // a nil channel for a type without a pool never delivers
		return key, nil
	default:
		return generateKey(keyType)
	}
}
