// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/internal/testkit/address"
)

const (
	nodeName = "this-machine"
	// tick is how often the node looks for pods.
	tick = 250 * time.Millisecond
	// crashPause is how long after its start a program that ended by itself is started again.
	crashPause = 5 * time.Second
)

// programs are what runs in an image's place, by the image's name without registry and tag.
var programs = map[string]string{"devicecert-operator": "manager"}

// addressFlags are the flags of a program that say where it serves a port of its pod: all pods share the ports of this machine.
var addressFlags = map[string]string{"metrics": "--metrics-bind-address=", "probes": "--health-probe-bind-address="}

// node stands in for kubelet and scheduler. It runs a pod's container as a process: the arguments are the pod's, and the rights are
// those of the pod's service account. So a Deployment gets ready, a Job completes, and a deleted pod gets SIGTERM.
type node struct {
	*demo
	pods    map[types.UID]*pod
	watched *monitoring // nil without Prometheus
	cancel  context.CancelFunc
	ended   chan struct{}
}

// pod is what runs for a pod of the cluster.
type pod struct {
	object  corev1.Pod
	process *process
	// addresses are where its ports are served, by their names.
	addresses map[string]string
	started   metav1.Time
	restarts  int32
	ready     bool
}

// startNode begins to run pods, and goes on until stop.
func (d *demo) startNode(ctx context.Context) error {
	err := d.cluster.Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	})
	if err != nil {
		return err
	}
	n := &node{demo: d, pods: map[types.UID]*pod{}, ended: make(chan struct{})}
	if n.watched, err = d.startMonitoring(ctx); err != nil {
		return err
	}
	ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.node = n
	go n.run(ctx)
	return nil
}

// run looks after the pods until it is cancelled. What fails is tried again.
func (n *node) run(ctx context.Context) {
	defer close(n.ended)
	said := ""
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := n.look(ctx); err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			n.screen.note("the node: %s", said)
		}
	}, tick)
}

// stop ends whatever runs.
func (n *node) stop() error {
	n.cancel()
	<-n.ended
	var errs []error
	for _, p := range n.pods {
		if p.process.alive() {
			errs = append(errs, p.process.stop())
		}
	}
	if n.watched != nil {
		errs = append(errs, n.watched.process.stop())
	}
	return errors.Join(errs...)
}

func (n *node) look(ctx context.Context) error {
	var list corev1.PodList
	if err := n.cluster.List(ctx, &list); err != nil {
		return err
	}
	var errs []error
	gone := map[types.UID]bool{}
	for uid := range n.pods {
		gone[uid] = true
	}
	for i := range list.Items {
		delete(gone, list.Items[i].UID)
		errs = append(errs, client.IgnoreNotFound(n.tend(ctx, &list.Items[i])))
	}
	for uid := range gone { // deleted by force
		n.pods[uid].process.quit()
		delete(n.pods, uid)
	}
	if n.watched != nil {
		errs = append(errs, n.watched.look(ctx, n.pods))
	}
	return errors.Join(errs...)
}

// tend takes one step for a pod.
func (n *node) tend(ctx context.Context, object *corev1.Pod) error {
	p := n.pods[object.UID]
	switch {
	case object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed:
		return nil
	case object.Spec.NodeName == "":
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: nodeName}}
		return n.cluster.SubResource("binding").Create(ctx, object, binding)
	case object.DeletionTimestamp != nil && p != nil && p.process.alive():
		p.process.quit()
		return nil
	case object.DeletionTimestamp != nil:
		delete(n.pods, object.UID)
		return n.cluster.Delete(ctx, object, client.GracePeriodSeconds(0))
	case p == nil:
		return n.begin(ctx, object)
	}
	if !p.process.alive() && object.Spec.RestartPolicy == corev1.RestartPolicyAlways && time.Since(p.started.Time) > crashPause {
		if err := n.launch(ctx, object, p); err != nil {
			return err
		}
		p.restarts++
	}
	p.object = *object
	return n.report(ctx, object, p)
}

func (n *node) begin(ctx context.Context, object *corev1.Pod) error {
	p := &pod{object: *object, addresses: map[string]string{}}
	for _, port := range object.Spec.Containers[0].Ports {
		free, err := address.Free()
		if err != nil {
			return err
		}
		p.addresses[port.Name] = free
	}
	if err := n.launch(ctx, object, p); err != nil {
		return err
	}
	n.pods[object.UID] = p
	return nil
}

// launch starts the program of a pod's container.
func (n *node) launch(ctx context.Context, object *corev1.Pod, p *pod) error {
	container := object.Spec.Containers[0]
	name, _, _ := strings.Cut(path.Base(container.Image), ":")
	program, ok := programs[name]
	if !ok {
		return fmt.Errorf("pod %s/%s wants image %s: of images only devicecert-operator runs here", object.Namespace, object.Name, container.Image)
	}
	kubeconfig, err := n.plane.ServiceAccountKubeconfig(ctx, object.Namespace, object.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	arguments := append(container.Args, "--kubeconfig="+kubeconfig)
	for port, address := range p.addresses {
		arguments = append(arguments, addressFlags[port]+address) // later flags win
	}
	p.process, err = n.folder.startAs(object.Name, io.Discard, filepath.Join(n.bin, program), arguments...)
	p.started = metav1.Now()
	return err
}

// report writes what has become of a pod, if it is news.
func (n *node) report(ctx context.Context, object *corev1.Pod, p *pod) error {
	alive := p.process.alive()
	p.ready = alive && answers(ctx, p.addresses["probes"])
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: "127.0.0.1", PodIP: "127.0.0.1", StartTime: object.Status.StartTime,
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: object.Spec.Containers[0].Name, Image: object.Spec.Containers[0].Image, Ready: p.ready, RestartCount: p.restarts,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: p.started.Rfc3339Copy()}},
		}},
	}
	if status.StartTime == nil {
		status.StartTime = &p.started
	}
	switch state := &status.ContainerStatuses[0].State; {
	case alive:
	case object.Spec.RestartPolicy == corev1.RestartPolicyAlways:
		*state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "see " + n.folder.path(object.Name+".log")}}
	default:
		status.Phase = corev1.PodFailed
		if p.process.exit == 0 {
			status.Phase = corev1.PodSucceeded
		}
		*state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(p.process.exit), StartedAt: p.started.Rfc3339Copy(), FinishedAt: metav1.Now(),
		}}
	}
	word := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}[p.ready]
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: word})
	}
	said := object.Status
	if said.Phase == status.Phase && apiequality.Semantic.DeepEqual(said.ContainerStatuses, status.ContainerStatuses) {
		return nil
	}
	changed := object.DeepCopy()
	changed.Status = status
	return n.cluster.Status().Patch(ctx, changed, client.MergeFrom(object))
}

// answers says whether the probe of readiness succeeds; what has no port for it is ready as it runs.
func answers(ctx context.Context, address string) bool {
	if address == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}
