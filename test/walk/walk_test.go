// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package walk tries the operator as a new user would: it follows docs/quick-start.md, command by command, from the packaged chart to the
// uninstallation. Where the page says that something has come about, it looks for itself.
package walk

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/docs"
	"github.com/devicecert/devicecert-operator/internal/testkit/installation"
)

const (
	// patience is how long a chapter, or the start of the playground, may take on a machine with much else to do.
	patience = 3 * time.Minute
	edge     = "edge"
)

// walk is somebody who follows the page.
type walk struct {
	*testing.T
	// environment is what the playground writes for the user to read into the shell.
	environment string
	cluster     client.Client
	home        string
}

func TestTheQuickStartIsWalked(t *testing.T) {
	bin, page := build(t), chapters(t)
	if len(page) == 0 || page[0].blocks[0] != "make playground\n" {
		t.Fatalf("the quick start does not begin with the playground: %v", page)
	}
	w := startPlayground(t, bin)
	page[0].blocks = page[0].blocks[1:]

	var serial string
	var secrets map[string]map[string][]byte
	story := []struct {
		heading       string
		before, after func()
	}{
		{"1. Get ready", nil, nil},
		{"2. Install", nil, w.runsAsTheChartSays},
		{"3. Connect the account", nil, nil},
		{"4. Order certificates", nil, w.everySampleIsReady},
		{"5. Look", nil, nil},
		{"6. Break it", w.noAlertFires, nil},
		{"7. Repair it", func() { w.theRunbookIsFollowed(page[6]) }, w.noAlertFires},
		{"8. Renew one", func() { serial = w.certificate().Status.SerialNumber }, func() {
			if now := w.certificate().Status.SerialNumber; now == serial {
				t.Errorf("the serial number is still %s", now)
			}
		}},
		{"9. Suspend it from Argo CD", nil, w.isResumed},
		{"10. Take one away", nil, nil},
		{"11. Uninstall", func() { secrets = w.secrets() }, func() {
			if diff := cmp.Diff(secrets, w.secrets()); diff != "" {
				t.Errorf("Secrets (-before +after):\n%s", diff)
			}
			w.nothingIsLeft()
		}},
	}
	var told, written []string
	for _, c := range story {
		told = append(told, c.heading)
	}
	for _, c := range page {
		written = append(written, c.heading)
	}
	if diff := cmp.Diff(told, written); diff != "" {
		t.Fatalf("chapters (-test +page):\n%s", diff)
	}
	for i, c := range story {
		began := time.Now()
		if c.before != nil {
			c.before()
		}
		for _, block := range page[i].blocks {
			w.run(block)
		}
		if c.after != nil {
			c.after()
		}
		t.Logf("%5.1f s  %s", time.Since(began).Seconds(), c.heading)
	}
}

// build makes what `make build` does, and the playground.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if err := installation.Build(t.Context(), docs.Root, bin, "", "manager", "simulator", "kubectl-devicecert"); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-C", docs.Root, "-o", filepath.Join(bin, "demo"), "./hack/demo").CombinedOutput(); err != nil {
		t.Fatalf("build the playground: %v\n%s", err, output)
	}
	return bin
}

func (w *walk) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// startPlayground does what `make playground` does, in a folder of its own.
func startPlayground(t *testing.T, bin string) *walk {
	t.Helper()
	home := t.TempDir()
	t.Setenv("TMPDIR", home)
	command := exec.Command(filepath.Join(bin, "demo"), "-bin="+bin, "playground")
	command.Dir = docs.Root
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w := &walk{T: t, home: home}
	w.must(command.Start())
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := <-ended; err != nil || t.Failed() {
			t.Errorf("the playground ended: %v\n%s", err, log.String())
		}
	})
	w.eventually("the playground is ready", func(context.Context) (bool, error) {
		found, err := filepath.Glob(filepath.Join(home, "devicecert-demo-*", "env"))
		if len(found) == 1 {
			w.environment = found[0]
		}
		return len(found) == 1, err
	})
	scheme := runtime.NewScheme()
	w.must(clientgoscheme.AddToScheme(scheme))
	w.must(v1alpha1.AddToScheme(scheme))
	config, err := clientcmd.BuildConfigFromFlags("", w.value("KUBECONFIG"))
	w.must(err)
	w.cluster, err = client.New(config, client.Options{Scheme: scheme})
	w.must(err)
	return w
}

func (w *walk) eventually(what string, holds wait.ConditionWithContextFunc) {
	w.Helper()
	if err := wait.PollUntilContextTimeout(w.Context(), 100*time.Millisecond, patience, true, holds); err != nil {
		w.Fatalf("waiting until %s: %v", what, err)
	}
}

// run runs commands as a user does who has read the environment into a shell, from the repository's root.
func (w *walk) run(commands string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", `. "$0"; `+commands, w.environment)
	command.Dir = docs.Root
	// Ends what the shell has started, too.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.Env = append(os.Environ(), "KUBECACHEDIR="+filepath.Join(w.home, "kubectl"),
		"HELM_CACHE_HOME="+filepath.Join(w.home, "helm"), "HELM_CONFIG_HOME="+filepath.Join(w.home, "helm"), "HELM_DATA_HOME="+filepath.Join(w.home, "helm"))
	output, err := command.CombinedOutput()
	if err != nil {
		w.Fatalf("%v\n$ %s\n%s", err, strings.TrimSpace(commands), output)
	}
	return string(output)
}

// value is a variable of the environment.
func (w *walk) value(name string) string {
	return strings.TrimSpace(w.run("echo $" + name))
}

