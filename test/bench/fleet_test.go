// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench measures the operator as whole processes: a real control plane, the simulator, and the manager under its shipped RBAC.
package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	namespace = "devicecert-system"
	account   = "devicecert-controller-manager"
	profile   = "IOT_00000000-0000-0000-0000-000000000001"
	token     = "bench-token"
)

// BenchmarkFleet fills and renews a fleet of FLEET certificates (default 500) that are declared at once, at an account without limits to
// speak of. It reports certificates per second from the first declaration to the last Ready, the time to Ready of the median and of the
// slowest hundredth, and the manager's peak resident memory.
func BenchmarkFleet(b *testing.B) {
	size := 500
	if text := os.Getenv("FLEET"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			b.Fatalf("FLEET: %v", err)
		}
	}
	for b.Loop() {
		f := newFleet(b, size)
		b.ResetTimer()
		f.fill()
		b.StopTimer()
		f.report("fill", b.Elapsed())
		b.StartTimer()
		f.renew()
		b.StopTimer()
		b.ReportMetric(float64(f.peakMemory())/(1<<20), "MiB-peak")
		b.StartTimer()
	}
}

// fleet is one run.
type fleet struct {
	*testing.B
	size   int
	client client.WithWatch
	// manager is the process under measurement.
	manager *exec.Cmd
	// latencies are from the creation of an object to its Ready.
	latencies []time.Duration
}

func newFleet(b *testing.B, size int) *fleet {
	b.Helper()
	ctrl.SetLogger(logr.Discard())
	f := &fleet{B: b, size: size}
	dir := b.TempDir()
	for _, program := range []string{"manager", "simulator"} {
		f.run("go", "build", "-o", filepath.Join(dir, program), "../../cmd/"+program)
	}
	cp, err := controlplane.Start(b.Context(), controlplane.Options{CRDPaths: []string{"../../config/crd/bases"}, ControllerManager: true})
	f.must(err)
	b.Cleanup(func() { f.must(cp.Stop()) })
	scheme := runtime.NewScheme()
	f.must(clientgoscheme.AddToScheme(scheme))
	f.must(v1alpha1.AddToScheme(scheme))
	f.client, err = client.NewWithWatch(cp.Config(), client.Options{Scheme: scheme})
	f.must(err)
	f.run(cp.Kubectl(), "--kubeconfig="+cp.Kubeconfig(), "apply", "--server-side", "-k", "../../config/default")
	kubeconfig, err := cp.ServiceAccountKubeconfig(b.Context(), namespace, account)
	f.must(err)
	url := f.startVendor(dir)
	f.connect(url, dir)
	f.manager = f.start(filepath.Join(dir, "manager"), "--kubeconfig="+kubeconfig, "--allowed-hosts=127.0.0.1", "--health-probe-bind-address=0",
		"--cluster-resource-namespace="+namespace)
	return f
}

// startVendor runs the simulator and answers with its address.
func (f *fleet) startVendor(dir string) string {
	f.Helper()
	config, err := yaml.Marshal(simulator.Config{
		APIKeys: []simulator.APIKey{{Name: "bench", Key: token}},
		Profiles: []simulator.Profile{{
			ID: profile, KeyTypes: []string{"p_256"}, CertificateFields: []simulator.Field{{ID: "subject.common_name", Mandatory: true}},
		}},
	})
	f.must(err)
	path := filepath.Join(dir, "simulator.yaml")
	f.must(os.WriteFile(path, config, 0o600))
	const address = "127.0.0.1:18443"
	f.start(filepath.Join(dir, "simulator"), "--config", path, "--data-dir", dir, "--quiet",
		"--listen", address, "--clientauth-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	f.must(wait.PollUntilContextTimeout(f.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		_, err := os.Stat(filepath.Join(dir, "ca.crt"))
		return err == nil, nil
	}))
	return "https://" + address
}

// connect makes an issuer whose limits do not matter.
func (f *fleet) connect(url, dir string) {
	f.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	f.must(err)
	f.must(f.client.Create(f.Context(), &corev1.Secret{ObjectMeta: meta("token"), Data: map[string][]byte{"token": []byte(token)}}))
	issuer := &v1alpha1.DeviceIssuer{ObjectMeta: meta("vendor")}
	issuer.Spec.URL, issuer.Spec.CABundle = url, string(ca)
	issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "token", Key: "token"}}
	issuer.Spec.Limits = v1alpha1.IssuerLimits{RequestsPerSecond: 1000, Burst: 1000, MaxConcurrent: 32, IssuancesPerDay: 1000000}
	f.must(f.client.Create(f.Context(), issuer))
}

