// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/controlplane"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// apiServer leads to the one control plane of this package's tests. Every test has a namespace and a vendor of its own.
var apiServer *rest.Config

// sharedPlane is the variable that leads the processes of a fuzz target to the control plane of the one that started them: to start
// their own would take the time that they have for fuzzing.
const sharedPlane = "CONTROLLERS_TEST_KUBECONFIG"

func TestMain(m *testing.M) {
	os.Exit(runWithControlPlane(m))
}

func runWithControlPlane(m *testing.M) int {
	ctrl.SetLogger(funcr.New(processLog.add, funcr.Options{Verbosity: 10}))
	if kubeconfig := os.Getenv(sharedPlane); kubeconfig != "" {
		shared, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		shared.QPS = -1
		apiServer = shared
		return m.Run()
	}
	cp, err := controlplane.Start(context.Background(), controlplane.Options{CRDPaths: []string{filepath.Join("..", "config", "crd", "bases")}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	apiServer = cp.Config()
	err = os.Setenv(sharedPlane, cp.Kubeconfig())
	code := 1
	if err == nil {
		code = m.Run()
	}
	if err := errors.Join(err, cp.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Profiles of the simulated vendor.
const (
	profileLong   = "IOT_00000000-0000-0000-0000-000000000001"
	profileShort  = "IOT_00000000-0000-0000-0000-000000000002"
	profileManual = "IOT_00000000-0000-0000-0000-000000000006"
	token         = "test-token"
	otherToken    = "somebody-else-token"
	// ours is the vendor's name for the operator's credential.
	ours = "test"
)

// world is one namespace, one simulated vendor, one clock and one operator, driven by hand: nothing happens but in settle, advance and pass.
type world struct {
	t         testingT
	ctx       context.Context
	namespace string
	// client is the test's own way to the API server; the operator goes through api.
	client    client.WithWatch
	api       *api
	clock     *clocktesting.FakeClock
	vendor    *simulator.Server
	vendorURL string
	// roots vouch for vendorURL.
	roots      *x509.CertPool
	operator   *DeviceCertificateReconciler
	accounts   *account.Registry
	issuer     account.ID
	connection account.Connection
	events     *recordedEvents
	telemetry  *recordedTelemetry
	evidence   evidence
	// logged is how much was logged before.
	logged int

	mu     sync.Mutex
	woken  []types.NamespacedName
	probed []account.ID
	// due is when each object asked to be reconciled again.
	due map[types.NamespacedName]time.Time
}

// testingT is what a world needs of a test, or of one try of a random one.
type testingT interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
	Cleanup(f func())
}

// newWorld makes a test run beside others: worlds do not meet.
func newWorld(t *testing.T, edit ...func(*simulator.Config)) *world {
	t.Helper()
	t.Parallel()
	return worldOf(t, edit...)
}

func worldOf(t testingT, edit ...func(*simulator.Config)) *world {
	t.Helper()
	w := &world{
		t: t, ctx: context.WithoutCancel(t.Context()), clock: clocktesting.NewFakeClock(time.Now()),
		events: &recordedEvents{}, telemetry: &recordedTelemetry{}, due: make(map[types.NamespacedName]time.Time), logged: processLog.size(),
	}
	w.client = newClient(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	w.must(w.client.Create(w.ctx, namespace))
	w.namespace = namespace.Name
	w.startVendor(edit...)
	w.operator = w.newOperator()
	w.connect(v1alpha1.OrphansReport)
	t.Cleanup(w.checkInvariants) // while the vendor still runs
	return w
}

func newClient(t testingT) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(apiServer, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newOperator is a fresh process: nothing is remembered but what is in the cluster.
func (w *world) newOperator() *DeviceCertificateReconciler {
	w.api = &api{w: w}
	r := &DeviceCertificateReconciler{
		Client: w.api.client(cached), Reader: w.api.client(live), Flights: NewFlights(), Recorder: w.events, Telemetry: w.telemetry, Clock: hastyClock{w.clock},
		Issuers: labels.Everything(), WatchSecrets: true, memory: newMemory(),
	}
	r.Roster = &Roster{reader: r.Client}
	hosts, err := account.ParseHostPolicy("localhost,127.0.0.1", "", "")
	w.must(err)
	w.accounts = account.NewRegistry(account.Options{
		Clock: w.clock, Hosts: hosts, UserAgent: "test", Log: ctrl.Log.WithName("account"),
		Wake:  w.wake,
		Probe: func(id account.ID) { w.mu.Lock(); defer w.mu.Unlock(); w.probed = append(w.probed, id) },
	})
	r.Accounts = w.accounts
	r.wake, r.writtenAt = w.wake, w.writtenAt
	return r
}

// writtenAt makes the API server's clock that of the world.
func (w *world) writtenAt(*v1alpha1.DeviceCertificate) time.Time { return w.clock.Now() }

func (w *world) wake(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = append(w.woken, key)
}

func (w *world) startVendor(edit ...func(*simulator.Config)) {
	w.t.Helper()
	second := simulator.Duration(time.Second)
	fields := []simulator.Field{
		{ID: "subject.common_name", Mandatory: true}, {ID: "subject.organization_unit"}, {ID: "subject.serial_number"}, {ID: "san.dns_name", Multiple: true},
	}
	config := simulator.Config{
		Now:     w.clock.Now,
		APIKeys: []simulator.APIKey{{Name: ours, Key: token}, {Name: "somebody-else", Key: otherToken}},
		Profiles: []simulator.Profile{
			{ID: profileLong, KeyTypes: []string{"p_256", "p_384", "rsa_2048", "ed_25519"}, CertificateFields: fields, Backdate: &second},
			{ID: profileShort, KeyTypes: []string{"p_256"}, CertificateFields: fields, Validity: simulator.Duration(10 * time.Minute), Backdate: &second},
			{ID: profileManual, Approval: "manual", CertificateFields: fields},
		},
	}
	for _, e := range edit {
		e(&config)
	}
	vendor, err := simulator.New(config)
	w.must(err)
	running, err := vendor.Start(simulator.Addresses{API: "127.0.0.1:0"})
	w.must(err)
	w.t.Cleanup(func() {
		_ = running.Stop(context.Background())
		_ = vendor.Close()
	})
	w.vendor, w.vendorURL = vendor, running.URL
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM([]byte(vendor.TLSCertificate()))
}

// connect makes the issuer object, or gives it another policy, and tells the account of its connection, as the issuer controller would.
func (w *world) connect(policy v1alpha1.OrphanPolicy, edit ...func(*account.Connection)) {
	w.t.Helper()
	issuer := &v1alpha1.DeviceIssuer{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "digicert"}}
	_, err := controllerutil.CreateOrUpdate(w.ctx, w.client, issuer, func() error {
		issuer.Spec.URL = w.vendorURL
		issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}
		issuer.Spec.Orphans.Policy = policy
		return nil
	})
	w.must(err)
	w.issuer = account.ID{Kind: v1alpha1.KindDeviceIssuer, Namespace: w.namespace, Name: "digicert"}
	w.connection = account.Connection{
		UID: string(issuer.UID), Generation: issuer.Generation, URL: w.vendorURL, Host: strings.TrimPrefix(w.vendorURL, "https://"),
		Credential: trustmanager.Credential{APIToken: token}, CredentialVersion: "1", RootCAs: w.roots,
		Limits:         account.Limits{RequestsPerSecond: 1000, Burst: 1000, MaxConcurrent: 16},
		RequestTimeout: 5 * time.Second, InventoryLag: time.Minute,
		Ready: true, CanSearch: v1alpha1.CapabilityYes, CanRevoke: v1alpha1.CapabilityYes,
	}
	for _, e := range edit {
		e(&w.connection)
	}
	w.must(w.accounts.Update(w.issuer, w.connection))
}

// restart ends the process without ceremony and starts another, which looks at every object.
func (w *world) restart() { w.restartInto(func() {}) }

// restartInto lets script meet the new process before that does anything.
func (w *world) restartInto(script func()) {
	w.t.Helper()
	w.api.end()
	w.operator.Flights.pending.Wait()
	w.connection.Blocked = w.accounts.Blocked(w.issuer) // the issuer's status keeps them
	w.operator = w.newOperator()
	script()
	w.must(w.accounts.Update(w.issuer, w.connection))
	w.due = make(map[types.NamespacedName]time.Time)
	w.wakeAll()
	w.settle()
}

// certificate is a DeviceCertificate that the long-lived profile answers.
func (w *world) certificate(name string, edit ...func(*v1alpha1.DeviceCertificate)) *v1alpha1.DeviceCertificate {
	w.t.Helper()
	cn := name + ".example"
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"}
	c.Spec.EnrollmentProfileID = profileLong
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: attributeCommonName, Value: &cn}}
	for _, e := range edit {
		e(c)
	}
	w.must(w.client.Create(w.ctx, c))
	w.wake(client.ObjectKeyFromObject(c))
	return c
}

// settle reconciles until nobody wants to be reconciled at once and nothing is in flight.
func (w *world) settle() {
	w.t.Helper()
	const enough = 100
	for range enough {
		w.operator.Flights.pending.Wait()
		w.mu.Lock()
		woken := w.woken
		w.woken = nil
		w.mu.Unlock()
		if len(woken) == 0 {
			return
		}
		for _, key := range woken {
			w.reconcile(key)
		}
	}
	w.t.Fatalf("still not settled after %d rounds", enough)
}

// reconcile does what the controller would: it notes when to look again, and repeats what failed. A process that ends inside of it has
// no more to say.
func (w *world) reconcile(key types.NamespacedName) {
	defer func() {
		p := recover()
		if err, ok := p.(error); p != nil && !(ok && errors.Is(err, errEnded)) {
			panic(p)
		}
	}()
	delete(w.due, key)
	result, err := w.operator.Reconcile(w.ctx, reconcile.Request{NamespacedName: key})
	switch {
	case errors.Is(err, errEnded):
	case err != nil:
		w.t.Logf("reconcile %s: %v", key.Name, err)
		w.due[key] = w.clock.Now().Add(time.Second)
	case result.RequeueAfter > 0:
		w.due[key] = w.clock.Now().Add(result.RequeueAfter)
	}
}

// advance moves the clock at one go, reconciles every object once more, and settles.
func (w *world) advance(d time.Duration) {
	w.t.Helper()
	w.clock.Step(d)
	w.wakeAll()
	w.settle()
}

// pass lets time go by: every object is reconciled when it asked for it, and not otherwise.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	const enough = 1000
	end := w.clock.Now().Add(d)
	for range enough {
		w.settle()
		next := end
		for _, at := range w.due {
			if at.Before(next) {
				next = at
			}
		}
		w.clock.Step(max(0, next.Sub(w.clock.Now())))
		for key, at := range w.due {
			if !at.After(w.clock.Now()) {
				w.wake(key)
			}
		}
		if !next.Before(end) {
			w.settle()
			return
		}
	}
	w.t.Fatalf("more than %d wake-ups in %s", enough, d)
}

func (w *world) wakeAll() {
	w.t.Helper()
	list := &v1alpha1.DeviceCertificateList{}
	w.must(w.client.List(w.ctx, list, client.InNamespace(w.namespace)))
	for i := range list.Items {
		w.wake(client.ObjectKeyFromObject(&list.Items[i]))
	}
}

// get reads an object as it is now.
func (w *world) get(name string) *v1alpha1.DeviceCertificate {
	w.t.Helper()
	c := &v1alpha1.DeviceCertificate{}
	w.must(w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, c))
	return c
}

func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{}
	w.must(w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, s))
	return s
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// live counts the vendor's certificates that are neither revoked nor expired.
func (w *world) live() int {
	var n int
	for _, e := range w.vendor.Ledger() {
		if e.Status == "ISSUED" {
			n++
		}
	}
	return n
}

// recordedEvents remembers events.
type recordedEvents struct {
	mu      sync.Mutex
	reasons []string
	notes   []string
}

var _ events.EventRecorder = (*recordedEvents)(nil)

func (r *recordedEvents) Eventf(_ runtime.Object, _ runtime.Object, _, reason, _, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reasons = append(r.reasons, reason)
	r.notes = append(r.notes, fmt.Sprintf(note, args...))
}
