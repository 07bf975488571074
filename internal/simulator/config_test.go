// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func load(t *testing.T, text string) error {
	t.Helper()
	folder := t.TempDir()
	write(t, folder, "simulator.yaml", []byte(text))
	_, err := simulator.LoadConfig(filepath.Join(folder, "simulator.yaml"))
	return err
}

func TestTheSampleConfigurationIsValid(t *testing.T) {
	config, err := simulator.LoadConfig("../../config/simulator/simulator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Profiles) != 6 || config.APIKeys[0].Key != "demo-token" || config.Passcodes[0].ProfileID != config.Profiles[3].ID {
		t.Errorf("configuration %+v", config)
	}
}

func TestEveryMistakeInTheConfigurationIsNamed(t *testing.T) {
	const good = "profiles: [{id: " + profileID + "}]\n"
	if err := load(t, good); err != nil {
		t.Fatalf("the smallest configuration: %v", err)
	}
	inProfile := func(settings string) string { return "profiles: [{id: " + profileID + ", " + settings + "}]" }
	for text, want := range map[string]string{
		"":                        "at least one",
		"profiles: [{id: IOT_1}]": "lower-case UUID",
		"profiles: [{id: " + profileID + "}, {id: " + profileID + "}]": "used twice",
		good + "profile: []":                                                     "unknown field",
		inProfile("validity: 90"):                                                "a duration is a string",
		inProfile("validity: 3d"):                                                `"90s"`,
		inProfile("validity: -3h"):                                               "negative",
		inProfile("keyTypes: [rsa_512]"):                                         "rsa_512",
		inProfile("keyTypes: [p_256], defaultKeyType: p_384"):                    "not among keyTypes",
		inProfile("approval: never"):                                             "approval",
		inProfile("keyGenerationOption: server"):                                 "keyGenerationOption",
		inProfile("duplicateDevice: no"):                                         "duplicateDevice",
		inProfile("renewal: {renewValidCert: in_specific_window}"):               "renewBeforeExpirationWindow",
		inProfile("renewal: {renewExpiredCert: in_specific_window}"):             "renewAfterExpirationWindow",
		inProfile("renewal: {renewValidCert: sometimes}"):                        "renewValidCert",
		inProfile("deviceFields: [{id: a}, {id: a}]"):                            "unique",
		inProfile("deviceFields: [{id: a, default: b, fixed: c}]"):               "both default and fixed",
		inProfile("deviceFields: [{id: a, default: 7}]"):                         "string or an array",
		good + "apiKeys: [{name: a}]":                                            "secret must be set",
		good + "apiKeys: [{key: a}]":                                             "name",
		good + "apiKeys: [{name: a, key: x, deny: [all]}]":                       "unknown operation",
		good + "apiKeys: [{name: a, key: x, requestsPerSecond: -1}]":             "requestsPerSecond",
		good + "apiKeys: [{name: a, key: x}, {name: b, key: x}]":                 "unique",
		good + "passcodes: [{name: a, passcode: x}]":                             "not a configured profile",
		good + "clientCertificates: [{name: a}]":                                 "exactly one of",
		good + "clientCertificates: [{name: a, generate: true, certificate: x}]": "exactly one of",
		good + "clientCertificates: [{name: a, generate: true, profileID: x}]":   "not a configured profile",
		good + "clientCertificates: [{name: a, generate: true, deny: [x]}]":      "unknown operation",
		good + "switches: {mode: away}":                                          "switches.mode",
		good + "switches: {inventoryLag: -1s}":                                   "inventoryLag",
		good + "keyPool: {p_999: 1}":                                             "keyPool",
		good + "keyPool: {p_256: -1}":                                            "keyPool",
	} {
		if err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n  error %v\n  want one with %q", text, err, want)
		}
	}
}

func TestAMissingConfigurationFileIsNamed(t *testing.T) {
	if _, err := simulator.LoadConfig("/nonexistent/simulator.yaml"); err == nil || !strings.Contains(err.Error(), "/nonexistent/simulator.yaml") {
		t.Errorf("error %v", err)
	}
}

func TestNewRefusesWhatLoadConfigRefuses(t *testing.T) {
	if _, err := simulator.New(simulator.Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
	if _, err := simulator.New(account(func(c *simulator.Config) { c.LedgerPath = "/nonexistent/ledger.db" })); err == nil {
		t.Error("a ledger that cannot be opened is accepted")
	}
	bad := account(func(c *simulator.Config) {
		c.ClientCertificates = []simulator.ClientCertificate{{Name: "bad", Certificate: "no PEM"}}
	})
	if _, err := simulator.New(bad); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("error %v", err)
	}
}
