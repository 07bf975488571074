// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tlssecret

import (
	"encoding/pem"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestWhatWasRenderedIsReadBackAndIsInSync(t *testing.T) {
	layouts := map[string]Layout{"plain": layout(), "every output": richLayout()}
	for _, kind := range []string{"p_256", "p_384", "p_521", "rsa_2048", "rsa_3072", "ed_25519"} {
		for name, l := range layouts {
			t.Run(kind+" "+name, func(t *testing.T) { wantRoundTrip(t, openContent(t, kind), l) })
		}
	}
	for _, name := range []string{v1alpha1.KeySealedBundle, v1alpha1.KeySealedKey} {
		t.Run("sealed "+name, func(t *testing.T) { wantRoundTrip(t, sealedContent(t, name), layout()) })
	}
}

func TestAPairWithoutIntermediateOrRootIsReadBack(t *testing.T) {
	for name, certificates := range map[string][]string{"leaf alone": {"p_256.pem"}, "no root": {"p_256.pem", "ica.pem"}} {
		for chain, l := range map[string]Layout{"plain": layout(), "leaf only": {CertificateName: "gateway-17", CertificateUID: "uid-1", Outputs: v1alpha1.Outputs{Chain: v1alpha1.ChainLeafOnly}}} {
			t.Run(name+" "+chain, func(t *testing.T) {
				wantRoundTrip(t, Content{Bundle: bundle(t, "p_256", certificates...), Provenance: provenance()}, l)
			})
		}
	}
}

func wantRoundTrip(t *testing.T, c Content, l Layout) {
	t.Helper()
	secret := mustRender(t, c, l)
	stored := Read(secret)
	if stored.Broken != nil {
		t.Fatalf("broken: %v", stored.Broken)
	}
	if !stored.InSync(secret, l) {
		t.Error("not in sync right after it was rendered")
	}
	if diff := cmp.Diff(c.Provenance, stored.Provenance); diff != "" {
		t.Errorf("provenance (-issued +read):\n%s", diff)
	}
	if stored.SealedKey != c.SealedKey || string(stored.Sealed) != string(c.Sealed) {
		t.Error("the sealed payload is another")
	}
	if !slices.EqualFunc(c.Bundle.Chain(), stored.Bundle.Chain(), (*certificate).Equal) || !slices.EqualFunc(c.Bundle.Roots, stored.Bundle.Roots, (*certificate).Equal) {
		t.Error("the certificates are others")
	}
	if (stored.Bundle.Key == nil) != (c.SealedKey != "") {
		t.Error("an open key was not read, or a sealed one was")
	}
}

func TestAnUnreadableIssuingTimeCountsAsUnknown(t *testing.T) {
	secret := mustRender(t, openContent(t, "p_256"), layout())
	for _, value := range []string{"", "yesterday", "9999999999"} {
		secret.Annotations[v1alpha1.AnnotationIssuedAt] = value
		if at := Read(secret).IssuedAt; !at.IsZero() {
			t.Errorf("%q is read as %s", value, at)
		}
	}
}

func TestAnEditOfAnyKeyShows(t *testing.T) {
	l := richLayout()
	edits := map[string]func([]byte) []byte{
		"changed": func(value []byte) []byte { value[len(value)/2] ^= 1; return value },
		"emptied": func([]byte) []byte { return nil },
		"cut":     func(value []byte) []byte { return value[:len(value)/2] },
	}
	names := slices.Sorted(maps.Keys(mustRender(t, openContent(t, "p_256"), l).Data))
	for _, name := range names {
		for what, edit := range edits {
			t.Run(name+" "+what, func(t *testing.T) {
				secret := mustRender(t, openContent(t, "p_256"), l)
				secret.Data[name] = edit(secret.Data[name])
				wantOutOfSync(t, secret, l)
			})
		}
		t.Run(name+" removed", func(t *testing.T) {
			secret := mustRender(t, openContent(t, "p_256"), l)
			delete(secret.Data, name)
			wantOutOfSync(t, secret, l)
		})
	}
}

func TestAnEditOfMetadataShows(t *testing.T) {
	edits := map[string]func(*corev1.Secret){
		"label changed":                  func(s *corev1.Secret) { s.Labels["app"] = "other" },
		"label removed":                  func(s *corev1.Secret) { delete(s.Labels, "app") },
		"watch label removed":            func(s *corev1.Secret) { delete(s.Labels, v1alpha1.LabelWatch) },
		"annotation changed":             func(s *corev1.Secret) { s.Annotations["example.com/note"] = "" },
		"annotation removed":             func(s *corev1.Secret) { delete(s.Annotations, "example.com/note") },
		"digest changed":                 func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationContentDigest] = "v1:0" },
		"digest removed":                 func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationContentDigest) },
		"UID of a deleted predecessor":   func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationCertificateUID] = "uid-0" },
		"name of another":                func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationCertificateName] = "gateway-18" },
		"fingerprint of another":         func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationFingerprint] = "00" },
		"every label and note forgotten": func(s *corev1.Secret) { s.Labels, s.Annotations = nil, nil },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			secret := mustRender(t, openContent(t, "p_256"), layout())
			edit(secret)
			wantOutOfSync(t, secret, layout())
		})
	}
}

