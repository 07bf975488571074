// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func terminating() error {
	err := apierrors.NewForbidden(corev1.Resource("secrets"), "gateway", errors.New("namespace is being terminated"))
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	return err
}

func TestAStoreThatFailsIsRepeatedUntilTheKeyLands(t *testing.T) {
	for name, act := range map[string]func(apiCall) error{
		"conflict":             refuse(conflict()),
		"too many requests":    refuse(apierrors.NewTooManyRequests("slow down", 1)),
		"internal error":       refuse(apierrors.NewInternalError(errors.New("etcdserver: leader changed"))),
		"timeout":              refuse(context.DeadlineExceeded),
		"unavailable":          refuse(apierrors.NewServiceUnavailable("the server is shutting down")),
		"unauthorized":         refuse(apierrors.NewUnauthorized("token has expired")),
		"forbidden":            refuse(forbidden("RBAC was removed")),
		"invalid":              refuse(invalidSecret()),
		"answer lost":          loseAnswer,
		"timeout after commit": func(c apiCall) error { return errors.Join(c.forward(), context.DeadlineExceeded) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.api.on(apiRule{step: stepStore, times: 4, act: act})
			w.certificate("gateway")
			w.settle()
			w.pass(10 * time.Minute)
			g.Expect(w.posts()).To(Equal(1))
			g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(w.get("gateway").Status.Attempt).To(BeNil())
			g.Expect(w.get("gateway").Status.Orphans).To(BeEmpty())
		})
	}
}

func TestASecretThatIsTooLargeIsStoredWithoutItsExtras(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepStore, act: func(c apiCall) error {
		if len(c.object.(*corev1ac.SecretApplyConfiguration).Data) > 3 {
			return apierrors.NewRequestEntityTooLargeError("limit is 3145728")
		}
		return c.forward()
	}})
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.Outputs = &v1alpha1.Outputs{Formats: []v1alpha1.OutputFormat{v1alpha1.OutputDER}}
	})
	w.settle()
	w.pass(time.Minute)
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(digests(w.secret("gateway"))).To(HaveLen(3))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAKeyThatIsRefusedForTenMinutesIsGivenUpAndItsCertificateRevoked(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	refused := 0
	w.api.on(apiRule{step: stepStore, act: func(apiCall) error { refused++; return forbidden("no longer allowed") }})
	began := w.clock.Now()
	w.certificate("gateway")
	w.settle()
	g.Expect(w.clock.Since(began)).To(And(BeNumerically(">=", 10*time.Minute), BeNumerically("<", 11*time.Minute)))
	g.Expect(refused).To(BeNumerically(">", 100))
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
	g.Expect(w.hasSecret("gateway")).To(BeFalse())
	status := w.get("gateway").Status
	g.Expect(status.Attempt).To(BeNil())
	g.Expect(status.Orphans).To(ConsistOf(And(HaveField("CertificateID", w.vendor.Ledger()[0].CertificateID), HaveField("Outcome", v1alpha1.OrphanRevoked))))
	g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True SecretRefused"))
	g.Expect(w.message("gateway", v1alpha1.ConditionStalled)).To(ContainSubstring("no longer allowed"))

	w.api.clear()
	w.pass(7 * time.Hour)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.posts()).To(Equal(2))
}

func TestARefusalThatIsMendedInTimeCostsNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	began := w.clock.Now()
	w.api.on(apiRule{step: stepStore, act: func(c apiCall) error {
		if w.clock.Since(began) < 9*time.Minute {
			return forbidden("not now")
		}
		return c.forward()
	}})
	w.certificate("gateway")
	w.settle()
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnAPIServerThatIsDownIsWaitedForLongerThanARefusal(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	began := w.clock.Now()
	w.api.on(apiRule{step: stepStore, act: func(c apiCall) error {
		if w.clock.Since(began) < 12*time.Minute {
			return errors.New("connection refused")
		}
		return c.forward()
	}})
	w.certificate("gateway")
	w.settle()
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestANamespaceThatGoesDownMeanwhileEndsWithARevocation(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepStore, act: refuse(terminating())})
	w.certificate("gateway")
	w.settle()
	g.Expect(w.api.count(stepStore)).To(Equal(1), "no waiting for what cannot come back")
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
}

