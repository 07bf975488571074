// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// encryption is what a cert_encrypted request needs: the certificate the vendor encrypts to and, unless the key stays sealed, its
// private key.
type encryption struct {
	certificate *x509.Certificate
	pem         string
	keySHA256   string
	key         crypto.PrivateKey
}

// needsPasswords tells whether a keystore is asked for.
func (s *scope) needsPasswords() bool {
	o := s.cert.Spec.Secret.Outputs
	return o != nil && (o.PKCS12 != nil || o.JKS != nil)
}

// readPasswords resolves the passwords of the keystores, once per reconcile. A keystore whose password is not there is left out of
// the layout and named in incomplete: it must not hold back the certificate.
func (r *DeviceCertificateReconciler) readPasswords(ctx context.Context, s *scope) error {
	if s.passwordsRead {
		return nil
	}
	s.passwordsRead = true
	read := func(ref v1alpha1.SecretKeyReference, output string) (string, bool, error) {
		value, problem, err := r.readKey(ctx, s.cert.Namespace, v1alpha1.ObjectKindSecret, ref.Name, ref.Key, "spec.secret.outputs."+output+".passwordSecretRef")
		if problem != nil {
			s.incomplete = append(s.incomplete, problem.Message)
		}
		return string(value), problem == nil, err
	}
	var found bool
	var err error
	if o := s.layout.Outputs.PKCS12; o != nil {
		if s.layout.PKCS12Password, found, err = read(o.PasswordSecretRef, "pkcs12"); !found {
			s.layout.Outputs.PKCS12 = nil
		}
	}
	if o := s.layout.Outputs.JKS; o != nil && err == nil {
		if s.layout.JKSPassword, found, err = read(o.PasswordSecretRef, "jks"); !found {
			s.layout.Outputs.JKS = nil
		}
	}
	return err
}

// readEncryption resolves spec.privateKey.encryption, once per reconcile.
func (r *DeviceCertificateReconciler) readEncryption(ctx context.Context, s *scope) (*plan.Problem, error) {
	spec := s.cert.Spec.PrivateKey
	if !spec.Format.Encrypted() || spec.Encryption == nil || s.encryption.certificate != nil {
		return nil, nil
	}
	if problem := sealedNeedsSearch(s); problem != nil {
		return problem, nil
	}
	const field = "spec.privateKey.encryption."
	text := []byte(spec.Encryption.Certificate)
	if ref := spec.Encryption.CertificateRef; ref != nil {
		value, problem, err := r.readKey(ctx, s.cert.Namespace, ref.Kind, ref.Name, ref.Key, field+"certificateRef")
		if err != nil || problem != nil {
			return problem, err
		}
		text = value
	}
	pool, err := certs.ParseCertificatesPEM(text)
	if err != nil || len(pool) != 1 {
		return invalid("%scertificate must be one certificate in PEM", field), nil
	}
	if _, ok := pool[0].PublicKey.(*rsa.PublicKey); !ok {
		return invalid("%scertificate must have an RSA key: the vendor encrypts to no other", field), nil
	}
	found := encryption{
		certificate: pool[0], pem: string(certs.EncodeCertificatesPEM(pool)),
		keySHA256: hexSHA256(pool[0].RawSubjectPublicKeyInfo),
	}
	if ref := spec.Encryption.DecryptionKeyRef; ref != nil {
		value, problem, err := r.readKey(ctx, s.cert.Namespace, v1alpha1.ObjectKindSecret, ref.Name, ref.Key, field+"decryptionKeyRef")
		if err != nil || problem != nil {
			return problem, err
		}
		key, err := certs.ParsePrivateKeyPEM(value)
		if err != nil || !certs.KeyMatches(key.Public(), pool[0]) {
			return invalid("%sdecryptionKeyRef must hold, in PEM, the private key of the encryption certificate: what the vendor encrypts could not be opened", field), nil
		}
		found.key = key
	}
	s.encryption = found
	return nil, nil
}

// sealedNeedsSearch refuses the one combination whose leaf could not be had: a sealed bundle hides it, and the inventory cannot be
// searched for it.
func sealedNeedsSearch(s *scope) *plan.Problem {
	spec := s.cert.Spec.PrivateKey
	if spec.Delivery == v1alpha1.DeliverySealed && spec.Format == v1alpha1.FormatCertEncrypted && s.account.Known && !s.account.CanSearch {
		return invalid("sealed delivery in format %s needs an issuer that can search the inventory, because the certificate may come inside the sealed bundle alone: use format %s, or an API token",
			spec.Format, v1alpha1.FormatCertEncryptedKeyOnly)
	}
	return nil
}

// readKey reads one key of a Secret or ConfigMap live. A problem, not an error, says that it is not there.
func (r *DeviceCertificateReconciler) readKey(ctx context.Context, namespace string, kind v1alpha1.ObjectKind, name, key, field string) ([]byte, *plan.Problem, error) {
	at := types.NamespacedName{Namespace: namespace, Name: name}
	var value []byte
	var err error
	if kind == v1alpha1.ObjectKindConfigMap {
		object := &corev1.ConfigMap{}
		err = r.Reader.Get(ctx, at, object)
		value = []byte(object.Data[key])
	} else {
		kind = v1alpha1.ObjectKindSecret
		object := &corev1.Secret{}
		err = r.Reader.Get(ctx, at, object)
		value = object.Data[key]
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, missing("%s names %s %s, which does not exist: create it", field, kind, name), nil
	case err != nil:
		return nil, nil, fmt.Errorf("read %s %s: %w", kind, name, err)
	case len(value) == 0:
		return nil, missing("%s names key %s of %s %s, which is absent or empty: fill it in", field, key, kind, name), nil
	}
	return value, nil, nil
}

func missing(format string, args ...any) *plan.Problem {
	return &plan.Problem{Reason: v1alpha1.ReasonCredentialMissing, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *plan.Problem {
	return &plan.Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: fmt.Sprintf(format, args...)}
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
