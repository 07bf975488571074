// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestDropBeforeCommitIssuesNothingAndDropAfterCommitIssues(t *testing.T) {
	for stage, want := range map[simulator.Stage]int{"": 0, simulator.StageBeforeCommit: 0, simulator.StageAfterCommit: 1} {
		for _, reset := range []bool{false, true} {
			d := start(t, account())
			d.addFault(simulator.Fault{Action: simulator.ActionDrop, Stage: stage, Reset: reset})
			_, err := d.do("POST", enrollPath, request("gw").String())
			if reset && !errors.Is(err, syscall.ECONNRESET) || !reset && !errors.Is(err, io.EOF) {
				t.Errorf("stage %q, reset %v: error %v", stage, reset, err)
			}
			ledger := d.server.Ledger()
			if len(ledger) != want {
				t.Fatalf("stage %q: %d certificates, want %d", stage, len(ledger), want)
			}
			if want == 1 && ledger[0].Answered {
				t.Error("the ledger says the dropped answer left")
			}
			if r := d.server.Requests(); len(r) != 1 || r[0].Status != 0 || r[0].Fault != simulator.ActionDrop || r[0].CommonName != "gw" {
				t.Errorf("requests %+v", r)
			}
			d.enroll(request("gw"))
		}
	}
}

func TestAHeldRequestGoesOnWhenTheFaultIsRemovedEvenIfTheClientGaveUp(t *testing.T) {
	d := start(t, account())
	id := d.addFault(simulator.Fault{Action: simulator.ActionHold})
	ctx, giveUp := context.WithCancel(t.Context())
	post, err := http.NewRequestWithContext(ctx, "POST", d.running.URL+enrollPath, strings.NewReader(request("gw").String()))
	if err != nil {
		t.Fatal(err)
	}
	post.Header.Set("x-api-key", apiKey)
	post.Header.Set("Content-Type", "application/json")
	answered := make(chan error, 1)
	go func() {
		response, err := d.client.Do(post)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	eventually(t, "the request is held", func() bool { return d.server.Faults()[0].Hits == 1 })
	giveUp()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if n := len(d.server.Ledger()); n != 0 {
		t.Fatalf("%d certificates", n)
	}
	if !d.server.RemoveFault(id) || d.server.RemoveFault(id) {
		t.Error("a fault is removed exactly once")
	}
	eventually(t, "the certificate is issued", func() bool { return len(d.server.Ledger()) == 1 })
}

// eventually waits for something that another goroutine brings about.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(10*time.Second), time.NewTicker(time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !reached() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

func TestAHoldAfterCommitShowsTheCertificateInTheInventoryMeanwhile(t *testing.T) {
	d := start(t, account())
	id := d.addFault(simulator.Fault{Action: simulator.ActionHold, Stage: simulator.StageAfterCommit, Match: simulator.Match{Operation: "enroll"}})
	answered := make(chan error, 1)
	go func() {
		_, err := d.do("POST", enrollPath, request("gw").String())
		answered <- err
	}()
	eventually(t, "the certificate is in the inventory", func() bool { return d.search("common_name=gw").Total == 1 })
	d.server.RemoveFault(id)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestADelayHoldsTheAnswerBack(t *testing.T) {
	for _, stage := range []simulator.Stage{simulator.StageBeforeCommit, simulator.StageAfterCommit} {
		d := start(t, account())
		d.addFault(simulator.Fault{Action: simulator.ActionDelay, Stage: stage, Delay: simulator.Duration(50 * time.Millisecond)})
		begin := time.Now()
		d.enroll(request("gw"))
		if took := time.Since(begin); took < 50*time.Millisecond {
			t.Errorf("answered after %v", took)
		}
	}
}

func TestStoppingDropsHeldRequestsWithoutIssuing(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionHold})
	answered := make(chan error, 1)
	go func() {
		_, err := d.do("POST", enrollPath, request("gw").String())
		answered <- err
	}()
	eventually(t, "the request is held", func() bool { return d.server.Faults()[0].Hits == 1 })
	if err := d.running.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err == nil {
		t.Error("the held request was answered")
	}
	if n := len(d.server.Ledger()); n != 0 {
		t.Errorf("%d certificates", n)
	}
}

