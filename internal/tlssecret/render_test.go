// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecret

import (
	"bytes"
	"crypto"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

func TestTheRenderedFilesAreWhatOpenSSLWrites(t *testing.T) {
	for _, kind := range []string{"p_256", "rsa_2048", "ed_25519"} {
		t.Run(kind, func(t *testing.T) {
			secret := mustRender(t, openContent(t, kind), layout())
			want := map[string]string{
				v1alpha1.KeyCertificate: string(fixture(t, kind+".pem")) + string(fixture(t, "ica.pem")),
				v1alpha1.KeyPrivateKey:  string(fixture(t, kind+".pkcs8.pem")),
				v1alpha1.KeyCA:          string(fixture(t, "root.pem")),
			}
			if diff := cmp.Diff(want, texts(secret)); diff != "" {
				t.Errorf("data (-OpenSSL +rendered):\n%s", diff)
			}
			if secret.Type != corev1.SecretTypeTLS {
				t.Errorf("type is %s, want %s", secret.Type, corev1.SecretTypeTLS)
			}
		})
	}
}

func TestTraditionalKeysAndFurtherFormatsAreWhatOpenSSLWrites(t *testing.T) {
	for _, kind := range []string{"p_256", "rsa_2048"} {
		t.Run(kind, func(t *testing.T) {
			l := richLayout()
			l.Outputs.Chain = v1alpha1.ChainInclude
			secret := mustRender(t, openContent(t, kind), l)
			chain := slices.Concat(fixture(t, kind+".pem"), fixture(t, "ica.pem"))
			key := fixture(t, kind+".traditional.pem")
			for name, want := range map[string][]byte{
				v1alpha1.KeyPrivateKey:  key,
				v1alpha1.KeyCombinedPEM: slices.Concat(key, chain),
				v1alpha1.KeyDERKey:      fixture(t, kind+".traditional.der"),
			} {
				if !bytes.Equal(secret.Data[name], want) {
					t.Errorf("%s differs from what OpenSSL writes", name)
				}
			}
			if kind == "p_256" && !bytes.Equal(secret.Data[v1alpha1.KeyDERCert], fixture(t, "p_256.der")) {
				t.Errorf("%s is not the leaf's DER", v1alpha1.KeyDERCert)
			}
		})
	}
}

func TestASealedSecretIsOpaqueAndHoldsThePayloadByteForByte(t *testing.T) {
	for _, name := range []string{v1alpha1.KeySealedBundle, v1alpha1.KeySealedKey} {
		t.Run(name, func(t *testing.T) {
			c := sealedContent(t, name)
			secret := mustRender(t, c, layout())
			if secret.Type != corev1.SecretTypeOpaque {
				t.Errorf("type is %s, want Opaque", secret.Type)
			}
			want := []string{v1alpha1.KeyCA, name, v1alpha1.KeyCertificate}
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(secret.Data))); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if !bytes.Equal(secret.Data[name], c.Sealed) {
				t.Error("the payload was changed")
			}
		})
	}
}

