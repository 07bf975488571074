// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSearchSendsTheContractsQuery(t *testing.T) {
	for name, tc := range map[string]struct {
		query SearchQuery
		want  url.Values
	}{
		"everything": {
			SearchQuery{ProfileID: testProfile, CommonName: "gw 17&status=x", SerialNumber: "0a1b", Status: "ISSUED", Limit: 50, Offset: 100},
			url.Values{"enrollment_profile_id": {testProfile}, "common_name": {"gw 17&status=x"}, "serial_number": {"0A1B"}, "status": {"ISSUED"}, "limit": {"50"}, "offset": {"100"}},
		},
		"nothing":           {SearchQuery{}, url.Values{"limit": {"20"}, "offset": {"0"}}},
		"beyond the bounds": {SearchQuery{Limit: 1000, Offset: -1}, url.Values{"limit": {"100"}, "offset": {"0"}}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVendor(t, answeringJSON(200, `{"records":[]}`))
			if _, err := v.client(t).Search(t.Context(), tc.query); err != nil {
				t.Fatal(err)
			}
			request := v.recorded()[0]
			path, query, _ := strings.Cut(request.uri, "?")
			got, err := url.ParseQuery(query)
			if err != nil || request.method != http.MethodGet || path != "/iot/api/v1/certificate" {
				t.Errorf("sent %s %s", request.method, request.uri)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("query (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSearchReadsThePage(t *testing.T) {
	record := `{"id":"c-1","common_name":"gw-17","serial_number":"0A1B","status":"ISSUED","body":"LEAF","chain":[{"blob":"ICA"},{"blob":"ROOT"}],"extra":1}`
	want := Record{ID: "c-1", CommonName: "gw-17", SerialNumber: "0A1B", Status: "ISSUED", Body: "LEAF", Chain: []string{"ICA", "ROOT"}}
	for name, tc := range map[string]struct {
		body string
		want SearchPage
	}{
		"whole envelope":   {`{"limit":10,"offset":30,"total":41,"records":[` + record + `]}`, SearchPage{Records: []Record{want}, Total: 41, Limit: 10, Offset: 30}},
		"only records":     {`{"records":[` + record + `]}`, SearchPage{Records: []Record{want}, Total: -1, Limit: 50, Offset: 30}},
		"negative total":   {`{"records":[],"total":-5}`, SearchPage{Total: -1, Limit: 50, Offset: 30}},
		"total of nothing": {`{"records":[],"total":0,"limit":50}`, SearchPage{Total: 0, Limit: 50, Offset: 30}},
		"record of nulls":  {`{"records":[{"id":null,"chain":null}]}`, SearchPage{Records: []Record{{}}, Total: -1, Limit: 50, Offset: 30}},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := newVendor(t, answeringJSON(200, tc.body)).client(t).Search(t.Context(), SearchQuery{Limit: 50, Offset: 30})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tc.want, page); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnUnusablePageIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"no records":            {`{"total":1}`, "no list of records"},
		"records are null":      {`{"records":null}`, "no list of records"},
		"records are an object": {`{"records":{}}`, "expected a list"},
		"record is a string":    {`{"records":["x"]}`, "element 0"},
		"serial is a number":    {`{"records":[{"serial_number":12}]}`, "serial_number"},
		"total is a float":      {`{"records":[],"total":1.5}`, "total"},
		"total overflows":       {`{"records":[],"total":99999999999999999999}`, "total"},
		"too many records":      {`{"records":[` + strings.Repeat("{},", 1000) + `{}]}`, "more than 1000"},
		"too deep":              {`{"records":` + strings.Repeat("[", 200_000), "cannot be read"},
		"an error":              {`{"errors":[{"code":"access_denied","message":"no"}]}`, "holds an error: no"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newVendor(t, answeringJSON(200, tc.body)).client(t).Search(t.Context(), SearchQuery{})
			failure := mustFail(t, err)
			if failure.Delivery != Answered || !strings.Contains(failure.Message, tc.want) {
				t.Errorf("got %s %q, want Answered and %q", failure.Delivery, failure.Message, tc.want)
			}
		})
	}
}

// inventory is a vendor with records c-0, c-1, ... and a maximum page size.
type inventory struct {
	size, maxPage int
	total         string // raw JSON, "" for none
	echoLimit     bool
	ignoresOffset bool
}

func (i inventory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	if i.ignoresOffset {
		offset = 0
	}
	limit = min(limit, i.maxPage)
	records := []map[string]string{}
	for n := offset; n < min(offset+limit, i.size); n++ {
		records = append(records, map[string]string{"id": fmt.Sprintf("c-%d", n)})
	}
	encoded, _ := json.Marshal(records)
	fmt.Fprintf(w, `{"records":%s`, encoded)
	if i.total != "" {
		fmt.Fprintf(w, `,"total":%s`, i.total)
	}
	if i.echoLimit {
		fmt.Fprintf(w, `,"limit":%d`, limit)
	}
	fmt.Fprint(w, `}`)
}

func TestSearchAllPagesThroughTheInventory(t *testing.T) {
	for name, tc := range map[string]struct {
		inventory     inventory
		maxRecords    int
		want          int
		wantTruncated bool
		wantRequests  int
	}{
		"nothing":                              {inventory{size: 0, maxPage: 100}, 1000, 0, false, 1},
		"one short page":                       {inventory{size: 7, maxPage: 100}, 1000, 7, false, 1},
		"several pages":                        {inventory{size: 250, maxPage: 100}, 1000, 250, false, 3},
		"pages that end evenly":                {inventory{size: 200, maxPage: 100}, 1000, 200, false, 3},
		"total too low hides nothing":          {inventory{size: 150, maxPage: 100, total: "1"}, 1000, 150, false, 2},
		"total too high ends at an empty page": {inventory{size: 150, maxPage: 100, total: "10000000"}, 1000, 150, false, 3},
		"smaller pages than asked for, echoed": {inventory{size: 50, maxPage: 20, echoLimit: true}, 1000, 50, false, 3},
		"smaller pages, told by the total":     {inventory{size: 50, maxPage: 20, total: "50"}, 1000, 50, false, 3},
		"the bound":                            {inventory{size: 250, maxPage: 100}, 120, 120, true, 2},
		"exactly the bound":                    {inventory{size: 120, maxPage: 100}, 120, 120, false, 2},
		"no bound means one":                   {inventory{size: 5, maxPage: 100}, 0, 1, true, 1},
		"the same page for ever":               {inventory{size: 300, maxPage: 100, ignoresOffset: true}, 1000, 100, true, 2},
		"record by record for ever":            {inventory{size: 1 << 30, maxPage: 1, echoLimit: true}, 5000, 1000, true, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVendor(t, tc.inventory.ServeHTTP)
			records, truncated, err := SearchAll(t.Context(), v.client(t).Search, SearchQuery{}, tc.maxRecords)
			if err != nil {
				t.Fatal(err)
			}
			if len(records) != tc.want || truncated != tc.wantTruncated || len(v.recorded()) != tc.wantRequests {
				t.Errorf("got %d records, truncated %t, %d requests, want %d, %t, %d",
					len(records), truncated, len(v.recorded()), tc.want, tc.wantTruncated, tc.wantRequests)
			}
			for n, record := range records {
				if want := fmt.Sprintf("c-%d", n); record.ID != want {
					t.Fatalf("record %d is %s, want %s", n, record.ID, want)
				}
			}
		})
	}
}

func TestSearchAllFailsWithItsPage(t *testing.T) {
	v := newVendor(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("offset") == "0" {
			inventory{size: 300, maxPage: 100}.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	records, truncated, err := SearchAll(t.Context(), v.client(t).Search, SearchQuery{}, 1000)
	if failure := mustFail(t, err); failure.HTTPStatus != 500 || records != nil || truncated {
		t.Errorf("got %d records, truncated %t, %v", len(records), truncated, err)
	}
}
