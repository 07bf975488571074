// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

// uuid is a custom device field's id: the vendor's are UUIDs or slugs.
const uuid = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

// gateways is a profile as the vendor's documents describe one.
func gateways() *Specification {
	return New("IOT_1", []Field{
		{Type: "CERTIFICATE", Attribute: Attribute{ID: "subject.common_name", Name: "Common name", Mandatory: true}},
		{Type: "CERTIFICATE", Attribute: Attribute{ID: "subject.organization_name", Name: "Organization", Mandatory: true, Fixed: true, Default: []string{"Example Ltd"}}},
		{Type: "CERTIFICATE", Attribute: Attribute{ID: "subject.organization_unit", Name: "Unit", Multiple: true, Options: []string{"Edge", "Core"}}},
		{Type: "certificate", Attribute: Attribute{ID: "subject.country", Name: "Country", Mandatory: true, Default: []string{"CH"}}},
		{Type: "CERTIFICATE", Attribute: Attribute{ID: "csr", Name: "CSR", Mandatory: true}},
		{Type: "CERTIFICATE", Attribute: Attribute{ID: "key_type", Options: []string{"p_256", "p_384"}}},
		{Type: "CERTIFICATE", Attribute: Attribute{ID: "private_key_format", Fixed: true, Default: []string{"pem"}}},
		{Type: "DEVICE", Attribute: Attribute{ID: "DEVICE_IDENTIFIER", Name: "Device name", Mandatory: true}},
		{Type: "DEVICE", Attribute: Attribute{ID: uuid, Name: "Site"}},
		{Type: "DEVICE", Attribute: Attribute{ID: "line-1", Name: "Line"}},
		{Type: "DEVICE", Attribute: Attribute{ID: "line-2", Name: "Line"}},
		{Type: "DEVICE", Attribute: Attribute{ID: "floor", Name: "line-1"}},
		{Type: "DEVICE", Attribute: Attribute{Name: "without an id"}},
	})
}

func one(id, value string) Value { return Value{ID: id, Values: []string{value}} }