// runsAsTheChartSays holds once both replicas are ready.
func (w *walk) runsAsTheChartSays() {
	w.Helper()
	var pods corev1.PodList
	w.must(w.cluster.List(w.Context(), &pods, client.InNamespace("devicecert-system")))
	for i := range pods.Items {
		if account := pods.Items[i].Spec.ServiceAccountName; account != "devicecert-operator" || pods.Items[i].Status.Phase != corev1.PodRunning {
			w.Errorf("a pod of account %s is %s", account, pods.Items[i].Status.Phase)
		}
	}
	if len(pods.Items) != 2 {
		w.Errorf("%d replicas run", len(pods.Items))
	}
}

func (w *walk) certificates() []v1alpha1.DeviceCertificate {
	w.Helper()
	var list v1alpha1.DeviceCertificateList
	w.must(w.cluster.List(w.Context(), &list))
	return list.Items
}

// certificate is the one that the page renews and suspends.
func (w *walk) certificate() *v1alpha1.DeviceCertificate {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{}
	w.must(w.cluster.Get(w.Context(), client.ObjectKey{Namespace: edge, Name: "gateway-pem"}, c))
	return c
}

func (w *walk) everySampleIsReady() {
	w.Helper()
	samples, err := filepath.Glob(filepath.Join(docs.Root, "config", "samples", "devicecertificate_*.yaml"))
	w.must(err)
	all := w.certificates()
	if len(all) != len(samples) || len(all) == 0 {
		w.Errorf("there are %d DeviceCertificates of %d samples", len(all), len(samples))
	}
	for i := range all {
		if !apimeta.IsStatusConditionTrue(all[i].Status.Conditions, v1alpha1.ConditionReady) {
			w.Errorf("%s is not ready: %+v", all[i].Name, all[i].Status.Conditions)
		}
	}
}

// alert is one that Prometheus raises.
type alert struct {
	Labels, Annotations map[string]string
	State               string
}

func (w *walk) firing() []alert {
	w.Helper()
	var answer struct{ Data struct{ Alerts []alert } }
	w.must(json.Unmarshal([]byte(w.run(`curl --silent --show-error --fail "$PROMETHEUS/api/v1/alerts"`)), &answer))
	return slices.DeleteFunc(answer.Data.Alerts, func(a alert) bool { return a.State != "firing" })
}

func (w *walk) noAlertFires() {
	w.Helper()
	if firing := w.firing(); len(firing) > 0 {
		w.Errorf("alerts fire: %+v", firing)
	}
}

// theRunbookIsFollowed holds if the page's next commands are those of the page that the alert names, and no step of it is left out.
func (w *walk) theRunbookIsFollowed(repair chapter) {
	w.Helper()
	firing := w.firing()
	if len(firing) != 1 {
		w.Fatalf("alerts that fire: %+v", firing)
	}
	kind, name, _ := strings.Cut(firing[0].Labels["issuer"], "/")
	issuer := &v1alpha1.ClusterDeviceIssuer{}
	if kind != "ClusterDeviceIssuer" {
		w.Fatalf("the alert is about a %s", kind)
	}
	w.must(w.cluster.Get(w.Context(), client.ObjectKey{Name: name}, issuer))
	ref := issuer.Spec.Auth.APIToken.SecretRef
	page := strings.TrimSuffix(filepath.Base(firing[0].Annotations["runbook_url"]), ".md")
	steps := runbook(w.T, page, "NAMESPACE", "devicecert-system", "SECRET", ref.Name, "KEY", ref.Key, "FILE", `"$TOKEN"`, "NAME", name)
	steps = slices.DeleteFunc(steps, func(step string) bool { return strings.Contains(step, " get deviceissuer ") }) // of the other kind
	if len(steps) < 3 {
		w.Fatalf("the runbook %s has the steps %q", page, steps)
	}
	done := repair.commands()
	if diff := cmp.Diff(steps, done[:min(len(steps), len(done))]); diff != "" {
		w.Errorf("steps (-runbook +quick start):\n%s", diff)
	}
}

func (w *walk) isResumed() {
	w.Helper()
	w.eventually("the certificate is not suspended any more", func(context.Context) (bool, error) {
		c := w.certificate()
		return !c.Spec.Suspend && !apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionSuspended), nil
	})
}

// secrets are the contents of all that hold a certificate.
func (w *walk) secrets() map[string]map[string][]byte {
	w.Helper()
	var list corev1.SecretList
	w.must(w.cluster.List(w.Context(), &list, client.InNamespace(edge)))
	found := map[string]map[string][]byte{}
	for i := range list.Items {
		found[list.Items[i].Name] = list.Items[i].Data
	}
	if len(found["gateway-pem-tls"][corev1.TLSPrivateKeyKey]) == 0 || len(found["gateway-short-lived-tls"][corev1.TLSPrivateKeyKey]) == 0 {
		w.Errorf("keys are missing among %d Secrets", len(found))
	}
	return found
}

// nothingIsLeft holds after the uninstallation.
func (w *walk) nothingIsLeft() {
	w.Helper()
	var roles rbacv1.ClusterRoleList
	w.must(w.cluster.List(w.Context(), &roles))
	for i := range roles.Items {
		if strings.Contains(roles.Items[i].Name, "devicecert") {
			w.Errorf("the ClusterRole %s is still there", roles.Items[i].Name)
		}
	}
	if left := w.run("kubectl api-resources --api-group=devicecert.io --output=name"); left != "" {
		w.Errorf("kinds are left:\n%s", left)
	}
	w.eventually("no pod is left", func(ctx context.Context) (bool, error) {
		var pods corev1.PodList
		err := w.cluster.List(ctx, &pods)
		return len(pods.Items) == 0, err
	})
}
