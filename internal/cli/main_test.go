// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	testingclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/cli"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
	"github.com/devicecert/devicecert-operator/internal/testkit/live"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The API server that all tests of this package share, and an administrator's client of it. No operator runs: the tests write what it
// would.
var (
	plane *controlplane.ControlPlane
	api   client.Client
)

// now is when the tests take place.
var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

const (
	profileA = "IOT_00000000-0000-0000-0000-000000000001"
	profileB = "IOT_00000000-0000-0000-0000-000000000002"
	patience = time.Minute
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runWithControlPlane(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithControlPlane(m *testing.M) (code int, err error) {
	ctrl.SetLogger(logr.Discard())
	plane, err = controlplane.Start(context.Background(), controlplane.Options{CRDPaths: []string{"../../config/crd/bases"}})
	if err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := plane.Stop(); err == nil {
			err = stopErr
		}
	}()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 0, err
		}
	}
	config := plane.Config()
	config.QPS = -1
	if api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// world is what one test has to itself: a namespace.
type world struct {
	*testing.T
	namespace string
	// kubeconfig of the user; the administrator's by default.
	kubeconfig string
	// input is what the user types; with none nobody is there.
	input string
	// clock of the user's machine.
	clock time.Time
	// terminal: the output is one, in colours.
	terminal bool
}

func newWorld(t *testing.T, namespace string, labels ...string) *world {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{}}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		n.Labels[key] = value
	}
	w := &world{T: t, namespace: namespace, kubeconfig: plane.Kubeconfig(), clock: now}
	w.must(api.Create(t.Context(), n))
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// as is the same world for a user with these rules in the namespace, and no others.
func (w *world) as(user string, rules ...rbacv1.PolicyRule) *world {
	w.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: w.namespace}, Rules: rules}
	w.must(api.Create(w.Context(), role))
	w.must(api.Create(w.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: w.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}))
	w.must(live.AwaitRights(w.Context(), api, user, w.namespace, rules...))
	kubeconfig, err := plane.KubeconfigFor(user)
	w.must(err)
	other := *w
	other.kubeconfig = kubeconfig
	return &other
}

// least is all that the plugin needs.
var least = rbacv1.PolicyRule{
	APIGroups: []string{"devicecert.io"}, Resources: []string{"devicecertificates"}, Verbs: []string{"get", "list", "watch", "patch"},
}

// certificate creates a DeviceCertificate, and writes the status that an operator would have written. A status without conditions is none.
func (w *world) certificate(name string, edit ...func(*v1alpha1.DeviceCertificate)) *v1alpha1.DeviceCertificate {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"}
	c.Spec.EnrollmentProfileID = profileA
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Value: new(name + ".edge.example")}}
	c.Spec.Secret.Name = name + "-tls"
	for _, e := range edit {
		e(c)
	}
	status := c.Status
	w.must(api.Create(w.Context(), c))
	if len(status.Conditions) > 0 {
		c.Status = status
		c.Status.ObservedGeneration = c.Generation
		w.must(api.Status().Update(w.Context(), c))
	}
	return c
}

func (w *world) get(name string) *v1alpha1.DeviceCertificate {
	w.Helper()
	c := &v1alpha1.DeviceCertificate{}
	w.must(api.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, c))
	return c
}

// issuer creates a DeviceIssuer that is ready.
func (w *world) issuer(edit ...func(*v1alpha1.DeviceIssuer)) *v1alpha1.DeviceIssuer {
	w.Helper()
	i := &v1alpha1.DeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: "digicert", Namespace: w.namespace}}
	i.Spec.URL = "https://one.digicert.com"
	i.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}
	i.Status.Conditions = []metav1.Condition{trueCondition(v1alpha1.ConditionReady, v1alpha1.ReasonConnected, "the credential was accepted")}
	i.Status.Capabilities = &v1alpha1.Capabilities{Enroll: "Yes", Search: "Yes", Revoke: "Unknown", Renew: "Unknown", Specification: "Yes"}
	for _, e := range edit {
		e(i)
	}
	status := i.Status
	w.must(api.Create(w.Context(), i))
	i.Status = status
	i.Status.ObservedGeneration = i.Generation
	w.must(api.Status().Update(w.Context(), i))
	return i
}

func trueCondition(kind, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: at(now.Add(-time.Hour))}
}

func falseCondition(kind, reason, message string) metav1.Condition {
	c := trueCondition(kind, reason, message)
	c.Status = metav1.ConditionFalse
	return c
}

func at(t time.Time) metav1.Time { return metav1.NewTime(t) }

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// ready is a certificate that was issued so many days ago for 90, and is renewed when 30 are left.
func ready(daysAgo int) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		from := now.Add(-days(daysAgo))
		before, after, renews := at(from), at(from.Add(days(90))), at(from.Add(days(60)))
		st := &c.Status
		st.Conditions = []metav1.Condition{
			trueCondition(v1alpha1.ConditionReady, v1alpha1.ReasonStored, "key and certificate 0A17 are in Secret "+c.Spec.Secret.Name),
			trueCondition(v1alpha1.ConditionSecretInSync, v1alpha1.ReasonInSync, "the Secret holds what the spec asks for"),
		}
		st.SerialNumber, st.CertificateID = "0A17", "11111111-2222-3333-4444-555555555555"
		st.FingerprintSHA256 = strings.Repeat("ab", 32)
		st.Subject, st.KeyType, st.SecretName = "CN="+c.Name+".edge.example", "p_256", c.Spec.Secret.Name
		st.NotBefore, st.NotAfter, st.RenewalTime = &before, &after, &renews
	}
}