// fill declares the fleet at once and waits until every certificate is Ready.
func (f *fleet) fill() {
	f.Helper()
	created := make(map[string]time.Time, f.size)
	ready := f.watchReady(func(c *v1alpha1.DeviceCertificate) bool { return true })
	for i := range f.size {
		name := fmt.Sprintf("gateway-%05d", i)
		cn := name + ".example"
		c := &v1alpha1.DeviceCertificate{ObjectMeta: meta(name)}
		c.Spec.IssuerRef = v1alpha1.IssuerReference{Name: "vendor"}
		c.Spec.EnrollmentProfileID = profile
		c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: &cn}}
		created[name] = time.Now()
		f.must(f.client.Create(f.Context(), c))
	}
	f.await(ready, created)
}

// renew asks for the renewal of every certificate at once and waits until all are renewed.
func (f *fleet) renew() {
	f.Helper()
	began := time.Now()
	list := &v1alpha1.DeviceCertificateList{}
	f.must(f.client.List(f.Context(), list))
	serials := make(map[string]string, f.size)
	for i := range list.Items {
		serials[list.Items[i].Name] = list.Items[i].Status.SerialNumber
	}
	renewed := f.watchReady(func(c *v1alpha1.DeviceCertificate) bool { return c.Status.SerialNumber != serials[c.Name] })
	asked := make(map[string]time.Time, f.size)
	at := time.Now().Add(time.Second).UTC().Format(time.RFC3339)
	for i := range list.Items {
		c := &list.Items[i]
		asked[c.Name] = time.Now()
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRenewRequestedAt, at)
		f.must(f.client.Patch(f.Context(), c, client.RawPatch("application/merge-patch+json", patch)))
	}
	f.await(renewed, asked)
	f.report("renew", time.Since(began))
}

// watchReady tells the name of every certificate that is Ready and satisfies is.
func (f *fleet) watchReady(is func(*v1alpha1.DeviceCertificate) bool) <-chan string {
	f.Helper()
	watch, err := f.client.Watch(f.Context(), &v1alpha1.DeviceCertificateList{})
	f.must(err)
	names := make(chan string, f.size*10)
	go func() {
		for event := range watch.ResultChan() {
			c, ok := event.Object.(*v1alpha1.DeviceCertificate)
			if ok && apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) && is(c) {
				names <- c.Name
			}
		}
	}()
	return names
}

func (f *fleet) await(ready <-chan string, since map[string]time.Time) {
	f.Helper()
	f.latencies = f.latencies[:0]
	ctx, cancel := context.WithTimeout(f.Context(), 10*time.Minute)
	defer cancel()
	done := make(map[string]bool, f.size)
	for len(done) < f.size {
		select {
		case name := <-ready:
			if !done[name] {
				done[name] = true
				f.latencies = append(f.latencies, time.Since(since[name]))
			}
		case <-ctx.Done():
			f.Fatalf("only %d of %d certificates are Ready", len(done), f.size)
		}
	}
}

// report adds the figures of one phase.
func (f *fleet) report(phase string, elapsed time.Duration) {
	slices.Sort(f.latencies)
	f.ReportMetric(float64(f.size)/elapsed.Seconds(), phase+"-certs/s")
	f.ReportMetric(float64(f.latencies[len(f.latencies)/2].Milliseconds()), phase+"-p50-ms")
	f.ReportMetric(float64(f.latencies[len(f.latencies)*99/100].Milliseconds()), phase+"-p99-ms")
}

// peakMemory is the manager's peak resident set in bytes.
func (f *fleet) peakMemory() int {
	f.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.manager.Process.Pid))
	f.must(err)
	for line := range strings.Lines(string(text)) {
		if size, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(size), "kB")))
			f.must(err)
			return kib << 10
		}
	}
	f.Fatal("this system does not tell a process's peak memory")
	return 0
}

// start runs a program until the benchmark ends.
func (f *fleet) start(program string, args ...string) *exec.Cmd {
	f.Helper()
	command := exec.Command(program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	f.must(command.Start())
	f.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return command
}

func (f *fleet) run(name string, args ...string) {
	f.Helper()
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		f.Fatalf("%s %v: %v\n%s", name, args, err, output)
	}
}

func (f *fleet) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}
