// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
)

const (
	// address is the first of the service network, by which pods know the API server. The API server listens there itself, so that
	// no proxy is needed for it.
	address        = "10.0.0.1"
	serviceNetwork = "10.0.0.0/24"
	nodeName       = "node"

	containerd = `version = 2
root = "%[1]s/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "devicecert.test/workload:node"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/opt"
`
	network = `{"cniVersion": "0.4.0", "name": "node", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
"ipam": {"type": "host-local", "dataDir": "%s/ipam", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`

	kubelet = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd.sock
clusterDNS: [` + address + `]
clusterDomain: cluster.local
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
evictionHard: {memory.available: 10Mi, nodefs.available: 1%%, nodefs.inodesFree: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
podLogsDir: %[1]s/logs
volumePluginDir: %[1]s/plugins
syncFrequency: 5s
nodeStatusUpdateFrequency: 2s
`
)

// story is what the chapters share.
type story struct {
	kubelet, helmProgram, images, folder string

	chapters *regexp.Regexp

	plane      *controlplane.ControlPlane
	admin      client.Client
	chart      string
	running    []*exec.Cmd
	endHelpers context.CancelFunc
}

// startNode brings up everything below Kubernetes' own objects.
func (s *story) startNode(ctx context.Context) error {
	for _, command := range []string{"ip link set lo up", "ip address add " + address + "/32 dev lo", "mount -t tmpfs tmpfs /run"} {
		words := strings.Fields(command)
		if err := run(ctx, words[0], words[1:]...); err != nil {
			return err
		}
	}
	if err := s.startPlane(ctx); err != nil {
		return err
	}
	if err := s.startRuntime(ctx); err != nil {
		return err
	}
	kubeconfig, err := s.plane.KubeconfigFor("system:node:"+nodeName, "system:nodes")
	if err != nil {
		return err
	}
	configuration, err := s.write("kubelet.yaml", fmt.Sprintf(kubelet, s.folder))
	if err != nil {
		return err
	}
	if err := s.launch(s.kubelet, "--config="+configuration, "--kubeconfig="+kubeconfig, "--root-dir="+filepath.Join(s.folder, "kubelet"),
		"--cert-dir="+filepath.Join(s.folder, "pki"), "--hostname-override="+nodeName, "--node-ip="+address); err != nil {
		return err
	}
	return s.until(ctx, "the node is Ready", func(ctx context.Context) (bool, error) {
		node := &corev1.Node{}
		if err := s.admin.Get(ctx, client.ObjectKey{Name: nodeName}, node); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
}

func (s *story) startPlane(ctx context.Context) error {
	var err error
	s.plane, err = controlplane.Start(ctx, controlplane.Options{
		WorkDir: filepath.Join(s.folder, "plane"), ControllerManager: true, Listen: address + ":443",
		Controllers:    []string{"deployment-controller", "replicaset-controller", "endpointslice-controller", "disruption-controller", "job-controller"},
		APIServerFlags: map[string]string{"authorization-mode": "Node,RBAC"},
	})
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if s.admin, err = client.New(s.plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	// kubectl and Helm find the cluster, and Helm keeps its files, where they end with the story.
	for variable, value := range map[string]string{
		"KUBECONFIG": s.plane.Kubeconfig(), "HELM_CACHE_HOME": s.folder + "/helm", "HELM_CONFIG_HOME": s.folder + "/helm", "HELM_DATA_HOME": s.folder + "/helm",
	} {
		if err := os.Setenv(variable, value); err != nil {
			return err
		}
	}
	helpers, end := context.WithCancel(context.WithoutCancel(ctx))
	s.endHelpers = end
	go s.schedule(helpers)
	return (&services{admin: s.admin}).serve(helpers)
}

func (s *story) startRuntime(ctx context.Context) error {
	configuration, err := s.write("containerd.toml", fmt.Sprintf(containerd, s.folder))
	if err != nil {
		return err
	}
	if _, err := s.write("cni/node.conflist", fmt.Sprintf(network, s.folder)); err != nil {
		return err
	}
	if err := s.launch("containerd", "--config", configuration); err != nil {
		return err
	}
	ctr := []string{"--address=/run/containerd.sock", "--namespace=k8s.io"}
	if err := s.until(ctx, "containerd answers", func(ctx context.Context) (bool, error) {
		return run(ctx, "ctr", append(ctr, "version")...) == nil, nil
	}); err != nil {
		return err
	}
	for _, image := range []string{"manager.tar", "simulator.tar", "workload.tar"} {
		if err := run(ctx, "ctr", append(ctr, "image", "import", "--snapshotter=native", filepath.Join(s.images, image))...); err != nil {
			return err
		}
	}
	return run(ctx, "ctr", append(ctr, "image", "tag", "devicecert.test/manager:node", "devicecert.test/manager:next")...)
}

// schedule binds every pod to the one node there is.
func (s *story) schedule(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		pods := &corev1.PodList{}
		if err := s.admin.List(ctx, pods); err != nil {
			return false, nil // tried again
		}
		for i := range pods.Items {
			if pod := &pods.Items[i]; pod.Spec.NodeName == "" {
				binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: nodeName}}
				_ = s.admin.SubResource("binding").Create(ctx, pod, binding) // tried again
			}
		}
		return false, nil
	})
}

// until waits for something.
func (s *story) until(ctx context.Context, what string, is func(context.Context) (bool, error)) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		ok, err := is(ctx)
		last = err
		return ok && err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s: %w", what, errors.Join(err, last))
	}
	return nil
}

// close deletes the pods, so that the kubelet leaves neither containers nor control groups behind, and stops what runs.
func (s *story) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.admin != nil {
		for _, namespace := range []string{tenant, operator, rehearsal} {
			_ = s.admin.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		}
		_ = s.until(ctx, "the pods are gone", func(ctx context.Context) (bool, error) {
			pods := &corev1.PodList{}
			err := s.admin.List(ctx, pods)
			return err == nil && len(pods.Items) == 0, err
		})
	}
	if s.endHelpers != nil {
		s.endHelpers()
	}
	for i := len(s.running) - 1; i >= 0; i-- {
		_ = s.running[i].Process.Signal(syscall.SIGTERM)
		_ = s.running[i].Wait()
	}
	if s.plane != nil {
		_ = s.plane.Stop()
	}
}
