// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/devicecert/devicecert-operator/internal/testkit/address"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

// freeAddress is an address of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := address.Free()
	if err != nil {
		t.Fatal(err)
	}
	return free
}

// serviceAccount makes one, with the right to read metrics or without, and answers with a token of it.
func (w *world) serviceAccount(name string, reads bool, audiences ...string) string {
	w.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: w.meta(name)}
	w.must(env.admin.Create(w.ctx, account))
	if reads {
		w.must(env.admin.Create(w.ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-" + name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "devicecert-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.namespace, Name: name}},
		}))
		reading := rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}
		w.must(live.AwaitRights(w.ctx, env.admin, w.userOf(name), "", reading))
	}
	clients, err := kubernetes.NewForConfig(env.controlPlane.Config())
	w.must(err)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	token, err := clients.CoreV1().ServiceAccounts(w.namespace).CreateToken(w.ctx, name, request, metav1.CreateOptions{})
	w.must(err)
	return token.Status.Token
}

// userOf is the name under which the API server knows a service account of the test's namespace.
func (w *world) userOf(account string) string {
	return "system:serviceaccount:" + w.namespace + ":" + account
}

// fetch asks the manager's HTTPS port for a path, with a token if it is not empty.
func (w *world) fetch(address, path, token string) (int, string) {
	w.Helper()
	return w.request(address, http.MethodGet, path, token, "")
}

// request sends one with that method, and a Range unless that is empty.
func (w *world) request(address, method, path, token, byteRange string) (int, string) {
	w.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, // it signs for itself unless it is given a certificate
	}}
	request, err := http.NewRequestWithContext(w.ctx, method, "https://"+address+path, http.NoBody)
	w.must(err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if byteRange != "" {
		request.Header.Set("Range", byteRange)
	}
	var status int
	var body []byte
	eventually(w.T, patience, "the metrics port answers", func(context.Context) (bool, error) {
		response, err := client.Do(request)
		if err != nil {
			return false, nil // it may not listen yet
		}
		defer response.Body.Close()
		status = response.StatusCode
		body, err = io.ReadAll(response.Body)
		return err == nil, nil
	})
	return status, string(body)
}

// metrics is the page, as one who may reads it.
func (w *world) metrics(address string) []byte {
	w.Helper()
	status, page := w.fetch(address, "/metrics", w.serviceAccount("scraper", true))
	if status != http.StatusOK || !strings.Contains(page, "controller_runtime_reconcile_total") {
		w.Errorf("status %d, and the page has %d bytes", status, len(page))
	}
	return []byte(page)
}

func TestMetricsAreShownToWhoeverMayReadThem(t *testing.T) {
	w := newWorld(t)
	w.connect()
	address := freeAddress(t)
	w.startManager("--metrics-bind-address=" + address)
	reader, stranger := w.serviceAccount("reader", true), w.serviceAccount("stranger", false)
	elsewhere := w.serviceAccount("elsewhere", true, "https://another-service.example")
	for _, test := range []struct {
		who, token, path string
		want             int
	}{
		{"nobody", "", "/metrics", http.StatusUnauthorized},
		{"a forged token", "eyJhbGciOiJub25lIn0.e30.", "/metrics", http.StatusUnauthorized},
		{"a token meant for another service", elsewhere, "/metrics", http.StatusUnauthorized},
		{"an account without the right", stranger, "/metrics", http.StatusForbidden},
		{"an account with the right", reader, "/metrics", http.StatusOK},
		// Whoever may read metrics finds no way to profiles, and no other page.
		{"an account with the right", reader, "/debug/pprof/", http.StatusNotFound},
		{"an account with the right", reader, "/debug/pprof/heap", http.StatusNotFound},
		{"an account with the right", reader, "/metrics/../../etc/passwd", http.StatusNotFound},
	} {
		status, page := w.fetch(address, test.path, test.token)
		if status != test.want {
			t.Errorf("%s gets %d from %s, want %d", test.who, status, test.path, test.want)
		}
		if status != http.StatusOK && strings.Contains(page, "workqueue") {
			t.Errorf("%s is refused, and sees metrics", test.who)
		}
	}
	for _, odd := range []struct {
		method, path string
		header       string
	}{
		{http.MethodTrace, "/metrics", ""}, {http.MethodDelete, "/metrics", ""}, {http.MethodGet, "/metrics?" + strings.Repeat("x", 1<<20), ""}, {http.MethodGet, "/metrics", "bytes=0-1"},
	} {
		status, page := w.request(address, odd.method, odd.path, "", odd.header)
		if status < http.StatusBadRequest || strings.Contains(page, "workqueue") {
			t.Errorf("%s %.20s without a token is answered with %d", odd.method, odd.path, status)
		}
	}
	plain := &http.Client{Timeout: 5 * time.Second}
	if response, err := plain.Get("http://" + address + "/metrics"); err == nil {
		defer response.Body.Close()
		if response.StatusCode < http.StatusBadRequest {
			t.Errorf("metrics without TLS: %s", response.Status)
		}
	}
}
