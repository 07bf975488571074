// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	// operatorNamespace and operatorAccount are what config/default installs.
	operatorNamespace = "devicecert-system"
	operatorAccount   = "devicecert-controller-manager"
	operatorUser      = "system:serviceaccount:" + operatorNamespace + ":" + operatorAccount

	namespace  = "fleet"
	issuerName = "vendor"
	// parallel requests to the vendor, of the operator and of the floor.
	parallel = 32
	// askers ask for certificates side by side, both for the operator and for the floor: one alone would be slower than either and set the pace.
	askers = 4
	// probes is where the manager says that it is ready.
	probes = "127.0.0.1:18082"
	// unlimited requests per second, for all phases but the outage.
	unlimited = 1000
)

// fleet is one run with one size.
type fleet struct {
	options
	n            int
	dir          string
	controlPlane *controlplane.ControlPlane
	kubeconfig   string // the operator's
	client       client.Client
	// server is for what is no object.
	server  rest.Interface
	audit   *auditLog
	vendor  *vendor
	manager *process
	// base is the manager's resident memory without a single certificate.
	base    int64
	floors  map[string]float64
	results []result
}

// newFleet starts everything but the manager.
func newFleet(ctx context.Context, o options, n int) (_ *fleet, err error) {
	f := &fleet{options: o, n: n, floors: map[string]float64{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return nil, err
	}
	if err := f.startCluster(ctx); err != nil {
		return nil, err
	}
	if f.vendor, err = startVendor(ctx, f.program("simulator"), f.dir); err != nil {
		return nil, err
	}
	return f, f.createIssuer(ctx)
}

func (f *fleet) program(name string) string { return filepath.Join(f.bin, name) }

func (f *fleet) startCluster(ctx context.Context) (err error) {
	f.controlPlane, err = controlplane.Start(ctx, controlplane.Options{
		CRDPaths: []string{filepath.Join(f.root, "config/crd/bases")}, ControllerManager: true, Audit: true,
		APIServerFlags: map[string]string{
			"audit-log-maxsize": "100000", "max-requests-inflight": "1000", "max-mutating-requests-inflight": "1000", "profiling": strconv.FormatBool(f.profile),
		},
	})
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(f.controlPlane.Config())
	if err != nil {
		return err
	}
	f.server = clients.RESTClient()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	if f.client, err = client.New(f.controlPlane.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := command(ctx, f.root, f.controlPlane.Kubectl(), "--kubeconfig="+f.controlPlane.Kubeconfig(), "apply", "--server-side", "-k", "config/default"); err != nil {
		return err
	}
	f.kubeconfig, err = f.controlPlane.ServiceAccountKubeconfig(ctx, operatorNamespace, operatorAccount)
	f.audit = &auditLog{path: f.controlPlane.AuditLog(), user: operatorUser}
	return err
}

// operatorClient makes requests with the operator's own rights.
func (f *fleet) operatorClient() (client.Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", f.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	return client.New(config, client.Options{Scheme: f.client.Scheme()})
}

func (f *fleet) createIssuer(ctx context.Context) error {
	ca, err := f.vendor.certificate()
	if err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: meta("token"), Data: map[string][]byte{"token": []byte(token)}}
	secret.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	issuer := &v1alpha1.DeviceIssuer{ObjectMeta: meta(issuerName)}
	issuer.Spec.URL, issuer.Spec.CABundle = f.vendor.url(), string(ca)
	issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "token", Key: "token"}}
	issuer.Spec.Limits = v1alpha1.IssuerLimits{RequestsPerSecond: unlimited, Burst: unlimited, MaxConcurrent: parallel, IssuancesPerDay: 1000000}
	for _, object := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, secret, issuer} {
		if err := f.client.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// startManager runs the operator and waits until it has connected the issuer.
func (f *fleet) startManager(ctx context.Context) (err error) {
	f.manager, err = start(f.dir, f.program("manager"), "--kubeconfig="+f.kubeconfig, "--allowed-hosts=127.0.0.1",
		"--health-probe-bind-address="+probes, "--metrics-bind-address=127.0.0.1:18080", "--pprof-bind-address="+f.profileAddress(), "--cluster-resource-namespace="+operatorNamespace)
	if err != nil {
		return err
	}
	if err := f.await(ctx, time.Minute, "the manager has listed what it watches", listed); err != nil {
		return err
	}
	return f.awaitIssuer(ctx)
}

// listed asks the manager's probe: a fleet of ten thousand is silent while it is read, and not because it is idle.
func listed(ctx context.Context) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+probes+"/readyz", nil)
	if err != nil {
		return false, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, nil // it does not listen yet
	}
	defer func() { _ = answer.Body.Close() }()
	return answer.StatusCode == http.StatusOK, nil
}

func (f *fleet) awaitIssuer(ctx context.Context) error {
	return f.await(ctx, time.Minute, "the issuer is ready", func(ctx context.Context) (bool, error) {
		issuer := &v1alpha1.DeviceIssuer{}
		err := f.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: issuerName}, issuer)
		return issuer.Status.ObservedGeneration == issuer.Generation && apimeta.IsStatusConditionTrue(issuer.Status.Conditions, v1alpha1.ConditionReady), err
	})
}

// await polls until a condition holds, as long as all programs live.
func (f *fleet) await(ctx context.Context, patience time.Duration, what string, holds wait.ConditionWithContextFunc) error {
	err := wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		if f.manager != nil && !f.manager.alive() {
			return false, fmt.Errorf("the manager has ended:\n%s", f.manager.tail())
		}
		return holds(ctx)
	})
	if err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}

// quiet waits until the operator has made no request for a while, and answers when the last one ended.
func (f *fleet) quiet(ctx context.Context, patience time.Duration) error {
	const silence = 3 * time.Second
	began := time.Now()
	return f.await(ctx, patience, "the operator is idle", func(context.Context) (bool, error) {
		err := f.audit.read()
		return time.Since(f.audit.last) > silence && time.Since(began) > silence, err
	})
}

func (f *fleet) close() error {
	if f.manager != nil {
		f.manager.stop()
	}
	if f.vendor != nil && f.vendor.process != nil {
		f.vendor.stop()
	}
	var errs []error
	if f.controlPlane != nil {
		errs = append(errs, f.controlPlane.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(f.dir))...)
}

func command(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, output)
	}
	return nil
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