func TestASecretDeletedBetweenRehearsalAndStoreIsWrittenAnew(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	w.api.on(apiRule{step: stepStore, times: 1, act: func(c apiCall) error {
		w.must(w.client.Delete(w.ctx, w.secret("gateway")))
		return c.forward()
	}})
	w.untilRenewal("gateway")
	w.pass(time.Minute)
	g.Expect(w.posts()).To(Equal(2))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestASecretSomebodyElseMadeMeanwhileIsLeftAloneAndTheCertificateRevoked(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepStore, times: 1, act: func(c apiCall) error {
		w.createSecret("gateway", map[string]string{"password": "precious"})
		return c.forward()
	}})
	w.certificate("gateway")
	w.settle()
	w.pass(time.Minute)
	g.Expect(w.secret("gateway").Data).To(HaveKey("password"))
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
}

func TestAPairSomebodyElseMadeMeanwhileIsNotOverwritten(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	theirs := map[string]string{v1alpha1.KeyCertificate: "their certificate", v1alpha1.KeyPrivateKey: "their key"}
	w.api.on(apiRule{step: stepStore, times: 1, act: func(c apiCall) error {
		w.createSecret("gateway", theirs, func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS }) // which an apply by force would take over
		return c.forward()
	}})
	w.certificate("gateway")
	w.settle()
	w.pass(time.Minute)
	g.Expect(w.secret("gateway").Data).To(HaveKeyWithValue(v1alpha1.KeyPrivateKey, []byte("their key")))
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
	g.Expect(w.posts()).To(Equal(1))
}

func TestAWebhookThatStripsTheKeyIsNoticed(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepStore, act: func(c apiCall) error {
		c.object.(*corev1ac.SecretApplyConfiguration).Data["tls.key"] = []byte("stripped")
		return nil // the webhook changed what is answered, and nothing is kept
	}})
	w.certificate("gateway")
	w.settle()
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False SecretRefused"))
}

func TestAReportThatFailsIsRepeatedAndNothingIsBoughtTwice(t *testing.T) {
	for name, act := range map[string]func(apiCall) error{
		"conflict": refuse(conflict()), "internal error": refuse(apierrors.NewInternalError(errors.New("no leader"))), "answer lost": loseAnswer,
		"an edit in between": nil,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			if act == nil {
				act = func(c apiCall) error {
					w.annotate("gateway", "example.com/note", w.now())
					return c.forward()
				}
			}
			w.api.on(apiRule{step: stepReport, times: 3, act: act})
			w.certificate("gateway")
			w.settle()
			w.pass(10 * time.Minute)
			g.Expect(w.posts()).To(Equal(1))
			g.Expect(w.get("gateway").Status.Attempt).To(BeNil())
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
		})
	}
}

func TestALostLeaseStopsTheRequestButNotTheStore(t *testing.T) {
	for name, at := range map[string]step{"before the request leaves": stepIntent, "when the answer is there": stepStore} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			leading, lose := context.WithCancel(w.ctx)
			everything := w.ctx
			w.ctx = leading
			w.api.on(apiRule{step: at, times: 1, act: func(c apiCall) error {
				err := c.forward()
				lose()
				return err
			}})
			c := w.certificate("gateway")
			_, err := w.operator.Reconcile(leading, requestOf(c))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.operator.Flights.Drain(everything)).To(BeZero())
			w.ctx = everything
			want := map[step]int{stepIntent: 0, stepStore: 1}[at]
			g.Expect(w.posts()).To(Equal(want))
			w.restart()
			w.pass(10 * time.Minute)
			g.Expect(w.posts()).To(Equal(1))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
		})
	}
}
