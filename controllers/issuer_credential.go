// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	// maxTokenBytes is far above any token or passcode of the vendor's.
	maxTokenBytes = 8 << 10
	// maxChainBytes bounds tls.crt, maxKeyBytes tls.key: an RSA key of 8192 bits has less than 7 KiB, and larger ones cost seconds.
	maxChainBytes = 64 << 10
	maxKeyBytes   = 8 << 10
	// maxBundleBytes and maxBundleCertificates bound a CA bundle: the system's own is below half of both.
	maxBundleBytes        = 512 << 10
	maxBundleCertificates = 500
)

// observed is what was found out about an issuer without asking the vendor.
type observed struct {
	account.Connection
	// expiresAt is the end of the client certificate; zero for other credentials.
	expiresAt time.Time
	// material is what the credential's version is computed from.
	material []byte
	// accepted: an earlier process has tried this very connection and credential, and search is what it found out.
	accepted bool
	search   v1alpha1.CapabilityState
	// source says where the credential was read, for whoever has to replace it.
	source string
	// watched: a watch tells when anything changes that it was read from.
	watched bool
}

// credentialProblem is what a person must put right before an issuer can be used.
type credentialProblem struct{ reason, message string }

// Error is the message.
func (p *credentialProblem) Error() string { return p.message }

func credentialMissing(format string, args ...any) error {
	return &credentialProblem{v1alpha1.ReasonCredentialMissing, fmt.Sprintf(format, args...)}
}

func credentialUnusable(format string, args ...any) error {
	return &credentialProblem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf(format, args...)}
}

// observeConnection reads everything an issuer's connection is made of. What a person must put right is not an error but the reason
// why the connection is not ready.
func (r *IssuerReconciler) observeConnection(ctx context.Context, i issuer) (observed, error) {
	o := observed{Connection: account.Connection{
		UID: string(i.UID), Generation: i.Generation, Host: i.Host(), URL: i.Spec.URL,
		Suspended: i.Spec.Suspend, Limits: limitsOf(i.Spec.Limits), Ready: true,
	}}
	if d := i.Spec.RequestTimeout; d != nil {
		o.RequestTimeout = d.Duration
	}
	if d := i.Spec.Orphans.InventoryLag; d != nil {
		o.InventoryLag = d.Duration
		if d.Duration == 0 {
			o.InventoryLag = -1 // zero would mean the default
		}
	}
	err := r.readConnection(ctx, i, &o)
	if problem, ok := errors.AsType[*credentialProblem](err); ok {
		o.Credential = trustmanager.Credential{}
		o.Ready, o.Reason, o.Message = false, problem.reason, problem.message
		err = nil
	}
	if err != nil {
		return observed{}, fmt.Errorf("read the connection of %s: %w", i.ID, err)
	}
	if o.CredentialVersion, err = versionOf(o.material, i.UID); err != nil {
		return observed{}, err
	}
	return o, nil
}

// remember takes over what the status tells of an earlier process, as far as it speaks of this very spec and credential.
func (o *observed) remember(object issuerObject) {
	status := object.status
	o.Reservation = reservationOf(status)
	if status.ObservedGeneration == o.Generation {
		o.Blocked = status.BlockedProfiles
	}
	can := status.Capabilities
	if can == nil || status.CredentialVersion != o.CredentialVersion {
		return
	}
	if can.Enroll == v1alpha1.CapabilityYes {
		o.CanEnroll = v1alpha1.CapabilityYes
	}
	o.CanSpecify = can.Specification
	if status.ObservedGeneration == o.Generation && o.Credential.Passcode == "" && apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
		o.search = can.Search
		o.accepted = o.search == v1alpha1.CapabilityYes || o.search == v1alpha1.CapabilityNo
	}
}

func limitsOf(l v1alpha1.IssuerLimits) account.Limits {
	limits := account.Limits{RequestsPerSecond: int(l.RequestsPerSecond), Burst: int(l.Burst), MaxConcurrent: int(l.MaxConcurrent), IssuancesPerDay: int(l.IssuancesPerDay)}
	for value, fallback := range map[*int]int{&limits.RequestsPerSecond: 5, &limits.Burst: 20, &limits.MaxConcurrent: 8, &limits.IssuancesPerDay: 5000} {
		if *value == 0 {
			*value = fallback
		}
	}
	return limits
}

