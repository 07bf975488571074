// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// workload is something users do.
type workload struct {
	name string
	// prepare brings the world there, undisturbed; nil for an issuer alone.
	prepare func(*world)
	// act is what is disturbed.
	act func(*world)
	// finish waits until the user has what was asked for.
	finish func(*world)
	// bought is how many certificates act costs when nothing breaks.
	bought int
	// many: it is about many certificates, and one point of each kind stands for all.
	many bool
	// always: its plans are part of every run, not of the full one alone.
	always bool
	// slack is how many certificates more it may cost when something breaks, although no answer is lost.
	slack int
	// paired: it is also broken twice in a row.
	paired bool
}

func workloads() []workload {
	revokeAndDelete := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnDelete = v1alpha1.RevocationRevoke
		c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete
	}
	return []workload{
		{name: "create", act: func(w *world) { w.certificate(gateway) }, finish: func(w *world) { w.awaitReady(gateway) }, bought: 1, always: true, paired: true},
		{name: "manual renew", prepare: issued(), act: func(w *world) { w.requestRenewal(gateway) }, finish: replaced, bought: 1, always: true, paired: true},
		{name: "renew", prepare: issued(everyNineSeconds, neverByItself), act: renewByItself, finish: renewedAndResting, bought: 1, slack: 1}, // the next one may be due before it is stopped
		{name: "spec change", prepare: issued(), act: changeUnit, finish: replaced, bought: 1},
		{name: "Secret deleted", prepare: issued(), act: deleteSecret, finish: replaced, bought: 1},
		{name: "label added", prepare: issued(), act: addLabel, finish: labelled},
		{name: "issuer switched", prepare: twoIssuers, act: switchIssuer, finish: replaced, bought: 1},
		{name: "deleted, retain", prepare: issued(), act: deleteCertificate, finish: gone},
		{name: "deleted, revoke", prepare: issued(revokeAndDelete), act: deleteCertificate, finish: gone, always: true},
		{name: "replaced, revoke", prepare: issued(func(c *v1alpha1.DeviceCertificate) {
			c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke
			c.Spec.Revocation.GracePeriod = &metav1.Duration{}
		}), act: changeUnit, finish: supersededRevoked, bought: 1},
		{name: "rekey", prepare: issued(), act: func(w *world) {
			w.edit(gateway, func(c *v1alpha1.DeviceCertificate) {
				metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.AnnotationRevokeRequested, w.before+"/key_compromise")
			})
		}, finish: supersededRevoked, bought: 1},
		{name: "burst", act: func(w *world) { w.each(many(), func(name string) { w.certificate(name) }) },
			finish: func(w *world) { w.each(many(), func(name string) { w.awaitReady(name) }) }, bought: many(), many: true},
	}
}

// issued prepares a certificate.
func issued(edit ...func(*v1alpha1.DeviceCertificate)) func(*world) {
	return func(w *world) {
		w.certificate(gateway, edit...)
		w.before = w.awaitReady(gateway)
	}
}

// neverByItself keeps a certificate that is due from being renewed.
func neverByItself(c *v1alpha1.DeviceCertificate) {
	c.Spec.Renewal.Policy = v1alpha1.RenewalDisabled
}

// renewByItself lets a renewal become due in a few seconds.
func renewByItself(w *world) {
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec.Renewal.Policy = v1alpha1.RenewalAutomatic })
}

// renewedAndResting waits for the renewal, and keeps the next one from becoming due.
func renewedAndResting(w *world) {
	replaced(w)
	w.edit(gateway, neverByItself)
	w.awaitReady(gateway)
}

// replaced waits until another certificate than the prepared one is ready.
func replaced(w *world) {
	serial := w.await(gateway, "replaced", settled(w.before)).Status.SerialNumber
	if s := w.secret(gateway); s == nil {
		w.Error("the Secret is gone")
	} else if held, problem := inspect(s, w.roots()); problem != nil || held != serial {
		w.Errorf("the Secret holds %s (%v), the status says %s", held, problem, serial)
	}
}

func changeUnit(w *world) {
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: "subject.organization_unit", Value: new("edge")})
	})
}

func deleteSecret(w *world) {
	w.must(env.admin.Delete(w.ctx, &corev1.Secret{ObjectMeta: w.meta(gateway)}))
}

func addLabel(w *world) {
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Labels = map[string]string{"team": "edge"} })
}

func labelled(w *world) {
	w.await(gateway, "labelled", func(c *v1alpha1.DeviceCertificate) bool {
		s := w.secret(gateway)
		return s != nil && s.Labels["team"] == "edge" && settled("")(c) && c.Status.SerialNumber == w.before
	})
}

// twoIssuers prepares a certificate of the first issuer, and a second one of another account.
func twoIssuers(w *world) {
	w.connect("other", w.addVendor())
	issued()(w)
}

func switchIssuer(w *world) {
	w.edit(gateway, func(c *v1alpha1.DeviceCertificate) { c.Spec.IssuerRef.Name = "other" })
}

func deleteCertificate(w *world) {
	w.must(env.admin.Delete(w.ctx, &v1alpha1.DeviceCertificate{ObjectMeta: w.meta(gateway)}))
}

// gone waits until the object is, and checks that its policies were carried out.
func gone(w *world) {
	policies := w.find(gateway)
	eventually(w.T, "the certificate is gone", func(context.Context) (bool, error) { return w.find(gateway) == nil, nil })
	if policies == nil {
		certificates, _ := w.versions.of(gateway)
		policies = certificates[len(certificates)-1]
	}
	if kept := w.secret(gateway) != nil; kept != (policies.Spec.Secret.DeletionPolicy != v1alpha1.DeletionDelete) {
		w.Errorf("deletion policy %s, but the Secret is there: %t", policies.Spec.Secret.DeletionPolicy, kept)
	}
	for _, e := range w.ledger() {
		if revoked := e.Status == statusRevoked; revoked != (policies.Spec.Revocation.OnDelete == v1alpha1.RevocationRevoke) {
			w.Errorf("onDelete %s, but %s is %s", policies.Spec.Revocation.OnDelete, e.SerialNumber, e.Status)
		}
	}
}

func supersededRevoked(w *world) {
	replaced(w)
	eventually(w.T, "the predecessor is revoked", func(context.Context) (bool, error) {
		for _, e := range w.ledger() {
			if e.SerialNumber == w.before {
				return e.Status == statusRevoked, nil
			}
		}
		return false, nil
	})
}

// burst is how many certificates the cases ask for that are about many.
const burst = 20

// many is how many the workload asks for: fifty in the full run.
func many() int {
	if *full {
		return 50
	}
	return burst
}

func (w *world) eachOfBurst(do func(name string)) { w.each(burst, do) }

func (w *world) each(n int, do func(name string)) {
	for i := range n {
		do(fmt.Sprint(gateway, "-", i))
	}
}

// begin prepares a world for the workload, up to where it is disturbed.
func (l workload) begin(w *world) {
	w.Helper()
	w.startManager()
	w.connect(issuerName, w.vendor())
	if l.prepare != nil {
		l.prepare(w)
	}
	w.awaitQuiet()
	w.mark()
}
