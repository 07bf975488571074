// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package foreign

import (
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestAJavaClientSpeaksMutualTLSWithEveryKeystore(t *testing.T) {
	v := newVendor(t)
	own := v.order("web.example", "p_256", v1alpha1.Outputs{})
	web := nginx(t, mount(t, own.data()))
	args := []string{"testdata/Client.java", "https://localhost:" + strings.TrimPrefix(web.address, "127.0.0.1:") + "/", password}
	want := 0
	for _, keyType := range []string{"p_256", "rsa_2048"} {
		client := v.order(keyType+".java.example", keyType, everything(v1alpha1.PKCS12Modern2023))
		modern := mount(t, client.data())
		client.outputs = everything(v1alpha1.PKCS12LegacyDES)
		legacy := mount(t, client.data())
		args = append(args,
			"JKS", modern.file("keystore.jks"), modern.file("truststore.jks"),
			"PKCS12", modern.file("keystore.p12"), modern.file("truststore.p12"),
			"PKCS12", legacy.file("keystore.p12"), legacy.file("truststore.p12"))
		want += 3
	}
	said := run(t, "java", args...)
	for _, line := range []string{"JKS: hello CN=p_256.java.example", "PKCS12: hello CN=p_256.java.example", "JKS: hello CN=rsa_2048.java.example", "PKCS12: hello CN=rsa_2048.java.example"} {
		if !strings.Contains(said, line) {
			t.Errorf("%q is missing", line)
		}
	}
	if got := strings.Count(said, "hello"); got != want {
		t.Errorf("%d answers, want %d:\n%s", got, want, said)
	}
}
