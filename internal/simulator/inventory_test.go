// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// page is the answer of a search, by the vendor's field names.
type page struct {
	Limit, Offset, Total int
	Records              []struct {
		ID           string `json:"id"`
		CommonName   string `json:"common_name"`
		SerialNumber string `json:"serial_number"`
		Status       string `json:"status"`
		Body         string `json:"body"`
		Chain        []struct {
			Blob string `json:"blob"`
		} `json:"chain"`
	} `json:"records"`
}

func (d *desk) search(query string) page {
	d.t.Helper()
	got := d.must(http.MethodGet, enrollPath+"?"+query, "")
	if got.status != 200 {
		d.t.Fatalf("search %s: %d %s", query, got.status, got.body)
	}
	var found page
	decode(d.t, got.body, &found)
	return found
}

func (p page) names() []string {
	names := []string{}
	for _, r := range p.Records {
		names = append(names, r.CommonName)
	}
	return names
}

func TestSearchMatchesExactlyNewestFirst(t *testing.T) {
	d := start(t, account())
	for _, name := range []string{"a", "b", "ab"} {
		d.enroll(request(name))
	}
	serial := d.server.Ledger()[1].SerialNumber
	if err := d.server.RevokeSerial(d.server.Ledger()[0].SerialNumber, "unspecified"); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]string{
		"":                        {"ab", "b", "a"},
		"common_name=a":           {"a"},
		"common_name=A":           {},
		"status=ISSUED":           {"ab", "b"},
		"status=REVOKED":          {"a"},
		"serial_number=" + serial: {"b"},
		"serial_number=" + strings.ToLower(serial):      {"b"},
		"device_identifier=device-of-ab":                {"ab"},
		"enrollment_profile_id=" + profileID:            {"ab", "b", "a"},
		"enrollment_profile_id=" + otherID:              {},
		"enrollment_method=API&certificate_type=x509":   {"ab", "b", "a"},
		"limit=1&offset=1":                              {"b"},
		"offset=7":                                      {},
		"common_name=b&status=ISSUED&limit=20&offset=0": {"b"},
	} {
		if diff := cmp.Diff(want, d.search(query).names()); diff != "" {
			t.Errorf("search %q (-want +got):\n%s", query, diff)
		}
	}
}

func TestASearchRecordHoldsTheCertificateAndItsIssuersButNoKey(t *testing.T) {
	d := start(t, account())
	issued := d.enroll(request("gw"))
	record := d.search("common_name=gw").Records[0]
	if record.ID != issued.CertificateID || record.Status != "ISSUED" || len(record.SerialNumber) != 40 {
		t.Errorf("record %+v", record)
	}
	if record.Body+record.Chain[0].Blob+record.Chain[1].Blob != issued.PEM {
		t.Error("body and chain are not what was issued")
	}
	if got := d.must("GET", enrollPath, ""); strings.Contains(string(got.body), "KEY") {
		t.Error("there is a key in the record")
	}
}

func TestPagesHoldTwentyRecordsUnlessAskedAndNeverMoreThanAHundred(t *testing.T) {
	d := start(t, account())
	for i := range 101 {
		d.enroll(request(fmt.Sprint("gw-", i)))
	}
	if p := d.search(""); len(p.Records) != 20 || p.Limit != 20 || p.Total != 101 {
		t.Errorf("%d records, limit %d, total %d", len(p.Records), p.Limit, p.Total)
	}
	if p := d.search("limit=1000"); len(p.Records) != 100 || p.Limit != 100 {
		t.Errorf("%d records, limit %d", len(p.Records), p.Limit)
	}
	for _, query := range []string{"limit=x", "offset=-1", "sort=asc"} {
		d.refused(400, "invalid_request", "GET", enrollPath+"?"+query, "")
	}
	d.refused(400, "invalid_input", "GET", enrollPath+"?status=PENDING", "")
}