func TestFieldsAreSortedByWhatTheyStandFor(t *testing.T) {
	s := gateways()
	ids := func(kind Kind) (ids []string) {
		for _, a := range s.Attributes(kind) {
			ids = append(ids, a.ID)
		}
		return ids
	}
	got := map[string][]string{"certificate": ids(Certificate), "device": ids(Device), "key types": s.KeyTypes, "formats": s.Formats}
	want := map[string][]string{
		"certificate": {"subject.common_name", "subject.organization_name", "subject.organization_unit", "subject.country"},
		"device":      {"DEVICE_IDENTIFIER", uuid, "line-1", "line-2", "floor"},
		"key types":   {"p_256", "p_384"}, "formats": {"pem"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
}

func TestUntypedFieldsAreToldByTheirIDs(t *testing.T) {
	s := New("", []Field{
		{Attribute: Attribute{ID: "san.dns_name"}}, {Attribute: Attribute{ID: "signature_algorithm"}}, {Attribute: Attribute{ID: "party-no"}},
	})
	if len(s.CertificateAttributes) != 2 || len(s.DeviceAttributes) != 1 || s.DeviceAttributes[0].ID != "party-no" {
		t.Errorf("got %+v", s)
	}
}

func TestASpecificationSurvivesItsJSON(t *testing.T) {
	text, err := json.Marshal(gateways())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(gateways(), got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestJSONIsReadByOlderAndNewerPrograms(t *testing.T) {
	got, err := Parse([]byte(`{"profileID":"IOT_1","certificateAttributes":[{"id":"subject.common_name","mandatory":true,"colour":"blue"}],"later":[]}`))
	want := &Specification{ProfileID: "IOT_1", CertificateAttributes: []Attribute{{ID: "subject.common_name", Mandatory: true}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v; (-want +got):\n%s", err, diff)
	}
}

func TestDocumentsThatAreNoSpecificationAreRefused(t *testing.T) {
	for name, document := range map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "text": "specification", "an attribute without id": `{"deviceAttributes":[{"name":"Site"}]}`,
		"too many": `{"deviceAttributes":[` + strings.Repeat(`{"id":"a"},`, 1000) + `{"id":"a"}]}`,
		"too long": `{"profileID":"` + strings.Repeat("a", 1<<20) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Parse([]byte(document)); err == nil {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestNamesAreResolvedToIDs(t *testing.T) {
	for name, c := range map[string]struct {
		kind        Kind
		asked, want string
	}{
		"id":                             {Device, uuid, uuid},
		"name of a device attribute":     {Device, "Site", uuid},
		"name with a space":              {Device, "Device name", "DEVICE_IDENTIFIER"},
		"name of a certificate field":    {Certificate, "Common name", "subject.common_name"},
		"an id wins over a name":         {Device, "line-1", "line-1"},
		"not listed, but may be an id":   {Device, "party-no", "party-no"},
		"an id in other letters":         {Certificate, "Subject.Common_Name", "Subject.Common_Name"},
		"a name of the other kind is id": {Certificate, "Site", "Site"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := gateways().ResolveID(c.kind, c.asked); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestNamesThatStandForNoSingleAttributeAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		s           *Specification
		kind        Kind
		asked, says string
	}{
		"ambiguous":           {gateways(), Device, "Line", "line-1, line-2"},
		"unknown":             {gateways(), Device, "Serial no.", "DEVICE_IDENTIFIER (Device name)"},
		"other kind":          {gateways(), Certificate, "Device name", "subject.common_name (Common name)"},
		"nothing can be read": {nil, Device, "Device name", "cannot be read: write the id"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.s.ResolveID(c.kind, c.asked)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %q, error %v, want it to say %q", got, err, c.says)
			}
		})
	}
}

func TestWithoutASpecificationIDsStayAsTheyAre(t *testing.T) {
	var unknown *Specification
	asked := Request{CertificateAttributes: []Value{one("subject.common_name", "gw-17")}, DeviceAttributes: []Value{one("DEVICE_IDENTIFIER", "gw-17"), one(uuid, "Bern")}}
	got, err := unknown.Resolve(asked)
	if diff := cmp.Diff(asked, got); err != nil || diff != "" {
		t.Errorf("error %v; (-want +got):\n%s", err, diff)
	}
}

func TestABoundHoldsForAllThatItsNameCanStandFor(t *testing.T) {
	for idOrName, want := range map[string][]string{
		"subject.common_name": {"subject.common_name", "subject.common_name"}, // as it is listed, and as it is written
		"common NAME":         {"subject.common_name"},
		"Line":                {"line-1", "line-2"},
		"line-1":              {"line-1", "floor", "line-1"},
		"unlisted":            {"unlisted"},
		"Comon name":          nil,
		"Hostnme":             nil,
		"IMEI":                nil,
		"Site-No":             {"Site-No"},
	} {
		if diff := cmp.Diff(want, gateways().IDs(idOrName)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", idOrName, diff)
		}
	}
	var nothing *Specification
	for idOrName, want := range map[string][]string{
		"subject.common_name": {"subject.common_name"}, "SUBJECT.Common_Name": {"SUBJECT.Common_Name"}, "DEVICE_IDENTIFIER": {"DEVICE_IDENTIFIER"},
		"party-no": {"party-no"}, "Site-No": {"Site-No"}, "comments": {"comments"}, uuid: {uuid}, "Common name": nil, "Hostname": nil, "IMEI": nil, "Site2": nil,
	} {
		if diff := cmp.Diff(want, nothing.IDs(idOrName)); diff != "" {
			t.Errorf("%s without a specification (-want +got):\n%s", idOrName, diff)
		}
	}
}

func TestOneAttributeUnderIDAndNameIsRefused(t *testing.T) {
	_, err := gateways().Resolve(Request{DeviceAttributes: []Value{one("Device name", "a"), one("DEVICE_IDENTIFIER", "a"), one("Nobody knows", "b")}})
	if err == nil || !strings.Contains(err.Error(), "DEVICE_IDENTIFIER is there twice") || !strings.Contains(err.Error(), "Nobody knows") {
		t.Errorf("got %v, want both problems", err)
	}
}

func TestACompleteRequestHasNoProblem(t *testing.T) {
	for name, r := range map[string]Request{
		"only what is demanded": {CertificateAttributes: []Value{one("subject.common_name", "gw")}, DeviceAttributes: []Value{one("DEVICE_IDENTIFIER", "gw")}},
		"all there is": {
			CertificateAttributes: []Value{
				one("subject.common_name", "gw"), one("subject.organization_name", "Example Ltd"), one("subject.country", "DE"),
				{ID: "subject.organization_unit", Values: []string{"Core", "edge"}},
			},
			DeviceAttributes: []Value{one("DEVICE_IDENTIFIER", "gw"), one(uuid, "Bern")},
			KeyType:          "p_384", Format: "pem",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(Report{}, gateways().Check(r)); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatTheVendorWouldRefuseIsTold(t *testing.T) {
	got := gateways().Check(Request{
		CertificateAttributes: []Value{
			one("subject.organization_name", "Other Ltd"), {ID: "subject.organization_unit", Values: []string{"Edge", "Cloud"}},
			{ID: "subject.common_name"}, {ID: "subject.country", Values: []string{"CH", "DE"}},
		},
		DeviceAttributes: []Value{one("party-no", "5")},
		KeyType:          "rsa_1024", Format: "der",
	})
	want := Report{
		Problems: []string{
			"certificate attribute subject.common_name (Common name) is mandatory",
			`certificate attribute subject.organization_name (Organization) is fixed by the profile to "Example Ltd": leave it out, or write that value`,
			`certificate attribute subject.organization_unit (Unit) takes one of "Edge", "Core", not "Cloud"`,
			"certificate attribute subject.country (Country) takes one value",
			"device attribute DEVICE_IDENTIFIER (Device name) is mandatory",
		},
		Warnings: []string{
			"device attribute party-no is not listed by the profile",
			`key type rsa_1024 is not among those the profile lists: one of "p_256", "p_384"`,
			`private key format der is not among those the profile lists: "pem"`,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if got.Err() == nil || (Report{Warnings: got.Warnings}).Err() != nil {
		t.Error("an error stands for problems, not for warnings")
	}
}

func TestAKeyTypeNobodyDocumentsIsAWarning(t *testing.T) {
	silent := New("IOT_1", nil)
	if got := silent.Check(Request{KeyType: "p_256", Format: "anything"}); got.Warnings != nil || got.Problems != nil {
		t.Errorf("got %+v for a documented key type", got)
	}
	if got := silent.Check(Request{KeyType: "ml_dsa_65"}); len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "ed_25519") {
		t.Errorf("got %+v, want a warning that lists the documented ones", got)
	}
}

func TestWhatTheProfileWantsIsSaidInWords(t *testing.T) {
	const want = "mandatory certificate attributes subject.common_name (Common name); " +
		"optional certificate attributes subject.organization_unit (Unit), subject.country (Country); " +
		`certificate attributes that the profile fixes subject.organization_name (Organization) = "Example Ltd"; ` +
		"mandatory device attributes DEVICE_IDENTIFIER (Device name); " +
		"optional device attributes " + uuid + " (Site), line-1 (Line), line-2 (Line), floor (line-1)"
	if diff := cmp.Diff(want, gateways().Wants()); diff != "" {
		t.Errorf("wants (-want +got):\n%s", diff)
	}
	var unknown *Specification
	if got := unknown.Wants(); got != "no attributes" {
		t.Errorf("got %q", got)
	}
}

// TestMessagesStayReadable hands the text of a hostile vendor through.
func TestMessagesStayReadable(t *testing.T) {
	var fields []Field
	for i := range 500 {
		fields = append(fields, Field{Type: "DEVICE", Attribute: Attribute{
			ID: fmt.Sprintf("field-%d-%s", i, strings.Repeat("x", 5000)), Name: "\x1b[31m\u202ered" + strings.Repeat("é", 5000), Default: nil, Mandatory: i%2 == 0,
		}})
	}
	got := New("IOT_1", fields).Wants()
	if len(got) > 8<<10 || strings.ContainsAny(got, "\x1b\u202e") || !strings.Contains(got, "and 238 more") {
		t.Errorf("%d bytes: %.300q", len(got), got)
	}
}

func FuzzParse(f *testing.F) {
	text, err := json.Marshal(gateways())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"certificateAttributes":[{"id":"a","default":["b"],"fixed":true}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		var s *Specification
		var err error
		limit.Parser.Hold(t, len(document), func() { s, err = Parse(document) })
		if err != nil || s == nil {
			return
		}
		_ = s.Wants()
		_ = s.Check(Request{CertificateAttributes: []Value{one("a", "b")}, KeyType: "c"})
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(again)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		third, err := json.Marshal(back)
		if err != nil || string(third) != string(again) {
			t.Errorf("the document changes as it is read and written: %s, then %s (%v)", again, third, err)
		}
	})
}
