// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// Profiles of every test's account.
const (
	profileLong     = "IOT_00000000-0000-0000-0000-000000000001"
	profileShort    = "IOT_00000000-0000-0000-0000-000000000002"
	profilePasscode = "IOT_00000000-0000-0000-0000-000000000004"
	profileMTLS     = "IOT_00000000-0000-0000-0000-000000000005"
	profileManual   = "IOT_00000000-0000-0000-0000-000000000006"
	profileUnknown  = "IOT_00000000-0000-0000-0000-000000000099"
)

// Credentials of every test's account.
const (
	goodToken    = "good-token"
	otherToken   = "other-token"
	goodPasscode = "good-passcode-secret"
	deviceClient = "device-client"
)

// States of a certificate in the vendor's inventory.
const (
	issued  = "ISSUED"
	revoked = "REVOKED"
)

// vendor is a running simulator and its admin API.
type vendor struct {
	*process
	t       *testing.T
	dataDir string
	// url and clientAuthURL are the two hosts of the API.
	url, clientAuthURL, admin string
}

// account is the configuration of the vendor's side.
func account() simulator.Config {
	second := simulator.Duration(time.Second)
	fields := []simulator.Field{
		{ID: "subject.common_name", Mandatory: true}, {ID: "subject.organization_unit"}, {ID: "san.dns_name", Multiple: true},
	}
	profile := func(id string) simulator.Profile {
		return simulator.Profile{ID: id, KeyTypes: []string{"p_256", "rsa_2048", "ed_25519"}, CertificateFields: fields, Backdate: &second}
	}
	short, manual := profile(profileShort), profile(profileManual)
	short.Validity = simulator.Duration(time.Minute)
	manual.Approval = "manual"
	return simulator.Config{
		Profiles:           []simulator.Profile{profile(profileLong), short, profile(profilePasscode), profile(profileMTLS), manual},
		APIKeys:            []simulator.APIKey{{Name: "good", Key: goodToken}, {Name: "other", Key: otherToken}},
		Passcodes:          []simulator.Passcode{{Name: "passcode", Passcode: goodPasscode, ProfileID: profilePasscode}},
		ClientCertificates: []simulator.ClientCertificate{{Name: deviceClient, Generate: true}},
	}
}

func startVendor(t *testing.T, edit ...func(*simulator.Config)) *vendor {
	t.Helper()
	config := account()
	for _, e := range edit {
		e(&config)
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	v := &vendor{t: t, dataDir: t.TempDir()}
	configPath := filepath.Join(v.dataDir, "simulator.yaml")
	if err := os.WriteFile(configPath, text, 0o600); err != nil {
		t.Fatal(err)
	}
	v.process = start(t, env.simulator, "--config", configPath, "--data-dir", v.dataDir, "--quiet",
		"--listen", "127.0.0.1:0", "--clientauth-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	v.awaitLog(t, "simulator ready", 1)
	for _, pair := range strings.Fields(v.log()) {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "api":
			v.url = value
		case "clientauth":
			v.clientAuthURL = value
		case "admin":
			v.admin = value
		}
	}
	return v
}

// file is what the simulator wrote into its data directory: ca.crt, root.crt, client certificates.
func (v *vendor) file(name string) []byte {
	v.t.Helper()
	text, err := os.ReadFile(filepath.Join(v.dataDir, name))
	if err != nil {
		v.t.Fatal(err)
	}
	return text
}

// ask calls the admin API and decodes the answer into result, unless that is nil.
func (v *vendor) ask(method, path string, body, result any) {
	v.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		v.t.Fatal(err)
	}
	request, err := http.NewRequest(method, v.admin+path, bytes.NewReader(text))
	if err != nil {
		v.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		v.t.Fatalf("%s %s: %s %v\n%s", method, path, response.Status, err, answer)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(answer, result); err != nil {
		v.t.Fatal(err)
	}
}

// misbehave adds a fault and answers with its id.
func (v *vendor) misbehave(f simulator.Fault) string {
	v.t.Helper()
	var added struct{ ID string }
	v.ask(http.MethodPost, "/faults", f, &added)
	return added.ID
}

// forgive removes a fault; held requests go on.
func (v *vendor) forgive(id string) {
	v.t.Helper()
	v.ask(http.MethodDelete, "/faults/"+id, nil, nil)
}

// awaitHit waits until a request has met the fault.
func (v *vendor) awaitHit(id string) {
	v.t.Helper()
	v.awaitHits(id, 1)
}

// awaitHits waits until so many requests have met the fault.
func (v *vendor) awaitHits(id string, hits int) {
	v.t.Helper()
	eventually(v.t, patience, fmt.Sprintf("%d requests meet fault %s", hits, id), func(context.Context) (bool, error) {
		var faults []simulator.Fault
		v.ask(http.MethodGet, "/faults", nil, &faults)
		for _, f := range faults {
			if f.ID == id && f.Hits >= hits {
				return true, nil
			}
		}
		return false, nil
	})
}

// ledger is every certificate ever issued to the common name, or to anybody if that is empty.
func (v *vendor) ledger(commonName string) []simulator.Entry {
	v.t.Helper()
	var all struct{ Entries []simulator.Entry }
	v.ask(http.MethodGet, "/ledger"+filter(commonName), nil, &all)
	return all.Entries
}

// awaitEntry waits until the ledger of the common name has the entry with that index. A fault is met before the vendor commits.
func (v *vendor) awaitEntry(commonName string, index int) simulator.Entry {
	v.t.Helper()
	var entries []simulator.Entry
	eventually(v.t, patience, "the vendor has issued to "+commonName, func(context.Context) (bool, error) {
		entries = v.ledger(commonName)
		return len(entries) > index, nil
	})
	return entries[index]
}

// requests are those for the common name, or all of them if that is empty.
func (v *vendor) requests(commonName string) []simulator.Request {
	v.t.Helper()
	var all struct{ Requests []simulator.Request }
	v.ask(http.MethodGet, "/requests"+filter(commonName), nil, &all)
	return all.Requests
}

// bought counts the requests that may have cost a certificate, answered or not.
func (v *vendor) bought(commonName string) int {
	v.t.Helper()
	var n int
	for _, r := range v.requests(commonName) {
		if r.Operation == simulator.OperationEnroll || r.Operation == simulator.OperationRenew {
			n++
		}
	}
	return n
}

func filter(commonName string) string {
	if commonName == "" {
		return ""
	}
	return "?commonName=" + commonName
}

// holdAfterCommit makes the vendor issue to that common name and keep the answer.
func holdAfterCommit(operation simulator.Operation, commonName string) simulator.Fault {
	return simulator.Fault{
		Match:  simulator.Match{Operation: operation, CommonName: commonName},
		Action: simulator.ActionHold, Stage: simulator.StageAfterCommit,
	}
}
