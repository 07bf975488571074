// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package foreign gives the files of our Secrets to the programs they are made for: OpenSSL, keytool, a Java client, nginx, HAProxy,
// mosquitto and curl. Keys and certificates come from the simulated vendor through the operator's own client, decoders and renderer. The programs are
// started here, on the loopback interface, with configurations of their own.
package foreign

import (
	"context"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/decode"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/address"
	"github.com/devicecert/devicecert-operator/internal/testkit/mounted"
	"github.com/devicecert/devicecert-operator/internal/tlssecret"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	profileID = "IOT_00000000-0000-0000-0000-000000000001"
	password  = "changeit-1"
)

// vendor is the simulated vendor and our client of it.
type vendor struct {
	t      *testing.T
	client *trustmanager.Client
}

func newVendor(t *testing.T) *vendor {
	t.Helper()
	server, err := simulator.New(simulator.Config{
		APIKeys: []simulator.APIKey{{Name: "operator", Key: "token"}},
		Profiles: []simulator.Profile{{
			ID: profileID, KeyTypes: []string{"p_256", "rsa_2048", "ed_25519"},
			CertificateFields: []simulator.Field{{ID: "subject.common_name", Mandatory: true}, {ID: "san.dns_name", Multiple: true}},
		}},
	})
	must(t, err)
	running, err := server.Start(simulator.Addresses{API: "127.0.0.1:0"})
	must(t, err)
	t.Cleanup(func() {
		_ = running.Stop(context.Background())
		_ = server.Close()
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(server.TLSCertificate()))
	client, err := trustmanager.New(trustmanager.Config{
		BaseURL: running.URL, Credential: trustmanager.Credential{APIToken: "token"}, RootCAs: roots,
		RequestTimeout: 30 * time.Second, UserAgent: "test", Now: time.Now,
	})
	must(t, err)
	return &vendor{t: t, client: client}
}

// pair is one certificate on its way through renewals.
type pair struct {
	vendor  *vendor
	request trustmanager.KeyRequest
	// certificateID is the vendor's, of the current one.
	certificateID string
	outputs       v1alpha1.Outputs
	content       tlssecret.Content
}

// order buys a certificate that is good for localhost.
func (v *vendor) order(commonName, keyType string, outputs v1alpha1.Outputs) *pair {
	v.t.Helper()
	p := &pair{vendor: v, outputs: outputs, request: trustmanager.KeyRequest{
		ProfileID: profileID, KeyType: keyType, PrivateKeyFormat: "pem", IncludeChain: true,
		CertificateAttributes: []trustmanager.Attribute{
			{ID: "subject.common_name", Value: commonName}, {ID: "san.dns_name", Values: []string{commonName, "localhost"}},
		},
	}}
	issued, err := v.client.Enroll(v.t.Context(), p.request)
	must(v.t, err)
	p.take(issued)
	return p
}

// renew replaces the certificate by its successor, with a new key.
func (p *pair) renew() {
	p.vendor.t.Helper()
	issued, err := p.vendor.client.Renew(p.vendor.t.Context(), trustmanager.CertificateRef{ID: p.certificateID}, p.request)
	must(p.vendor.t, err)
	p.take(issued)
}

func (p *pair) take(issued *trustmanager.Issued) {
	p.vendor.t.Helper()
	bundle, err := decode.Decode(decode.Payload{Format: decode.FormatPEM, PEM: issued.PEM, PrivateKey: issued.PrivateKey})
	must(p.vendor.t, err)
	p.certificateID = issued.CertificateID
	p.content = tlssecret.Content{Bundle: bundle, Provenance: tlssecret.Provenance{CertificateID: issued.CertificateID, IssuedAt: time.Now()}}
}

// data is that of the Secret.
func (p *pair) data() map[string][]byte {
	p.vendor.t.Helper()
	layout := tlssecret.Layout{
		Namespace: "edge", Name: "gateway", CertificateName: "gateway", CertificateUID: "uid",
		Outputs: p.outputs, PKCS12Password: password, JKSPassword: password,
	}
	secret, incomplete, err := tlssecret.Render(p.content, layout)
	must(p.vendor.t, err)
	for _, err := range incomplete {
		p.vendor.t.Error(err)
	}
	return secret.Data
}

// serial is the certificate's number as programs print it.
func (p *pair) serial() string { return certs.SerialString(p.content.Bundle.Leaf) }

// everything are all outputs there are.
func everything(profile v1alpha1.PKCS12Profile) v1alpha1.Outputs {
	ref := v1alpha1.SecretKeyReference{Name: "keystores", Key: "password"}
	return v1alpha1.Outputs{
		Formats: []v1alpha1.OutputFormat{v1alpha1.OutputCombinedPEM, v1alpha1.OutputDER},
		PKCS12:  &v1alpha1.PKCS12Output{PasswordSecretRef: ref, Profile: profile},
		JKS:     &v1alpha1.JKSOutput{PasswordSecretRef: ref, Alias: "gateway"},
	}
}

// volume is a mounted Secret of a test.
type volume struct {
	*mounted.Volume
	t *testing.T
}

func mount(t *testing.T, data map[string][]byte) *volume {
	t.Helper()
	v, err := mounted.New(t.TempDir(), data)
	must(t, err)
	return &volume{v, t}
}

func (v *volume) update(data map[string][]byte) {
	v.t.Helper()
	must(v.t, v.Update(data))
}

func (v *volume) file(name string) string { return v.File(name) }

// freePort is a port of the loopback interface that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	free, err := address.Free()
	must(t, err)
	_, port, err := net.SplitHostPort(free)
	must(t, err)
	return port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
