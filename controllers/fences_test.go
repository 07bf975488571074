// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// metadataOf is what a metadata watch holds of a Secret.
func metadataOf(s *corev1.Secret) *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{ObjectMeta: s.ObjectMeta}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return meta
}

func TestAStaleCertificateBuysNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	fresh := w.get("gateway")
	w.settle()
	g.Expect(w.issued()).To(Equal(1))

	// Another process starts on a cache from before the first purchase, and does not even see the Secret.
	w.restart()
	w.api.on(apiRule{step: "cached DeviceCertificate", times: 3, act: serve(fresh)})
	w.api.on(apiRule{step: "cached Secret", times: 3, act: refuse(apierrors.NewNotFound(corev1.Resource("secrets"), "gateway"))})
	w.operator.memory = newMemory()
	w.wakeAll()
	w.pass(time.Minute)
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAStaleViewAtTheTimeOfRenewalIsRefusedBeforeThePurchase(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	certificate, meta := w.get("gateway"), metadataOf(w.secret("gateway"))
	w.untilRenewal("gateway")
	g.Expect(w.issued()).To(Equal(2))

	for name, stale := range map[string][]apiRule{
		"the certificate": {{step: "cached DeviceCertificate", times: 2, act: serve(certificate)}},
		"the Secret":      {{step: "cached Secret", times: 2, act: serve(meta)}},
		"both": {
			{step: "cached DeviceCertificate", times: 2, act: serve(certificate)}, {step: "cached Secret", times: 2, act: serve(meta)},
		},
	} {
		w.restart()
		for _, rule := range stale {
			w.api.on(rule)
		}
		w.operator.memory = newMemory()
		w.wakeAll()
		w.pass(time.Minute)
		g.Expect(w.posts()).To(Equal(2), "%s is stale", name)
		g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), "%s is stale", name)
	}
}

func TestASecretThatWasReplacedBehindTheCacheIsNotOverwritten(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	meta := metadataOf(w.secret("gateway"))
	w.must(w.client.Delete(w.ctx, w.secret("gateway")))
	w.createSecret("gateway", map[string]string{"password": "precious"})
	w.api.on(apiRule{step: "cached Secret", act: serve(meta)})
	w.annotate("gateway", v1alpha1.AnnotationRenewRequestedAt, w.clock.Now().Add(time.Second).UTC().Format(time.RFC3339))
	w.pass(time.Minute)
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.secret("gateway").Data).To(HaveKey("password"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
}

func TestTwoOperatorsAtOnceBuyOneCertificate(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	first := w.operator
	w.operator = w.newOperator()
	w.must(w.accounts.Update(w.issuer, w.connection))
	second := w.operator
	// The first one's account was replaced with the second's; both share it, as both talk to the same vendor.
	first.Accounts = w.accounts
	c := w.certificate("gateway")
	request := requestOf(c)
	for range 3 {
		var both sync.WaitGroup
		for _, operator := range []*DeviceCertificateReconciler{first, second} {
			both.Go(func() {
				_, err := operator.Reconcile(w.ctx, request)
				g.Expect(err).To(Or(Not(HaveOccurred()), MatchError(apierrors.IsConflict, "IsConflict")))
				operator.Flights.pending.Wait()
			})
		}
		both.Wait()
		w.clock.Step(10 * time.Second)
	}
	g.Expect(w.issued()).To(Equal(1))
	w.wakeAll()
	w.pass(10 * time.Minute)
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnEditBetweenLookingAndTheIntentBuysOnlyWhatIsWantedNow(t *testing.T) {
	for _, at := range []step{stepRehearsal, stepIntent} {
		t.Run(string(at), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			unit := "Edge"
			w.api.on(apiRule{step: at, times: 1, act: func(c apiCall) error {
				w.edit("gateway", func(c *v1alpha1.DeviceCertificate) {
					c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: "subject.organization_unit", Value: &unit})
				})
				return c.forward()
			}})
			w.certificate("gateway")
			w.pass(time.Minute)
			g.Expect(w.posts()).To(Equal(1))
			g.Expect(w.stored("gateway").Bundle.Leaf.Subject.OrganizationalUnit).To(Equal([]string{"Edge"}))
		})
	}
}