func TestScriptedAnswersHaveEveryShapeOfError(t *testing.T) {
	clock := newCalendar()
	for name, test := range map[string]struct {
		response simulator.Response
		want     answer
	}{
		"errors": {
			simulator.Response{Status: 409, Code: "duplicate_error", Message: "exists"},
			answer{status: 409, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(`{"errors":[{"code":"duplicate_error","message":"exists"}]}`)},
		},
		"error": {
			simulator.Response{Status: 400, Shape: "error", Code: "03", Message: "exists"},
			answer{status: 400, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(`{"error":{"code":"03","message":"exists"}}`)},
		},
		"message": {
			simulator.Response{Status: 403, Shape: "message", Message: "throttled"},
			answer{status: 403, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(`{"code":403,"message":"throttled"}`)},
		},
		"HTML": {
			simulator.Response{Status: 502, Shape: "html", Message: "Bad gateway"},
			answer{status: 502, header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, body: []byte("<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>\n")},
		},
		"200 without a body": {simulator.Response{Status: 200, Shape: "empty"}, answer{status: 200, header: http.Header{}, body: []byte{}}},
		"204":                {simulator.Response{Status: 204, Shape: "empty"}, answer{status: 204, header: http.Header{}, body: []byte{}}},
		"200 with nonsense": {
			simulator.Response{Status: 200, Body: "null", ContentType: "text/plain"},
			answer{status: 200, header: http.Header{"Content-Type": {"text/plain"}}, body: []byte("null")},
		},
		"Retry-After in seconds": {
			simulator.Response{Status: 429, Code: "request_limit_exceeded", RetryAfter: "7", Shape: "empty"},
			answer{status: 429, header: http.Header{"Retry-After": {"7"}}, body: []byte{}},
		},
		"Retry-After as a date": {
			simulator.Response{Status: 503, RetryAfterDate: simulator.Duration(time.Minute), Shape: "empty"},
			answer{status: 503, header: http.Header{"Retry-After": {"Wed, 01 May 2030 12:01:00 GMT"}}, body: []byte{}},
		},
		"redirect": {
			simulator.Response{Location: "https://elsewhere.example/"},
			answer{status: 307, header: http.Header{"Location": {"https://elsewhere.example/"}}, body: []byte{}},
		},
		"further header": {
			simulator.Response{Status: 407, Shape: "empty", Header: map[string]string{"Proxy-Authenticate": "Basic"}},
			answer{status: 407, header: http.Header{"Proxy-Authenticate": {"Basic"}}, body: []byte{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, account(clock.use))
			d.addFault(simulator.Fault{Action: simulator.ActionRespond, Response: test.response})
			got := d.must("POST", enrollPath, request("gw").String())
			got.header.Del("Date")
			got.header.Del("Content-Length")
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(answer{})); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if n := len(d.server.Ledger()); n != 0 {
				t.Errorf("%d certificates", n)
			}
		})
	}
}

func TestAScriptedAnswerAfterCommitHidesAnIssuedCertificate(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionRespond, Stage: simulator.StageAfterCommit, Response: simulator.Response{Shape: "html"}})
	if got := d.must("POST", enrollPath, request("gw").String()); got.status != 500 {
		t.Errorf("status %d", got.status)
	}
	if n := len(d.server.Ledger()); n != 1 {
		t.Errorf("%d certificates", n)
	}
}

