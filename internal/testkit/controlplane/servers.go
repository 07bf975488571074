// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Folders inside the work folder.
const (
	etcdDir    = "etcd"
	certDir    = "certificates"
	logDir     = "logs"
	programDir = "programs"
)

// auditPolicy records every finished request with user, verb, object and status, but no bodies.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// startServers starts etcd and kube-apiserver and learns the administrator's configuration.
func (c *ControlPlane) startServers(options Options) error {
	etcdLog, err := c.createLog("etcd")
	if err != nil {
		return err
	}
	defer func() { _ = etcdLog.Close() }() // the child has its own descriptor
	apiServerLog, err := c.createLog("kube-apiserver")
	if err != nil {
		return err
	}
	defer func() { _ = apiServerLog.Close() }()

	apiServer := &envtest.APIServer{
		Path:    c.warden.path("kube-apiserver"),
		CertDir: filepath.Join(c.workDir, certDir),
		Out:     apiServerLog,
		Err:     apiServerLog,
	}
	if options.Listen != "" {
		host, port, err := net.SplitHostPort(options.Listen)
		if err != nil {
			return fmt.Errorf("start kube-apiserver: %w", err)
		}
		apiServer.SecureServing.Address, apiServer.SecureServing.Port = host, port
	}
	if err := c.configureAPIServer(apiServer, options); err != nil {
		return err
	}
	c.servers = &envtest.ControlPlane{
		APIServer: apiServer,
		Etcd: &envtest.Etcd{
			Path:    c.warden.path("etcd"),
			DataDir: filepath.Join(c.workDir, etcdDir),
			Out:     etcdLog,
			Err:     etcdLog,
		},
		KubectlPath: c.Kubectl(),
	}
	if err := c.servers.Start(); err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w\n%s", err, lastLines(etcdLog.Name(), apiServerLog.Name()))
	}

	admin, err := c.servers.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return fmt.Errorf("make a certificate for the administrator: %w", err)
	}
	c.admin = admin.Config()
	// Tests ask much at once; the server's own fairness is limit enough.
	c.admin.QPS = -1
	return nil
}

func (c *ControlPlane) configureAPIServer(apiServer *envtest.APIServer, options Options) error {
	flags := apiServer.Configure()
	flags.Set("profiling", "false")
	if options.ControllerManager {
		// envtest turns the ServiceAccount admission off, since nobody would make the accounts.
		flags.Disable("disable-admission-plugins")
	}
	if options.Audit {
		policy := filepath.Join(c.workDir, certDir, "audit-policy.yaml")
		if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
			return fmt.Errorf("write the audit policy: %w", err)
		}
		flags.Set("audit-policy-file", policy).Set("audit-log-path", c.AuditLog())
	}
	for name, value := range options.APIServerFlags {
		flags.Set(name, value)
	}
	return nil
}

func (c *ControlPlane) createLog(program string) (*os.File, error) {
	file, err := os.Create(filepath.Join(c.workDir, logDir, program+".log"))
	if err != nil {
		return nil, fmt.Errorf("create the log of %s: %w", program, err)
	}
	return file, nil
}
