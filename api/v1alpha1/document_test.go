// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// post sends a document as it is to the API server, which no client of Go's would do.
func post(ctx context.Context, t *testing.T, contentType, document string) (status int, answer string) {
	t.Helper()
	config := plane.Config()
	clients, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSuffix(config.Host, "/") + "/apis/" + v1alpha1.SchemeGroupVersion.String() + "/namespaces/" + namespace + "/devicecertificates?fieldValidation=Strict"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := clients.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestDocumentsThatAreBombsOrSayTwoThingsAreRefusedByTheAPIServer(t *testing.T) {
	const (
		typeYAML = "application/yaml"
		typeJSON = "application/json"
	)
	head := fmt.Sprintf("apiVersion: %s\nkind: DeviceCertificate\nmetadata: {name: document}\n", v1alpha1.SchemeGroupVersion)
	spec := "spec: {issuerRef: {name: digicert}, enrollmentProfileID: IOT_00000000-0000-0000-0000-000000000001}\n"
	var aliases strings.Builder
	aliases.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&aliases, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	document := `{"apiVersion": "` + v1alpha1.SchemeGroupVersion.String() + `", "kind": "DeviceCertificate", "metadata": {"name": "document"}, "spec": `
	if status, answer := post(t.Context(), t, typeYAML, strings.Replace(head, "document", "plain", 1)+spec); status != http.StatusCreated {
		t.Fatalf("a plain document: status %d: %s", status, answer)
	}
	for name, tc := range map[string]struct {
		contentType, document, says string
	}{
		"aliases of aliases": {typeYAML, head + spec + aliases.String(), "excessive aliasing"},
		"a key twice, YAML":  {typeYAML, head + spec + "spec: {suspend: true}\n", "already set"},
		"a key twice, JSON":  {typeJSON, document + `{"suspend": true, "suspend": false, "issuerRef": {"name": "digicert"}, "enrollmentProfileID": "IOT_00000000-0000-0000-0000-000000000001"}}`, "duplicate field"},
		"nested without end": {typeJSON, document + strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000) + "}", "exceeded max depth"},
		"four mebibytes":     {typeJSON, document + `{"enrollmentProfileID": "` + strings.Repeat("x", 4<<20) + `"}}`, "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := post(t.Context(), t, tc.contentType, tc.document)
			if status < 400 || status > 499 || !strings.Contains(answer, tc.says) {
				t.Errorf("status %d, want a refusal that says %q: %s", status, tc.says, answer[:min(len(answer), 500)])
			}
		})
	}
	stored := &v1alpha1.DeviceCertificateList{}
	if err := api.List(t.Context(), stored, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for i := range stored.Items {
		switch c := &stored.Items[i]; c.Name {
		case "document":
			t.Error("one of them was stored")
		case "plain":
			if err := api.Delete(t.Context(), c); err != nil {
				t.Error(err)
			}
		}
	}
}
