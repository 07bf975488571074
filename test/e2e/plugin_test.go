// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// plugin runs a verb as its user does, through kubectl, and answers with what was printed and the exit status.
func (w *world) plugin(input string, args ...string) (output string, status int) {
	w.Helper()
	args = append(append([]string{"devicecert"}, args...), "--namespace="+w.namespace)
	command := exec.CommandContext(w.ctx, env.controlPlane.Kubectl(), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+env.controlPlane.Kubeconfig(), "PATH="+filepath.Dir(env.plugin))
	command.Stdin = strings.NewReader(input)
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	return string(text), command.ProcessState.ExitCode()
}

func TestThePluginSteersARealOperator(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	wants := func(input string, args []string, status int, phrases ...string) {
		t.Helper()
		text, got := w.plugin(input, args...)
		if got != status {
			t.Errorf("%v: exit status %d, want %d\n%s", args, got, status, text)
		}
		for _, phrase := range phrases {
			if !strings.Contains(text, phrase) {
				t.Errorf("%v: no %q in\n%s", args, phrase, text)
			}
		}
	}
	manifest := func(name string) string {
		return `{apiVersion: devicecert.io/v1alpha1, kind: DeviceCertificate, metadata: {name: gateway, namespace: ` + w.namespace + `}, spec: {issuerRef: {name: ` + issuerName +
			`}, enrollmentProfileID: ` + profileLong + `, certificateAttributes: [{id: subject.common_name, value: ` + name + `}]}}`
	}
	plan := []string{"plan", "-f", "-"}
	wants(manifest(commonName("gateway")), plan, 2, "buys a certificate")
	w.certificate("gateway")
	first := w.awaitReady("gateway").Status.SerialNumber
	wants(manifest(commonName("gateway")), plan, 0, "buys nothing")
	wants(manifest(commonName("other")), plan, 2, "subject.common_name from "+commonName("gateway")+" to "+commonName("other"))
	wants("", []string{"status", "gateway"}, 0, "Ready", first, "it is renewed by itself on", "ca.crt, tls.crt, tls.key")

	// In the very second of issuing, too, a wish for a renewal is no old one.
	wants("", []string{"renew", "gateway", "--wait"}, 0, "renewed: serial")
	second := w.get("gateway").Status.SerialNumber
	if second == first {
		t.Errorf("the wait is over, and the serial number still %s", first)
	}
	wants("", []string{"inspect", "gateway"}, 0, "serial "+second, "fits the certificate", "tls.key: agrees")
	wants("", []string{"revoke", "gateway", "--reason", "key_compromise", "--yes", "--wait"}, 0, "serial "+second+" is revoked")
	w.wantBought(commonName("gateway"), 3)
	if live := w.live(commonName("gateway")); len(live) != 2 {
		t.Errorf("not revoked: %s, want all but %s", describe(live), second)
	}
	wants("", []string{"list"}, 0, "gateway", "1 certificate: 1 ready")
}
