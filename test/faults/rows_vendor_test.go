// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"net/http"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func transportRows() []row {
	rows := []row{
		{id: "S7", name: "the answer is shorter than announced", run: func(w *world) { lostAnswer(w, simulator.Fault{Action: simulator.ActionContentLength, Bytes: 100}) }},
		{id: "S8", name: "the answer comes one byte a second", run: func(w *world) { lostAnswer(w, simulator.Fault{Action: simulator.ActionSlow}) }},
		{id: "S9", name: "the kept connection dies under the request", run: deadConnection},
	}
	for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		rows = append(rows, row{id: "S12", name: fmt.Sprintf("a redirect %d to another host", code), variant: code != http.StatusTemporaryRedirect, run: func(w *world) { redirected(w, code) }})
	}
	return rows
}

// onEnroll makes a fault meet the next enrollment.
func onEnroll(f simulator.Fault) simulator.Fault {
	f.Match.Operation = simulator.OperationEnroll
	return f
}

// lostAnswer is an enrollment that the vendor carries out and whose answer is of no use: revoked, and bought again.
func lostAnswer(w *world, f simulator.Fault) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(f))
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(2)
	w.wantRevoked(1)
}

func (w *world) wantRevoked(want int) {
	w.Helper()
	revoked := 0
	for _, e := range w.ledger() {
		if e.Status == statusRevoked {
			revoked++
		}
	}
	if revoked != want {
		w.Errorf("%d certificates are revoked, want %d", revoked, want)
	}
}

func deadConnection(w *world) {
	w.begin()
	const wholeAnswer = 1 << 20
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionTruncate, Bytes: wholeAnswer}))
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.certificate("second")
	w.awaitReady("second")
	w.wantBought(2)
}

func redirected(w *world, code int) {
	w.begin()
	elsewhere := w.addVendor()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{
		Action: simulator.ActionRespond, Response: simulator.Response{Status: code, Location: elsewhere.running.URL + "/iot/api/v1/certificate"},
	}))
	w.certificate(gateway)
	w.await(gateway, "refused", func(c *v1alpha1.DeviceCertificate) bool { return c.Status.Failures != nil && c.Status.Attempt == nil })
	if got := elsewhere.server.Requests(); len(got) != 0 {
		w.Errorf("I10: the redirect was followed: %+v", got)
	}
	w.retry(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
}

func answerRows() []row {
	rows := []row{
		{id: "H1", name: "400: the user must act, and it is not repeated", run: func(w *world) { refused(w, http.StatusBadRequest) }},
		{id: "H4", name: "404", run: func(w *world) { refused(w, http.StatusNotFound) }},
		{id: "H5", name: "the device has a certificate already", vendor: uniqueDevices, run: duplicateDevice},
		{id: "H7", name: "429 with Retry-After of ten years", run: retryAfterYears},
	}
	for _, after := range []string{"2", "0", "-5", "garbage", ""} {
		rows = append(rows, row{id: "H7", name: fmt.Sprintf("429 with Retry-After %q", after), run: func(w *world) { throttled(w, after) }})
	}
	for name, response := range map[string]simulator.Response{
		"200 with an error":    {Status: 200, Code: "internal", Message: "something failed"},
		"200 without a body":   {Status: 200, Shape: simulator.ShapeEmpty},
		"201 without a body":   {Status: 201, Shape: simulator.ShapeEmpty},
		"204":                  {Status: 204, Shape: simulator.ShapeEmpty},
		"200 with a page":      {Status: 200, Shape: simulator.ShapeHTML},
		"502 of a gateway":     {Status: 502, Shape: simulator.ShapeHTML},
		"504 of a gateway":     {Status: 504, Shape: simulator.ShapeHTML},
		"503 with Retry-After": {Status: 503, RetryAfter: "1"},
	} {
		id := "H11"
		if response.Status > 500 {
			id = "H9"
		}
		rows = append(rows,
			row{id: id, name: name + " after the commit", variant: response.Shape != simulator.ShapeEmpty, run: func(w *world) {
				lostAnswer(w, simulator.Fault{Action: simulator.ActionRespond, Stage: simulator.StageAfterCommit, Response: response})
			}},
			row{id: id, name: name + " before the commit", variant: response.RetryAfter == "", run: func(w *world) {
				w.begin()
				w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionRespond, Response: response}))
				w.certificate(gateway)
				w.awaitReady(gateway)
				w.wantBought(1)
			}})
	}
	return rows
}

func refused(w *world, code int) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionRespond, Response: simulator.Response{Status: code, Code: "invalid_input"}}))
	w.certificate(gateway)
	w.awaitStalled(gateway, v1alpha1.ReasonRefused)
	w.awaitQuiet()
	w.wantPurchases(gateway, 1)
	w.retry(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
}

func uniqueDevices(c *simulator.Config) { c.Switches.DuplicateDevice = "reject" }

func duplicateDevice(w *world) {
	device := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.DeviceAttributes = []v1alpha1.Attribute{{ID: "DEVICE_IDENTIFIER", Value: new("device-17")}}
	}
	w.beginIssued(device)
	w.certificate("twin", device)
	w.awaitStalled("twin", v1alpha1.ReasonRefused)
	w.awaitQuiet()
	w.wantPurchases("twin", 1)
	w.wantBought(0)
	w.wantIntact()
}

func throttle(w *world, after string) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{
		Action: simulator.ActionRespond, Response: simulator.Response{Status: http.StatusTooManyRequests, RetryAfter: after},
	}))
	w.certificate(gateway)
}

