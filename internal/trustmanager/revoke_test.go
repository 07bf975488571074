// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRevokeSendsReasonAndComments(t *testing.T) {
	for _, tc := range []struct {
		revocation Revocation
		want       string
	}{
		{Revocation{Reason: "cessation_of_operation", Comments: "orphan"}, `{"reason":"cessation_of_operation","comments":"orphan"}`},
		{Revocation{Reason: "unspecified"}, `{"reason":"unspecified"}`},
	} {
		v := newVendor(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		if err := v.client(t).Revoke(t.Context(), testCertID, tc.revocation); err != nil {
			t.Fatal(err)
		}
		request := v.recorded()[0]
		if request.method != http.MethodPut || request.uri != "/iot/api/v1/certificate/"+testCertID+"/revoke" || request.body != tc.want {
			t.Errorf("sent %s %s %s, want %s", request.method, request.uri, request.body, tc.want)
		}
	}
}

func TestRevokeTakesOnlyAConfirmationForOne(t *testing.T) {
	for name, tc := range map[string]struct {
		body      string
		confirmed bool
	}{
		"nothing":           {"", true},
		"line break":        {"\r\n", true},
		"object":            {`{"id":"c-1","status":"REVOKED"}`, true},
		"message":           {`{"message":"revoked"}`, true},
		"web page":          {"<html>please log in</html>", false},
		"list":              {"[]", false},
		"error":             {`{"errors":[{"code":"x","message":"no"}]}`, false},
		"error as a string": {`{"error":"no"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := newVendor(t, answeringJSON(200, tc.body)).client(t).Revoke(t.Context(), testCertID, Revocation{Reason: "unspecified"})
			if tc.confirmed {
				if err != nil {
					t.Errorf("got %v, want success", err)
				}
				return
			}
			if failure := mustFail(t, err); failure.Delivery != Answered {
				t.Errorf("delivery is %s, want Answered", failure.Delivery)
			}
		})
	}
}

func TestAlreadyRevokedIsRecognisedByWordsThatLeaveNoDoubt(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   bool
	}{
		"409 by code":                     {409, `{"errors":[{"code":"already_revoked","message":""}]}`, true},
		"400 by message":                  {400, `{"errors":[{"code":"invalid_input","message":"Certificate has already been revoked."}]}`, true},
		"400 by another message":          {400, `{"errors":[{"code":"invalid_input","message":"The certificate is revoked"}]}`, true},
		"409 code of two words":           {409, `{"error":{"code":"certificate-revoked","message":"x"}}`, true},
		"409 for another reason":          {409, `{"errors":[{"code":"conflict","message":"a request is under way"}]}`, false},
		"400 cannot be revoked":           {400, `{"errors":[{"code":"invalid_input","message":"cannot be revoked yet"}]}`, false},
		"404":                             {404, `{"errors":[{"code":"entity_not_found","message":"certificate not found"}]}`, false},
		"500 whatever it says":            {500, `{"errors":[{"code":"already_revoked","message":""}]}`, false},
		"401 says nothing on certificate": {401, `{"errors":[{"code":"invalid_api_key","message":"key"}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := newVendor(t, answeringJSON(tc.status, tc.body)).client(t).Revoke(t.Context(), testCertID, Revocation{Reason: "unspecified"})
			if got := mustFail(t, err).AlreadyRevoked(); got != tc.want {
				t.Errorf("%v: already revoked is %t, want %t", err, got, tc.want)
			}
		})
	}
}

func TestOnlyARevocationCanBeAlreadyRevoked(t *testing.T) {
	v := newVendor(t, answeringJSON(400, `{"errors":[{"code":"already_revoked","message":""}]}`))
	_, err := v.client(t).Renew(t.Context(), CertificateRef{ID: testCertID}, testKeyRequest())
	if mustFail(t, err).AlreadyRevoked() {
		t.Error("a refused renewal counts as a revocation that is done")
	}
}

func TestEnrollmentSpecificationReadsTheFields(t *testing.T) {
	v := newVendor(t, answeringJSON(200, `{"fields":[
		{"id":"subject.common_name","name":"Common name","type":"CERTIFICATE","mandatory":true,"editable":true,"update_from_csr":true,"value_type":{"type":"STRING","options":false,"multiple":false}},
		{"id":"subject.organization_unit","name":"OU","type":"CERTIFICATE","editable":false,"value_type":{"multiple":true},"default_value":["a","b"],"options":["a","b","c"]},
		{"id":"signature_algorithm","default_value":"sha256WithRSA","options":[1,true,null,{"x":1}]},
		{"id":"DEVICE_IDENTIFIER","type":"DEVICE","default_value":null}]}`))
	got, err := v.client(t).EnrollmentSpecification(t.Context(), testProfile)
	if err != nil {
		t.Fatal(err)
	}
	want := &Specification{Fields: []Field{
		{ID: "subject.common_name", Name: "Common name", Type: "CERTIFICATE", ValueType: "STRING", Mandatory: true},
		{ID: "subject.organization_unit", Name: "OU", Type: "CERTIFICATE", Fixed: true, Multiple: true, Default: []string{"a", "b"}, Options: []string{"a", "b", "c"}},
		{ID: "signature_algorithm", Default: []string{"sha256WithRSA"}, Options: []string{"1", "true", `{"x":1}`}},
		{ID: "DEVICE_IDENTIFIER", Type: "DEVICE"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
	request := v.recorded()[0]
	if want := "/iot/api/v1/enrollment-profile/" + testProfile + "/enrollment-specification"; request.method != http.MethodGet || request.uri != want {
		t.Errorf("sent %s %s, want GET %s", request.method, request.uri, want)
	}
}

func TestAnUnusableSpecificationIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"no fields":      `{}`,
		"wrong type":     `{"fields":[{"id":7}]}`,
		"not a list":     `{"fields":1}`,
		"too many":       `{"fields":[` + strings.Repeat("{},", 1000) + `{}]}`,
		"bounded option": `{"fields":[{"options":[` + strings.Repeat("1,", 1000) + `1]}]}`,
		"an error":       `{"error":{"code":"x","message":"y"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVendor(t, answeringJSON(200, body)).client(t).EnrollmentSpecification(t.Context(), testProfile)
			if failure := mustFail(t, err); failure.Delivery != Answered {
				t.Errorf("delivery is %s, want Answered", failure.Delivery)
			}
		})
	}
	v := newVendor(t, answeringJSON(400, `{"errors":[{"code":"invalid_input","message":"no such profile"}]}`))
	_, err := v.client(t).EnrollmentSpecification(t.Context(), testProfile)
	if failure := mustFail(t, err); failure.Delivery != Refused || failure.Actor != User {
		t.Errorf("got %+v for an unknown profile", verdictOf(failure))
	}
}