// readConnection reads trust, proxy and credential.
func (r *IssuerReconciler) readConnection(ctx context.Context, i issuer, o *observed) error {
	namespace := i.ID.Namespace
	if i.ID.Kind == v1alpha1.KindClusterDeviceIssuer {
		if namespace = r.ClusterResourceNamespace; namespace == "" {
			return credentialUnusable("a ClusterDeviceIssuer needs the operator's flag --cluster-resource-namespace, where its Secrets are")
		}
	}
	if err := r.readTrust(ctx, i.Spec, namespace, o); err != nil {
		return err
	}
	if i.Spec.ProxyURL != "" {
		proxy, err := url.Parse(i.Spec.ProxyURL)
		if err != nil {
			return credentialUnusable("spec.proxyURL cannot be read: expected http://host:port") // the error would quote a password in it
		}
		o.ProxyURL = proxy
	}
	return r.readCredential(ctx, i.Spec, namespace, o)
}

func (r *IssuerReconciler) readCredential(ctx context.Context, spec *v1alpha1.IssuerSpec, namespace string, o *observed) error {
	switch auth := spec.Auth; {
	case auth.APIToken != nil:
		token, err := r.readToken(ctx, namespace, auth.APIToken.SecretRef, o)
		o.Credential.APIToken = token
		o.material = append(o.material, token...)
		return err
	case auth.EnrollmentPasscode != nil:
		passcode, err := r.readToken(ctx, namespace, auth.EnrollmentPasscode.SecretRef, o)
		o.Credential.Passcode = passcode
		o.CanSearch, o.CanRevoke = v1alpha1.CapabilityNo, v1alpha1.CapabilityNo
		o.material = append(o.material, passcode...)
		return err
	case auth.ClientCertificate != nil:
		return r.readClientCertificate(ctx, spec, namespace, o)
	}
	return credentialUnusable("spec.auth names no credential: give apiToken, clientCertificate or enrollmentPasscode")
}

// readToken reads a token or passcode. A newline at its end, as kubectl create secret --from-file leaves it, is not part of it.
func (r *IssuerReconciler) readToken(ctx context.Context, namespace string, ref v1alpha1.SecretKeyReference, o *observed) (string, error) {
	o.source = fmt.Sprintf("key %s of Secret %s/%s", ref.Key, namespace, ref.Name)
	secret, err := r.readIssuerSecret(ctx, namespace, ref.Name)
	if err != nil {
		return "", err
	}
	value, ok := secret.Data[ref.Key]
	if !ok {
		return "", credentialMissing("Secret %s/%s has no key %s", namespace, ref.Name, ref.Key)
	}
	token := strings.TrimSpace(string(value))
	switch {
	case token == "":
		return "", credentialMissing("key %s of Secret %s/%s is empty", ref.Key, namespace, ref.Name)
	case len(token) > maxTokenBytes:
		return "", credentialUnusable("key %s of Secret %s/%s is %d bytes long, which is no token: at most %d are accepted", ref.Key, namespace, ref.Name, len(token), maxTokenBytes)
	case strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "", credentialUnusable("key %s of Secret %s/%s contains spaces, line breaks or other characters no token has: store the bare value", ref.Key, namespace, ref.Name)
	}
	return token, nil
}

// tokenTypes are the types of Secrets that hold credentials for others than the vendor. Sending one away would give it away.
var tokenTypes = [...]corev1.SecretType{
	corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken, corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson,
}

// readIssuerSecret reads a Secret live and refuses those that were not made for an issuer.
func (r *IssuerReconciler) readIssuerSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := r.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, credentialMissing("Secret %s/%s does not exist", namespace, name)
	case apierrors.IsForbidden(err):
		return nil, credentialMissing("the operator may not read Secret %s/%s: grant its service account get on it", namespace, name)
	case err != nil:
		return nil, err
	case slices.Contains(tokenTypes[:], secret.Type):
		return nil, credentialUnusable("Secret %s/%s has type %s and is not sent to a vendor: make one of type Opaque for the issuer", namespace, name, secret.Type)
	}
	return secret, nil
}

// readClientCertificate reads the pair for mutual TLS and points the connection at the host that asks for it.
func (r *IssuerReconciler) readClientCertificate(ctx context.Context, spec *v1alpha1.IssuerSpec, namespace string, o *observed) error {
	auth := spec.Auth.ClientCertificate
	if o.URL = auth.URL; o.URL == "" {
		twin, err := trustmanager.ClientAuthURL(spec.URL)
		if err != nil {
			return credentialUnusable("spec.url: %v", err)
		}
		o.URL = twin
	}
	name := auth.SecretRef.Name
	o.source = fmt.Sprintf("Secret %s/%s", namespace, name)
	secret, err := r.readIssuerSecret(ctx, namespace, name)
	if err != nil {
		return err
	}
	chain, key := secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey]
	switch {
	case len(chain) == 0 || len(key) == 0:
		return credentialMissing("Secret %s/%s needs both %s and %s", namespace, name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	case len(chain) > maxChainBytes || len(key) > maxKeyBytes:
		return credentialUnusable("Secret %s/%s: at most %d bytes of certificates and %d of key are accepted", namespace, name, maxChainBytes, maxKeyBytes)
	case encryptedKey(key):
		return credentialUnusable("Secret %s/%s: the private key is encrypted; store it without a passphrase", namespace, name)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return credentialUnusable("Secret %s/%s: %v", namespace, name, err)
	}
	if now := r.Clock.Now(); !now.Before(pair.Leaf.NotAfter) {
		return credentialUnusable("Secret %s/%s: the client certificate has expired; put a new one in", namespace, name)
	}
	o.Credential.ClientCertificate = &pair
	o.expiresAt = pair.Leaf.NotAfter
	o.material = append(append(o.material, chain...), key...)
	return nil
}

