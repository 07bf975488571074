// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

func TestARefusedRequestWaitsForItsAuthorAndIsRepeatedRarely(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(answering(simulator.OperationEnroll, -1, 400))
	w.certificate("gateway")
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False RefusedByVendor"))
	g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True RefusedByVendor"))
	g.Expect(w.message("gateway", v1alpha1.ConditionStalled)).To(ContainSubstring("scripted fault"))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Failed"))
	g.Expect(w.get("gateway").Status.Attempt).To(BeNil(), "a refusal costs nothing and leaves nothing open")
	w.pass(5*time.Hour + 55*time.Minute)
	g.Expect(w.posts()).To(Equal(1))
	w.pass(45 * time.Minute)
	g.Expect(w.posts()).To(Equal(2), "six hours and up to a tenth")
	w.restart()
	g.Expect(w.posts()).To(Equal(2), "also after a restart")
	g.Expect(w.events.reasons).To(ContainElement(v1alpha1.ReasonRefused))

	w.annotate("gateway", v1alpha1.AnnotationRetryRequestedAt, w.now())
	w.settle()
	g.Expect(w.posts()).To(Equal(3), "at once when asked to")
	w.pass(time.Hour)
	g.Expect(w.posts()).To(Equal(3), "and once")
	w.vendor.ResetFaults()
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.PrivateKey.KeyType = "p_384" })
	w.settle()
	g.Expect(w.posts()).To(Equal(4), "at once when the spec changes")
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.get("gateway").Status.Failures).To(BeNil())
}

func TestOneRefusedCertificateDoesNotHoldUpAnother(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	f := answering(simulator.OperationEnroll, -1, 400)
	f.Match.CommonName = "bad.example"
	w.fault(f)
	w.certificate("bad")
	w.settle()
	w.certificate("good")
	w.settle()
	g.Expect(w.shows("good", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("bad", v1alpha1.ConditionReady)).To(Equal("False RefusedByVendor"))
}

func TestARefusedCredentialIsTheIssuersMatterAndAllWait(t *testing.T) {
	for _, code := range []int{401, 403} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.fault(answering(simulator.OperationEnroll, -1, code))
			w.certificate("a")
			w.settle()
			asked := w.posts()
			w.certificate("b")
			w.pass(time.Hour)
			g.Expect(w.posts()).To(Equal(asked), "the second does not even try")
			for _, name := range []string{"a", "b"} {
				g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("False IssuerNotReady"), name)
			}
			g.Expect(w.kstatus("a")).To(BeEquivalentTo("InProgress"))
			g.Expect(w.probed).NotTo(BeEmpty(), "the issuer controller is asked to look")

			w.vendor.ResetFaults()
			w.connection.CredentialVersion = "2"
			w.must(w.accounts.Update(w.issuer, w.connection))
			w.pass(time.Minute)
			for _, name := range []string{"a", "b"} {
				g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"), name)
			}
			g.Expect(w.issued()).To(Equal(2))
		})
	}
}

func TestAVendorThatAsksForPatienceGetsIt(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	f := answering(simulator.OperationEnroll, 1, 429)
	f.Response.RetryAfter = "300"
	w.fault(f)
	w.certificate("a")
	w.certificate("b")
	w.settle()
	g.Expect(w.posts()).To(Equal(1))
	w.pass(4 * time.Minute)
	g.Expect(w.posts()).To(Equal(1), "for everybody")
	g.Expect(w.shows("b", v1alpha1.ConditionReady)).To(Equal("False RateLimited"))
	g.Expect(w.kstatus("b")).To(BeEquivalentTo("InProgress"))
	w.advance(2 * time.Minute)
	w.pass(time.Minute)
	for _, name := range []string{"a", "b"} {
		g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"), name)
	}
	g.Expect(w.issued()).To(Equal(2))
}

func TestAServerErrorIsResolvedBeforeTheNextRequest(t *testing.T) {
	for _, code := range []int{500, 503} {
		for stage, want := range map[simulator.Stage][]string{
			simulator.StageBeforeCommit: {"ISSUED"}, simulator.StageAfterCommit: {"REVOKED", "ISSUED"},
		} {
			t.Run(string(stage)+" "+strconv.Itoa(code), func(t *testing.T) {
				g := NewWithT(t)
				w := newWorld(t)
				w.connect(v1alpha1.OrphansRevoke)
				f := answering(simulator.OperationEnroll, 1, code)
				f.Stage = stage
				w.fault(f)
				w.certificate("gateway")
				w.settle()
				g.Expect(w.get("gateway").Status.Attempt).NotTo(BeNil())
				w.pass(time.Minute)
				g.Expect(w.posts()).To(Equal(1))
				w.pass(10 * time.Minute)
				g.Expect(w.posts()).To(Equal(2))
				g.Expect(w.statuses()).To(Equal(want))
				g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
			})
		}
	}
}

func TestAnAnswerThatCannotBeReadIsResolvedToo(t *testing.T) {
	truncated := onNext(simulator.OperationEnroll, 1, simulator.ActionTruncate)
	truncated.Bytes = 100
	html := onNext(simulator.OperationEnroll, 1, simulator.ActionRespond)
	html.Stage, html.Response = simulator.StageAfterCommit, simulator.Response{Status: 200, Shape: simulator.ShapeHTML, Message: "Sign in"}
	empty := html
	empty.Response = simulator.Response{Status: 200, Shape: simulator.ShapeEmpty}
	for name, f := range map[string]simulator.Fault{"cut short": truncated, "a web page": html, "empty": empty} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.connect(v1alpha1.OrphansRevoke)
			w.fault(f)
			w.certificate("gateway")
			w.settle()
			w.pass(10 * time.Minute)
			g.Expect(w.statuses()).To(Equal([]string{"REVOKED", "ISSUED"}))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
		})
	}
}

