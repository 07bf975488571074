// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real Kubernetes control plane as child processes: etcd, kube-apiserver
// and, when asked, kube-controller-manager (garbage collection, namespace deletion, quota, service
// accounts). There is no kubelet and no scheduler: pods are never run.
//
// The programs are those that `make controlplane` builds. They die with the process that started
// them, however it ends.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Options says what to start. The zero value starts etcd and kube-apiserver in a temporary folder.
type Options struct {
	// BinDir is the folder of the four programs. Empty means the folder named by KUBEBUILDER_ASSETS
	// if it holds them all, else bin/k8s of the module that the working directory belongs to.
	BinDir string

	// WorkDir takes logs, kubeconfigs, certificates and etcd's data. It is created if absent, and
	// left behind by Stop for reading. Data of an earlier run in it is deleted by Start. Empty means
	// a temporary folder that Stop deletes.
	WorkDir string

	// CRDPaths are files and folders of CustomResourceDefinitions that Start installs and waits for.
	CRDPaths []string

	// ControllerManager starts kube-controller-manager as well, and with it the ServiceAccount
	// admission, as real clusters have it.
	ControllerManager bool

	// Audit writes one line of JSON for each finished API request, without bodies, to AuditLog.
	Audit bool

	// Listen is where the API server listens, such as "10.0.0.1:443". Empty means a free port of 127.0.0.1.
	Listen string

	// Controllers are further controllers of kube-controller-manager, such as "deployment-controller",
	// for those who bring a kubelet.
	Controllers []string

	// APIServerFlags are further flags of kube-apiserver without leading dashes, such as
	// "max-requests-inflight": "10". They win over those this package sets.
	APIServerFlags map[string]string
}

// ControlPlane is a running control plane. Config and the methods that return a fixed path may be
// called from several goroutines, the others from one at a time, and Stop once.
type ControlPlane struct {
	binDir  string
	workDir string
	// temporary says that workDir is ours to delete.
	temporary bool

	warden            *warden
	servers           *envtest.ControlPlane
	admin             *rest.Config
	controllerManager *process
}

// Start runs a control plane and returns when it serves requests; with a controller manager, when
// that works too. This takes about five seconds. The context bounds only Start itself. When Start
// fails nothing is left running.
func Start(ctx context.Context, options Options) (_ *ControlPlane, err error) {
	binDir, err := findPrograms(options.BinDir)
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{binDir: binDir, workDir: options.WorkDir}
	if err := c.makeWorkDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()

	if c.warden, err = startWarden(c.workDir, c.binDir, c.temporary); err != nil {
		return nil, err
	}
	if err := c.startServers(options); err != nil {
		return nil, err
	}
	if err := writeKubeconfig(c.Kubeconfig(), c.admin); err != nil {
		return nil, err
	}
	// The garbage collector looks for new kinds only every 30 seconds: they have to be there first.
	if err := c.installCRDs(options.CRDPaths); err != nil {
		return nil, err
	}
	if options.ControllerManager {
		if err := c.startControllerManager(ctx, options.Controllers); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Stop ends all processes and deletes the temporary folder, if there is one. The error names every
// process that had to be killed.
func (c *ControlPlane) Stop() error {
	var errs []error
	if c.controllerManager != nil {
		errs = append(errs, c.controllerManager.stop())
	}
	if c.servers != nil {
		errs = append(errs, c.servers.Stop())
	}
	if c.warden != nil {
		errs = append(errs, c.warden.dismiss())
	}
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.workDir))
	}
	return errors.Join(errs...)
}

// Config returns a copy of the administrator's client configuration (group system:masters).
func (c *ControlPlane) Config() *rest.Config {
	return rest.CopyConfig(c.admin)
}

// Kubeconfig returns the path of the administrator's kubeconfig.
func (c *ControlPlane) Kubeconfig() string {
	return filepath.Join(c.workDir, "admin.kubeconfig")
}

// Kubectl returns the path of the kubectl that belongs to this control plane.
func (c *ControlPlane) Kubectl() string {
	return filepath.Join(c.binDir, "kubectl")
}

// PID returns the process id of one of the programs: etcd, kube-apiserver or kube-controller-manager.
func (c *ControlPlane) PID(program string) (int, error) { return c.warden.pid(program) }

// EtcdURL returns the address at which etcd takes requests from this machine without asking who sends them.
func (c *ControlPlane) EtcdURL() string {
	return c.servers.Etcd.URL.String()
}

// AuditLog returns the path of the audit log, which exists if Options.Audit was set.
func (c *ControlPlane) AuditLog() string {
	return filepath.Join(c.workDir, "audit.log")
}

// makeWorkDir sees to an absolute work folder without data of an earlier run.
func (c *ControlPlane) makeWorkDir() error {
	if c.workDir == "" {
		dir, err := os.MkdirTemp("", "controlplane-")
		if err != nil {
			return fmt.Errorf("make a work folder for the control plane: %w", err)
		}
		c.workDir, c.temporary = dir, true
	}
	dir, err := filepath.Abs(c.workDir)
	if err != nil {
		return fmt.Errorf("make a work folder for the control plane: %w", err)
	}
	c.workDir = dir
	if err := os.RemoveAll(c.AuditLog()); err != nil {
		return fmt.Errorf("delete the audit log of an earlier control plane: %w", err)
	}
	for _, name := range []string{etcdDir, certDir, logDir, programDir} {
		dir := filepath.Join(c.workDir, name)
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("delete data of an earlier control plane: %w", err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a work folder for the control plane: %w", err)
		}
	}
	return nil
}

func (c *ControlPlane) installCRDs(paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	_, err := envtest.InstallCRDs(c.admin, envtest.CRDInstallOptions{Paths: paths, ErrorIfPathMissing: true})
	if err != nil {
		return fmt.Errorf("install custom resource definitions: %w", err)
	}
	return nil
}
