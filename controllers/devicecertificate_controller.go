// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

// quietWait is how long an object waits for its turn before its status says so: in a burst most waits end sooner, and a write for each
// would cost as much as the certificate.
const quietWait = 10 * time.Second

// quietTurn is the same where nothing is in the way but those who are more urgent: the queue moves, and a fleet that is declared at once
// would cost a write more for each certificate.
const quietTurn = 5 * time.Minute

// DeviceCertificateReconciler keeps the Secrets of DeviceCertificates in line with their specs. All fields are required.
type DeviceCertificateReconciler struct {
	// Client reads from the cache; Reader reads live.
	Client client.Client
	Reader client.Reader
	// Roster walks over what Client would list.
	Roster *Roster
	// Accounts hands out the leave to buy.
	Accounts *account.Registry
	// Flights are drained by whoever runs the manager.
	Flights  *Flights
	Recorder events.EventRecorder
	// Telemetry counts.
	Telemetry Telemetry
	Clock     clock.Clock
	// Issuers selects the issuers this process serves; the objects of others are left to whoever serves them.
	Issuers labels.Selector
	// WatchSecrets: the manager's cache holds the metadata of Secrets that carry the watch label. Otherwise they are read live, every
	// five minutes.
	WatchSecrets bool
	// Namespaces are those that are served, and the process has rights in those alone; empty means all. The labels of some namespaces, which
	// grants select by, are read live before each purchase; a change of them that gives a right is noticed within five minutes.
	Namespaces []string

	memory   *memory
	progress progress
	queue    wakeQueue
	// began is when the process did, and its queue to fill.
	began time.Time
	// wake is Wake, and writtenAt the function of that name, but in tests.
	wake      func(types.NamespacedName)
	writtenAt func(*v1alpha1.DeviceCertificate) time.Time
}

// +kubebuilder:rbac:groups=devicecert.io,resources=devicecertificates,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=devicecert.io,resources=devicecertificates/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile observes, plans, acts and reports, once.
func (r *DeviceCertificateReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	base, lag, err := r.current(ctx, req.NamespacedName)
	if err != nil || lag > 0 {
		r.Accounts.Withdraw(req.NamespacedName)
		return reconcile.Result{RequeueAfter: lag}, client.IgnoreNotFound(err)
	}
	s, err := r.observe(ctx, base)
	if err != nil || s.snapshot.InFlight || s.elsewhere {
		return reconcile.Result{}, err // a flight wakes the object when it lands
	}
	p := plan.Decide(&s.snapshot)
	for range 2 { // what is read for a purchase may show that there is none to make, but something to render
		again, err := r.inspect(ctx, s, p)
		if err != nil {
			return reconcile.Result{}, err
		}
		if !again {
			break
		}
		p = plan.Decide(&s.snapshot)
	}
	seen := s.snapshot.Now // from here on the scope belongs to the flight that act may have started
	result, err := r.act(ctx, s, p)
	return prioritized(result, base, seen), err
}

// current reads the object, never older than this process's last write to it. While the cache lags behind that, it answers when to look again:
// the event that brings the cache up to date comes sooner as a rule, and shows all that a live read would. Only where the watch will not
// bring it is the object read live.
func (r *DeviceCertificateReconciler) current(ctx context.Context, key types.NamespacedName) (*v1alpha1.DeviceCertificate, time.Duration, error) {
	seen := r.progress.of(r.watchOf(key.Namespace)) // before the cache is read, which is never behind it
	cached := &v1alpha1.DeviceCertificate{}
	if err := r.Client.Get(ctx, key, cached); err != nil {
		return nil, 0, err
	}
	_, inPart := cached.Annotations[annotationInPart]
	remembered := r.memory.recall(cached.UID)
	stale := older(cached.ResourceVersion, remembered.written)
	if !stale && !inPart {
		return cached, 0, nil
	}
	if lag := seen.lag(remembered.written, remembered.writtenAt, r.Clock.Now()); stale && lag > 0 {
		return nil, lag, nil
	}
	live := &v1alpha1.DeviceCertificate{}
	return live, 0, r.Reader.Get(ctx, key, live)
}