func TestTheInventoryLagHidesNewCertificatesForAWhile(t *testing.T) {
	clock := newCalendar()
	d := start(t, account(clock.use))
	d.setSwitches(func(s *simulator.Switches) { s.InventoryLag = simulator.Duration(time.Minute) })
	d.enroll(request("gw"))
	clock.advance(59 * time.Second)
	if p := d.search("common_name=gw"); p.Total != 0 {
		t.Error("visible before the lag is over")
	}
	clock.advance(time.Second)
	if p := d.search("common_name=gw"); p.Total != 1 {
		t.Error("invisible after the lag")
	}
}

func TestExpiredIsComputed(t *testing.T) {
	clock := newCalendar()
	d := start(t, account(clock.use, profile(func(p *simulator.Profile) { p.Validity = simulator.Duration(time.Minute) })))
	d.enroll(request("gw"))
	clock.advance(2 * time.Minute)
	if p := d.search("status=EXPIRED"); p.Total != 1 || p.Records[0].Status != "EXPIRED" {
		t.Errorf("page %+v", p)
	}
	if sum := d.server.Summary().Total; sum.Live != 0 || sum.Issued != 1 {
		t.Errorf("summary %+v", sum)
	}
}

func TestRevokeWorksOnceAndOnlyForDocumentedReasons(t *testing.T) {
	d := start(t, account())
	path := enrollPath + "/" + d.enroll(request("gw")).CertificateID + "/revoke"
	d.refused(400, "invalid_input", "PUT", path, `{"reason":"superseded"}`)
	d.refused(400, "invalid_input", "PUT", path, `{"reason":"unspecified","revocation_date":"yesterday"}`)
	d.refused(400, "invalid_request", "PUT", path, `{"reason":"unspecified","comment":"x"}`)
	got := d.must("PUT", path, `{"reason":"cessation_of_operation","comments":"gone","revocation_date":"2030-01-01T00:00:00Z"}`)
	if got.status != 204 || len(got.body) != 0 {
		t.Errorf("status %d, body %q", got.status, got.body)
	}
	if e := d.server.Ledger()[0]; e.Status != "REVOKED" || e.RevocationReason != "cessation_of_operation" || e.RevokedAt == nil {
		t.Errorf("entry %+v", e)
	}
	d.refused(400, "invalid_input", "PUT", path, `{"reason":"unspecified"}`)
	d.refused(404, "entity_not_found", "PUT", enrollPath+"/00000000-0000-0000-0000-000000000000/revoke", `{"reason":"unspecified"}`)
	d.refused(404, "entity_not_found", "PUT", enrollPath+"/"+d.server.Ledger()[0].SerialNumber+"/revoke", `{"reason":"unspecified"}`)
}