func throttled(w *world, after string) {
	throttle(w, after)
	w.awaitReady(gateway)
	w.wantBought(1)
	requests := w.purchases(gateway)
	if len(requests) != 2 {
		w.Fatalf("%d requests, want the throttled one and its repetition", len(requests))
	}
	if pause := requests[1].Time.Sub(requests[0].Time); pause < time.Second {
		w.Errorf("I5: repeated after %s, want at least a second", pause)
	}
}

func retryAfterYears(w *world) {
	throttle(w, "315360000")
	w.await(gateway, "waiting", func(c *v1alpha1.DeviceCertificate) bool {
		waiting := apimeta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReconciling)
		return c.Status.Attempt == nil && waiting != nil && waiting.Reason == v1alpha1.ReasonRateLimited
	})
	w.awaitQuiet()
	w.wantPurchases(gateway, 1)
}

func contentRows() []row {
	unusable := func(id, name string, f simulator.Fault) row {
		return row{id: id, name: name, run: func(w *world) { rejected(w, f) }}
	}
	return []row{
		{id: "R1", name: "HTML behind the JSON", run: func(w *world) {
			lostAnswer(w, simulator.Fault{Action: simulator.ActionWrapBody, Suffix: "<html></html>"})
		}},
		unusable("R2", "the key does not fit", simulator.Fault{Action: simulator.ActionWrongKey}),
		unusable("R2", "the key is missing", simulator.Fault{Action: simulator.ActionMissingKey}),
		unusable("R2", "the key is no base64", simulator.Fault{Action: simulator.ActionBadBase64}),
		unusable("R3", "the key is weak", simulator.Fault{Action: simulator.ActionWeakKey}),
		unusable("R4", "the certificate has expired", simulator.Fault{Action: simulator.ActionLeafExpired}),
		unusable("R4", "the certificate is not valid yet", simulator.Fault{Action: simulator.ActionLeafNotYetValid}),
		{id: "R4", name: "the certificate lives shorter than it is to be renewed before", run: shortLived},
		unusable("R6", "the chain is unrelated", simulator.Fault{Action: simulator.ActionChainUnrelated}),
		{id: "R6", name: "the chain is reversed", run: func(w *world) { accepted(w, simulator.Fault{Action: simulator.ActionChainReversed}) }},
		unusable("R7", "the certificate is a CA", simulator.Fault{Action: simulator.ActionLeafIsCA}),
		{id: "R8", name: "a renewal answers with the old certificate and another key", run: sameAgain},
		{id: "R10", name: "the certificate is another device's", run: otherDevice},
		{id: "R11", name: "lines end in CR LF", run: func(w *world) { accepted(w, simulator.Fault{Action: simulator.ActionCRLF}) }},
		{id: "R14", name: "a body of 64 MiB", variant: true, run: func(w *world) { lostAnswer(w, simulator.Fault{Action: simulator.ActionHugeBody}) }},
		{id: "R14", name: "a gzip bomb", run: func(w *world) { lostAnswer(w, simulator.Fault{Action: simulator.ActionGzipBomb}) }},
	}
}

// rejected is an answer that must never be shown: it is revoked, and nothing is bought until somebody acts.
func rejected(w *world, f simulator.Fault) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(f))
	w.certificate(gateway)
	w.await(gateway, "stalled", func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.Attempt == nil && apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionStalled)
	})
	w.awaitQuiet()
	w.wantBought(1)
	w.wantRevoked(1)
	if s := w.secret(gateway); s != nil {
		w.Errorf("I2: the Secret was written: %v", s.Annotations)
	}
	w.retry(gateway)
	w.awaitReady(gateway)
	w.wantBought(2)
}

func accepted(w *world, f simulator.Fault) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(f))
	w.certificate(gateway)
	w.awaitReady(gateway)
	w.wantBought(1)
}

func otherDevice(w *world) {
	w.begin()
	w.misbehave(w.vendor(), onEnroll(simulator.Fault{Action: simulator.ActionOtherCommonName}))
	w.certificate(gateway)
	w.await(gateway, "stalled", func(c *v1alpha1.DeviceCertificate) bool {
		return c.Status.Attempt == nil && apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionStalled)
	})
	w.awaitQuiet()
	w.wantBought(1)
	if s := w.secret(gateway); s != nil {
		w.Errorf("I2: another device's certificate was stored: %v", s.Annotations)
	}
	certificate := w.find(gateway)
	if revoked := w.ledger()[0].Status == statusRevoked; !revoked && len(certificate.Status.Orphans) == 0 {
		w.Error("I1: another device's certificate was neither revoked nor reported")
	}
}

func shortLived(w *world) {
	w.begin()
	w.certificate(gateway, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.EnrollmentProfileID = profileShort
		c.Spec.Renewal.RenewBefore = &metav1.Duration{Duration: 720 * time.Hour}
	})
	w.awaitReady(gateway)
	w.awaitQuiet()
	if got := len(w.ledger()); got > 2 {
		w.Errorf("I5: %d certificates for one that lives three minutes", got)
	}
}

func sameAgain(w *world) {
	w.beginIssued()
	w.misbehave(w.vendor(), simulator.Fault{Match: simulator.Match{Operation: simulator.OperationRenew, Times: -1}, Action: simulator.ActionSameCertificate})
	w.requestRenewal(gateway)
	w.await(gateway, "failing to renew", func(c *v1alpha1.DeviceCertificate) bool { return c.Status.Failures != nil && c.Status.Attempt == nil })
	w.awaitQuiet()
	w.wantBought(0)
	w.wantRevoked(0)
	w.wantIntact()
	w.wantPurchases(gateway, 1)
}