// act carries the plan out. What takes a vendor call is started as a flight, and reports by itself.
func (r *DeviceCertificateReconciler) act(ctx context.Context, s *scope, p plan.Plan) (reconcile.Result, error) {
	s.acknowledge()
	switch {
	case p.AwaitsIssuer:
		r.Accounts.Await(s.issuer.ID, s.request()) // it wakes the object when it can be bought from
	case !p.Buys():
		r.Accounts.Withdraw(s.key())
	}
	if held := r.heldBack(s); held > 0 && p.CallsVendor() {
		return unlessFailed(reconcile.Result{RequeueAfter: held}, r.report(ctx, s, p))
	}
	switch p.Action {
	case plan.ActionEnroll, plan.ActionRenew:
		return r.buy(ctx, s, p)
	case plan.ActionResolve:
		q := &resolution{scope: s, r: r, attempt: s.cert.Status.Attempt.DeepCopy()}
		r.fly(s, func() { q.run(ctx) })
		return reconcile.Result{}, nil
	case plan.ActionRevoke:
		if err := r.report(ctx, s, p); err != nil {
			return reconcile.Result{}, err
		}
		r.fly(s, func() { r.revokeDue(ctx, s) })
		return reconcile.Result{}, nil
	case plan.ActionRender:
		return unlessFailed(r.after(s, p), r.render(ctx, s))
	case plan.ActionFinalize:
		r.fly(s, func() { r.finalize(ctx, s) })
		return reconcile.Result{}, nil
	default:
		if s.lostFinalizer() {
			if err := r.hold(ctx, s); err != nil {
				return reconcile.Result{}, err
			}
		}
		return unlessFailed(r.after(s, p), r.report(ctx, s, p))
	}
}

// buy starts a purchase if the account gives leave, and waits for its turn otherwise.
func (r *DeviceCertificateReconciler) buy(ctx context.Context, s *scope, p plan.Plan) (reconcile.Result, error) {
	lease, wait := r.Accounts.Acquire(s.issuer.ID, s.request())
	if lease != nil && lease.Version() != s.account.Version {
		lease.Done(account.Outcome{Unused: true})
		return reconcile.Result{RequeueAfter: time.Second}, nil // the account changed since it was looked at
	}
	if lease != nil {
		b := &purchase{scope: s, r: r, plan: p, lease: lease, log: s.log()}
		if !r.fly(s, func() { b.run(ctx) }) {
			lease.Done(account.Outcome{Unused: true})
		}
		return reconcile.Result{}, nil
	}
	patience := quietWait
	if wait.Reason == v1alpha1.ReasonRateLimited && wait.Until.IsZero() {
		patience = quietTurn
	}
	if quiet := r.quiet(s, p, patience); quiet > 0 && !wait.Terminal {
		return reconcile.Result{RequeueAfter: quiet}, nil
	}
	p.Action, p.Reason, p.Message = plan.ActionWait, wait.Reason, wait.Message
	if at := s.urgentAt(); wait.Reason == v1alpha1.ReasonBudgetExceeded && s.secret.Usable() && (p.Due.IsZero() || at.Before(p.Due)) {
		p.Due = at // from then on it passes
	}
	if wait.Terminal {
		p.Action, p.Failing = plan.ActionBlock, true
	}
	return unlessFailed(r.after(s, p), r.report(ctx, s, p))
}

// request asks an account for leave to buy for the object.
func (s *scope) request() account.Request {
	due, automatic := plan.RenewalTime(s.cert, s.secret.Secret)
	return account.Request{
		Key: s.key(), ProfileID: s.cert.Spec.EnrollmentProfileID, Format: s.cert.Spec.PrivateKey.Format,
		Expires: s.secret.NotAfter, Retry: plan.RetryRequested(s.cert),
		Due:    automatic && !s.snapshot.Now.Before(due),
		Urgent: s.secret.Usable() && !s.snapshot.Now.Before(s.urgentAt()),
	}
}

// urgentAt is when the certificate in the Secret has so little of its lifetime left that no budget may hold its successor back.
func (s *scope) urgentAt() time.Time { return renewal.LastResort(s.secret.Lifetime()) }

// quiet is how long the wait for a first certificate or a renewal goes unreported yet. That the spec asks for another certificate than
// the one stored is told at once.
func (r *DeviceCertificateReconciler) quiet(s *scope, p plan.Plan, patience time.Duration) time.Duration {
	if s.cert.Status.ObservedGeneration >= 0 && p.Action != plan.ActionRenew {
		return 0
	}
	var since time.Time
	r.memory.change(s.cert.UID, func(m *recollection) {
		if m.waitingSince.IsZero() {
			m.waitingSince = s.snapshot.Now
		}
		since = m.waitingSince
	})
	return since.Add(patience).Sub(s.snapshot.Now)
}

// heldBack is how long the object's next step must wait after one that failed.
func (r *DeviceCertificateReconciler) heldBack(s *scope) time.Duration {
	return r.memory.recall(s.cert.UID).notBefore.Sub(s.snapshot.Now)
}

// after is when to look again.
func (r *DeviceCertificateReconciler) after(s *scope, p plan.Plan) reconcile.Result {
	due := p.Due
	if !r.WatchSecrets || s.needsPasswords() {
		if reread := s.snapshot.Now.Add(r.reread(s.cert)); due.IsZero() || reread.Before(due) {
			due = reread
		}
	}
	if due.IsZero() {
		return reconcile.Result{}
	}
	// A sleep of days is cut: a clock that was set, or a machine that was suspended, would be noticed late.
	const longestSleep = 6 * time.Hour
	return reconcile.Result{RequeueAfter: min(max(due.Sub(s.snapshot.Now), time.Second), longestSleep)}
}

