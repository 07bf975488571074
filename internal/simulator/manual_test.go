// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestTheManualNamesEveryAction(t *testing.T) {
	manual := read(t, "../../docs", "simulator.md")
	_, err := start(t, account()).server.AddFault(simulator.Fault{Action: "explode"})
	if err == nil {
		t.Fatal("accepted")
	}
	quoted := strings.Split(err.Error(), `"`)
	if len(quoted) < 50 {
		t.Fatalf("error %v", err)
	}
	for i := 3; i < len(quoted); i += 2 {
		if !strings.Contains(manual, "`"+quoted[i]+"`") {
			t.Errorf("docs/simulator.md does not name %s", quoted[i])
		}
	}
}

func TestTheManualNamesEveryField(t *testing.T) {
	manual := read(t, "../../docs", "simulator.md")
	for _, structure := range []any{
		simulator.Config{}, simulator.Profile{}, simulator.Field{}, simulator.Renewal{}, simulator.SubjectRewrite{}, simulator.APIKey{},
		simulator.Passcode{}, simulator.RegisteredValue{}, simulator.ClientCertificate{}, simulator.Switches{}, simulator.ZIPNames{},
		simulator.Fault{}, simulator.Match{}, simulator.Response{}, simulator.Summary{},
	} {
		typed := reflect.TypeOf(structure)
		for i := range typed.NumField() {
			name, _, _ := strings.Cut(typed.Field(i).Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if !regexp.MustCompile(`\b` + name + `\b`).MatchString(manual) {
				t.Errorf("docs/simulator.md does not name %s of %s", name, typed.Name())
			}
		}
	}
}
