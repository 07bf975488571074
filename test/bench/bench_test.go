// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/devicecert/devicecert-operator/internal/simulator"
)

var began = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func TestTheAuditLogTellsRequestsAndWhenACertificateIsReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a := &auditLog{path: path, user: "operator"}
	line := func(second int, user, verb, resource, sub, uri string, code int) string {
		at := began.Add(time.Duration(second) * time.Second).Format(time.RFC3339Nano)
		return fmt.Sprintf(`{"stage":"ResponseComplete","verb":%q,"requestURI":%q,"user":{"username":%q},"objectRef":{"resource":%q,"subresource":%q,"name":"c"},`+
			`"responseStatus":{"code":%d},"requestReceivedTimestamp":%q,"stageTimestamp":%q}`+"\n", verb, uri, user, resource, sub, code, at, at)
	}
	write := func(text string) {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write(line(0, "operator", "get", "secrets", "", "/", 200))
	if err := a.reset(); err != nil {
		t.Fatal(err)
	}
	write(line(1, "admin", "create", "devicecertificates", "", "/", 200) +
		line(2, "operator", "patch", "secrets", "", "/?dryRun=All", 200) +
		line(3, "operator", "patch", "devicecertificates", "status", "/", 200) +
		line(4, "operator", "patch", "secrets", "", "/", 409) +
		line(5, "operator", "patch", "secrets", "", "/", 200) +
		line(6, "operator", "watch", "secrets", "", "/", 200) +
		line(7, "operator", "update", "leases", "", "/", 200) +
		line(8, "operator", "patch", "devicecertificates", "status", "/", 200) + `{"half`)
	if err := a.read(); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"patch secrets (dry run)": 1, "patch devicecertificates/status": 2, "patch secrets": 2}
	if diff := cmp.Diff(want, a.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := a.ready["c"].Sub(a.asked["c"]); got != 7*time.Second {
		t.Errorf("Ready after %s, want seven seconds", got)
	}
	if writes(map[string]int{"get secrets": 3, "patch secrets": 2}) != 2 || total(want) != 5 {
		t.Error("the sums are wrong")
	}
}

func TestCatchingUpIsJudgedByTheLedger(t *testing.T) {
	entry := func(sequence uint64, predecessor string, issued time.Duration) simulator.Entry {
		return simulator.Entry{Sequence: sequence, PredecessorID: predecessor, IssuedAt: began.Add(issued)}
	}
	var before []simulator.Entry
	for i, id := range []string{"a", "b", "c", "d"} {
		before = append(before, simulator.Entry{CertificateID: id, NotAfter: began.Add(time.Duration(i) * time.Minute)})
	}
	// Four in three seconds, where two a second are allowed; c goes before b.
	used, inversions := catchUp(before, []simulator.Entry{
		entry(5, "a", 0), entry(6, "c", time.Second), entry(7, "b", 2*time.Second), entry(8, "d", 3*time.Second),
	}, 2)
	if used != 0.5 || inversions != 0.25 {
		t.Errorf("%v of the rate used, %v inversions; want a half and a quarter", used, inversions)
	}
}

func TestWhatTheKernelTellsOfAProcessIsRead(t *testing.T) {
	cpu, err := parseCPU([]byte("4711 (a )b) S 1 4711 4711 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1000 200 18446744073709551615"))
	if err != nil || cpu != 3*time.Second {
		t.Errorf("%s, %v, want three seconds", cpu, err)
	}
	if _, err := parseCPU([]byte("4711 (a) S")); err == nil {
		t.Error("nonsense was read")
	}
	if got := parseKiB([]byte("Name:\tmanager\nVmHWM:\t   2048 kB\nVmRSS:\t1024 kB\n"), "VmHWM:"); got != 2<<20 {
		t.Errorf("%d bytes, want two MiB", got)
	}
}

func TestResultsOfOneSizeReplaceOnlyTheirOwn(t *testing.T) {
	dir := t.TempDir()
	old := []result{{N: 500, Phase: phaseFill, Rate: 10, CPUPerCert: 5, RequestsPerCert: 6}, {N: 2000, Phase: phaseFill, Rate: 9}}
	measured := []result{{
		N: 2000, Phase: phaseFill, Rate: 11, CPUPerCert: 5, RequestsPerCert: 6,
		CPUOf: map[string]float64{"kube-apiserver": 20.5, "etcd": 2, "simulator": 3, "manager": 7},
	}, {N: 2000, Phase: phaseIdle}}
	if err := writeResults(dir, merge(old, measured)); err != nil {
		t.Fatal(err)
	}
	got, err := readResults(filepath.Join(dir, "result.json"))
	if err != nil || len(got) != 3 || got[1].Rate != 11 || got[0].Rate != 10 {
		t.Errorf("%+v, %v", got, err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "result.md"))
	if err != nil || !strings.Contains(string(table), "| 2000 | first fill | 20.5 | 2.0 |  | 3.0 | 7.0 |  | 32.5 |\n") {
		t.Errorf("the table does not tell each program's CPU time, %v:\n%s", err, table)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "cost.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the chart is no XML: %v", err)
		}
	}
	if !strings.Contains(string(svg), `<polyline points="60.0,170.0 480.0,170.0"`) {
		t.Errorf("the same cost is no flat line at one:\n%s", svg)
	}
}

func TestOnlyTheChosenPhasesRunAndTheFirstFillAlways(t *testing.T) {
	phases, err := chosen("outage, floor")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range phases {
		names = append(names, p.name)
	}
	if diff := cmp.Diff([]string{"floor", "fill", "outage"}, names); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	if _, err := chosen("outage,nap"); err == nil {
		t.Error("an unknown phase was accepted")
	}
	// What was measured of other phases is kept.
	merged := merge([]result{{N: 10, Phase: phaseFill, Rate: 1}, {N: 10, Phase: phaseIdle}}, []result{{N: 10, Phase: phaseOutage}, {N: 10, Phase: phaseFill, Rate: 2}})
	if len(merged) != 3 || merged[0].Rate != 2 || merged[1].Phase != phaseIdle || merged[2].Phase != phaseOutage {
		t.Errorf("merged = %+v", merged)
	}
}

func TestSizesAreNumbersFromTenUp(t *testing.T) {
	var s sizes
	if err := s.Set("10, 2000"); err != nil || s.String() != "10,2000" {
		t.Errorf("%s, %v", &s, err)
	}
	for _, bad := range []string{"", "9", "many", "10,,20"} {
		if s.Set(bad) == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