func TestAChangeOfTheLayoutShows(t *testing.T) {
	edits := map[string]func(*Layout){
		"label added":          func(l *Layout) { l.Labels = map[string]string{"app": "gateway", "tier": "edge"} },
		"label dropped":        func(l *Layout) { l.Labels = nil },
		"annotation added":     func(l *Layout) { l.Annotations = map[string]string{"example.com/note": "hello", "example.com/b": ""} },
		"annotation dropped":   func(l *Layout) { l.Annotations = nil },
		"chain":                func(l *Layout) { l.Outputs.Chain = v1alpha1.ChainInclude },
		"key encoding":         func(l *Layout) { l.Outputs.KeyEncoding = v1alpha1.KeyEncodingPKCS8 },
		"format dropped":       func(l *Layout) { l.Outputs.Formats = l.Outputs.Formats[:1] },
		"PKCS#12 dropped":      func(l *Layout) { l.Outputs.PKCS12 = nil },
		"PKCS#12 profile":      func(l *Layout) { l.Outputs.PKCS12.Profile = v1alpha1.PKCS12LegacyDES },
		"PKCS#12 password":     func(l *Layout) { l.PKCS12Password += "2" },
		"JKS dropped":          func(l *Layout) { l.Outputs.JKS = nil },
		"JKS alias":            func(l *Layout) { l.Outputs.JKS.Alias = "gateway" },
		"JKS password":         func(l *Layout) { l.JKSPassword += "2" },
		"passwords swapped":    func(l *Layout) { l.PKCS12Password, l.JKSPassword = l.JKSPassword, l.PKCS12Password },
		"another object's UID": func(l *Layout) { l.CertificateUID = "uid-2" },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			secret := mustRender(t, openContent(t, "p_256"), richLayout())
			changed := richLayout()
			edit(&changed)
			wantOutOfSync(t, secret, changed)
			again := mustRender(t, Read(secret).Content, changed)
			if stored := Read(again); stored.Broken != nil || !stored.InSync(again, changed) {
				t.Errorf("broken: %v; the Secret alone is enough to render the change", stored.Broken)
			}
		})
	}
}

func TestWhatOthersAddToTheSecretIsNotOurs(t *testing.T) {
	secret := mustRender(t, openContent(t, "p_256"), layout())
	secret.Labels["theirs"], secret.Annotations["theirs"], secret.Data["theirs"] = "x", "x", []byte("x")
	if stored := Read(secret); stored.Broken != nil || !stored.InSync(secret, layout()) {
		t.Errorf("broken: %v; additions of others must not make us write", stored.Broken)
	}
}

func wantOutOfSync(t *testing.T, s *corev1.Secret, l Layout) {
	t.Helper()
	if Read(s).InSync(s, l) {
		t.Error("still in sync")
	}
}

func TestAnUnusablePairIsBroken(t *testing.T) {
	other := mustRender(t, openContent(t, "rsa_2048"), layout())
	for name, c := range map[string]struct {
		edit func(*corev1.Secret)
		says string
	}{
		"no data":                      {func(s *corev1.Secret) { s.Data = nil }, "tls.crt"},
		"tls.crt missing":              {func(s *corev1.Secret) { delete(s.Data, "tls.crt") }, "tls.crt"},
		"tls.crt garbage":              {func(s *corev1.Secret) { s.Data["tls.crt"] = []byte("garbage") }, "tls.crt"},
		"tls.crt cut":                  {func(s *corev1.Secret) { s.Data["tls.crt"] = s.Data["tls.crt"][:300] }, "tls.crt"},
		"tls.crt of the CA":            {func(s *corev1.Secret) { s.Data["tls.crt"] = fixture(t, "ica.pem") }, "belongs to none"},
		"tls.crt with a key inside":    {func(s *corev1.Secret) { s.Data["tls.crt"] = append(s.Data["tls.crt"], s.Data["tls.key"]...) }, "tls.crt"},
		"tls.key missing":              {func(s *corev1.Secret) { delete(s.Data, "tls.key") }, "no tls.key"},
		"tls.key empty":                {func(s *corev1.Secret) { s.Data["tls.key"] = nil }, "no tls.key"},
		"tls.key garbage":              {func(s *corev1.Secret) { s.Data["tls.key"] = []byte("garbage") }, "tls.key"},
		"tls.key cut":                  {func(s *corev1.Secret) { s.Data["tls.key"] = s.Data["tls.key"][:100] }, "tls.key"},
		"tls.key of another":           {func(s *corev1.Secret) { s.Data["tls.key"] = other.Data["tls.key"] }, "belongs to none"},
		"tls.crt of another":           {func(s *corev1.Secret) { s.Data["tls.crt"] = other.Data["tls.crt"] }, "belongs to none"},
		"whole pair of another":        {func(s *corev1.Secret) { s.Data = other.Data }, "not the one that was issued"},
		"tls.crt followed by a CA":     {func(s *corev1.Secret) { s.Data["tls.crt"] = append(s.Data["tls.crt"], fixture(t, "other-root.pem")...) }, "do not belong"},
		"sealed payload in open place": {func(s *corev1.Secret) { s.Data = map[string][]byte{"tls.crt": s.Data["tls.crt"], "key.p7m": {1}} }, "no tls.key"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := mustRender(t, openContent(t, "p_256"), layout())
			c.edit(secret)
			wantBroken(t, secret, c.says)
		})
	}
}

