// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

func TestShapeTellsTheFormAndNotTheContents(t *testing.T) {
	block := func(kind string) string { return "-----BEGIN " + kind + "-----\nAQID\n-----END " + kind + "-----\n" }
	many := map[string]int{}
	for n := range 40 {
		many[fmt.Sprintf("f%02d", n)] = n
	}
	for name, tc := range map[string]struct {
		body any
		want string
	}{
		"PEM":             {map[string]any{"pem": block("CERTIFICATE") + block("CERTIFICATE"), "private_key": block("EC PRIVATE KEY")}, "pem string(118: CERTIFICATE, CERTIFICATE), private_key string(65: EC PRIVATE KEY)"},
		"base64":          {map[string]any{"private_key": base64.StdEncoding.EncodeToString(make([]byte, 300))}, "private_key string(400: base64)"},
		"wrapped base64":  {map[string]any{"private_key": strings.Repeat(base64.StdEncoding.EncodeToString(make([]byte, 48))+"\r\n", 3)}, "private_key string(198: base64)"},
		"other types":     {map[string]any{"a": nil, "b": true, "c": 1.5, "d": []int{1}, "e": map[string]int{}}, "a null, b bool, c number, d list(3), e object(2)"},
		"secret as name":  {map[string]any{strings.Repeat("k", 41): 1, "a:b": 2}, "? number, ? number"},
		"secret as block": {map[string]any{"pem": block(strings.Repeat("K", 41))}, "pem string(" + fmt.Sprint(len(block(strings.Repeat("K", 41)))) + ": ?)"},
		"no object":       {[]int{1}, "3 bytes, no JSON object"},
		"blocks":          {map[string]any{"pem": strings.Repeat(block("X"), 30)}, "pem string(1170: X, X, X, X, X, X, X, X, X, X)"},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := json.Marshal(tc.body)
			if err != nil {
				t.Fatal(err)
			}
			if got := shape(body); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
	body, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	if got := shape(body); !strings.HasSuffix(got, "f29 number, 10 more") {
		t.Errorf("many fields give %s", got)
	}
}

func FuzzParseIssued(f *testing.F) {
	for _, seed := range []string{issuedAnswer, `{}`, `null`, `{"pem":1}`, `{"status":"PENDING"}`, issuedAnswer + "x", `{"errors":[{}]}`, `{"pem":"a","pem":"b"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var issued *Issued
		var err error
		limit.Parser.Hold(t, len(body), func() {
			issued, err = parseIssued(&answer{status: 200, body: body}, func(text string) string { return text })
		})
		if err != nil || issued == nil {
			return
		}
		if issued.PEM == "" && issued.PrivateKey == "" && !issued.Pending() {
			t.Errorf("%q is accepted as neither issued nor pending", body)
		}
		if key := issued.PrivateKey; len(key) > 64 && strings.Contains(issued.String(), key) {
			t.Errorf("%q shows the key", issued.String())
		}
	})
}

func FuzzParsePage(f *testing.F) {
	for _, seed := range []string{`{"records":[]}`, `{"records":[{"chain":[{"blob":"x"}]}],"total":1}`, `{"records":[null]}`, `{"total":-1,"records":[{}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var page *SearchPage
		var err error
		limit.Parser.Hold(t, len(body), func() { page, err = parsePage(body, SearchQuery{Limit: 10}) })
		if err != nil || page == nil {
			return
		}
		if page.Total < -1 || page.Limit < 1 || page.Offset < 0 || len(page.Records) > maxListLength {
			t.Errorf("%q gives %+v", body, page)
		}
	})
}
