// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package edge gives our Secrets to an Ingress and a Gateway of a real API server and to the parts of Traefik that serve them, to gRPC, and the
// documented files to Envoy's types. It is a module of its own: Traefik brings some hundred others. `make edge` runs it.
package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/installation"
	"github.com/devicecert/devicecert-operator/internal/testkit/program"
)

const (
	namespace = "edge"
	profileID = "IOT_00000000-0000-0000-0000-000000000001"
	root      = "../.."
	patience  = time.Minute
)

// world is a cluster with the operator at work.
type world struct {
	*testing.T
	admin      client.Client
	kubeconfig string
	// address is where Traefik serves TLS.
	address string
}

func TestAnIngressAndAGatewayServeOurSecretsThroughRenewals(t *testing.T) {
	w := start(t)
	w.address = traefik(t, w.kubeconfig)
	hosts := map[string]string{"shop": "shop.edge.example", "api": "api.edge.example"}

	// Both are there before their certificates, as when everything is applied at once.
	w.until("the gateway says that its Secret is missing", func() bool { return w.listener(gatewayv1.ListenerConditionResolvedRefs) == metav1.ConditionFalse })
	for _, host := range hosts {
		w.until(host+" shows Traefik's own certificate", func() bool {
			leaf := w.handshake(host, nil)
			return leaf != nil && leaf.Subject.CommonName == "TRAEFIK DEFAULT CERT"
		})
	}
	for name, host := range hosts {
		w.certificate(name, host)
	}
	serials := map[string]string{}
	for name, host := range hosts {
		serials[name] = w.ready(name, "").Status.SerialNumber
		w.until(host+" shows its certificate", func() bool { return w.shows(host, w.roots(name)) == serials[name] })
	}
	w.until("the gateway is programmed", func() bool { return w.listener(gatewayv1.ListenerConditionProgrammed) == metav1.ConditionTrue })

	for name, host := range hosts {
		before := serials[name]
		after := w.renew(name, before)
		w.until(host+" shows the renewed certificate", func() bool {
			got := w.shows(host, w.roots(name))
			if got != before && got != after {
				t.Errorf("%s shows %q in between, neither the old nor the new certificate", host, got)
			}
			return got == after
		})
	}
	if got := w.listener(gatewayv1.ListenerConditionProgrammed); got != metav1.ConditionTrue {
		t.Errorf("after the renewal the gateway's listener is programmed: %s", got)
	}
}

// start installs the operator and the Gateway API, and runs the manager and the vendor.
func start(t *testing.T) *world {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	dir := t.TempDir()
	must(t, installation.Build(t.Context(), root, dir, "", "manager"))
	installed, err := installation.Start(t.Context(), root, false)
	must(t, err)
	t.Cleanup(func() { must(t, installed.ControlPlane.Stop()) })
	w := &world{T: t, admin: installed.Admin}
	must(t, gatewayv1.Install(installed.Admin.Scheme()))

	crds := strings.TrimSpace(w.run("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api"))
	kubectl := func(args ...string) {
		w.run(installed.ControlPlane.Kubectl(), append([]string{"--kubeconfig=" + installed.ControlPlane.Kubeconfig()}, args...)...)
	}
	kubectl("apply", "--server-side", "-k", filepath.Join(crds, "config", "crd"))
	kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	kubectl("apply", "-f", "testdata/edge.yaml")
	w.issuer()
	manager, err := program.Start(dir, filepath.Join(dir, "manager"), "--kubeconfig="+installed.OperatorKubeconfig, "--namespaces="+namespace,
		"--cluster-resource-namespace="+installation.Namespace, "--allowed-hosts=127.0.0.1", "--health-probe-bind-address=0")
	must(t, err)
	t.Cleanup(func() {
		manager.Kill()
		if t.Failed() {
			t.Logf("the manager says:\n%s", manager.Tail(40))
		}
	})
	w.kubeconfig = installed.ControlPlane.Kubeconfig()
	return w
}

