// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// errEnded is all that a process which has ended hears of the world, and what it panics with when it ends in the middle of a request.
var errEnded = errors.New("this process has ended")

// view says which of its two clients the operator uses.
type view string

const (
	cached view = "cached"
	live   view = "live"
)

// step is a request to the API server in the words of the issuing protocol.
type step string

// The steps of the issuing protocol. Reads are "cached Secret", "live DeviceCertificate" and so on.
const (
	stepFinalizer step = "finalizer"
	stepRehearsal step = "rehearsal"
	stepIntent    step = "intent"
	stepStore     step = "store"
	stepReport    step = "report"
	stepDelete    step = "delete"
)

// apiCall is one request of the operator.
type apiCall struct {
	step step
	name string
	// object is what is read into, or written.
	object any
	// forward lets the API server do it.
	forward func() error
}

// apiRule makes the requests it meets go otherwise.
type apiRule struct {
	step step
	// name of the object; empty for any.
	name string
	// skip lets this many pass first; times bounds how many are met, and 0 means all.
	skip, times int
	act         func(apiCall) error
}

// api is the API server as one process of the operator sees it.
type api struct {
	w     *world
	mu    sync.Mutex
	calls []apiCall
	rules []*apiRule
	ended bool
}

// on adds a rule.
func (a *api) on(rule apiRule) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rules = append(a.rules, &rule)
}

// clear drops all rules.
func (a *api) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rules = nil
}

// end cuts the process off: nothing it still does has an effect.
func (a *api) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
}

// count tells how often a step was asked for, refused or not.
func (a *api) count(steps ...step) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n int
	for _, c := range a.calls {
		for _, s := range steps {
			if c.step == s {
				n++
			}
		}
	}
	return n
}

// writes counts everything that is not a read.
func (a *api) writes() int {
	return a.count(stepFinalizer, stepRehearsal, stepIntent, stepStore, stepReport, stepDelete)
}

// do counts the request and lets the first rule that meets it act.
func (a *api) do(c apiCall) error {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return errEnded
	}
	a.calls = append(a.calls, c)
	act := func(c apiCall) error { return c.forward() }
	for _, r := range a.rules {
		if r.step != c.step || r.name != "" && r.name != c.name {
			continue
		}
		if r.skip > 0 {
			r.skip--
			continue
		}
		if r.times < 0 {
			continue
		}
		if r.times == 1 {
			r.times = -1
		} else if r.times > 1 {
			r.times--
		}
		act = r.act
		break
	}
	a.mu.Unlock()
	return act(c)
}

// refuse answers without doing anything.
func refuse(err error) func(apiCall) error {
	return func(apiCall) error { return err }
}

// loseAnswer does what was asked and answers as a broken connection would.
func loseAnswer(c apiCall) error {
	if err := c.forward(); err != nil {
		return err
	}
	return errors.New("http2: client connection lost")
}

// endBefore ends the process at this request, before it is sent; endAfter when it is done, before its answer is read.
func (a *api) endBefore(apiCall) error {
	a.end()
	panic(errEnded)
}

func (a *api) endAfter(c apiCall) error {
	if err := c.forward(); err != nil {
		return err
	}
	a.end()
	panic(errEnded)
}

// client is the operator's client. The cache holds the metadata of those Secrets alone that carry the watch label.
func (a *api) client(from view) client.Client {
	return interceptor.NewClient(a.w.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			return a.do(apiCall{step: step(string(from) + " " + kindOf(object)), name: key.Name, object: object, forward: func() error {
				err := c.Get(ctx, key, object, opts...)
				from.trim(object)
				if _, ok := object.(*metav1.PartialObjectMetadata); ok && err == nil && kindOf(object) == "Secret" && object.GetLabels()[v1alpha1.LabelWatch] != "true" {
					return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
				}
				return err
			}})
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			// Every test has its own namespace, and what others do must not be seen.
			opts = append(opts, client.InNamespace(a.w.namespace))
			return a.do(apiCall{step: "list", object: list, forward: func() error {
				err := listByIndex(ctx, c, list, opts)
				_ = apimeta.EachListItem(list, func(o runtime.Object) error { from.trim(o); return nil })
				return err
			}})
		},
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return a.do(apiCall{step: stepFinalizer, name: object.GetName(), object: object, forward: func() error {
				return a.wakeAfter(object.GetName(), c.Patch(ctx, object, patch, opts...))
			}})
		},
		Delete: func(ctx context.Context, c client.WithWatch, object client.Object, opts ...client.DeleteOption) error {
			return a.do(apiCall{step: stepDelete, name: object.GetName(), object: object, forward: func() error { return c.Delete(ctx, object, opts...) }})
		},
		Apply: func(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return a.apply(ctx, c, object, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, object client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			call := apiCall{step: statusStep(object, patch), name: object.GetName(), object: object}
			call.forward = func() error {
				err := c.SubResource(sub).Patch(ctx, object, patch, opts...)
				if call.step == stepIntent && err == nil {
					a.w.witnessIntent(object.GetName())
				}
				return a.wakeAfter(object.GetName(), err)
			}
			return a.do(call)
		},
	})
}

