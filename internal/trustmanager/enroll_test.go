// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnrollSendsTheContractsBody(t *testing.T) {
	full := testKeyRequest()
	full.CertificateAttributes = append(full.CertificateAttributes,
		Attribute{ID: "subject.organization_unit", Values: []string{"a", "b"}}, Attribute{ID: "san.dns_name", Values: []string{}})
	full.PrivateKeySyntax, full.EncryptionCertificatePEM = "pkcs_8", "CERT"
	cases := map[string]struct {
		request KeyRequest
		want    string
	}{
		"everything": {full, `{
			"enrollment_profile_id": "IOT_00000000-0000-0000-0000-000000000001",
			"certificate_profile_attributes": [
				{"id": "subject.common_name", "value": "gw-17"},
				{"id": "subject.organization_unit", "value": ["a", "b"]},
				{"id": "san.dns_name", "value": []}],
			"device_attributes": [{"id": "DEVICE_IDENTIFIER", "value": "gw-17"}],
			"server_side_key_gen": true, "key_type": "p_256",
			"private_key_format": "pkcs_12", "private_key_syntax": "pkcs_8", "pkcs12_password": "Abc12345xyz",
			"encryption_certificate": "CERT", "include_certificate_chain": true}`},
		"the least": {KeyRequest{ProfileID: "p", PrivateKeyFormat: "pem"}, `{
			"enrollment_profile_id": "p", "server_side_key_gen": true, "private_key_format": "pem", "include_certificate_chain": false}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := newVendor(t, answeringJSON(200, issuedAnswer))
			if _, err := v.client(t).Enroll(t.Context(), tc.request); err != nil {
				t.Fatal(err)
			}
			request := v.recorded()[0]
			if request.method != http.MethodPost || request.uri != "/iot/api/v1/certificate" {
				t.Errorf("sent %s %s", request.method, request.uri)
			}
			if diff := cmp.Diff(fromJSON(t, tc.want), fromJSON(t, request.body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func fromJSON(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

func TestEnrollReturnsTheAnswer(t *testing.T) {
	v := newVendor(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", "Tue, 01 Jan 2030 00:00:00 GMT")
		w.Header().Set("Content-Type", "text/plain") // a key is not thrown away over a label
		_, _ = w.Write([]byte(`{"certificate_request_id":"r-1","status":"AUTO_APPROVED","result":"SUCCESS","certificate_id":"c-1",
			"pem":"PEM","private_key":"KEY","device":{"new":"field"}}`))
	})
	got, err := v.client(t).Enroll(t.Context(), testKeyRequest())
	if err != nil {
		t.Fatal(err)
	}
	want := &Issued{
		RequestID: "r-1", CertificateID: "c-1", Status: "AUTO_APPROVED", Result: "SUCCESS", PEM: "PEM", PrivateKey: "KEY",
		HTTPStatus: 200, ServerDate: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
		Shape: "certificate_id string(3), certificate_request_id string(3), device object(15), pem string(3), private_key string(3), result string(7), status string(13)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if got.Pending() {
		t.Error("an answer with a key counts as pending")
	}
}

func TestRenewNamesThePredecessorInThePath(t *testing.T) {
	for _, tc := range []struct {
		ref  CertificateRef
		want string
	}{
		{CertificateRef{ID: testCertID}, "/iot/api/v1/certificate/" + testCertID + "/renew"},
		{CertificateRef{Serial: "0a1bc"}, "/iot/api/v1/certificate/0A1BC/renew"},
	} {
		v := newVendor(t, answeringJSON(200, issuedAnswer))
		if _, err := v.client(t).Renew(t.Context(), tc.ref, testKeyRequest()); err != nil {
			t.Fatal(err)
		}
		if request := v.recorded()[0]; request.method != http.MethodPost || request.uri != tc.want {
			t.Errorf("%+v: sent %s %s, want POST %s", tc.ref, request.method, request.uri, tc.want)
		}
	}
}

func TestOfDuplicateKeysTheLastCounts(t *testing.T) {
	issued, err := newVendor(t, answeringJSON(200, `{"pem":"first","certificate_id":"a","pem":"last","CERTIFICATE_ID":"b"}`)).client(t).Enroll(t.Context(), testKeyRequest())
	if err != nil {
		t.Fatal(err)
	}
	if issued.PEM != "last" || issued.CertificateID != "b" {
		t.Errorf("got pem %q, id %q", issued.PEM, issued.CertificateID)
	}
}

func TestInvalidRequestsAreNotSent(t *testing.T) {
	v := newVendor(t, answeringJSON(200, issuedAnswer))
	client := v.client(t)
	enroll := func(change func(*KeyRequest)) func() error {
		return func() error {
			request := testKeyRequest()
			change(&request)
			_, err := client.Enroll(t.Context(), request)
			return err
		}
	}
	renew := func(ref CertificateRef) func() error {
		return func() error { _, err := client.Renew(t.Context(), ref, testKeyRequest()); return err }
	}
	revoke := func(id string, revocation Revocation) func() error {
		return func() error { return client.Revoke(t.Context(), id, revocation) }
	}
	specification := func(id string) func() error {
		return func() error { _, err := client.EnrollmentSpecification(t.Context(), id); return err }
	}
	for name, attempt := range map[string]func() error{
		"enroll without profile":             enroll(func(r *KeyRequest) { r.ProfileID = "" }),
		"enroll without format":              enroll(func(r *KeyRequest) { r.PrivateKeyFormat = "" }),
		"enroll, attribute without id":       enroll(func(r *KeyRequest) { r.DeviceAttributes = []Attribute{{Value: "x"}} }),
		"enroll, value no UTF-8":             enroll(func(r *KeyRequest) { r.CertificateAttributes[0].Value = "gw\xff" }),
		"enroll, one of the values no UTF-8": enroll(func(r *KeyRequest) { r.CertificateAttributes[0].Values = []string{"a", "\xff"} }),
		"enroll, password no UTF-8":          enroll(func(r *KeyRequest) { r.PKCS12Password = "\xff" }),
		"renew nothing":                      renew(CertificateRef{}),
		"renew by id and serial":             renew(CertificateRef{ID: testCertID, Serial: "0A"}),
		"renew, id is a path":                renew(CertificateRef{ID: "../../certificate/1/revoke"}),
		"renew, id with a path behind":       renew(CertificateRef{ID: testCertID + "/../x"}),
		"renew, id with a line break":        renew(CertificateRef{ID: testCertID + "\n"}),
		"renew, id with a query":             renew(CertificateRef{ID: testCertID + "?x"}),
		"renew, serial with colons":          renew(CertificateRef{Serial: "0A:1B"}),
		"renew, serial is a path":            renew(CertificateRef{Serial: "../0A"}),
		"renew, serial too long":             renew(CertificateRef{Serial: strings.Repeat("A", 65)}),
		"revoke, id is a path":               revoke("../x", Revocation{Reason: "unspecified"}),
		"revoke without reason":              revoke(testCertID, Revocation{}),
		"revoke, comment no UTF-8":           revoke(testCertID, Revocation{Reason: "unspecified", Comments: "\xff"}),
		"specification, id is a path":        specification("../certificate"),
		"specification, id is escaped":       specification("IOT%2f.."),
		"specification of nothing":           specification(""),
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(verdict{NotSent, User, 0}, verdictOf(mustFail(t, attempt()))); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
	if got := len(v.recorded()); got != 0 {
		t.Errorf("the vendor saw %d requests", got)
	}
}

func TestAnAnswerWithoutCertificateIsPending(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"request id only":      {200, `{"certificate_request_id":"r-1"}`},
		"202 with a status":    {202, `{"certificate_request_id":"r-1","status":"PENDING","result":"PENDING"}`},
		"status only":          {200, `{"status":"PENDING_APPROVAL","result":"SUCCESS"}`},
		"fields that are null": {200, `{"certificate_request_id":"r-1","pem":null,"private_key":null}`},
		"with an explanation":  {202, `{"certificate_request_id":"r-1","message":"waiting for approval"}`},
		"with no errors":       {200, `{"certificate_request_id":"r-1","errors":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			issued, err := newVendor(t, answeringJSON(tc.status, tc.body)).client(t).Enroll(t.Context(), testKeyRequest())
			if err != nil {
				t.Fatal(err)
			}
			if !issued.Pending() || issued.HTTPStatus != tc.status {
				t.Errorf("%v is not pending", issued)
			}
		})
	}
}

