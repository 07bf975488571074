// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/controllers"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/scrape"
	"github.com/devicecert/devicecert-operator/internal/telemetry"
)

// run builds the manager and runs it until ctx is done or the lease is lost, and then waits for the certificates on their way.
func run(ctx context.Context, o options) error {
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	flights := controllers.NewFlights()
	if err := setup(ctx, mgr, o, flights); err != nil {
		return err
	}
	if err := mgr.Add(holdLease(flights)); err != nil {
		return fmt.Errorf("add the hand-over: %w", err)
	}
	err = mgr.Start(ctx)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.shutdownTimeout)
	defer cancel()
	if left := flights.Drain(drain); left > 0 {
		ctrl.Log.Info("stopped with requests under way; their attempts are resolved after the next start", "attempts", left)
	}
	if err != nil {
		return fmt.Errorf("run the manager: %w", err)
	}
	return nil
}

// reconcileGrace is how long reconciles under way may take to end. Certificates on their way have the whole --shutdown-timeout.
const reconcileGrace = 10 * time.Second

// leasePatience is how long a stopping leader keeps its lease for the certificates on their way, so that as a rule they are stored before
// another process looks. A vendor that takes longer must not hold up everybody else: a successor leaves open attempts alone until they
// are stored or nobody can store them any more.
const leasePatience = 5 * time.Second

// holdLease keeps a manager that is told to stop from giving its lease away while certificates are on their way.
func holdLease(flights *controllers.Flights) manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), leasePatience)
		defer cancel()
		flights.Drain(drain)
		return nil
	})
}

func newManager(o options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build the scheme: %w", err)
		}
	}
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find a cluster (--kubeconfig, KUBECONFIG or a pod's service account): %w", err)
	}
	restConfig.UserAgent = userAgent()
	// The API server warns that the rehearsal's placeholder is no key pair.
	restConfig.WarningHandler = rest.NoWarnings{}
	restConfig.Wrap(boundCalls)
	grace := min(o.shutdownTimeout, reconcileGrace)
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                  scheme,
		Cache:                   cacheOptions(o),
		LeaderElection:          o.leaderElect,
		LeaderElectionID:        leaseName(o),
		LeaderElectionNamespace: leaseNamespace(o),
		// A standby then takes over at once instead of when the lease has expired; see holdLease.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
		HealthProbeBindAddress:        o.probeAddress,
		PprofBindAddress:              o.profileAddress,
		Metrics: metricsserver.Options{
			BindAddress: o.metricsAddress, SecureServing: true, FilterProvider: scrape.Filter,
		},
		Controller: config.Controller{EnableWarmup: new(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("build the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("healthz", healthz.Ping); err != nil {
		return nil, fmt.Errorf("add healthz: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache())); err != nil {
		return nil, fmt.Errorf("add readyz: %w", err)
	}
	return mgr, nil
}

// cachesSynced is ready once everything that is watched has been listed: a manager that may not list, or cannot read what it lists, shows.
func cachesSynced(caches cache.Cache) healthz.Checker {
	const patience = time.Second
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		if !caches.WaitForCacheSync(ctx) {
			return errors.New("the caches have not synced: see the log for what cannot be listed")
		}
		return nil
	}
}

// cacheOptions keep Secrets out of the cache but for the metadata of those that are labelled for it.
func cacheOptions(o options) cache.Options {
	var namespaces, secrets map[string]cache.Config
	if len(o.namespaces) > 0 {
		namespaces = make(map[string]cache.Config)
		for _, namespace := range o.namespaces {
			namespaces[namespace] = cache.Config{}
		}
		if o.clusterResourceNamespace != "" {
			secrets = maps.Clone(namespaces)
			secrets[o.clusterResourceNamespace] = cache.Config{}
		}
	}
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		DefaultNamespaces:           namespaces,
		ByObject:                    controllers.Cached(secrets),
		DefaultTransform:            cache.TransformStripManagedFields(),
	}
}

// setup registers the controllers. The registry of accounts and the controllers need each other: it wakes certificates and asks for
// probes, they buy through it.
func setup(ctx context.Context, mgr ctrl.Manager, o options, flights *controllers.Flights) error {
	counters, err := telemetry.NewCounters(metrics.Registry, version)
	if err != nil {
		return err
	}
	const name = "devicecert-operator"
	recorder := &controllers.Recorder{EventRecorder: mgr.GetEventRecorder(name), Client: mgr.GetClient(), Clock: clock.RealClock{}, Name: name}
	roster, err := controllers.NewRoster(ctx, mgr.GetCache())
	if err != nil {
		return err
	}
	certificates := &controllers.DeviceCertificateReconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Roster: roster, Flights: flights, Recorder: recorder,
		Telemetry: counters, Clock: clock.RealClock{}, Issuers: o.issuers, WatchSecrets: o.watchSecrets, Namespaces: o.namespaces,
	}
	issuers := &controllers.IssuerReconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Roster: roster, Clock: clock.RealClock{},
		ClusterResourceNamespace: o.clusterResourceNamespace, Selector: o.issuers, WatchSecrets: o.watchSecrets,
	}
	accounts := account.NewRegistry(account.Options{
		Clock: clock.RealClock{}, Hosts: o.hosts, UserAgent: userAgent(), Log: ctrl.Log.WithName("account"),
		Wake: certificates.Wake, Probe: issuers.Ask, Observe: counters.Requested, Waited: counters.Waited,
	})
	fleet := &telemetry.Fleet{Reader: mgr.GetClient(), Certificates: roster, Accounts: accounts, Clock: clock.RealClock{}, Issuers: o.issuers, Detail: o.certificateMetrics}
	if err := metrics.Registry.Register(fleet); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	certificates.Accounts, issuers.Accounts = accounts, accounts
	if err := certificates.SetupWithManager(ctx, mgr, controller.Options{MaxConcurrentReconciles: o.maxConcurrentReconciles}); err != nil {
		return fmt.Errorf("set up the certificate controller: %w", err)
	}
	if err := issuers.SetupWithManager(ctx, mgr, controller.Options{}); err != nil {
		return fmt.Errorf("set up the issuer controllers: %w", err)
	}
	if err := (&controllers.SweepReconciler{Certificates: certificates}).SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the sweeps: %w", err)
	}
	return nil
}

// leaseName is one for each share of the work: instances that serve different issuers or namespaces do not compete.
func leaseName(o options) string {
	const name = "devicecert-operator"
	share := o.issuers.String() + "|" + strings.Join(o.namespaces, ",")
	if share == "|" {
		return name
	}
	sum := sha256.Sum256([]byte(share))
	return fmt.Sprintf("%s-%x", name, sum[:4])
}

// leaseNamespace is where replicas elect their leader; empty lets controller-runtime find the pod's own.
func leaseNamespace(o options) string { return o.clusterResourceNamespace }

// version is set by the linker.
var version = "dev"

// userAgent names the operator to the vendor and to the API server.
func userAgent() string { return "devicecert-operator/" + version }
