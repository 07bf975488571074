// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/testkit/address"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

// outageRows are about an API server that is there only in part.
func outageRows() []row {
	return []row{
		{id: "K17", name: "the kind is gone for a while", run: kindGone},
		{id: "K20", name: "the API server is down when the renewal is due", run: apiServerDown},
		{id: "K21", name: "etcd takes no writes", run: etcdFull},
		{id: "K22", name: "a watch is answered with 410", run: watchExpired},
		{id: "W5", name: "all watches fall silent, and a renewal becomes due", run: silentWatches},
		{id: "W7", name: "events come twice and out of order", run: repeatedEvents},
		{id: "W9", name: "an informer does not sync", run: neverSyncs},
		{id: "W10", name: "two hundred objects at once", variant: true, run: flood},
		{id: "X13", name: "the quota is below what is used when the renewal is due", run: quotaLowered},
	}
}

// kindGone is a CRD that is deleted and comes back, as far as the operator can tell.
func kindGone(w *world) {
	w.beginIssued()
	for _, verb := range []string{"list", "watch", "get", "patch"} {
		w.proxy().Add(apiproxy.Fault{Match: apiproxy.Match{Verb: verb, Resource: "devicecertificates", Times: -1}, Action: apiproxy.Respond, Status: http.StatusNotFound})
	}
	w.proxy().EndWatches("devicecertificates")
	eventually(w.T, "the operator asks for the kind in vain", func(context.Context) (bool, error) {
		return slices.ContainsFunc(w.history(), func(e apiproxy.Exchange) bool {
			return e.Resource == "devicecertificates" && e.Answered == http.StatusNotFound
		}), nil
	})
	w.requestRenewal(gateway)
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	if !w.managerAlive() {
		w.Error("I11: the manager has ended")
	}
	w.proxy().Reset()
	replaced(w)
	w.wantBought(1)
}

// apiServerDown asks for a renewal while the operator reaches nothing.
func apiServerDown(w *world) {
	w.beginIssued()
	w.proxy().Add(apiproxy.Fault{Match: apiproxy.Match{Times: -1}, Action: apiproxy.Drop})
	for _, kind := range []string{"devicecertificates", "secrets", "deviceissuers"} {
		w.proxy().EndWatches(kind)
	}
	w.requestRenewal(gateway)
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	w.proxy().Reset()
	replaced(w)
	w.wantBought(1)
}

// etcdFull is the alarm NOSPACE: reads and dry runs work, writes do not.
func etcdFull(w *world) {
	w.begin()
	for _, verb := range []string{"create", "update", "patch", "apply", "delete"} {
		w.proxy().Add(apiproxy.Fault{
			Match:  apiproxy.Match{Verb: verb, DryRun: new(false), Times: -1},
			Action: apiproxy.Respond, Status: http.StatusInternalServerError, Message: "etcdserver: mvcc: database space exceeded",
		})
	}
	w.certificate(gateway)
	eventually(w.T, "the operator has tried to write", func(context.Context) (bool, error) {
		return slices.ContainsFunc(w.history(), func(e apiproxy.Exchange) bool {
			return e.IsWrite() && e.Answered == http.StatusInternalServerError
		}), nil
	})
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	w.proxy().Reset()
	w.awaitReady(gateway)
	w.wantBought(1)
}

func watchExpired(w *world) {
	w.beginIssued()
	for _, kind := range []string{"devicecertificates", "secrets"} {
		w.proxy().Add(apiproxy.Fault{Match: apiproxy.Match{Verb: "watch", Resource: kind, Times: 2}, Action: apiproxy.Respond, Status: http.StatusGone})
		w.proxy().EndWatches(kind)
	}
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	w.requestRenewal(gateway)
	replaced(w)
	w.wantBought(1)
}

// everyNineSeconds makes a certificate due for renewal after a tenth of the shortest profile's lifetime.
func everyNineSeconds(c *v1alpha1.DeviceCertificate) {
	c.Spec.EnrollmentProfileID = profileBrief
	c.Spec.Renewal.RenewBeforePercentage = new(int32(90))
}