func TestFaultsMeetTheRequestsTheyMatch(t *testing.T) {
	unavailable := func(m simulator.Match) simulator.Fault {
		return simulator.Fault{Match: m, Action: simulator.ActionRespond, Response: simulator.Response{Status: 503}}
	}
	for name, test := range map[string]struct {
		faults []simulator.Fault
		want   []int // statuses of enrolls of a, b, a, b, a, b
	}{
		"the first request by default":  {[]simulator.Fault{unavailable(simulator.Match{})}, []int{503, 200, 200, 200, 200, 200}},
		"two requests":                  {[]simulator.Fault{unavailable(simulator.Match{Times: 2})}, []int{503, 503, 200, 200, 200, 200}},
		"all requests":                  {[]simulator.Fault{unavailable(simulator.Match{Times: -1})}, []int{503, 503, 503, 503, 503, 503}},
		"one after two":                 {[]simulator.Fault{unavailable(simulator.Match{After: 2})}, []int{200, 200, 503, 200, 200, 200}},
		"every second":                  {[]simulator.Fault{unavailable(simulator.Match{Every: 2, Times: -1})}, []int{200, 503, 200, 503, 200, 503}},
		"one common name":               {[]simulator.Fault{unavailable(simulator.Match{CommonName: "b", Times: 2})}, []int{200, 503, 200, 503, 200, 200}},
		"the second of one common name": {[]simulator.Fault{unavailable(simulator.Match{CommonName: "b", After: 1})}, []int{200, 200, 200, 503, 200, 200}},
		"one profile":                   {[]simulator.Fault{unavailable(simulator.Match{ProfileID: profileID, Operation: "any"})}, []int{503, 200, 200, 200, 200, 200}},
		"another profile":               {[]simulator.Fault{unavailable(simulator.Match{ProfileID: otherID, Times: -1})}, []int{200, 200, 200, 200, 200, 200}},
		"another operation":             {[]simulator.Fault{unavailable(simulator.Match{Operation: "renew", Times: -1})}, []int{200, 200, 200, 200, 200, 200}},
		"one after the other": {[]simulator.Fault{
			unavailable(simulator.Match{}),
			{Action: simulator.ActionRespond, Response: simulator.Response{Status: 429}},
		}, []int{503, 429, 200, 200, 200, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, account())
			for _, f := range test.faults {
				d.addFault(f)
			}
			var got []int
			for _, commonName := range []string{"a", "b", "a", "b", "a", "b"} {
				got = append(got, d.must("POST", enrollPath, request(commonName).String()).status)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenewRevokeAndSearchAreMatchedByTheCertificateTheyName(t *testing.T) {
	d := start(t, account())
	first := d.enroll(request("gw"))
	for operation, send := range map[simulator.Operation]func() answer{
		"renew": func() answer {
			return d.must("POST", enrollPath+"/"+first.CertificateID+"/renew", `{"server_side_key_gen":true,"private_key_format":"pem"}`)
		},
		"revoke": func() answer {
			return d.must("PUT", enrollPath+"/"+first.CertificateID+"/revoke", `{"reason":"unspecified"}`)
		},
		"search": func() answer { return d.must("GET", enrollPath+"?common_name=gw&enrollment_profile_id="+profileID, "") },
		"specification": func() answer {
			return d.must("GET", "/iot/api/v1/enrollment-profile/"+profileID+"/enrollment-specification", "")
		},
	} {
		match := simulator.Match{Operation: operation, CommonName: "gw", ProfileID: profileID}
		if operation == "specification" {
			match.CommonName = ""
		}
		d.addFault(simulator.Fault{Match: match, Action: simulator.ActionRespond, Response: simulator.Response{Status: 599}})
		if got := send(); got.status != 599 {
			t.Errorf("%s: status %d", operation, got.status)
		}
	}
}

func TestTruncatedAndMismeasuredBodies(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionTruncate, Bytes: 20})
	got, err := d.do("POST", enrollPath, request("gw").String())
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(got.body) != 20 || got.status != 200 {
		t.Errorf("truncate: %d bytes, error %v", len(got.body), err)
	}
	d.addFault(simulator.Fault{Action: simulator.ActionContentLength, Bytes: 5})
	got, err = d.do("POST", enrollPath, request("gw").String())
	if !errors.Is(err, io.ErrUnexpectedEOF) || !json.Valid(got.body) {
		t.Errorf("longer Content-Length: error %v, body %.40s", err, got.body)
	}
	d.addFault(simulator.Fault{Action: simulator.ActionContentLength, Bytes: -5})
	if got := d.must("POST", enrollPath, request("gw").String()); json.Valid(got.body) {
		t.Error("shorter Content-Length: the JSON is whole")
	}
	if n := len(d.server.Ledger()); n != 3 {
		t.Errorf("%d certificates, want 3", n)
	}
	for _, e := range d.server.Ledger() {
		if e.Answered {
			t.Error("the ledger says a spoilt answer left whole")
		}
	}
}

func TestAKeptAliveConnectionCanEndUnderTheNextRequest(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionTruncate, Bytes: 1 << 20})
	if got := d.must("POST", enrollPath, request("gw").String()); !json.Valid(got.body) || got.header.Get("Connection") != "" {
		t.Errorf("the answer is not whole, or announces the end: %v", got.header)
	}
}