func TestADamagedSealedPayloadIsBroken(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*corev1.Secret)
		says string
	}{
		"changed":        {func(s *corev1.Secret) { s.Data["key.p7m"][7] ^= 1 }, "key.p7m"},
		"emptied":        {func(s *corev1.Secret) { s.Data["key.p7m"] = nil }, "key.p7m"},
		"removed":        {func(s *corev1.Secret) { delete(s.Data, "key.p7m") }, "tls.key"},
		"digest removed": {func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationSealedDigest) }, "key.p7m"},
		"leaf of another": {func(s *corev1.Secret) {
			s.Data["tls.crt"] = slices.Concat(fixture(t, "p_384.pem"), fixture(t, "ica.pem"))
		},
			"not the one that was issued"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := mustRender(t, sealedContent(t, v1alpha1.KeySealedKey), layout())
			c.edit(secret)
			wantBroken(t, secret, c.says)
		})
	}
}

func wantBroken(t *testing.T, s *corev1.Secret, says string) {
	t.Helper()
	stored := Read(s)
	switch {
	case stored.Broken == nil:
		t.Error("not broken")
	case !strings.Contains(stored.Broken.Error(), says):
		t.Errorf("broken says %q, want %q in it", stored.Broken, says)
	}
	if stored.InSync(s, layout()) {
		t.Error("broken and in sync")
	}
	if stored.CertificateID != "cert-1" {
		t.Errorf("the provenance of a broken Secret is lost: certificate id %q", stored.CertificateID)
	}
}

// Trust bundles are written into ca.crt by other tools. A certificate must not be bought for that.
func TestAnEditBesideThePairNeverBreaksIt(t *testing.T) {
	short := layout()
	short.Outputs.Chain = v1alpha1.ChainLeafOnly
	values := map[string][]byte{
		"missing": nil, "garbage": []byte("garbage"), "cut": fixture(t, "root.pem")[:200], "of somebody else": fixture(t, "other-root.pem"),
	}
	for _, key := range []string{v1alpha1.KeyCA, v1alpha1.KeyChain} {
		for what, value := range values {
			t.Run(key+" "+what, func(t *testing.T) {
				secret := mustRender(t, openContent(t, "p_256"), short)
				secret.Data[key] = value
				if value == nil {
					delete(secret.Data, key)
				}
				stored := Read(secret)
				if stored.Broken != nil {
					t.Fatalf("broken: %v", stored.Broken)
				}
				if stored.InSync(secret, short) {
					t.Error("still in sync")
				}
				wantRoundTrip(t, stored.Content, short)
			})
		}
	}
}

func TestAChainThatWasChangedShowsAndLeavesThePairUsable(t *testing.T) {
	for name, damage := range map[string]func(*corev1.Secret){
		"the root is removed":         func(s *corev1.Secret) { delete(s.Data, v1alpha1.KeyCA) },
		"the root is garbage":         func(s *corev1.Secret) { s.Data[v1alpha1.KeyCA] = []byte("garbage") },
		"the intermediate is cut off": func(s *corev1.Secret) { s.Data[v1alpha1.KeyCertificate] = firstBlock(s.Data[v1alpha1.KeyCertificate]) },
	} {
		t.Run(name, func(t *testing.T) {
			secret := mustRender(t, openContent(t, "p_256"), layout())
			if Read(secret).ChainDamaged {
				t.Fatal("damaged before anything was changed")
			}
			damage(secret)
			stored := Read(secret)
			if stored.Broken != nil {
				t.Errorf("broken: %v", stored.Broken)
			}
			if !stored.ChainDamaged {
				t.Error("the damage does not show")
			}
			if stored.InSync(secret, layout()) {
				t.Error("in sync")
			}
		})
	}
}

// firstBlock is the first PEM block of a text.
func firstBlock(text []byte) []byte {
	block, _ := pem.Decode(text)
	return pem.EncodeToMemory(block)
}
