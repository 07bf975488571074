// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

const (
	rehearsal = "devicecert-simulator"
	vendorURL = "https://simulator." + rehearsal + ".svc"

	// profile, manual and token are those of config/simulator.
	profile = "IOT_00000000-0000-0000-0000-000000000001"
	manual  = "IOT_00000000-0000-0000-0000-000000000006"
	token   = "demo-token"

	// simulatorOverlay opens the admin API as well: nothing forwards ports here.
	simulatorOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
images: [{name: devicecert-simulator, newName: devicecert.test/simulator, newTag: node}]
patches:
  - target: {kind: Deployment, name: simulator}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/imagePullPolicy, value: Never}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: "--admin-listen=:8445"}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --admin-allow-remote}
`
)

// startVendor installs the simulator as on a rehearsal cluster, and an issuer that trusts it.
func (s *story) startVendor(ctx context.Context) error {
	if err := s.applyOverlay(ctx, "config/simulator", simulatorOverlay); err != nil {
		return err
	}
	if err := s.awaitDeployment(ctx, rehearsal, "simulator", 1); err != nil {
		return err
	}
	ca, err := s.vendorAdmin(ctx, http.MethodGet, "/ca", nil)
	if err != nil {
		return err
	}
	issuer := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: "digicert"}}
	issuer.Spec.URL = vendorURL
	issuer.Spec.CABundleRef = &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindConfigMap, Name: "simulator-ca", Key: "ca.crt"}
	issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}
	issuer.Spec.Grants = []v1alpha1.Grant{{Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{"team": "edge"}}}}
	for _, o := range []client.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: operator, Name: "simulator-ca"}, Data: map[string]string{"ca.crt": string(ca)}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operator, Name: "digicert"}, StringData: map[string]string{"token": token}},
		issuer,
	} {
		if err := s.admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// vendorAdmin asks the simulator's admin API.
func (s *story) vendorAdmin(ctx context.Context, method, path string, body any) ([]byte, error) {
	pods := &corev1.PodList{}
	if err := s.admin.List(ctx, pods, client.InNamespace(rehearsal)); err != nil {
		return nil, err
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("%d pods of the simulator, want one", len(pods.Items))
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+pods.Items[0].Status.PodIP+":8445"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return answer, err
}

// bought is what the vendor has issued to a common name, or to all if that is empty.
func (s *story) bought(ctx context.Context, commonName string) ([]simulator.Entry, error) {
	path := "/ledger"
	if commonName != "" {
		path += "?commonName=" + commonName
	}
	text, err := s.vendorAdmin(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	var ledger struct{ Entries []simulator.Entry }
	return ledger.Entries, json.Unmarshal(text, &ledger)
}
