// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/gitops"
)

// git is a folder with one certificate in it, which bears the marks that Argo CD and Flux leave on what they apply.
type git struct {
	*world
	file string
}

func (w *world) git(name, profile string) git {
	w.Helper()
	g := git{w, filepath.Join(w.TempDir(), name+".yaml")}
	w.must(os.WriteFile(g.file, []byte(`apiVersion: devicecert.io/v1alpha1
kind: DeviceCertificate
metadata:
  name: `+name+`
  labels:
    app.kubernetes.io/instance: fleet
    argocd.argoproj.io/instance: fleet
    kustomize.toolkit.fluxcd.io/name: fleet
    kustomize.toolkit.fluxcd.io/namespace: flux-system
  annotations:
    argocd.argoproj.io/tracking-id: fleet:devicecert.io/DeviceCertificate:edge/`+name+`
    argocd.argoproj.io/sync-options: Prune=true
spec:
  issuerRef: {name: digicert}
  enrollmentProfileID: `+profile+`
  certificateAttributes:
    - {id: subject.common_name, value: `+commonName(name)+`}
`), 0o600))
	return g
}

// kubectl does with the file what a GitOps controller does.
func (g git) kubectl(args ...string) {
	g.Helper()
	args = append([]string{
		"--kubeconfig=" + env.controlPlane.Kubeconfig(), "--cache-dir=" + g.TempDir(), "--namespace=" + g.namespace,
	}, append(args, "--filename="+g.file)...)
	if output, err := exec.CommandContext(g.ctx, env.controlPlane.Kubectl(), args...).CombinedOutput(); err != nil {
		g.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

const asArgo = "--field-manager=argocd-controller"

func (g git) apply() { g.kubectl("apply", "--server-side", asArgo) }

// inSync fails the test if Git and the cluster differ.
func (g git) inSync() { g.kubectl("diff", "--server-side", asArgo) }

// action runs an action of Argo CD, which patches the live object.
func (w *world) action(kit *gitops.Kit, action string) {
	w.Helper()
	live := w.get("gateway")
	before, err := gitops.Content(live, "DeviceCertificate")
	w.must(err)
	after, err := kit.RunArgoAction(action, before)
	w.must(err)
	base := &unstructured.Unstructured{Object: before}
	w.must(env.admin.Patch(w.ctx, &unstructured.Unstructured{Object: after}, client.MergeFrom(base)))
}

// Whatever the operator does to a certificate that lives in Git, Git and the cluster agree; and Argo CD, Flux and kstatus agree on every
// status that was ever written.
func TestALifeUnderGitOps(t *testing.T) {
	kit, err := gitops.Load("../../config/gitops")
	if err != nil {
		t.Fatal(err)
	}
	// So short that the expiry is seen.
	w := newWorld(t, func(c *simulator.Config) { c.Profiles[1].Validity = simulator.Duration(10 * time.Second) })
	w.connect()
	certificates := record[*v1alpha1.DeviceCertificate](w, &v1alpha1.DeviceCertificateList{})
	w.startManager()

	g := w.git("gateway", profileShort)
	g.apply()
	first := w.awaitReady("gateway")
	g.inSync()
	w.action(kit, "suspend")
	w.await("gateway", "expired", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonExpired
	})
	g.inSync()
	w.action(kit, "resume")
	second := w.await("gateway", "renewed", patience, renewed(first.Status.SerialNumber))
	g.inSync()
	w.action(kit, "renew")
	w.await("gateway", "renewed on request", patience, renewed(second.Status.SerialNumber))
	g.inSync()
	g.kubectl("delete", "--wait=true")
	judge(t, kit, certificates.of("gateway"))
}

func TestWhatGitOpsPrunesComesBackWithoutAPurchase(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	g := w.git("gateway", profileLong)
	g.apply()
	before := w.awaitReady("gateway")
	g.kubectl("delete", "--wait=true")
	for _, marks := range []map[string]string{w.secret("gateway").Labels, w.secret("gateway").Annotations} {
		for mark := range marks {
			if !strings.HasPrefix(mark, "devicecert.io/") && mark != "app.kubernetes.io/managed-by" {
				t.Errorf("the Secret bears %s, by which it would be pruned as well", mark)
			}
		}
	}
	g.apply()
	after := w.awaitReady("gateway")
	if diff := cmp.Diff(before.Status.SerialNumber, after.Status.SerialNumber); diff != "" || before.UID == after.UID {
		t.Errorf("the certificate that came back (-before +after):\n%s", diff)
	}
	w.wantBought(commonName("gateway"), 1)
}

// judge has every version of a certificate judged, and looks for what would alarm people without need.
func judge(t *testing.T, kit *gitops.Kit, versions []*v1alpha1.DeviceCertificate) {
	t.Helper()
	seen := map[status.Status]bool{}
	for _, c := range versions {
		content, err := gitops.Content(c, "DeviceCertificate")
		if err != nil {
			t.Fatal(err)
		}
		verdict, err := kit.Agreed(content)
		if err != nil {
			t.Errorf("version %s: %v", c.ResourceVersion, err)
		}
		if verdict == status.FailedStatus {
			t.Errorf("version %s is called failed: %+v", c.ResourceVersion, c.Status.Conditions)
		}
		seen[verdict] = true
	}
	for _, want := range []status.Status{status.InProgressStatus, status.CurrentStatus, status.TerminatingStatus} {
		if !seen[want] {
			t.Errorf("no version of %d is %s", len(versions), want)
		}
	}
	if !slices.ContainsFunc(versions, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonExpired
	}) {
		t.Error("no version has expired")
	}
}