func TestAnEditWhileTheRequestIsUnderWayCostsOneMoreCertificateAtMost(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	unit := "Edge"
	w.api.on(apiRule{step: stepStore, times: 1, act: func(c apiCall) error {
		w.edit("gateway", func(c *v1alpha1.DeviceCertificate) {
			c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: "subject.organization_unit", Value: &unit})
		})
		return c.forward()
	}})
	w.certificate("gateway")
	w.pass(time.Minute)
	g.Expect(w.posts()).To(Equal(2))
	g.Expect(w.stored("gateway").Bundle.Leaf.Subject.OrganizationalUnit).To(Equal([]string{"Edge"}))
	g.Expect(w.get("gateway").Status.Superseded).To(HaveLen(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAnIntentWhoseAnswerIsLostBuysOnce(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepIntent, times: 1, act: loseAnswer})
	w.certificate("gateway")
	w.pass(10 * time.Minute)
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestWithoutAnIntentNothingIsBought(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepIntent, times: 5, act: refuse(apierrors.NewInternalError(errors.New("etcdserver: mvcc: database space exceeded")))})
	w.certificate("gateway")
	w.pass(10 * time.Second)
	g.Expect(w.posts()).To(BeZero())
	w.pass(10 * time.Minute)
	g.Expect(w.issued()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestWhatTheAPIServerWouldNotStoreIsNotBought(t *testing.T) {
	for name, c := range map[string]struct {
		rule   apiRule
		reason string
	}{
		"quota":          {apiRule{step: stepRehearsal, act: refuse(forbidden("exceeded quota: secrets, used: secrets=10"))}, "exceeded quota"},
		"RBAC":           {apiRule{step: stepRehearsal, act: refuse(forbidden("User cannot patch resource secrets"))}, "cannot patch"},
		"policy":         {apiRule{step: stepRehearsal, act: refuse(apierrors.NewBadRequest("admission webhook denied the request"))}, "denied"},
		"finalizer":      {apiRule{step: stepFinalizer, act: refuse(forbidden("User cannot patch devicecertificates"))}, "cannot patch"},
		"intent refused": {apiRule{step: stepIntent, act: refuse(forbidden("User cannot patch devicecertificates/status"))}, "cannot patch"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.api.on(c.rule)
			w.certificate("gateway")
			w.pass(time.Minute)
			g.Expect(w.posts()).To(BeZero())
			g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True SecretRefused"))
			g.Expect(w.message("gateway", v1alpha1.ConditionStalled)).To(ContainSubstring(c.reason))
			g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Failed"))
			asked := w.api.writes()
			w.pass(5 * time.Hour)
			g.Expect(w.api.writes()).To(Equal(asked), "no hammering")

			w.api.clear()
			w.pass(2 * time.Hour)
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(w.issued()).To(Equal(1))
		})
	}
}

func TestAQuotaOfTheClusterIsNoticedBeforeThePurchase(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.must(w.client.Create(w.ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"secrets": resource.MustParse("0")}},
	}))
	quota := &corev1.ResourceQuota{}
	w.must(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: "none"}, quota))
	quota.Status.Hard, quota.Status.Used = quota.Spec.Hard, corev1.ResourceList{"secrets": resource.MustParse("0")}
	w.must(w.client.Status().Update(w.ctx, quota))
	g.Eventually(func() bool { // the API server's admission learns of it by a watch
		probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "probe"}}
		return apierrors.IsForbidden(w.client.Create(w.ctx, probe, client.DryRunAll))
	}, time.Minute).Should(BeTrue())
	w.certificate("gateway")
	w.pass(time.Minute)
	g.Expect(w.posts()).To(BeZero())
	g.Expect(w.message("gateway", v1alpha1.ConditionStalled)).To(ContainSubstring("exceeded quota"))
}

func TestAnImmutableSecretIsNoticedBeforeTheRenewal(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	immutable := true
	w.editSecret("gateway", func(s *corev1.Secret) { s.Immutable = &immutable })
	w.untilRenewal("gateway")
	w.pass(time.Minute)
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionRenewalFailing)).To(Equal("True SecretRefused"))
	g.Expect(w.message("gateway", v1alpha1.ConditionRenewalFailing)).To(ContainSubstring("immutable"))
}

func TestANamespaceThatGoesDownGetsNoCertificates(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true })
	w.settle()
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = false })
	w.must(w.client.Delete(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}))
	w.pass(time.Minute)
	g.Expect(w.posts()).To(BeZero())
	g.Expect(w.message("gateway", v1alpha1.ConditionStalled)).To(ContainSubstring("being terminated"))
}
