// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

const (
	profile = "IOT_00000000-0000-0000-0000-000000000001"
	manual  = "IOT_00000000-0000-0000-0000-000000000006"
	token   = "good-token"
	edge    = "edge"
)

// world is one release, its cluster and its vendor.
type world struct {
	cluster
	client client.Client
	vendor *simulator.Server
	url    string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{cluster: cluster{T: t, plane: plane}}
	t.Cleanup(func() { w.must(plane.Stop()) })
	scheme := runtime.NewScheme()
	w.must(clientgoscheme.AddToScheme(scheme))
	w.must(v1alpha1.AddToScheme(scheme))
	w.client, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	w.must(err)
	fields := []simulator.Field{{ID: "subject.common_name", Mandatory: true}}
	w.vendor, err = simulator.New(simulator.Config{
		APIKeys: []simulator.APIKey{{Name: "operator", Key: token}},
		Profiles: []simulator.Profile{
			{ID: profile, CertificateFields: fields}, {ID: manual, Approval: "manual", CertificateFields: fields},
		},
	})
	w.must(err)
	running, err := w.vendor.Start(simulator.Addresses{API: "127.0.0.1:0"})
	w.must(err)
	w.url = running.URL
	t.Cleanup(func() {
		_ = running.Stop(context.Background())
		_ = w.vendor.Close()
	})
	w.must(w.client.Create(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: edge}}))
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// run starts the manager as the Deployment would, under the chart's service account, until the test or the returned function ends it.
func (w *world) run() (stop func()) {
	w.Helper()
	d := deploymentOf(w.T, objects(w.T, []byte(w.mustHelm("get", "manifest", release, "--namespace", namespace))))
	spec := d.Spec.Template.Spec
	// Later flags win: ports of this machine are others' too.
	args := append(spec.Containers[0].Args, "--kubeconfig="+w.kubeconfig(spec.ServiceAccountName), "--health-probe-bind-address=0", "--metrics-bind-address=0")
	command := exec.Command(program, args...)
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.must(command.Start())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if w.Failed() {
			w.Logf("the manager's log:\n%s", log.String())
		}
	}
	w.Cleanup(stop)
	return stop
}

func (w *world) kubeconfig(account string) string {
	w.Helper()
	path, err := w.plane.ServiceAccountKubeconfig(w.Context(), namespace, account)
	w.must(err)
	return path
}

func (w *world) connect() {
	w.Helper()
	w.must(w.client.Create(w.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: edge, Name: "digicert"}, Data: map[string][]byte{"token": []byte(token)}}))
	issuer := &v1alpha1.DeviceIssuer{ObjectMeta: metav1.ObjectMeta{Namespace: edge, Name: "digicert"}}
	issuer.Spec.URL = w.url
	issuer.Spec.CABundle = w.vendor.TLSCertificate()
	issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}
	w.must(w.client.Create(w.Context(), issuer))
}

func (w *world) order(name, profileID string) {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: edge, Name: name}}
	c.Spec.IssuerRef.Name, c.Spec.EnrollmentProfileID = "digicert", profileID
	cn := name + ".example"
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &cn}}
	w.must(w.client.Create(w.Context(), c))
}

// await waits until a certificate is as it should be.
func (w *world) await(name, what string, holds func(*v1alpha1.DeviceCertificate) bool) *v1alpha1.DeviceCertificate {
	w.Helper()
	var c *v1alpha1.DeviceCertificate
	err := wait.PollUntilContextTimeout(w.Context(), 100*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (_ bool, err error) {
		c, err = live.Get[v1alpha1.DeviceCertificate](ctx, w.client, client.ObjectKey{Namespace: edge, Name: name})
		return err == nil && holds(c), client.IgnoreNotFound(err)
	})
	if err != nil {
		w.Fatalf("waiting until %s is %s: %v\n%+v", name, what, err, c.Status.Conditions)
	}
	return c
}

func ready(c *v1alpha1.DeviceCertificate) bool {
	return apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady)
}

