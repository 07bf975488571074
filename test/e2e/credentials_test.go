// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestEachOfTheThreeCredentialsBuysACertificate(t *testing.T) {
	w := newWorld(t)
	w.createSecret("token-credential", map[string][]byte{"credential": []byte(goodToken)})
	w.createSecret("passcode-credential", map[string][]byte{"credential": []byte(goodPasscode)})
	w.must(env.admin.Create(w.ctx, &corev1.Secret{ObjectMeta: w.meta("mtls-credential"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": w.vendor.file(deviceClient + ".crt"), "tls.key": w.vendor.file(deviceClient + ".key"),
	}}))
	w.startManager()
	cases := map[string]struct {
		auth                v1alpha1.IssuerAuth
		profile, credential string
	}{
		"token": {
			auth:    v1alpha1.IssuerAuth{APIToken: &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "token-credential", Key: "credential"}}},
			profile: profileLong, credential: "good",
		},
		"passcode": {
			auth:    v1alpha1.IssuerAuth{EnrollmentPasscode: &v1alpha1.EnrollmentPasscodeAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "passcode-credential", Key: "credential"}}},
			profile: profilePasscode, credential: "passcode",
		},
		"mtls": {
			auth:    v1alpha1.IssuerAuth{ClientCertificate: &v1alpha1.ClientCertificateAuth{SecretRef: v1alpha1.SecretReference{Name: "mtls-credential"}, URL: w.vendor.clientAuthURL}},
			profile: profileMTLS, credential: deviceClient,
		},
	}
	for name, c := range cases {
		w.issuer(func(i *v1alpha1.DeviceIssuer) { i.Name, i.Spec.Auth = name, c.auth })
		w.certificate(name, func(d *v1alpha1.DeviceCertificate) {
			d.Spec.IssuerRef.Name, d.Spec.EnrollmentProfileID = name, c.profile
		})
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.awaitReady(name)
			verifyPair(t, w.secret(name))
			w.wantBought(commonName(name), 1)
			if got := w.vendor.ledger(commonName(name))[0].Credential; got != c.credential {
				t.Errorf("bought with credential %s, want %s", got, c.credential)
			}
		})
	}
}

func TestAClusterDeviceIssuerBuysOnlyForWhomItGrants(t *testing.T) {
	w := newWorld(t)
	token := &corev1.Secret{ObjectMeta: w.meta(w.namespace), Data: map[string][]byte{"credential": []byte(goodToken)}}
	token.Namespace = operatorNamespace
	w.must(env.admin.Create(w.ctx, token))
	issuer := &v1alpha1.ClusterDeviceIssuer{}
	issuer.Name = w.namespace
	issuer.Spec.URL, issuer.Spec.CABundle = w.vendor.url, string(w.vendor.file("ca.crt"))
	issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: token.Name, Key: "credential"}}
	issuer.Spec.Grants = []v1alpha1.Grant{{
		Profiles:   []string{profileLong},
		Attributes: []v1alpha1.AttributeGrant{{ID: "subject.common_name", Values: []string{commonName("granted")}}},
	}}
	w.must(env.admin.Create(w.ctx, issuer))
	w.startManager()
	for _, name := range []string{"granted", "denied"} {
		w.certificate(name, func(c *v1alpha1.DeviceCertificate) {
			c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: issuer.Name}
		})
	}
	w.awaitReady("granted")
	w.await("denied", "refused for want of a grant", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonNotGranted
	})
	w.wantBought("", 1)
}

func TestAReplacedTokenWorksWithinSecondsWithoutARestart(t *testing.T) {
	w := newWorld(t)
	token := &corev1.Secret{ObjectMeta: w.meta(issuerName), Data: map[string][]byte{"credential": []byte("revoked-token")}}
	token.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	w.must(env.admin.Create(w.ctx, token))
	w.issuer()
	w.startManager()
	w.certificate("first")
	w.await("first", "waiting for a token", patience, waitsFor("check that the credential is the right one"))

	// The tests' patience is far below the five minutes after which Secrets are read again anyway.
	replace := func(with string) {
		w.editSecret(issuerName, func(s *corev1.Secret) { s.Data["credential"] = []byte(with) })
	}
	replace(goodToken)
	w.awaitReady("first")
	replace(otherToken)
	bought := ""
	eventually(t, patience, "a certificate is bought with the other token", func(context.Context) (bool, error) {
		if bought == "other" {
			return true, nil
		}
		name := "probe-" + time.Now().Format("150405.000")
		w.certificate(name)
		w.awaitReady(name)
		bought = w.vendor.ledger(commonName(name))[0].Credential
		return false, nil
	})
}
