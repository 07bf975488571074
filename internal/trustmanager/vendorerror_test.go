// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

func TestAllShapesOfErrorBodiesAreRead(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want vendorReason
		ok   bool
	}{
		"list":                    {`{"errors":[{"code":"invalid_input","message":"bad"}]}`, vendorReason{"invalid_input", "bad"}, true},
		"list of two":             {`{"errors":[{"code":"a","message":"one"},{"code":"b","message":"two"}]}`, vendorReason{"a", "one; two"}, true},
		"list of many":            {`{"errors":[` + strings.Repeat(`{"code":"a","message":"m"},`, 9) + `{}]}`, vendorReason{"a", "m; m; m; m; m"}, true},
		"list of strings":         {`{"errors":["bad"]}`, vendorReason{"", "bad"}, true},
		"object":                  {`{"error":{"code":"03","message":"dup"}}`, vendorReason{"03", "dup"}, true},
		"object, number as code":  {`{"error":{"code":3,"message":"dup"}}`, vendorReason{"3", "dup"}, true},
		"object, null as code":    {`{"error":{"code":null,"message":"dup"}}`, vendorReason{"", "dup"}, true},
		"string":                  {`{"timestamp":"x","status":404,"error":"Not Found","path":"/iot"}`, vendorReason{"", "Not Found"}, true},
		"message and number":      {`{"message":"bad","code":400}`, vendorReason{"400", "bad"}, true},
		"message only":            {`{"message":"bad"}`, vendorReason{"", "bad"}, true},
		"list before the message": {`{"errors":[{"code":"a","message":"m"}],"message":"x"}`, vendorReason{"a", "m"}, true},
		"empty list":              {`{"errors":[]}`, vendorReason{}, false},
		"empty object":            {`{}`, vendorReason{}, false},
		"empty error":             {`{"error":{}}`, vendorReason{}, false},
		"code of another type":    {`{"code":[1],"message":"x"}`, vendorReason{}, false},
		"message of another type": {`{"error":{"message":1}}`, vendorReason{}, false},
		"other JSON":              {`[]`, vendorReason{}, false},
		"page":                    {`<html>`, vendorReason{}, false},
		"nothing":                 {``, vendorReason{}, false},
		"too many":                {`{"errors":[` + strings.Repeat(`{},`, 1000) + `{}]}`, vendorReason{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseErrorBody([]byte(tc.body))
			if ok != tc.ok {
				t.Errorf("recognised: %t, want %t", ok, tc.ok)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(vendorReason{})); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseErrorBody(f *testing.F) {
	for _, seed := range []string{`{"errors":[{"code":"a","message":"b"}]}`, `{"error":{"code":1}}`, `{"message":"m","code":1}`, `{"error":"x"}`, `<html>`, `{"errors":[null]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var reason vendorReason
		var ok bool
		limit.Parser.Hold(t, len(body), func() { reason, ok = parseErrorBody(body) })
		if !ok && reason != (vendorReason{}) {
			t.Errorf("a body that was not recognised gives %+v", reason)
		}
		if err := checkNoError(body); err != nil && !ok {
			t.Errorf("a success is taken for the error %v", err)
		}
	})
}