func encryptedKey(text []byte) bool {
	block, _ := pem.Decode(text)
	return block != nil && (block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "")
}

// readTrust reads the CA certificates that vouch for the host; the system's roots do when none are given.
func (r *IssuerReconciler) readTrust(ctx context.Context, spec *v1alpha1.IssuerSpec, namespace string, o *observed) error {
	bundle, origin := []byte(spec.CABundle), "spec.caBundle"
	if ref := spec.CABundleRef; ref != nil {
		if len(bundle) > 0 {
			return credentialUnusable("give spec.caBundle or spec.caBundleRef, not both")
		}
		var err error
		origin = fmt.Sprintf("key %s of %s %s/%s", ref.Key, ref.Kind, namespace, ref.Name)
		if bundle, err = r.readBundle(ctx, namespace, *ref); err != nil {
			return err
		}
	} else if len(bundle) == 0 {
		return nil
	}
	pool, err := parseBundle(bundle)
	if err != nil {
		return credentialUnusable("%s: %v", origin, err)
	}
	o.RootCAs = pool
	o.material = append(o.material, bundle...)
	return nil
}

func (r *IssuerReconciler) readBundle(ctx context.Context, namespace string, ref v1alpha1.ObjectKeyReference) ([]byte, error) {
	var value []byte
	var found bool
	if ref.Kind == v1alpha1.ObjectKindConfigMap {
		configMap := &corev1.ConfigMap{}
		err := r.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, configMap)
		switch {
		case apierrors.IsNotFound(err):
			return nil, credentialMissing("ConfigMap %s/%s does not exist", namespace, ref.Name)
		case apierrors.IsForbidden(err):
			return nil, credentialMissing("the operator may not read ConfigMap %s/%s: grant its service account get on it", namespace, ref.Name)
		case err != nil:
			return nil, err
		}
		var text string
		if text, found = configMap.Data[ref.Key]; found {
			value = []byte(text)
		} else {
			value, found = configMap.BinaryData[ref.Key]
		}
	} else {
		secret, err := r.readIssuerSecret(ctx, namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		value, found = secret.Data[ref.Key]
	}
	if !found {
		return nil, credentialMissing("%s %s/%s has no key %s", ref.Kind, namespace, ref.Name, ref.Key)
	}
	return value, nil
}

// parseBundle reads CA certificates in PEM. Text between the blocks is ignored, as bundles carry comments; anything else than
// certificates is refused.
func parseBundle(bundle []byte) (*x509.CertPool, error) {
	if len(bundle) > maxBundleBytes {
		return nil, fmt.Errorf("the CA bundle is %d bytes long, at most %d are accepted", len(bundle), maxBundleBytes)
	}
	pool, rest := x509.NewCertPool(), bundle
	for count := 0; ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if count == 0 || bytes.Contains(rest, []byte("-----BEGIN")) {
				return nil, fmt.Errorf("after %d certificates there is no further PEM certificate to be read", count)
			}
			return pool, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("the CA bundle must hold certificates only")
		}
		if count == maxBundleCertificates {
			return nil, fmt.Errorf("the CA bundle has more than %d certificates", maxBundleCertificates)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the CA bundle cannot be read: %w", count+1, err)
		}
		pool.AddCert(certificate)
	}
}

const (
	// versionIterations make guessing a short passcode from its version expensive.
	versionIterations = 20_000
	// versionBytes are too few to tell a right guess from a wrong one among all passcodes there are. They begin a key of derivedBytes,
	// because FIPS 140-only mode derives none below 112 bits.
	versionBytes = 5
	derivedBytes = 16
)

// versionOf identifies a credential and its CA certificates without giving them away: a short, slow, salted digest. It is the same in
// every process.
func versionOf(material []byte, salt types.UID) (string, error) {
	digest := sha256.Sum256(material)
	version, err := pbkdf2.Key(sha256.New, string(digest[:]), []byte(salt), versionIterations, derivedBytes)
	if err != nil {
		return "", fmt.Errorf("compute the credential's version: %w", err)
	}
	return hex.EncodeToString(version[:versionBytes]), nil
}
