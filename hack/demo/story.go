// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	// operatorNamespace and operatorAccount are the names config/default gives.
	operatorNamespace = "devicecert-system"
	operatorAccount   = "devicecert-controller-manager"
	// sampleNamespace is the namespace of config/samples.
	sampleNamespace = "edge"
	// shortLived is the sample whose renewal is shown.
	shortLived = "gateway-short-lived"
)

// demo is what the steps of the story hand on to each other.
type demo struct {
	screen *screen
	once   bool

	// root is the repository, bin holds its programs, folder is where everything the demo writes goes.
	root, bin string
	folder    *folder

	// controllers are those the cluster has beyond those an operator meets.
	controllers []string
	plane       *controlplane.ControlPlane
	cluster     client.Client
	simulator   *simulatorProcess
	manager     *process
	node        *node

	certificates []v1alpha1.DeviceCertificate
}

// run does what is told, and leaves nothing behind but, when something went wrong, the logs.
func (d *demo) run(ctx context.Context, tell func(context.Context) error) (err error) {
	if d.root, err = os.Getwd(); err != nil {
		return err
	}
	if d.bin, err = filepath.Abs(d.bin); err != nil {
		return err
	}
	if d.folder, err = openFolder(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.end(err == nil || ctx.Err() != nil)) }()
	return tell(ctx)
}

// step is a part of what is told.
type step struct {
	title string
	do    func(context.Context) error
}

func (d *demo) tell(ctx context.Context, steps ...step) error {
	for _, step := range steps {
		if err := d.screen.step(step.title, func() error { return step.do(ctx) }); err != nil {
			return fmt.Errorf("%w\n%s", err, d.folder.lastWords())
		}
	}
	return nil
}

// story is what `make demo` tells; then it waits for Ctrl-C, unless once.
func (d *demo) story(ctx context.Context) error {
	err := d.tell(ctx,
		step{"Start Kubernetes: etcd, kube-apiserver and kube-controller-manager", d.startCluster},
		step{"Install the kinds, the roles and the Deployment: kubectl apply -k config/default", d.install},
		step{"Start the simulated vendor", d.startSimulator},
		step{"Start the manager, with the rights of its ServiceAccount and no more", d.startManager},
		step{"Order one certificate of each kind: kubectl apply -k config/samples, pointed at the simulator", d.order},
		step{"Wait until all are Ready: kubectl wait --for=condition=Ready", d.await},
		step{"Take each Secret apart", d.inspect},
		step{"Watch " + shortLived + " renew", d.watchRenewal},
		step{"Compare with the vendor's ledger", d.audit},
	)
	if err != nil {
		return err
	}
	if d.once {
		d.screen.say("All checks passed.")
		return nil
	}
	if err := d.writeEnvironment(); err != nil {
		return err
	}
	d.screen.playOn(d)
	return d.stay(ctx, d.manager, d.simulator.process)
}

// stay waits for Ctrl-C, or for a process that ends without being asked to.
func (d *demo) stay(ctx context.Context, processes ...*process) error {
	ended := make(chan string, len(processes))
	for _, p := range processes {
		go func() {
			<-p.ended
			ended <- p.name
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case name := <-ended:
		return fmt.Errorf("the %s ended by itself\n%s", name, d.folder.lastWords())
	}
}

// end stops what runs, in the order in which nobody misses anybody, and removes the folder if nobody needs its logs.
func (d *demo) end(well bool) error {
	d.screen.say("Cleaning up.")
	var errs []error
	if d.node != nil {
		errs = append(errs, d.node.stop())
	}
	if d.manager != nil {
		errs = append(errs, d.manager.stop())
	}
	if d.simulator != nil {
		errs = append(errs, d.simulator.stop())
	}
	if d.plane != nil {
		errs = append(errs, d.plane.Stop())
	}
	err := errors.Join(errs...)
	return errors.Join(err, d.folder.close(well && err == nil))
}

func (d *demo) startCluster(ctx context.Context) (err error) {
	d.plane, err = controlplane.Start(ctx, controlplane.Options{WorkDir: d.folder.path("controlplane"), ControllerManager: true, Controllers: d.controllers})
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	d.cluster, err = client.New(d.plane.Config(), client.Options{Scheme: scheme})
	return err
}

func (d *demo) install(ctx context.Context) error {
	if err := d.kubectl(ctx, "apply", "--server-side", "-k", filepath.Join(d.root, "config", "default")); err != nil {
		return err
	}
	return d.kubectl(ctx, "wait", "--for=condition=Established", "--timeout=30s",
		"crd/devicecertificates.devicecert.io", "crd/deviceissuers.devicecert.io", "crd/clusterdeviceissuers.devicecert.io")
}

func (d *demo) startManager(ctx context.Context) error {
	kubeconfig, err := d.plane.ServiceAccountKubeconfig(ctx, operatorNamespace, operatorAccount)
	if err != nil {
		return err
	}
	d.manager, err = d.folder.start(io.Discard, filepath.Join(d.bin, "manager"),
		"--kubeconfig="+kubeconfig,
		"--leader-elect",
		"--cluster-resource-namespace="+operatorNamespace,
		"--allowed-hosts=127.0.0.1",
		"--metrics-bind-address=0",
		"--health-probe-bind-address=0",
	)
	return err
}

func (d *demo) order(ctx context.Context) error {
	samples, err := d.writeSamples(true)
	if err != nil {
		return err
	}
	return d.kubectl(ctx, "apply", "-k", samples)
}

func (d *demo) await(ctx context.Context) error {
	for _, wanted := range [][]string{{"clusterdeviceissuer"}, {"deviceissuer,devicecertificate", "-n", sampleNamespace}} {
		if err := d.kubectl(ctx, append([]string{"wait", "--for=condition=Ready", "--timeout=60s", "--all"}, wanted...)...); err != nil {
			const why = `custom-columns=NAME:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status,MESSAGE:.status.conditions[?(@.type=="Ready")].message`
			return errors.Join(err, d.kubectl(ctx, append([]string{"get", "-o", why}, wanted...)...))
		}
	}
	return nil
}

// readSecret fetches the Secret of a certificate.
func (d *demo) readSecret(ctx context.Context, c *v1alpha1.DeviceCertificate) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := d.cluster.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: c.Status.SecretName}, secret)
	return secret, err
}