func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	s := &corev1.Secret{}
	w.must(w.client.Get(w.Context(), client.ObjectKey{Namespace: edge, Name: name}, s))
	return s
}

// previous stands for the chart of an earlier version, as long as none was released: the same with a lower version, without the short name
// of a kind, and without a feature and its values. The first release puts its package in this place.
func previous(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "devicecert-operator")
	if err := os.CopyFS(dir, os.DirFS(chartPath)); err != nil {
		t.Fatal(err)
	}
	edit := func(path, from, to string) {
		t.Helper()
		path = filepath.Join(dir, path)
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte(from)) {
			t.Fatalf("%s does not say %q: %v", path, from, err)
		}
		if err := os.WriteFile(path, bytes.Replace(text, []byte(from), []byte(to), 1), fs.FileMode(0o644)); err != nil {
			t.Fatal(err)
		}
	}
	edit("Chart.yaml", "\nversion: ", "\nversion: 0.0.1-before-")
	edit("files/crds/devicecert.io_devicecertificates.yaml", "    shortNames:\n    - dcert\n", "")
	values, err := os.ReadFile(filepath.Join(chartPath, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(values), "\nnetworkPolicy:\n")
	block, _, _ = strings.Cut(block, "\ncrds:\n")
	edit("values.yaml", "\nnetworkPolicy:\n"+block, "")
	if err := os.Remove(filepath.Join(dir, "templates", "networkpolicy.yaml")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (w *world) install(chart string, args ...string) {
	w.Helper()
	w.mustHelm(append([]string{
		"upgrade", "--install", release, chart, "--namespace", namespace, "--create-namespace",
		"--set", "allowedHosts={127.0.0.1}", "--set", "namespaces={" + edge + "}",
	}, args...)...)
}

// runHook does what the job would that Helm runs before it deletes the release: its account, its rights, its arguments.
func (w *world) runHook() string {
	w.Helper()
	hooks := objects(w.T, []byte(w.mustHelm("get", "hooks", release, "--namespace", namespace)))
	for i := range hooks {
		if hooks[i].GetKind() != "Job" {
			w.must(w.client.Create(w.Context(), &hooks[i]))
			w.Cleanup(func() { _ = w.client.Delete(context.Background(), &hooks[i]) })
		}
	}
	spec := jobOf(w.T, hooks).Spec.Template.Spec
	args := append(spec.Containers[0].Args, "--kubeconfig="+w.kubeconfig(spec.ServiceAccountName))
	output, err := exec.CommandContext(w.Context(), program, args...).CombinedOutput()
	if err != nil {
		w.Fatalf("the hook: %v\n%s", err, output)
	}
	return string(output)
}

func TestAReleaseIsInstalledUpgradedAndUninstalled(t *testing.T) {
	w := newWorld(t)
	w.install(previous(t))
	stop := w.run()
	w.connect()
	w.order("gateway", profile)
	w.order("waiting", manual)
	serial := w.await("gateway", "ready", ready).Status.SerialNumber
	w.await("waiting", "held for approval", func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.Attempt != nil && c.Status.Attempt.RequestID != ""
	})
	key := w.secret("gateway").Data[corev1.TLSPrivateKeyKey]

	w.mustHelm("upgrade", release, packaged(t), "--namespace", namespace, "--reset-then-reuse-values")
	if output := w.kubectl("get", "dcert", "-n", edge); !strings.Contains(output, "gateway") {
		t.Errorf("the upgrade did not bring the CRD up to date:\n%s", output)
	}
	stop()
	stop = w.run()
	w.order("after", profile)
	lost := w.await("after", "ready", ready).Status.SerialNumber
	if got := w.await("gateway", "ready", ready).Status.SerialNumber; got != serial {
		t.Errorf("the upgrade bought serial %s in the place of %s", got, serial)
	}

	// namespaces and watchSecrets together: a deleted Secret is noticed at once. Without a watch that takes five minutes, longer than anything here waits.
	w.must(w.client.Delete(w.Context(), w.secret("after")))
	w.await("after", "bought again", func(c *v1alpha1.DeviceCertificate) bool { return ready(c) && c.Status.SerialNumber != lost })

	stop() // as the kubelet would when the hook has scaled the Deployment to zero
	told := w.runHook()
	w.leftBehind(told)
	w.mustHelm("uninstall", release, "--namespace", namespace, "--no-hooks")
	w.nothingIsLost(key)

	w.install(packaged(t))
	w.run()
	w.order("again", profile)
	w.await("again", "ready", ready)
	if got := w.await("gateway", "ready", ready).Status.SerialNumber; got != serial {
		t.Errorf("the second installation bought serial %s in the place of %s", got, serial)
	}
}

// packaged is the chart as it is released.
func packaged(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cluster{T: t}.mustHelm("package", chartPath, "--destination", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(files) != 1 {
		t.Fatalf("packages are %v: %v", files, err)
	}
	return files[0]
}

func (w *world) kubectl(args ...string) string {
	w.Helper()
	output, err := exec.CommandContext(w.Context(), w.plane.Kubectl(), append([]string{"--kubeconfig", w.plane.Kubeconfig(), "--cache-dir", w.TempDir()}, args...)...).CombinedOutput()
	if err != nil {
		w.Fatalf("kubectl %v: %v\n%s", args, err, output)
	}
	return string(output)
}

// leftBehind compares what the hook said and wrote with the one thing that is open.
func (w *world) leftBehind(told string) {
	w.Helper()
	id := w.await("waiting", "there", func(c *v1alpha1.DeviceCertificate) bool { return c.Name != "" }).Status.Attempt.ID
	report := &corev1.ConfigMap{}
	w.must(w.client.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: release + "-left-behind"}, report))
	for _, text := range []string{told, report.Data["left-behind.txt"]} {
		if !strings.Contains(text, "edge/waiting: attempt "+id) || strings.Contains(text, "edge/gateway") {
			w.Errorf("what is left is told as:\n%s", text)
		}
	}
	if !strings.Contains(told, "3 DeviceCertificates are let go") {
		w.Errorf("the hook said:\n%s", told)
	}
	if replicas := w.kubectl("get", "deployment", release, "-n", namespace, "-o", "jsonpath={.spec.replicas}"); replicas != "0" {
		w.Errorf("the Deployment has %s replicas after the hook", replicas)
	}
}

