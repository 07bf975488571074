// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// walk is a random story. Whatever happens in it, the invariants hold at its end, and once everything works again every object gets its
// certificate.
type walk struct {
	*world
	dice *rand.Rand
	told []string
}

func pick[T any](w *walk, from ...T) T { return from[w.dice.IntN(len(from))] }

// names of the objects; the last two ask for the same common name.
func (w *walk) name() string { return pick(w, "a", "b", "c") }

func (w *walk) step() {
	name := w.name()
	actions := map[string]func(){
		"create": func() {
			if w.exists(name) {
				return
			}
			w.certificate(name, func(c *v1alpha1.DeviceCertificate) {
				if name != "a" {
					same := "same.example"
					c.Spec.CertificateAttributes[0].Value = &same
				}
			})
		},
		"edit": func() {
			w.change(name, func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = pick(w, "p_256", "p_384", "") })
		},
		"label": func() {
			w.change(name, func(c *v1alpha1.DeviceCertificate) {
				c.Spec.Secret.Labels = map[string]string{"n": fmt.Sprint(w.dice.IntN(9))}
			})
		},
		"move": func() {
			w.change(name, func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = pick(w, name, name+"-moved") })
		},
		"renew": func() {
			if w.exists(name) {
				w.annotate(name, v1alpha1.AnnotationRenewRequestedAt, w.now())
			}
		},
		"delete the Secret": func() {
			if w.hasSecret(name) {
				w.deleteSecret(name)
			}
		},
		"lose the status": func() {
			if w.exists(name) && w.get(name).Status.Attempt == nil && len(w.get(name).Status.Superseded)+len(w.get(name).Status.Orphans) == 0 && w.get(name).Status.SecretName != "" && w.hasSecret(w.get(name).Status.SecretName) {
				w.editStatus(name, func(s *v1alpha1.DeviceCertificateStatus) { *s = v1alpha1.DeviceCertificateStatus{} })
			}
		},
		"vendor": func() {
			f := pick(w, lost(simulator.OperationAny), onNext(simulator.OperationAny, 1, simulator.ActionDrop),
				answering(simulator.OperationAny, 1, 500), answering(simulator.OperationAny, 1, 400), onNext(simulator.OperationEnroll, 1, simulator.ActionWrongKey))
			w.told = append(w.told, fmt.Sprintf("%s %s %d", f.Action, f.Stage, f.Response.Status))
			w.fault(f)
		},
		"API server": func() {
			at := pick(w, stepFinalizer, stepRehearsal, stepIntent, stepStore, stepReport)
			how := w.dice.IntN(6)
			w.told = append(w.told, fmt.Sprint(at, how))
			w.api.on(apiRule{step: at, times: 1, act: []func(apiCall) error{
				refuse(conflict()), refuse(forbidden("no")), refuse(apierrors.NewInternalError(errors.New("no leader"))),
				loseAnswer, w.api.endBefore, w.api.endAfter,
			}[how]})
		},
		"restart": func() { w.restart() },
		"wait for the renewal": func() {
			if w.exists(name) && w.get(name).Status.RenewalTime != nil {
				w.untilRenewal(name)
			}
		},
		"delete": func() {
			if !w.exists(name) {
				return
			}
			for _, e := range w.vendor.Ledger() {
				w.release(e.CertificateID) // what is not in its Secret is known to nobody any more
			}
			w.must(w.client.Delete(w.ctx, w.get(name)))
			w.wakeAll()
		},
		"wait": func() { w.pass(pick(w, time.Second, 30*time.Second, 3*time.Minute)) },
	}
	action := pick(w, "create", "create", "edit", "label", "move", "renew", "delete the Secret", "lose the status", "vendor", "vendor", "API server", "API server", "restart", "wait", "wait", "wait", "wait for the renewal", "delete")
	w.told = append(w.told, action+" "+name)
	actions[action]()
	w.settle()
	if w.api.hasEnded() {
		w.restart()
	}
}

// change edits an object if it exists.
func (w *walk) change(name string, edit func(*v1alpha1.DeviceCertificate)) {
	if w.exists(name) {
		w.edit(name, edit)
	}
}

func TestWhateverHappensTheBooksAreRightAndEverythingEndsWell(t *testing.T) {
	for seed := range uint64(walks) {
		t.Run(fmt.Sprint("story ", seed), func(t *testing.T) {
			g := NewWithT(t)
			w := &walk{world: newWorld(t), dice: rand.New(rand.NewPCG(seed, 1))}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("what happened: %q", w.told)
				}
			})
			w.connect(pick(w, v1alpha1.OrphansReport, v1alpha1.OrphansRevoke))
			for range 20 {
				w.step()
			}
			w.vendor.ResetFaults()
			w.api.clear()
			w.restart()
			w.probe()
			w.pass(20 * time.Minute) // what is open is resolved
			for _, name := range []string{"a", "b", "c"} {
				if w.exists(name) {
					w.annotate(name, v1alpha1.AnnotationRetryRequestedAt, w.now())
				}
			}
			w.pass(7 * time.Hour)
			for _, name := range []string{"a", "b", "c"} {
				if w.exists(name) {
					g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"), "%s: %s", name, w.message(name, v1alpha1.ConditionReady))
					g.Expect(w.get(name).Status.Attempt).To(BeNil())
				}
			}
		})
	}
}

// walks is how many stories are told.
const walks = 6