// unlessFailed is the result, or the error alone: with an error the queue decides when to come back.
func unlessFailed(result reconcile.Result, err error) (reconcile.Result, error) {
	if err != nil {
		return reconcile.Result{}, err
	}
	return result, nil
}

// fly runs a flight for the object and wakes it afterwards.
func (r *DeviceCertificateReconciler) fly(s *scope, f func()) bool {
	key := s.key()
	return r.Flights.Start(s.log(), s.cert.UID, f, func() { r.wake(key) })
}

// Wake reconciles an object soon. It never blocks, and is what an account.Registry calls when it is the object's turn.
func (r *DeviceCertificateReconciler) Wake(key types.NamespacedName) {
	r.queue.add(reconcile.Request{NamespacedName: key})
}

// acknowledge drops the orphan that the user says is taken care of, and remembers it: the inventory goes on showing it, and the annotation
// may go.
func (s *scope) acknowledge() {
	status, id := &s.cert.Status, s.cert.Annotations[v1alpha1.AnnotationAcknowledgeOrphan]
	if id == "" {
		return
	}
	var kept []v1alpha1.Orphan
	for _, o := range status.Orphans {
		if o.CertificateID != id && o.AttemptID != id {
			kept = append(kept, o)
			continue
		}
		done := cmp.Or(o.CertificateID, o.AttemptID)
		status.AcknowledgedOrphans = slices.Insert(slices.Clone(status.AcknowledgedOrphans), 0, done)
		status.AcknowledgedOrphans = status.AcknowledgedOrphans[:min(len(status.AcknowledgedOrphans), v1alpha1.MaxAcknowledgedOrphans)]
		status.ClosedAttempts = slices.DeleteFunc(slices.Clone(status.ClosedAttempts), func(a v1alpha1.Attempt) bool { return a.ID == done })
	}
	status.Orphans = kept
}

func (s *scope) log() logr.Logger {
	return ctrl.Log.WithName("devicecertificate").WithValues("namespace", s.cert.Namespace, "name", s.cert.Name)
}

func (r *DeviceCertificateReconciler) event(c *v1alpha1.DeviceCertificate, kind, reason, action, note string) {
	r.Recorder.Eventf(c, nil, kind, reason, action, "%s", truncateNote(note))
}

// truncateNote keeps an event's note within the thousand bytes the API admits.
func truncateNote(note string) string {
	const longest = 1000
	if len(note) <= longest {
		return note
	}
	return strings.ToValidUTF8(note[:longest], "")
}

// SetupWithManager registers the controller, its indexes and its watches.
func (r *DeviceCertificateReconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	if err := setupIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	r.memory, r.began = newMemory(), r.Clock.Now()
	r.wake, r.writtenAt = r.Wake, writtenAt
	b := ctrl.NewControllerManagedBy(mgr).
		Named("devicecertificate").
		WithOptions(options).
		Watches(&v1alpha1.DeviceCertificate{}, r.byUrgency()).
		WatchesRawSource(source.Func(r.queue.start)).
		Watches(&v1alpha1.DeviceIssuer{}, handler.EnqueueRequestsFromMapFunc(r.certificatesOfIssuer(v1alpha1.KindDeviceIssuer)), issuerChanged()).
		Watches(&v1alpha1.ClusterDeviceIssuer{}, handler.EnqueueRequestsFromMapFunc(r.certificatesOfIssuer(v1alpha1.KindClusterDeviceIssuer)), issuerChanged())
	if len(r.Namespaces) == 0 {
		b = b.WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.certificatesOfNamespace), labelsChanged())
	}
	if r.WatchSecrets {
		b = b.WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.certificatesOfSecret))
	}
	if err := b.Complete(r); err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(r.urgentFirst)); err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(r.watchClock))
}

// wakeQueue hands wake-ups straight to the controller's queue: unlike a channel it never blocks whoever wakes. Wake-ups before the
// controller starts are not needed, as its start looks at every object.
type wakeQueue struct {
	started atomic.Pointer[workqueue.TypedRateLimitingInterface[reconcile.Request]]
}

func (w *wakeQueue) start(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	w.started.Store(&q)
	return nil
}

func (w *wakeQueue) add(req reconcile.Request) { w.addAt(req, priorityWoken) }

func (w *wakeQueue) addAt(req reconcile.Request, priority int) {
	if q := w.started.Load(); q != nil {
		addWithPriority(*q, req, priority)
	}
}
