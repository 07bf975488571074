// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestAClockThatTheAPIServerContradictsBuysNothing(t *testing.T) {
	for name, off := range map[string]time.Duration{"two months ahead": 61 * 24 * time.Hour, "six minutes behind": -6 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.operator.writtenAt = func(*v1alpha1.DeviceCertificate) time.Time { return w.clock.Now().Add(off) }
			w.certificate("gateway")
			w.settle()
			g.Expect(w.posts()).To(BeZero())
			g.Expect(w.get("gateway").Status.Attempt).To(BeNil())
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False BackingOff"))
			g.Expect(w.message("gateway", v1alpha1.ConditionReady)).To(ContainSubstring("correct the clock"))

			w.operator.writtenAt = w.writtenAt
			w.pass(time.Hour)
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			g.Expect(w.posts()).To(Equal(1))
		})
	}
}

func TestTheAnswerToAnIntentTellsTheTimeOfTheAPIServer(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	c := w.certificate("gateway")
	base := c.DeepCopy()
	c.Status.ObservedGeneration = 1
	w.must(w.client.Status().Patch(w.ctx, c, client.MergeFrom(base)))
	at := writtenAt(c)
	g.Expect(at).NotTo(BeTemporally("<", c.CreationTimestamp.Time))

	// What others wrote earlier, and applied, says nothing of this write.
	earlier := metav1.NewTime(at.Add(-time.Hour))
	later := metav1.NewTime(at.Add(time.Hour))
	c.ManagedFields = append(c.ManagedFields,
		metav1.ManagedFieldsEntry{Manager: "editor", Operation: metav1.ManagedFieldsOperationUpdate, Time: &earlier},
		metav1.ManagedFieldsEntry{Manager: "argocd", Operation: metav1.ManagedFieldsOperationApply, Time: &later})
	g.Expect(writtenAt(c)).To(BeTemporally("==", at))
	c.ManagedFields = nil
	g.Expect(writtenAt(c)).To(BeZero())
}
