// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// inspect writes every Secret's contents to files, has them checked, and shows the table.
func (d *demo) inspect(ctx context.Context) error {
	list := &v1alpha1.DeviceCertificateList{}
	if err := d.cluster.List(ctx, list, client.InNamespace(sampleNamespace)); err != nil {
		return err
	}
	d.certificates = list.Items
	judge := d.judge()
	d.screen.note("checked by %s", judge.name())
	for _, command := range judge.shows() {
		d.screen.note("$ %s", command)
	}
	rows := make([]row, 0, len(list.Items))
	for i := range list.Items {
		c := &list.Items[i]
		held, err := d.unpack(ctx, c)
		if err != nil {
			return err
		}
		verdict, err := judge.check(ctx, held)
		if err != nil {
			return fmt.Errorf("the Secret %s does not hold what it should: %w", c.Status.SecretName, err)
		}
		rows = append(rows, d.newRow(c, held, verdict))
	}
	d.screen.table(rows)
	return nil
}

// judge is OpenSSL, which shares no code with the operator, or our own verifier where that is not installed.
func (d *demo) judge() judge {
	root := d.folder.path("simulator", "root.crt")
	if program, err := exec.LookPath("openssl"); err == nil {
		return opensslJudge{program: program, root: root, deviceKey: d.folder.path(deviceKey)}
	}
	return ownJudge{root: root, deviceKey: d.folder.path(deviceKey), deviceCertificate: d.folder.path(deviceCertificate)}
}

// A judge says what a Secret holds, or why it is no use.
type judge interface {
	// name is who judges, for the user.
	name() string
	// shows are commands that the user can repeat.
	shows() []string
	check(ctx context.Context, s unpacked) (verdict string, err error)
}

// unpacked is a Secret as files in a folder.
type unpacked struct {
	dir  string
	keys []string
	// password opens the keystores.
	password string
}

func (s unpacked) has(key string) bool { return slices.Contains(s.keys, key) }

// unpack writes the certificate's Secret to files.
func (d *demo) unpack(ctx context.Context, c *v1alpha1.DeviceCertificate) (unpacked, error) {
	secret, err := d.readSecret(ctx, c)
	if err != nil {
		return unpacked{}, err
	}
	s := unpacked{dir: d.folder.path("secrets", c.Name), keys: slices.Sorted(maps.Keys(secret.Data))}
	for key, content := range secret.Data {
		if err := d.folder.write(content, "secrets", c.Name, key); err != nil {
			return unpacked{}, err
		}
	}
	if o := c.Spec.Secret.Outputs; o != nil && o.PKCS12 != nil {
		ref := o.PKCS12.PasswordSecretRef
		holder := &v1alpha1.DeviceCertificate{}
		holder.Namespace, holder.Status.SecretName = c.Namespace, ref.Name
		passwords, err := d.readSecret(ctx, holder)
		if err != nil {
			return unpacked{}, err
		}
		s.password = string(passwords.Data[ref.Key])
	}
	return s, nil
}

// newRow is what the table says of one certificate.
func (d *demo) newRow(c *v1alpha1.DeviceCertificate, s unpacked, verdict string) row {
	return row{
		cells: []string{
			c.Name, string(c.Spec.PrivateKey.Format), string(c.Spec.PrivateKey.Delivery), string(c.Spec.IssuerRef.Kind), wayIn(c.Spec.IssuerRef.Name),
			c.Status.KeyType, shortSerial(c.Status.SerialNumber), shortTime(time.Until(c.Status.NotAfter.Time)),
		},
		detail:  "Secret " + c.Status.SecretName + ": " + strings.Join(s.keys, " "),
		verdict: verdict,
	}
}

// wayIn names the credential of a sample issuer.
func wayIn(issuer string) string {
	switch issuer {
	case "mtls":
		return "client certificate"
	case "passcode":
		return "passcode"
	default:
		return "API token"
	}
}

func shortSerial(serial string) string {
	if len(serial) <= 12 {
		return serial
	}
	return serial[:6] + "…" + serial[len(serial)-4:]
}

func shortTime(d time.Duration) string {
	if d > 48*time.Hour {
		return fmt.Sprintf("in %d days", int(d.Hours()/24))
	}
	return "in " + d.Round(time.Second).String()
}