func TestAnUnusableAnswerToEnrollCountsAsAnswered(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want *Error
	}{
		"nothing":            {"", &Error{Message: "the answer is empty"}},
		"spaces":             {" \n", &Error{Message: "the answer is empty"}},
		"null":               {"null", &Error{Message: "the answer is not a JSON object"}},
		"list":               {"[]", &Error{Message: "the answer is not a JSON object"}},
		"string":             {`"x"`, &Error{Message: "the answer is not a JSON object"}},
		"number":             {"1", &Error{Message: "the answer is not a JSON object"}},
		"PEM file":           {"-----BEGIN CERTIFICATE-----\nMII\n", &Error{Message: "the answer is not a JSON object"}},
		"web page":           {"<html>login</html>", &Error{Message: "the answer is not a JSON object", Actor: Issuer}},
		"byte order mark":    {"\ufeff" + issuedAnswer, &Error{Message: "the answer is not a JSON object"}},
		"truncated":          {issuedAnswer[:40], &Error{Message: "the answer cannot be read: unexpected end of JSON input"}},
		"page behind":        {issuedAnswer + "<html>", &Error{Message: "the answer cannot be read: invalid character '<' after top-level value"}},
		"second object":      {issuedAnswer + issuedAnswer, &Error{Message: "the answer cannot be read: invalid character '{' after top-level value"}},
		"wrong type":         {`{"pem":["x"]}`, &Error{Message: "the answer cannot be read: json: cannot unmarshal array into Go struct field wireIssued.pem of type string"}},
		"empty object":       {`{}`, &Error{Message: "the answer holds neither a certificate nor a request id but {}"}},
		"something else":     {`{"records":[]}`, &Error{Message: "the answer holds neither a certificate nor a request id but {records list(2)}"}},
		"failed":             {`{"certificate_request_id":"r","result":"FAILURE","status":"DENIED"}`, &Error{Message: `the vendor reports result "FAILURE", status "DENIED" and no certificate`}},
		"errors":             {`{"errors":[{"code":"invalid_input","message":"no"}],"status":"FAILED"}`, &Error{Code: "invalid_input", Message: "the answer says success and holds an error: no"}},
		"error":              {`{"error":{"code":"03","message":"dup"}}`, &Error{Code: "03", Message: "the answer says success and holds an error: dup"}},
		"message and code":   {`{"message":"no","code":7}`, &Error{Code: "7", Message: "the answer says success and holds an error: no"}},
		"errors not objects": {`{"errors":[1]}`, &Error{Message: "the answer holds neither a certificate nor a request id but {errors list(3)}"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVendor(t, answeringJSON(200, tc.body)).client(t).Enroll(t.Context(), testKeyRequest())
			got := mustFail(t, err)
			if tc.want.Actor == "" {
				tc.want.Actor = Nobody
			}
			if diff := cmp.Diff(verdict{Answered, tc.want.Actor, 200}, verdictOf(got)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if got.Code != tc.want.Code || got.Message != tc.want.Message {
				t.Errorf("got code %q, message %q, want %q, %q", got.Code, got.Message, tc.want.Code, tc.want.Message)
			}
		})
	}
}

func TestNamesOfFieldsMatchRegardlessOfCase(t *testing.T) {
	body := `{"PEM":"first","Private_Key":"KEY","pem":"last"}`
	issued, err := newVendor(t, answeringJSON(200, body)).client(t).Enroll(t.Context(), testKeyRequest())
	if err != nil || issued.PEM != "last" || issued.PrivateKey != "KEY" {
		t.Errorf("got %v, %v", issued, err)
	}
}

func TestWordsOfTheVendorAreCleaned(t *testing.T) {
	body, err := json.Marshal(map[string]string{
		"status": "AUTO\x1b[31m\nAPPROVED", "result": testToken, "certificate_request_id": strings.Repeat("é ", 200), "pem": "P",
	})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := newVendor(t, answeringJSON(200, string(body))).client(t).Enroll(t.Context(), testKeyRequest())
	if err != nil {
		t.Fatal(err)
	}
	if issued.Status != "AUTO APPROVED" || issued.Result != "[redacted]" || len(issued.RequestID) > 128 {
		t.Errorf("got status %q, result %q and a request id of %d bytes", issued.Status, issued.Result, len(issued.RequestID))
	}
}