// trim takes from an object what the manager's cache does not hold.
func (v view) trim(object runtime.Object) {
	if v != cached {
		return
	}
	switch o := object.(type) {
	case *v1alpha1.DeviceCertificate:
		leanCertificate(o)
	case *metav1.PartialObjectMetadata:
		if kindOf(o) == "Secret" {
			leanSecret(o)
		}
	}
}

// apply is a rehearsal or a store. What is stored is looked at by whoever watches: it must be whole at every version.
func (a *api) apply(ctx context.Context, c client.WithWatch, object runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	secret, ok := object.(*corev1ac.SecretApplyConfiguration)
	if !ok {
		return errors.New("the operator applies Secrets alone")
	}
	options := client.ApplyOptions{}
	options.ApplyOptions(opts)
	call := apiCall{step: stepStore, name: *secret.Name, object: object}
	if len(options.DryRun) > 0 {
		call.step = stepRehearsal
	}
	owner := secret.Annotations[v1alpha1.AnnotationCertificateName]
	call.forward = func() error {
		err := c.Apply(ctx, object, opts...)
		if call.step == stepRehearsal || err != nil {
			return err
		}
		a.w.witness(*secret.Name)
		return a.wakeAfter(owner, nil)
	}
	return a.do(call)
}

// listByIndex does what the manager's cache does: it knows the index of certificates by Secret, which the API server does not.
func listByIndex(ctx context.Context, c client.WithWatch, list client.ObjectList, opts []client.ListOption) error {
	asked := (&client.ListOptions{}).ApplyOptions(opts)
	if asked.FieldSelector == nil {
		return c.List(ctx, list, opts...)
	}
	name, found := asked.FieldSelector.RequiresExactMatch(indexSecrets)
	certificates, ok := list.(*v1alpha1.DeviceCertificateList)
	if !found || !ok {
		return c.List(ctx, list, opts...)
	}
	asked.FieldSelector = nil
	err := c.List(ctx, list, asked)
	certificates.Items = slices.DeleteFunc(certificates.Items, func(o v1alpha1.DeviceCertificate) bool {
		return o.Name == name || !slices.Contains(secretsOf(&o), name)
	})
	return err
}

// wakeAfter does what the watch does after a write.
func (a *api) wakeAfter(name string, err error) error {
	if err == nil {
		a.w.wake(types.NamespacedName{Namespace: a.w.namespace, Name: name})
	}
	return err
}

func kindOf(object client.Object) string {
	switch object.(type) {
	case *v1alpha1.DeviceCertificate:
		return "DeviceCertificate"
	case *corev1.Secret:
		return "Secret"
	case *corev1.ConfigMap:
		return "ConfigMap"
	case *v1alpha1.DeviceIssuer, *v1alpha1.ClusterDeviceIssuer:
		return "issuer"
	}
	return object.GetObjectKind().GroupVersionKind().Kind
}

// statusStep tells the intent, which opens an attempt, from the reports.
func statusStep(object client.Object, patch client.Patch) step {
	data, err := patch.Data(object)
	if err == nil && strings.Contains(string(data), `"startedAt"`) {
		return stepIntent
	}
	return stepReport
}

// serve answers a read with an older state, as a cache that lags does.
func serve(old client.Object) func(apiCall) error {
	return func(c apiCall) error {
		text, err := json.Marshal(old)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, c.object)
	}
}

// Answers of the API server.
func forbidden(reason string) error {
	return apierrors.NewForbidden(corev1.Resource("secrets"), "x", errors.New(reason))
}

func invalidSecret() error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "x", nil)
}

func conflict() error {
	return apierrors.NewConflict(corev1.Resource("secrets"), "x", errors.New("the object has been modified"))
}

// hastyClock lets nobody wait: it moves on to whatever time is waited for.
type hastyClock struct{ *clocktesting.FakeClock }

func (c hastyClock) After(d time.Duration) <-chan time.Time {
	c.Step(d)
	fired := make(chan time.Time, 1)
	fired <- c.Now()
	return fired
}

func (a *api) hasEnded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}