func TestASlowAnswerTricklesByteByByte(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionSlow, Delay: simulator.Duration(10 * time.Microsecond)})
	if got := d.must("GET", enrollPath, ""); got.status != 200 || !json.Valid(got.body) {
		t.Errorf("status %d, body %s", got.status, got.body)
	}
	d.addFault(simulator.Fault{Action: simulator.ActionSlow, Delay: simulator.Duration(time.Hour)})
	d.client.Timeout = 50 * time.Millisecond
	if _, err := d.do("GET", enrollPath, ""); err == nil {
		t.Error("an answer that takes hours came in time")
	}
}

func TestHugeBodiesAndBombs(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionHugeBody, Bytes: 1 << 20})
	if got := d.must("POST", enrollPath, request("gw").String()); len(got.body) != 1<<20 || !json.Valid(got.body) {
		t.Errorf("%d bytes", len(got.body))
	}
	d.addFault(simulator.Fault{Action: simulator.ActionGzipBomb, Bytes: 8 << 20})
	got := d.must("POST", enrollPath, request("gw").String(), "Accept-Encoding", "identity")
	if len(got.body) > 100_000 || got.header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%d bytes on the wire", len(got.body))
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(got.body))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, unpacked); n != 8<<20 || err != nil {
		t.Errorf("%d bytes unpacked, %v", n, err)
	}
}

func TestBombsThatAreHeldGoOffTogether(t *testing.T) {
	d := start(t, account())
	id := d.addFault(simulator.Fault{Action: simulator.ActionHugeBody, Bytes: 1 << 10, Hold: true, Match: simulator.Match{Times: 2}})
	sizes := make(chan int, 2)
	for _, name := range []string{"a", "b"} {
		go func() {
			got, _ := d.do("POST", enrollPath, request(name).String()) // without an answer it has no size
			sizes <- len(got.body)
		}()
	}
	eventually(t, "both are issued", func() bool { return len(d.server.Ledger()) == 2 })
	if len(sizes) != 0 {
		t.Error("an answer came while it was held")
	}
	d.server.RemoveFault(id)
	for range cap(sizes) {
		if got := <-sizes; got != 1<<10 {
			t.Errorf("%d bytes", got)
		}
	}
}

func TestInterimAnswersPrecedeTheFinalOne(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionInformational, Bytes: 4})
	interim := 0
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		if code == 103 {
			interim++
		}
		return nil
	}}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", d.running.URL+enrollPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-api-key", apiKey)
	response, err := d.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if interim != 4 || response.StatusCode != 200 {
		t.Errorf("%d interim answers, final status %d", interim, response.StatusCode)
	}
}

func TestTheDateHeaderFollowsTheSimulatorsClockAndSkew(t *testing.T) {
	clock := newCalendar()
	d := start(t, account(clock.use))
	date := func() string { return d.must("GET", enrollPath, "").header.Get("Date") }
	if got := date(); got != "Wed, 01 May 2030 12:00:00 GMT" {
		t.Errorf("Date %s", got)
	}
	d.setSwitches(func(s *simulator.Switches) { s.DateSkew = simulator.Duration(time.Hour) })
	d.addFault(simulator.Fault{Action: simulator.ActionDateSkew, Delay: simulator.Duration(-10 * time.Minute)})
	if got := date(); got != "Wed, 01 May 2030 12:50:00 GMT" {
		t.Errorf("Date %s with a fault", got)
	}
	if got := date(); got != "Wed, 01 May 2030 13:00:00 GMT" {
		t.Errorf("Date %s with the switch", got)
	}
}