func TestAVendorThatCannotBeReachedIsTriedWithPatience(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	reachable := w.connection
	nobody, err := (&net.ListenConfig{}).Listen(w.ctx, "tcp", "127.0.0.1:0")
	w.must(err)
	w.must(nobody.Close())
	w.connection.URL, w.connection.CredentialVersion = "https://"+nobody.Addr().String(), "2"
	w.must(w.accounts.Update(w.issuer, w.connection))
	w.certificate("gateway")
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False BackingOff"))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("InProgress"))
	g.Expect(w.get("gateway").Status.Attempt).To(BeNil(), "what was not sent leaves nothing open")
	w.pass(time.Hour)
	g.Expect(w.posts()).To(BeZero())
	g.Expect(w.api.count(stepIntent)).To(BeNumerically("<", 10), "with growing pauses")

	reachable.CredentialVersion = "3"
	w.must(w.accounts.Update(w.issuer, reachable))
	w.pass(2 * time.Hour)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	g.Expect(w.issued()).To(Equal(1))
}

func TestWhoTriedOftenDuringAnOutageNeedNotWaitLongerThanOthersAfterIt(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	listen := func(address string) net.Listener {
		l, err := (&net.ListenConfig{}).Listen(w.ctx, "tcp", address)
		w.must(err)
		return l
	}
	line := listen("127.0.0.1:0")
	w.must(line.Close())
	vendor := strings.TrimPrefix(w.connection.URL, "https://")
	w.connection.URL, w.connection.CredentialVersion = "https://"+line.Addr().String(), "2"
	w.must(w.accounts.Update(w.issuer, w.connection))
	w.certificate("gateway")
	w.pass(5 * time.Minute)
	failures := w.get("gateway").Status.Failures
	g.Expect(failures.Count).To(BeNumerically(">=", 5), "so that the account has given up")
	g.Expect(failures.NextTime.Time).To(BeTemporally(">", w.clock.Now()))

	line = listen(line.Addr().String())
	t.Cleanup(func() { _ = line.Close() })
	go forward(line, vendor)
	w.probe()
	w.wakeAll() // the watch on issuers
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	g.Expect(w.issued()).To(Equal(1))
}

// forward is the line to the vendor.
func forward(line net.Listener, vendor string) {
	for {
		near, err := line.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", vendor)
		if err != nil {
			_ = near.Close()
			continue
		}
		for a, b := range map[net.Conn]net.Conn{near: far, far: near} {
			go func() {
				defer a.Close()
				_, _ = io.Copy(a, b)
			}()
		}
	}
}

func TestALongOutageOfTheVendorCostsNothingAndEndsByItself(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	names := []string{"a", "b", "c"}
	w.must(w.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	for _, name := range names {
		w.certificate(name)
	}
	w.settle()
	w.pass(time.Hour)
	during := len(w.vendor.Requests())
	g.Expect(during).To(BeNumerically("<", 100))
	w.must(w.vendor.SetSwitches(simulator.Switches{}))
	w.probe()
	w.pass(2 * time.Hour)
	for _, name := range names {
		g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"), name)
	}
	g.Expect(w.issued()).To(Equal(len(names)))
}

// probe tries the account, as the issuer controller does when it is asked to.
func (w *world) probe() {
	w.t.Helper()
	w.must(w.accounts.Call(w.ctx, w.issuer, func(ctx context.Context, c *trustmanager.Client) error {
		_, err := c.Search(ctx, trustmanager.SearchQuery{Limit: 1})
		return err
	}))
}

func TestAnIssuerThatIsMissingIsWaitedFor(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.IssuerRef.Name = "twin" })
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False IssuerNotFound"))
	g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("InProgress"))
	w.twins()
	w.wakeAll() // the watch on issuers
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestAClusterIssuerSellsOnlyWhatItGrants(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.twins()
	cluster := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: w.namespace}
	}
	w.certificate("gateway", cluster)
	w.settle()
	g.Expect(w.posts()).To(BeZero())
	g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True NotGranted"))

	issuer := &v1alpha1.ClusterDeviceIssuer{}
	issuer.Name = w.namespace
	w.grant(issuer, v1alpha1.Grant{Attributes: []v1alpha1.AttributeGrant{{ID: attributeCommonName, Suffixes: []string{".elsewhere"}}}})
	w.pass(6 * time.Minute)
	g.Expect(w.posts()).To(BeZero())
	w.grant(issuer, v1alpha1.Grant{Attributes: []v1alpha1.AttributeGrant{{ID: attributeCommonName, Suffixes: []string{".example"}}}})
	w.pass(6 * time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))

	w.grant(issuer)
	w.untilRenewal("gateway")
	g.Expect(w.posts()).To(Equal(1), "grants are checked at each renewal")
	g.Expect(w.shows("gateway", v1alpha1.ConditionRenewalFailing)).To(Equal("True NotGranted"))
	g.Expect(w.stored("gateway").Broken).NotTo(HaveOccurred(), "the Secret is left alone")
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

// grant replaces the grants of the cluster's issuer.
func (w *world) grant(issuer *v1alpha1.ClusterDeviceIssuer, grants ...v1alpha1.Grant) {
	w.t.Helper()
	w.must(w.client.Get(w.ctx, client.ObjectKeyFromObject(issuer), issuer))
	issuer.Spec.Grants = grants
	w.must(w.client.Update(w.ctx, issuer))
	w.attach(account.ID{Kind: v1alpha1.KindClusterDeviceIssuer, Name: issuer.Name}, issuer)
}