func TestTheSecretSaysWhereItsContentCameFrom(t *testing.T) {
	c := openContent(t, "p_256")
	c.CertificateUID = "uid-before-the-restore"
	secret := mustRender(t, c, layout())
	want := map[string]string{
		"example.com/note":                     "hello",
		v1alpha1.AnnotationCertificateName:     "gateway-17",
		v1alpha1.AnnotationCertificateUID:      "uid-1",
		v1alpha1.AnnotationCertificateID:       "cert-1",
		v1alpha1.AnnotationRequestID:           "request-1",
		v1alpha1.AnnotationAttemptID:           "attempt-1",
		v1alpha1.AnnotationIssuanceHash:        "v1:abc",
		v1alpha1.AnnotationIssuedAt:            "2030-01-01T12:00:00Z",
		v1alpha1.AnnotationHandledRenewRequest: "2029-12-31T00:00:00Z",
		v1alpha1.AnnotationIssuer:              "DeviceIssuer/digicert",
		v1alpha1.AnnotationHost:                "one.digicert.com",
		v1alpha1.AnnotationProfile:             "IOT_1",
		v1alpha1.AnnotationFingerprint:         certs.FingerprintSHA256(c.Bundle.Leaf),
		v1alpha1.AnnotationContentDigest:       secret.Annotations[v1alpha1.AnnotationContentDigest],
		v1alpha1.AnnotationChainDigest:         secret.Annotations[v1alpha1.AnnotationChainDigest],
	}
	if diff := cmp.Diff(want, secret.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"app": "gateway", v1alpha1.LabelWatch: "true"}, secret.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

func TestLeafOnlyKeepsTheIntermediatesSoThatTheChainComesBackForFree(t *testing.T) {
	for _, kind := range []string{"p_256", "rsa_2048", "ed_25519"} {
		t.Run(kind, func(t *testing.T) {
			full := mustRender(t, openContent(t, kind), layout())
			short := layout()
			short.Outputs.Chain = v1alpha1.ChainLeafOnly

			leafOnly := mustRender(t, Read(full).Content, short)
			if diff := cmp.Diff(string(fixture(t, kind+".pem")), string(leafOnly.Data[v1alpha1.KeyCertificate])); diff != "" {
				t.Errorf("tls.crt is not the leaf alone:\n%s", diff)
			}
			if diff := cmp.Diff(string(fixture(t, "ica.pem")), string(leafOnly.Data[v1alpha1.KeyChain])); diff != "" {
				t.Errorf("chain.crt is not the intermediate:\n%s", diff)
			}
			if again := mustRender(t, Read(leafOnly).Content, layout()); !cmp.Equal(texts(full), texts(again)) {
				t.Errorf("the way back differs:\n%s", cmp.Diff(texts(full), texts(again)))
			}
		})
	}
}

func TestKeystoresOpenWithTheirPasswordAndHoldThePair(t *testing.T) {
	c := openContent(t, "p_256")
	l := richLayout()
	l.Outputs.JKS.Alias = "gateway"
	secret := mustRender(t, c, l)

	key, leaf, chain, err := pkcs12.DecodeChain(secret.Data[v1alpha1.KeyPKCS12], l.PKCS12Password)
	if err != nil || !leaf.Equal(c.Bundle.Leaf) || len(chain) != 1 || !chain[0].Equal(c.Bundle.Intermediates[0]) {
		t.Errorf("keystore.p12 does not hold leaf and chain: %v", err)
	}
	if stored, ok := key.(crypto.Signer); !ok || !certs.KeyMatches(stored.Public(), c.Bundle.Leaf) {
		t.Error("keystore.p12 holds another key")
	}
	roots, err := pkcs12.DecodeTrustStore(secret.Data[v1alpha1.KeyPKCS12Trust], l.PKCS12Password)
	if err != nil || len(roots) != 1 || !roots[0].Equal(c.Bundle.Roots[0]) {
		t.Errorf("truststore.p12 does not hold the root: %v", err)
	}
	entry, err := openJKS(t, secret.Data[v1alpha1.KeyJKS], l.JKSPassword).GetPrivateKeyEntry("gateway", []byte(l.JKSPassword))
	if err != nil || len(entry.CertificateChain) != 2 || !bytes.Equal(entry.CertificateChain[0].Content, c.Bundle.Leaf.Raw) {
		t.Errorf("keystore.jks does not hold leaf and chain under its alias: %v", err)
	}
	if !entry.CreationTime.Equal(c.Bundle.Leaf.NotBefore) {
		t.Errorf("the entry is dated %s, want the leaf's notBefore %s", entry.CreationTime.UTC(), c.Bundle.Leaf.NotBefore)
	}
	if aliases := openJKS(t, secret.Data[v1alpha1.KeyJKSTrust], l.JKSPassword).Aliases(); len(aliases) != 1 {
		t.Errorf("truststore.jks has %d entries, want the root", len(aliases))
	}
}

func TestTheKeyEntryIsCalledCertificateUnlessTheSpecNamesIt(t *testing.T) {
	l := richLayout()
	secret := mustRender(t, openContent(t, "p_256"), l)
	if aliases := openJKS(t, secret.Data[v1alpha1.KeyJKS], l.JKSPassword).Aliases(); !slices.Equal(aliases, []string{"certificate"}) {
		t.Errorf("aliases are %q", aliases)
	}
}

func TestAnOutputThatCannotBeRenderedNeverHoldsBackThePair(t *testing.T) {
	noRoot := openContent(t, "p_256")
	noRoot.Bundle.Roots = nil
	p12, java := []string{v1alpha1.KeyPKCS12, v1alpha1.KeyPKCS12Trust}, []string{v1alpha1.KeyJKS, v1alpha1.KeyJKSTrust}
	for name, c := range map[string]struct {
		content Content
		edit    func(*Layout)
		missing []string
	}{
		"no root for the trust stores":   {noRoot, func(*Layout) {}, []string{v1alpha1.KeyPKCS12Trust, v1alpha1.KeyJKSTrust}},
		"empty PKCS#12 password":         {openContent(t, "p_256"), func(l *Layout) { l.PKCS12Password = "" }, p12},
		"unknown PKCS#12 profile":        {openContent(t, "p_256"), func(l *Layout) { l.Outputs.PKCS12.Profile = "Modern1999" }, p12},
		"PKCS#12 password out of reach":  {openContent(t, "p_256"), func(l *Layout) { l.PKCS12Password = "pass\U0001F511word" }, p12},
		"empty JKS password":             {openContent(t, "p_256"), func(l *Layout) { l.JKSPassword = "" }, java},
		"JKS password of five":           {openContent(t, "p_256"), func(l *Layout) { l.JKSPassword = "12345" }, java},
		"JKS password that is not ASCII": {openContent(t, "p_256"), func(l *Layout) { l.JKSPassword = "passwörter" }, java},
	} {
		t.Run(name, func(t *testing.T) {
			l := richLayout()
			c.edit(&l)
			ac, incomplete, err := Render(c.content, l)
			if err != nil {
				t.Fatal(err)
			}
			if len(incomplete) != len(c.missing) {
				t.Fatalf("incomplete: %v, want remarks on %v", incomplete, c.missing)
			}
			secret := applied(t, ac)
			for i, name := range c.missing {
				if _, there := secret.Data[name]; there || !strings.HasPrefix(incomplete[i].Error(), name+" ") {
					t.Errorf("%s: present %t, remark %q", name, there, incomplete[i])
				}
				for _, password := range []string{l.PKCS12Password, l.JKSPassword} {
					if password != "" && strings.Contains(incomplete[i].Error(), password) {
						t.Error("the remark tells a password")
					}
				}
			}
			stored := Read(secret)
			if stored.Broken != nil || !stored.InSync(secret, l) {
				t.Errorf("broken: %v, in sync: %t; what can be rendered was", stored.Broken, stored.InSync(secret, l))
			}
		})
	}
}

func TestAKeyThatCannotBeEncodedIsAnError(t *testing.T) {
	c := openContent(t, "p_256")
	c.Bundle.Key = nil
	if _, _, err := Render(c, layout()); err == nil || !strings.Contains(err.Error(), v1alpha1.KeyPrivateKey) {
		t.Errorf("error is %v, want one that names %s", err, v1alpha1.KeyPrivateKey)
	}
}

func TestARehearsalTriesEveryKeyOfTheRenderingWithoutKeyMaterial(t *testing.T) {
	sealed := layout()
	sealed.Outputs.Chain = v1alpha1.ChainLeafOnly
	for name, c := range map[string]struct {
		content Content
		layout  Layout
	}{
		"plain":         {openContent(t, "p_256"), layout()},
		"every output":  {openContent(t, "p_256"), richLayout()},
		"sealed bundle": {sealedContent(t, v1alpha1.KeySealedBundle), layout()},
		"sealed key":    {sealedContent(t, v1alpha1.KeySealedKey), sealed},
	} {
		t.Run(name, func(t *testing.T) {
			rendered := mustRender(t, c.content, c.layout)
			rehearsal := applied(t, Rehearsal(c.layout, c.content.Provenance, c.content.SealedKey))
			if diff := cmp.Diff(slices.Sorted(maps.Keys(rendered.Data)), slices.Sorted(maps.Keys(rehearsal.Data))); diff != "" {
				t.Errorf("keys (-rendered +rehearsed):\n%s", diff)
			}
			if rendered.Type != rehearsal.Type || rendered.Name != rehearsal.Name || rendered.Namespace != rehearsal.Namespace {
				t.Errorf("%s %s/%s is rehearsed as %s %s/%s", rendered.Type, rendered.Namespace, rendered.Name, rehearsal.Type, rehearsal.Namespace, rehearsal.Name)
			}
			if diff := cmp.Diff(rendered.Labels, rehearsal.Labels); diff != "" {
				t.Errorf("labels (-rendered +rehearsed):\n%s", diff)
			}
			for key := range rendered.Annotations {
				if _, ok := rehearsal.Annotations[key]; !ok {
					t.Errorf("annotation %s is not rehearsed", key)
				}
			}
			for key, value := range rehearsal.Data {
				if bytes.Equal(value, rendered.Data[key]) {
					t.Errorf("%s: an immutable Secret with this content would pass", key)
				}
				if bytes.Contains(value, []byte("-----BEGIN")) || !bytes.HasPrefix(value, []byte("rehearsal attempt-1")) {
					t.Errorf("%s does not look like a placeholder", key)
				}
			}
			if Read(rehearsal).Broken == nil {
				t.Error("a rehearsal that was stored by mistake would pass for a certificate")
			}
		})
	}
}

func TestALayoutFollowsTheSpec(t *testing.T) {
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: "edge", Name: "gateway-17", UID: "uid-1"}}
	if diff := cmp.Diff(Layout{Namespace: "edge", Name: "gateway-17", CertificateName: "gateway-17", CertificateUID: "uid-1"}, LayoutOf(c)); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	c.Spec.Secret = v1alpha1.SecretTarget{
		Name: "gateway-17-tls", Labels: map[string]string{"app": "gateway"}, Annotations: map[string]string{"example.com/note": "hello"},
		Outputs: &v1alpha1.Outputs{Chain: v1alpha1.ChainLeafOnly},
	}
	want := layout()
	want.Outputs.Chain = v1alpha1.ChainLeafOnly
	if diff := cmp.Diff(want, LayoutOf(c)); diff != "" {
		t.Errorf("everything set (-want +got):\n%s", diff)
	}
}

func TestRenderingLeavesTheLayoutAlone(t *testing.T) {
	l := layout()
	mustRender(t, openContent(t, "p_256"), l)
	Rehearsal(l, Provenance{IssuedAt: time.Time{}}, "")
	if diff := cmp.Diff(layout(), l); diff != "" {
		t.Errorf("the layout was changed:\n%s", diff)
	}
}

func texts(s *corev1.Secret) map[string]string {
	out := make(map[string]string, len(s.Data))
	for name, value := range s.Data {
		out[name] = string(value)
	}
	return out
}

func openJKS(t *testing.T, file []byte, password string) jks.KeyStore {
	t.Helper()
	store := jks.New()
	if err := store.Load(bytes.NewReader(file), []byte(password)); err != nil {
		t.Fatal(err)
	}
	return store
}