func TestTextCanSurroundTheBody(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionWrapBody, Prefix: "\ufeff", Suffix: "<html>"})
	got := string(d.must("POST", enrollPath, request("gw").String()).body)
	if !strings.HasPrefix(got, "\ufeff{") || !strings.HasSuffix(got, "}<html>") {
		t.Errorf("body %.10q...%q", got, got[len(got)-10:])
	}
}

func TestSpoiltKeys(t *testing.T) {
	d := start(t, account())
	spoilt := func(action simulator.Action, body object) enrolled {
		d.addFault(simulator.Fault{Action: action})
		return d.enroll(body)
	}
	folder := t.TempDir()
	wrong := spoilt(simulator.ActionWrongKey, request("gw"))
	write(t, folder, "c.pem", []byte(wrong.PEM))
	write(t, folder, "k.pem", []byte(wrong.PrivateKey))
	if openssl(t, folder, "x509", "-in", "c.pem", "-noout", "-pubkey") == openssl(t, folder, "pkey", "-in", "k.pem", "-pubout") {
		t.Error("wrongKey: the key belongs to the certificate")
	}
	if got := spoilt(simulator.ActionMissingKey, request("gw")); got.PrivateKey != "" || got.PEM == "" {
		t.Error("missingKey: there is a key, or no certificate")
	}
	bad := spoilt(simulator.ActionBadBase64, request("gw").with("private_key_format", "der")).PrivateKey
	if _, err := base64.StdEncoding.DecodeString(bad); err == nil {
		t.Error("badBase64: it decodes")
	}
	crlf := spoilt(simulator.ActionCRLF, request("gw"))
	for _, text := range []string{crlf.PEM, crlf.PrivateKey} {
		if strings.Count(text, "\r\n") != strings.Count(text, "\n") || !strings.Contains(text, "\r\n") {
			t.Errorf("crlf: %.70q", text)
		}
	}
}

