// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// The field gateway's own pair. Its key is in a file, never in the cluster.
const (
	deviceKey         = "device-transport.key"
	deviceCertificate = "device-transport.crt"
)

// writeSamples writes an overlay over config/samples that points the issuers at the simulator and brings the credentials, and returns
// its folder. The account's token is among the credentials, or is left to the user to bring.
func (d *demo) writeSamples(token bool) (string, error) {
	folder, err := filepath.EvalSymlinks(d.folder.path())
	if err != nil {
		return "", err
	}
	base, err := filepath.Rel(filepath.Join(folder, "samples"), filepath.Join(d.root, "config", "samples"))
	if err != nil {
		return "", err
	}
	ca, err := os.ReadFile(d.folder.path("simulator", "ca.crt"))
	if err != nil {
		return "", err
	}
	// Short times let a lost answer be watched to its end; the defaults are minutes.
	connection := []patch{
		{"replace", "/spec/url", d.simulator.api},
		{"add", "/spec/caBundle", string(ca)},
		{"add", "/spec/requestTimeout", "10s"},
		{"add", "/spec/orphans", map[string]string{"inventoryLag": "5s"}},
	}
	overlay := kustomization{
		Resources: []string{base, "credentials.yaml"},
		Patches: []kustomizePatch{
			newPatch("ClusterDeviceIssuer", "", connection),
			newPatch("DeviceIssuer", "", connection),
			newPatch("DeviceIssuer", "mtls", []patch{{"add", "/spec/auth/clientCertificate/url", d.simulator.clientAuth}}),
		},
	}
	text, err := yaml.Marshal(overlay)
	if err != nil {
		return "", err
	}
	if err := d.folder.write(text, "samples", "kustomization.yaml"); err != nil {
		return "", err
	}
	return d.folder.path("samples"), d.writeCredentials(token)
}

// kustomization is the part of a kustomization.yaml that the overlay needs.
type kustomization struct {
	Resources []string         `json:"resources"`
	Patches   []kustomizePatch `json:"patches"`
}

type kustomizePatch struct {
	Target map[string]string `json:"target"`
	Patch  string            `json:"patch"`
}

type patch struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// newPatch changes every object of a kind, or the one of that name.
func newPatch(kind, name string, changes []patch) kustomizePatch {
	text, err := yaml.Marshal(changes)
	if err != nil {
		text = []byte(err.Error()) // strings and maps of strings can always be written
	}
	target := map[string]string{"kind": kind}
	if name != "" {
		target["name"] = name
	}
	return kustomizePatch{Target: target, Patch: string(text)}
}

// writeCredentials writes what the samples' comments tell a user to make.
func (d *demo) writeCredentials(token bool) error {
	vendor, err := simulator.LoadConfig(d.simulatorConfig())
	if err != nil {
		return err
	}
	client, err := readPair(d.folder.path("simulator", "demo-client"))
	if err != nil {
		return err
	}
	transport, err := newTransport("transport")
	if err != nil {
		return err
	}
	device, err := newTransport("field-gateway")
	if err != nil {
		return err
	}
	if err := errors.Join(d.folder.write(device[corev1.TLSPrivateKeyKey], deviceKey), d.folder.write(device[corev1.TLSCertKey], deviceCertificate)); err != nil {
		return err
	}
	objects := []any{
		secretOf(sampleNamespace, "digicert-passcode", corev1.SecretTypeOpaque, contents{"passcode": []byte(vendor.Passcodes[0].Passcode)}),
		secretOf(sampleNamespace, "digicert-mtls", corev1.SecretTypeTLS, client),
		secretOf(sampleNamespace, "transport", corev1.SecretTypeTLS, transport),
		secretOf(sampleNamespace, "keystore-password", corev1.SecretTypeOpaque, contents{"password": []byte(rand.Text())}),
		corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{Namespace: sampleNamespace, Name: "field-gateway"},
			Data:       map[string]string{corev1.TLSCertKey: string(device[corev1.TLSCertKey])},
		},
	}
	if token {
		objects = append(objects, secretOf(operatorNamespace, "digicert", corev1.SecretTypeOpaque, contents{"token": []byte(vendor.APIKeys[0].Key)}))
	}
	var all []byte
	for _, object := range objects {
		text, err := yaml.Marshal(object)
		if err != nil {
			return err
		}
		all = append(append(all, "---\n"...), text...)
	}
	return d.folder.write(all, "samples", "credentials.yaml")
}

// contents is the data of a Secret.
type contents map[string][]byte

func secretOf(namespace, name string, kind corev1.SecretType, data contents) corev1.Secret {
	return corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelWatch: "true"}},
		Type:       kind,
		Data:       data,
	}
}

// readPair reads name.crt and name.key.
func readPair(name string) (contents, error) {
	certificate, err := os.ReadFile(name + ".crt")
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(name + ".key")
	if err != nil {
		return nil, err
	}
	return contents{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}, nil
}

// newTransport makes a key pair for keys to travel under: RSA, which is all the vendor encrypts to.
func newTransport(name string) (contents, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make the transport key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the transport certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write the transport key: %w", err)
	}
	return contents{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}