// issuer starts the simulated vendor and connects the namespace with it.
func (w *world) issuer() {
	w.Helper()
	server, err := simulator.New(simulator.Config{
		APIKeys: []simulator.APIKey{{Name: "operator", Key: "token"}},
		Profiles: []simulator.Profile{{
			ID: profileID, KeyTypes: []string{"p_256"},
			CertificateFields: []simulator.Field{{ID: "subject.common_name", Mandatory: true}, {ID: "san.dns_name", Multiple: true}},
		}},
	})
	must(w.T, err)
	running, err := server.Start(simulator.Addresses{API: "127.0.0.1:0"})
	must(w.T, err)
	w.Cleanup(func() {
		_ = running.Stop(context.Background())
		_ = server.Close()
	})
	secret := &corev1.Secret{ObjectMeta: meta("digicert"), Data: map[string][]byte{"token": []byte("token")}}
	must(w.T, w.admin.Create(w.Context(), secret))
	issuer := &v1alpha1.DeviceIssuer{ObjectMeta: meta("digicert")}
	issuer.Spec.URL, issuer.Spec.CABundle = running.URL, server.TLSCertificate()
	issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}
	must(w.T, w.admin.Create(w.Context(), issuer))
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }

// certificate asks for one that is good for the host, in the Secret that testdata/edge.yaml names.
func (w *world) certificate(name, host string) {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{ObjectMeta: meta(name)}
	c.Spec.IssuerRef.Name, c.Spec.EnrollmentProfileID, c.Spec.Secret.Name = "digicert", profileID, name+"-tls"
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &host}, {ID: "san.dns_name", Values: []string{host}}}
	must(w.T, w.admin.Create(w.Context(), c))
}

// ready waits until the certificate is ready and another than the one with that serial number.
func (w *world) ready(name, not string) *v1alpha1.DeviceCertificate {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{}
	w.until(name+" is ready", func() bool {
		must(w.T, w.admin.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, c))
		return apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) && c.Status.SerialNumber != not && c.Status.Attempt == nil
	})
	return c
}

// renew asks for a renewal of the certificate with that serial number, and answers with the new one.
func (w *world) renew(name, serial string) string {
	w.Helper()
	c := w.ready(name, "")
	base := c.DeepCopy()
	// The annotation counts in whole seconds: one of the second of issuing is as old as that, and one of the last request is the same request.
	at := time.Now()
	if last, err := time.Parse(time.RFC3339, c.Annotations[v1alpha1.AnnotationRenewRequestedAt]); err == nil && last.After(at) {
		at = last
	}
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.AnnotationRenewRequestedAt, at.Add(time.Second).UTC().Format(time.RFC3339))
	must(w.T, w.admin.Patch(w.Context(), c, client.MergeFrom(base)))
	return w.ready(name, serial).Status.SerialNumber
}

// data is that of the certificate's Secret.
func (w *world) data(name string) map[string][]byte {
	w.Helper()
	secret := &corev1.Secret{}
	must(w.T, w.admin.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name + "-tls"}, secret))
	return secret.Data
}

// roots are those of the Secret's ca.crt.
func (w *world) roots(name string) *x509.CertPool {
	w.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.data(name)["ca.crt"])
	return pool
}

// shows is the serial number of what is served for that host; empty if a client who trusts the roots does not accept it.
func (w *world) shows(host string, roots *x509.CertPool) string {
	w.Helper()
	leaf := w.handshake(host, roots)
	if leaf == nil {
		return ""
	}
	return certs.SerialString(leaf)
}

// handshake answers with the leaf that is served for that host. Without roots everything is accepted.
func (w *world) handshake(host string, roots *x509.CertPool) *x509.Certificate {
	connection, err := tls.Dial("tcp", w.address, &tls.Config{ServerName: host, RootCAs: roots, InsecureSkipVerify: roots == nil})
	if err != nil {
		return nil
	}
	defer func() { _ = connection.Close() }()
	return connection.ConnectionState().PeerCertificates[0]
}

// listener is the status of a condition of the Gateway's listener.
func (w *world) listener(kind gatewayv1.ListenerConditionType) metav1.ConditionStatus {
	w.Helper()
	g := &gatewayv1.Gateway{}
	must(w.T, w.admin.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: "api"}, g))
	for _, l := range g.Status.Listeners {
		if c := apimeta.FindStatusCondition(l.Conditions, string(kind)); c != nil {
			return c.Status
		}
	}
	return metav1.ConditionUnknown
}

func (w *world) until(what string, holds func() bool) {
	w.Helper()
	err := wait.PollUntilContextTimeout(w.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) { return holds(), nil })
	if err != nil {
		w.Fatalf("waiting until %s: %v", what, err)
	}
}

func (w *world) run(name string, args ...string) string {
	w.Helper()
	command := exec.CommandContext(w.Context(), name, args...)
	command.Stderr = os.Stderr
	text, err := command.Output()
	if err != nil {
		w.Fatalf("%s %v: %v\n%s", name, args, err, text)
	}
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
