// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// tokenSeconds is the lifetime of service account tokens, longer than any test or demo.
const tokenSeconds = 24 * 60 * 60

// KubeconfigFor writes a kubeconfig with a client certificate for that user and these groups and
// returns its path. The user has the rights that RBAC gives to that name and to the groups.
func (c *ControlPlane) KubeconfigFor(user string, groups ...string) (string, error) {
	authenticated, err := c.servers.AddUser(envtest.User{Name: user, Groups: groups}, nil)
	if err != nil {
		return "", fmt.Errorf("make a certificate for user %q: %w", user, err)
	}
	return c.writeNewKubeconfig(authenticated.Config())
}

// ServiceAccountKubeconfig writes a kubeconfig with a token of an existing service account and
// returns its path. The token is valid for 24 hours.
func (c *ControlPlane) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	clients, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return "", fmt.Errorf("make a client for the administrator: %w", err)
	}
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](tokenSeconds)},
	}
	token, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token of service account %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.admin)
	config.BearerToken = token.Status.Token
	return c.writeNewKubeconfig(config)
}

func (c *ControlPlane) writeNewKubeconfig(config *rest.Config) (string, error) {
	file, err := os.CreateTemp(c.workDir, "*.kubeconfig")
	if err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	return file.Name(), writeKubeconfig(file.Name(), config)
}

// writeKubeconfig writes what config says about server and credentials to the file at path.
func writeKubeconfig(path string, config *rest.Config) error {
	const name = "controlplane"
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kubeconfig.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
		Token:                 config.BearerToken,
	}
	kubeconfig.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	kubeconfig.CurrentContext = name
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		return fmt.Errorf("write kubeconfig %s: %w", filepath.Base(path), err)
	}
	return nil
}