// failing makes a ready certificate's renewal fail.
func failing(reason, message string) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		last, next := at(now.Add(-10*time.Minute)), at(now.Add(6*time.Hour))
		c.Status.Conditions = append(c.Status.Conditions,
			trueCondition(v1alpha1.ConditionRenewalFailing, reason, message), trueCondition(v1alpha1.ConditionIssuing, reason, message))
		c.Status.Failures = &v1alpha1.Failures{Count: 3, LastTime: &last, NextTime: &next, Reason: reason, Message: message, Terminal: true, Kind: v1alpha1.AttemptRenew}
	}
}

// stalled is a first certificate that a person must act for.
func stalled(reason, message string) func(*v1alpha1.DeviceCertificate) {
	return func(c *v1alpha1.DeviceCertificate) {
		c.Status.Conditions = []metav1.Condition{
			falseCondition(v1alpha1.ConditionReady, reason, message), trueCondition(v1alpha1.ConditionStalled, reason, message),
		}
	}
}

// result is what a run of the plugin left.
type result struct {
	command     string
	out, errors string
	status      int
}

// plugin runs a command line as the user types it after `kubectl devicecert`, in the world's namespace.
func (w *world) plugin(args ...string) result {
	w.Helper()
	r := w.execute(append(args, "--kubeconfig="+w.kubeconfig, "--namespace="+w.namespace)...)
	r.command = "kubectl devicecert " + strings.Join(args, " ")
	return r
}

// execute runs a command line as it is.
func (w *world) execute(args ...string) result {
	w.Helper()
	var out, errs bytes.Buffer
	flags := genericclioptions.NewConfigFlags(true)
	flags.CacheDir = new(w.TempDir())
	e := &cli.Environment{
		IOStreams: genericiooptions.IOStreams{In: strings.NewReader(w.input), Out: &out, ErrOut: &errs},
		Flags:     flags, Clock: testingclock.NewFakePassiveClock(w.clock), Version: "v0.0.0-test",
		Interactive: w.input != "", Terminal: w.terminal, Colours: w.terminal,
	}
	command := cli.NewCommand(e)
	command.SetArgs(args)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	err := command.ExecuteContext(ctx)
	status, tell := cli.ExitStatus(err)
	if tell {
		fmt.Fprintln(&errs, "error:", err)
	}
	r := result{command: strings.Join(args, " "), out: out.String(), errors: errs.String(), status: status}
	for _, secret := range []string{"PRIVATE KEY", "hunter22"} {
		if strings.Contains(r.out+r.errors, secret) {
			w.Errorf("%s shows %q", r.command, secret)
		}
	}
	return r
}

// golden compares a run with the file of that name. The file is what a user sees, and docs/kubectl-plugin.md shows some of them.
func (w *world) golden(name string, r result) {
	w.Helper()
	text := "$ " + r.command + "\n" + r.out + r.errors
	if r.status != 0 {
		text += fmt.Sprintf("(exit status %d)\n", r.status)
	}
	// How far the real time is from that of the tests is not the same tomorrow.
	text = regexp.MustCompile(`clock is \S+ apart`).ReplaceAllString(text, "clock is 3m20s apart")
	path := filepath.Join("testdata", name+".golden")
	if *update {
		w.must(os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	w.must(err)
	if diff := cmp.Diff(string(want), text); diff != "" {
		w.Errorf("%s (-want +got; -update writes it anew):\n%s", path, diff)
	}
}

// wants compares the exit status, and looks for phrases in what was said.
func (w *world) wants(r result, status int, phrases ...string) {
	w.Helper()
	if r.status != status {
		w.Errorf("%s: exit status %d, want %d\n%s%s", r.command, r.status, status, r.out, r.errors)
	}
	for _, phrase := range phrases {
		if !strings.Contains(r.out+r.errors, phrase) {
			w.Errorf("%s: no %q in\n%s%s", r.command, phrase, r.out, r.errors)
		}
	}
}

// operator plays the operator beside the test: as soon as the object carries a new value of the annotation, edit writes its status. The test ends with
// an error if that never happened.
func (w *world) operator(name, annotation string, edit func(*v1alpha1.DeviceCertificate)) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	before := w.get(name).Annotations[annotation]
	played := make(chan error, 1)
	go func() {
		played <- wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			c := &v1alpha1.DeviceCertificate{}
			if err := api.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, c); err != nil || c.Annotations[annotation] == before {
				return false, err
			}
			edit(c)
			err := api.Status().Update(ctx, c)
			return !apierrors.IsConflict(err), client.IgnoreNotFound(ignoreConflict(err))
		})
	}()
	w.Cleanup(func() {
		defer cancel()
		if err := <-played; err != nil {
			w.Errorf("the operator's part for %s: %v", name, err)
		}
	})
}

func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}