// nothingIsLost holds after an uninstall.
func (w *world) nothingIsLost(key []byte) {
	w.Helper()
	list := &v1alpha1.DeviceCertificateList{}
	w.must(w.client.List(w.Context(), list))
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
		if controllerutil.ContainsFinalizer(&list.Items[i], v1alpha1.Finalizer) {
			w.Errorf("%s still has the finalizer", list.Items[i].Name)
		}
	}
	if diff := cmp.Diff([]string{"after", "gateway", "waiting"}, names); diff != "" {
		w.Errorf("DeviceCertificates (-want +got):\n%s", diff)
	}
	if !bytes.Equal(w.secret("gateway").Data[corev1.TLSPrivateKeyKey], key) {
		w.Error("the private key has changed")
	}
	gone := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: edge, Name: "after"}}
	w.must(w.client.Delete(w.Context(), gone))
	if err := w.client.Get(w.Context(), client.ObjectKeyFromObject(gone), gone); !apierrors.IsNotFound(err) {
		w.Errorf("an object that is deleted without an operator stays: %v", err)
	}
	w.secret("after") // its deletionPolicy is Retain
	remaining := w.kubectl("get", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/instance="+release+",app.kubernetes.io/managed-by=Helm", "-o", "json")
	var roles struct {
		Items []struct{ Metadata metav1.ObjectMeta }
	}
	w.must(json.Unmarshal([]byte(remaining), &roles))
	for _, role := range roles.Items {
		if role.Metadata.Annotations["helm.sh/hook"] == "" {
			w.Errorf("%s is still there", role.Metadata.Name)
		}
	}
}