func TestOfManyRevocationsAtOnceOneSucceeds(t *testing.T) {
	d := start(t, account())
	path := enrollPath + "/" + d.enroll(request("gw")).CertificateID + "/revoke"
	statuses := make(chan int, 12)
	for range cap(statuses) {
		go func() {
			got, err := d.do("PUT", path, `{"reason":"unspecified"}`)
			if err != nil {
				t.Error(err)
			}
			statuses <- got.status
		}()
	}
	counts := map[int]int{}
	for range cap(statuses) {
		counts[<-statuses]++
	}
	if diff := cmp.Diff(map[int]int{204: 1, 400: cap(statuses) - 1}, counts); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

func TestTheSpecificationListsTheFieldsOfTheProfile(t *testing.T) {
	d := start(t, account(profile(func(p *simulator.Profile) {
		p.CertificateFields = []simulator.Field{
			{ID: "subject.common_name", Name: "Common name", Mandatory: true},
			{ID: "subject.organization_name", Fixed: simulator.Values{"Example"}},
			{ID: "subject.organization_unit", Multiple: true, Default: simulator.Values{"a", "b"}},
			{ID: "subject.country", Options: []string{"DE", "CH"}},
		}
		p.DeviceFields = []simulator.Field{{ID: "6f1c4b0e-7d52-4a57-9c0b-2f2f6d5f0a11", Name: "Site"}}
	})))
	got := d.must("GET", "/iot/api/v1/enrollment-profile/"+profileID+"/enrollment-specification", "")
	plain := object{"type": "STRING", "options": false, "multiple": false}
	want := object{"fields": []object{
		{"id": "subject.common_name", "name": "Common name", "type": "CERTIFICATE", "mandatory": true, "editable": true, "update_from_csr": false, "value_type": plain},
		{"id": "subject.organization_name", "name": "subject.organization_name", "type": "CERTIFICATE", "mandatory": false, "editable": false, "update_from_csr": false, "value_type": plain, "default_value": "Example"},
		{"id": "subject.organization_unit", "name": "subject.organization_unit", "type": "CERTIFICATE", "mandatory": false, "editable": true, "update_from_csr": false, "value_type": plain.with("multiple", true), "default_value": []string{"a", "b"}},
		{"id": "subject.country", "name": "subject.country", "type": "CERTIFICATE", "mandatory": false, "editable": true, "update_from_csr": false, "value_type": plain.with("options", true), "options": []string{"DE", "CH"}},
		{"id": "6f1c4b0e-7d52-4a57-9c0b-2f2f6d5f0a11", "name": "Site", "type": "DEVICE", "mandatory": false, "editable": true, "update_from_csr": false, "value_type": plain},
	}}
	var gotValue, wantValue any
	decode(t, got.body, &gotValue)
	decode(t, []byte(want.String()), &wantValue)
	if diff := cmp.Diff(wantValue, gotValue); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
	d.refused(400, "invalid_input", "GET", "/iot/api/v1/enrollment-profile/IOT_0/enrollment-specification", "")
}

func TestTheSpecificationNeedsTheAPIOrPortalMethod(t *testing.T) {
	d := start(t, account(func(c *simulator.Config) { c.Profiles[1].Methods = []string{"EST"} }))
	d.refused(400, "invalid_input", "GET", "/iot/api/v1/enrollment-profile/"+otherID+"/enrollment-specification", "")
}

func TestDevicesAreReusedAndUpdated(t *testing.T) {
	clock := newCalendar()
	d := start(t, account(clock.use))
	d.enroll(request("gw"))
	clock.advance(time.Hour)
	d.enroll(request("gw").with("device_attributes", []object{attribute("DEVICE_IDENTIFIER", "device-of-gw"), attribute("comments", "moved")}))
	d.enroll(request("other"))
	var list struct {
		Total   int
		Records []object
	}
	decode(t, d.must("GET", "/iot/api/v2/device?device_identifier=device-of-gw", "").body, &list)
	if list.Total != 1 {
		t.Fatalf("%d devices", list.Total)
	}
	want := object{
		"id": list.Records[0]["id"], "device_identifier": "device-of-gw", "status": "ACTIVE",
		"created": "2030-05-01T12:00:00Z", "updated": "2030-05-01T13:00:00Z",
		"fields": []any{map[string]any{"id": "comments", "name": "Comments", "value": "moved"}},
	}
	if diff := cmp.Diff(want, list.Records[0]); diff != "" {
		t.Errorf("device (-want +got):\n%s", diff)
	}
	id, _ := list.Records[0]["id"].(string)
	var single object
	decode(t, d.must("GET", "/iot/api/v2/device/"+id, "").body, &single)
	if diff := cmp.Diff(want, single); diff != "" {
		t.Errorf("device by id (-want +got):\n%s", diff)
	}
	for _, e := range d.server.Ledger()[:2] {
		if e.DeviceID != id {
			t.Errorf("entry of device %s, want %s", e.DeviceID, id)
		}
	}
	d.refused(404, "entity_not_found", "GET", "/iot/api/v2/device/device-of-gw", "")
	decode(t, d.must("GET", "/iot/api/v2/device?limit=1", "").body, &list)
	if list.Total != 2 || len(list.Records) != 1 {
		t.Errorf("%d of %d devices on a page of one", len(list.Records), list.Total)
	}
}

func TestAnEnrollWithoutAnyNameStillHasADevice(t *testing.T) {
	d := start(t, account(profile(func(p *simulator.Profile) {
		p.CertificateFields = []simulator.Field{{ID: "san.dns_name"}}
	})))
	body := request("x").without("device_attributes").with("certificate_profile_attributes", []object{attribute("san.dns_name", "a.example")})
	d.enroll(body)
	if e := d.server.Ledger()[0]; e.DeviceIdentifier == "" || e.DeviceID == "" {
		t.Errorf("entry %+v", e)
	}
}