func TestSpoiltChains(t *testing.T) {
	d := start(t, account())
	spoilt := func(action simulator.Action) []string {
		d.addFault(simulator.Fault{Action: action})
		var subjects []string
		for _, c := range certificates(t, d.enroll(request("gw")).PEM) {
			subjects = append(subjects, c.Subject.CommonName)
		}
		return subjects
	}
	for action, want := range map[simulator.Action][]string{
		simulator.ActionChainMissing:   {"gw"},
		simulator.ActionChainReversed:  {"Simulated Device Root CA", "Simulated Device Issuing CA", "gw"},
		simulator.ActionChainUnrelated: {"gw", "Unrelated Issuing CA", "Unrelated Root CA"},
	} {
		if diff := cmp.Diff(want, spoilt(action)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
}

func TestSpoiltLeaves(t *testing.T) {
	clock := newCalendar()
	d := start(t, account(clock.use))
	for action, spoilt := range map[simulator.Action]func(e simulator.Entry) bool{
		simulator.ActionLeafIsCA:        func(e simulator.Entry) bool { return certificates(t, e.PEM)[0].IsCA },
		simulator.ActionLeafExpired:     func(e simulator.Entry) bool { return e.NotAfter.Before(clock.Now()) },
		simulator.ActionLeafNotYetValid: func(e simulator.Entry) bool { return e.NotBefore.After(clock.Now()) },
		simulator.ActionOtherCommonName: func(e simulator.Entry) bool { return e.CommonName == "other.gw" },
		simulator.ActionRevokedAtIssue:  func(e simulator.Entry) bool { return e.Status == "REVOKED" },
		simulator.ActionWeakKey:         weak(t),
	} {
		d.addFault(simulator.Fault{Action: action})
		got := d.enroll(request("gw"))
		ledger := d.server.Ledger()
		if e := ledger[len(ledger)-1]; !spoilt(e) || e.CertificateID != got.CertificateID {
			t.Errorf("%s: entry %+v", action, e)
		}
	}
	d.addFault(simulator.Fault{Action: simulator.ActionOtherCommonName, CommonName: "stranger"})
	if leaf := certificates(t, d.enroll(request("gw")).PEM)[0]; leaf.Subject.CommonName != "stranger" {
		t.Errorf("subject %s", leaf.Subject)
	}
	d.addFault(simulator.Fault{Action: simulator.ActionWeakKey})
	folder := t.TempDir()
	write(t, folder, "k.pem", []byte(d.enroll(request("gw").with("key_type", "rsa_2048")).PrivateKey))
	if text := openssl(t, folder, "pkey", "-in", "k.pem", "-noout", "-text"); !strings.Contains(text, "(1024 bit") {
		t.Errorf("weak RSA key: %.60s", text)
	}
}

func weak(t *testing.T) func(simulator.Entry) bool {
	return func(e simulator.Entry) bool {
		key, ok := certificates(t, e.PEM)[0].PublicKey.(*ecdsa.PublicKey)
		return ok && key.Curve.Params().BitSize == 224
	}
}

func TestARenewCanAnswerWithTheOldCertificateAndIssueNothing(t *testing.T) {
	d := start(t, account())
	first := d.enroll(request("gw"))
	d.addFault(simulator.Fault{Action: simulator.ActionSameCertificate})
	second := d.renew(first.CertificateID, request("gw"))
	if second.PEM != first.PEM || second.CertificateID != first.CertificateID || second.PrivateKey == first.PrivateKey {
		t.Error("not the old certificate with another key")
	}
	if n := len(d.server.Ledger()); n != 1 {
		t.Errorf("%d certificates", n)
	}
}

func TestFieldsOfTheAnswerCanBeSetAndRemoved(t *testing.T) {
	d := start(t, account())
	d.addFault(simulator.Fault{Action: simulator.ActionAlterAnswer, Set: map[string]any{"certificate_id": nil, "status": 7, "extra": []string{"x"}}})
	var fields map[string]any
	decode(t, d.must("POST", enrollPath, request("gw").String()).body, &fields)
	if _, ok := fields["certificate_id"]; ok || fields["status"] != 7.0 || fields["extra"] == nil || fields["pem"] == nil {
		t.Errorf("fields %v", fields)
	}
}

func TestTheWholeServiceCanBeDown(t *testing.T) {
	d := start(t, account())
	d.setSwitches(func(s *simulator.Switches) { s.Mode = simulator.ModeUnavailable })
	d.refused(503, "service_unavailable", "POST", enrollPath, request("gw").String())
	d.setSwitches(func(s *simulator.Switches) { s.Mode = simulator.ModeDrop })
	if _, err := d.do("POST", enrollPath, request("gw").String()); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
	if n := len(d.server.Ledger()); n != 0 {
		t.Errorf("%d certificates", n)
	}
	d.setSwitches(func(s *simulator.Switches) { s.Mode = simulator.ModeUp })
	d.enroll(request("gw"))
}

func TestFaultsThatCannotMeanAnythingAreRefused(t *testing.T) {
	d := start(t, account())
	for name, f := range map[string]simulator.Fault{
		"no action":                  {},
		"unknown action":             {Action: "explode"},
		"a stage without meaning":    {Action: simulator.ActionWrongKey, Stage: simulator.StageAfterCommit},
		"unknown stage":              {Action: simulator.ActionDrop, Stage: "later"},
		"delay without a delay":      {Action: simulator.ActionDelay},
		"unknown operation":          {Action: simulator.ActionDrop, Match: simulator.Match{Operation: "reissue"}},
		"times below -1":             {Action: simulator.ActionDrop, Match: simulator.Match{Times: -2}},
		"truncate to less than zero": {Action: simulator.ActionTruncate, Bytes: -1},
		"an interim status":          {Action: simulator.ActionRespond, Response: simulator.Response{Status: 100}},
		"unknown shape":              {Action: simulator.ActionRespond, Response: simulator.Response{Shape: "xml"}},
	} {
		if _, err := d.server.AddFault(f); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	d.addFault(simulator.Fault{ID: "mine", Action: simulator.ActionDrop})
	if _, err := d.server.AddFault(simulator.Fault{ID: "mine", Action: simulator.ActionDrop}); err == nil {
		t.Error("an id in use is accepted")
	}
	d.server.ResetFaults()
	if left := d.server.Faults(); len(left) != 0 {
		t.Errorf("%d faults left", len(left))
	}
}
