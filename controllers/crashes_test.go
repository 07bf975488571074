// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// everyPair tries all ordered pairs of crashes, and not only some.
var everyPair = flag.Bool("controllers.pairs", false, "try every ordered pair of crashes: two minutes more")

func TestTwoCrashesInARowLoseTwoCertificatesAtMost(t *testing.T) {
	all := crashes()
	for i, first := range all {
		for j, second := range all {
			if !*everyPair && j != (2*i+1)%len(all) {
				continue
			}
			t.Run(first.name+", then "+second.name, func(t *testing.T) {
				g := NewWithT(t)
				w := newWorld(t)
				w.connect(v1alpha1.OrphansRevoke)
				w.crashAt(first)
				w.certificate("gateway")
				w.settle()
				w.restartInto(func() { w.crashAt(second) })
				w.pass(10 * time.Minute) // the second one strikes, if its step is still to be done
				w.restart()
				w.pass(10 * time.Minute)
				g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
				lost := 0
				for _, c := range []crash{first, second} {
					if c.asked && !c.stored {
						lost++
					}
				}
				g.Expect(w.issued()).To(BeNumerically("<=", 1+lost))
				g.Expect(w.live()).To(Equal(1))
			})
		}
	}
}

func TestAPanicWhileAnAnswerIsHandledCostsThatAnswerAlone(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.connect(v1alpha1.OrphansRevoke)
	w.certificate("other")
	w.settle()
	w.api.on(apiRule{step: stepStore, times: 1, act: func(apiCall) error { panic("a parser that was never tried with this") }})
	w.certificate("gateway")
	w.settle()
	g.Expect(w.get("gateway").Status.Attempt).NotTo(BeNil(), "its record is kept")
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED", "REVOKED", "ISSUED"}))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("other", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAProcessThatSleptAfterItsIntentSendsNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepIntent, times: 1, act: func(c apiCall) error {
		defer w.clock.Step(time.Minute) // a machine that was suspended, or SIGSTOP
		return c.forward()
	}})
	w.certificate("gateway")
	w.operator.Flights.pending.Wait()
	w.reconcile(requestOf(w.get("gateway")).NamespacedName)
	w.operator.Flights.pending.Wait()
	g.Expect(w.posts()).To(BeZero(), "another process may have resolved the attempt meanwhile")
	w.settle()
	w.pass(10 * time.Minute)
	g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}))
}

func TestAReportThatComesLateDoesNotUndoWhatAnotherProcessFound(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.api.on(apiRule{step: stepReport, times: 1, act: func(c apiCall) error {
		// Another process has resolved the attempt meanwhile, and begun the next one.
		w.editStatus("gateway", func(s *v1alpha1.DeviceCertificateStatus) { s.Attempt.ID = "the-next-one" })
		return c.forward()
	}})
	w.certificate("gateway")
	w.settle()
	open := w.get("gateway").Status.Attempt
	g.Expect(open).NotTo(BeNil(), "the record of an open attempt was erased")
	g.Expect(open.ID).To(Equal("the-next-one"))
	w.pass(10 * time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestABackOffAndItsCountSurviveARestart(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(answering(simulator.OperationEnroll, 100, 400))
	w.certificate("gateway")
	w.settle()
	before := w.get("gateway").Status.Failures
	g.Expect(before).To(HaveField("Count", BeEquivalentTo(1)))
	for range 5 {
		w.restart()
	}
	g.Expect(w.posts()).To(Equal(1), "a restart is no reason to ask again")
	g.Expect(w.get("gateway").Status.Failures).To(Equal(before))
	w.pass(8 * time.Hour)
	g.Expect(w.posts()).To(Equal(2))
	g.Expect(w.get("gateway").Status.Failures).To(HaveField("Count", BeEquivalentTo(2)))
}

func TestARestartWithHealthyCertificatesCallsNobody(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	const several = 10
	for i := range several {
		w.certificate(fmt.Sprint("gateway-", i))
	}
	w.settle()
	asked := len(w.vendor.Requests())
	w.restart()
	w.pass(time.Hour)
	g.Expect(w.vendor.Requests()).To(HaveLen(asked))
	g.Expect(w.api.writes()).To(BeZero())
}

func TestAClockThatJumpsAYearAheadCostsNoMoreThanIsInFlight(t *testing.T) {
	g := NewWithT(t)
	const year = 365 * 24 * time.Hour
	var ahead atomic.Int64
	w := newWorld(t, func(c *simulator.Config) {
		now := c.Now
		c.Now = func() time.Time { return now().Add(-time.Duration(ahead.Load())) } // the vendor's own clock is right
	})
	const several, concurrent = 12, 2
	w.connection.Limits.MaxConcurrent = concurrent
	w.must(w.accounts.Update(w.issuer, w.connection))
	for i := range several {
		w.certificate(fmt.Sprint("gateway-", i))
	}
	w.settle()
	g.Expect(w.issued()).To(Equal(several))
	ahead.Store(int64(year))
	w.advance(year)
	g.Expect(w.issued()-several).To(BeNumerically("<=", concurrent), "the vendor's clock tells that ours is wrong")
	for i := range several {
		g.Expect(w.stored(fmt.Sprint("gateway-", i)).Broken).NotTo(HaveOccurred())
	}
	w.clock.SetTime(w.clock.Now().Add(-year))
	ahead.Store(0)
	w.wakeAll()
	w.settle()
	w.probe()
	w.pass(time.Hour)
	for i := range several {
		g.Expect(w.shows(fmt.Sprint("gateway-", i), v1alpha1.ConditionReady)).To(Equal("True Stored"))
	}
}