func silentWatches(w *world) {
	w.begin()
	w.certificate(gateway, everyNineSeconds)
	w.before = w.awaitReady(gateway)
	w.mark()
	for _, kind := range []string{"devicecertificates", "secrets", "deviceissuers"} {
		w.proxy().Freeze(kind)
	}
	replaced(w)
	w.proxy().Reset()
	stopRenewing(w)
	w.wantBought(1, 3)
}

// stopRenewing lets a certificate that is due all the time come to rest.
func stopRenewing(w *world) {
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec.Renewal.Policy = v1alpha1.RenewalDisabled })
	w.awaitReady(gateway)
}

func repeatedEvents(w *world) {
	w.begin()
	w.proxy().Repeat("devicecertificates")
	w.proxy().Repeat("secrets")
	w.eachOfBurst(func(name string) { w.certificate(name) })
	w.eachOfBurst(func(name string) { w.awaitReady(name) })
	w.wantBought(burst)
	w.certificate(gateway)
	w.before = w.awaitReady(gateway)
	w.requestRenewal(gateway)
	replaced(w)
	w.wantBought(burst + 2)
}

// neverSyncs starts a manager that is not given the list of certificates: it is not ready, buys nothing, and goes on when it gets the list.
func neverSyncs(w *world) {
	for _, verb := range []string{"list", "watch"} {
		w.proxy().Add(apiproxy.Fault{Match: apiproxy.Match{Verb: verb, Resource: "devicecertificates", Times: -1}, Action: apiproxy.Respond, Status: http.StatusInternalServerError})
	}
	address, err := address.Free()
	w.must(err)
	w.launchManager(w.kubeconfig, "--health-probe-bind-address="+address)
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(token)})
	w.must(env.admin.Create(w.ctx, w.issuer(issuerName, w.vendor())))
	w.mark()
	w.certificate(gateway)
	w.awaitProbe("http://"+address+"/healthz", http.StatusOK)
	w.awaitProbe("http://"+address+"/readyz", http.StatusInternalServerError)
	w.awaitQuiet()
	w.wantPurchases(gateway, 0)
	w.proxy().Reset()
	w.awaitReady(gateway)
	w.awaitProbe("http://"+address+"/readyz", http.StatusOK)
	w.wantBought(1)
}

func (w *world) awaitProbe(url string, want int) {
	w.Helper()
	eventually(w.T, fmt.Sprint(url, " answers ", want), func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil // it does not listen yet
		}
		return response.StatusCode == want, response.Body.Close()
	})
}

// flood restores many objects at once. The account's rate holds, and each is bought once.
func flood(w *world) {
	const many, rate, reserve = 200, 20, 20
	w.startManager()
	w.connect(issuerName, w.vendor(), func(i *v1alpha1.DeviceIssuer) {
		i.Spec.Limits = v1alpha1.IssuerLimits{RequestsPerSecond: rate, Burst: reserve, MaxConcurrent: inFlight}
	})
	w.mark()
	for i := range many {
		w.certificate(fmt.Sprint(gateway, "-", i))
	}
	for i := range many {
		w.awaitReady(fmt.Sprint(gateway, "-", i))
	}
	w.wantBought(many)
	var times []time.Time
	for _, call := range w.calls() {
		times = append(times, call.Time)
	}
	// A second's worth of tokens besides the reserve, and one for the rounding of clocks.
	const most = rate + reserve + 1
	for i := range len(times) - most {
		if times[i+most].Sub(times[i]) < time.Second {
			w.Errorf("I5: more than %d requests within a second from %s on", most, times[i])
		}
	}
}

func quotaLowered(w *world) {
	w.beginIssued()
	quota := &corev1.ResourceQuota{ObjectMeta: w.meta("none")}
	quota.Spec.Hard = corev1.ResourceList{"count/secrets": resource.MustParse("0")}
	w.must(env.admin.Create(w.ctx, quota))
	eventually(w.T, "the quota is counted", func(ctx context.Context) (bool, error) {
		err := env.admin.Get(ctx, client.ObjectKeyFromObject(quota), quota)
		return len(quota.Status.Used) > 0, err
	})
	w.requestRenewal(gateway)
	replaced(w)
	w.wantBought(1)
}
