// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecret

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

// FuzzRead reads Secrets that anybody may have edited: a usable one holds a pair, and none costs much.
func FuzzRead(f *testing.F) {
	chain, key, root := fixture(f, "p_256.chain.pem"), fixture(f, "p_256.pkcs8.pem"), fixture(f, "root.pem")
	f.Add(chain, key, root, []byte{}, "2026-01-31T12:00:00Z", "digest", "name")
	f.Add(chain, []byte("-----BEGIN PRIVATE KEY-----\n"), chain, []byte("p7m"), "never", "", "\x00")
	f.Add([]byte{}, []byte{}, []byte{}, []byte{0x30, 0x80}, "292277026596-12-04T15:30:08Z", "\n", "a/b")
	f.Fuzz(func(t *testing.T, chain, key, root, sealed []byte, issuedAt, digest, name string) {
		limit.Parser.Hold(t, len(chain)+len(key)+len(root)+len(sealed), func() {
			s := &corev1.Secret{Data: map[string][]byte{
				v1alpha1.KeyCertificate: chain, v1alpha1.KeyPrivateKey: key, v1alpha1.KeyCA: root,
			}}
			if len(sealed) > 0 {
				s.Data[v1alpha1.KeySealedKey] = sealed
			}
			s.Annotations = map[string]string{
				v1alpha1.AnnotationIssuedAt: issuedAt, v1alpha1.AnnotationContentDigest: digest, v1alpha1.AnnotationCertificateName: name,
				v1alpha1.AnnotationFingerprint: digest, v1alpha1.AnnotationSealedDigest: digest, v1alpha1.AnnotationChainDigest: digest,
			}
			stored := Read(s)
			stored.InSync(s, Layout{CertificateName: name})
			if stored.Broken == nil && stored.SealedKey == "" && !certs.KeyMatches(stored.Bundle.Key.Public(), stored.Bundle.Leaf) {
				t.Error("a Secret whose key does not match its certificate counts as usable")
			}
		})
	})
}
