// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestInFIPSOnlyModeAPairIsStoredAndItsKeystoresAreNamedAsMissing(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.createSecret("store", map[string][]byte{"password": []byte("a-long-password")})
	manager := start(t, "env", "GODEBUG=fips140=only", env.manager, "--kubeconfig="+env.operatorKubeconfig, "--namespaces="+w.namespace,
		"--cluster-resource-namespace="+operatorNamespace, "--allowed-hosts=127.0.0.1", "--health-probe-bind-address=0")
	manager.awaitLog(t, "Starting workers", controllerCount)
	password := v1alpha1.SecretKeyReference{Name: "store", Key: "password"}
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Outputs = &v1alpha1.Outputs{PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: password}, JKS: &v1alpha1.JKSOutput{PasswordSecretRef: password}}
	})
	c := w.awaitReady("gateway")
	verifyPair(t, w.secret("gateway"))
	incomplete := condition(c.Status.Conditions, v1alpha1.ConditionOutputsIncomplete)
	if incomplete.Status != "True" || !strings.Contains(incomplete.Message, "FIPS 140-only") {
		t.Errorf("OutputsIncomplete is %+v, and does not name the reason", incomplete)
	}
	if _, there := w.secret("gateway").Data["keystore.p12"]; there {
		t.Error("there is a keystore made with an algorithm that is forbidden")
	}
}
