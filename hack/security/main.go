// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command security tries everything that the threat model claims, in full size, and prints what was tried against which surface. It runs in
// the root of the repository, after `make build controlplane`.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// surface is one line of the table.
type surface struct {
	name string
	// command is go test's arguments, or a program.
	command []string
	// fuzz counts executions of a fuzz target instead of tests.
	fuzz bool
}

// surfaces are those of docs/threat-model.md.
func surfaces(fuzztime, flood string) ([]surface, error) {
	test := func(name, run string, args ...string) surface {
		return surface{name: name, command: append([]string{"go", "test", "-json", "-count=1", "-timeout=30m", "-run=" + run}, args...)}
	}
	all := []surface{
		test("specs and statuses, on the API server", "^Test", "./api/..."),
		test("rights, policies, pod security, network", "^TestAnInstallation", "./test/manifests"),
		test("the list of hostile inputs, limits of fuzzing", "^Test", "./test/hostile"),
		test("URLs and addresses", "Host|Dial|Check", "./internal/account"),
		test("credentials of issuers", "Credential|Token|Passcode|Bundle|Proxy|Clock|Cluster", "./controllers"),
		test("what grants allow", "Grant|Denied", "./internal/plan", "./controllers"),
		test("the vendor's HTTP", "^Test", "./internal/trustmanager"),
		test("the vendor's payloads", "^Test", "./internal/decode", "./internal/certs", "./internal/keystore", "./internal/tlssecret"),
		test("unusable answers, forged objects, fights", "Unusable|Forged|Somebody|Deleted|Toggled|Adopted|Consent|Hostile", "./controllers"),
		test("a tenant against another", "^TestATenant", "./test/e2e"),
		test("a flood of "+flood+" objects and 14 bombs", "^TestOneTenants", "./test/e2e", "-args", "-flood="+flood),
		test("secrets in logs, dumps, metrics, audit, etcd", "^TestNoSecret|^TestTheHunter", "./test/e2e"),
		test("metrics without a right", "^TestMetricsAreShown|^Test.*Scrape|^TestAnAPIServer|^TestStrangers", "./test/e2e", "./internal/scrape"),
		test("narrow roles", "^TestAManagerOfOneNamespace", "./test/e2e"),
		test("FIPS 140-only", "FIPS", "./internal/keystore", "./internal/decode", "./test/e2e"),
		{name: "FIPS 140 build, on", command: []string{"hack/fips.sh"}},
		{name: "what the manager is made of (SBOM)", command: []string{"make", "sbom"}},
		{name: "two builds, one hash", command: []string{"hack/reproducible.sh"}},
		{name: "known vulnerabilities", command: []string{"make", "vulncheck"}},
		{name: "gosec and the other linters", command: []string{"make", "lint"}},
	}
	targets, err := fuzzTargets(os.DirFS("."))
	for _, t := range targets {
		all = append(all, surface{name: "fuzz: " + t.name, fuzz: true, command: []string{"go", "test", "-run=^$", "-fuzz=^" + t.name + "$", t.folder, "-fuzztime=" + fuzztime}})
	}
	return all, err
}

// target is a fuzz target and the folder it is in, as go test takes it.
type target struct{ name, folder string }

var fuzzed = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// fuzzTargets finds all there are, so that none is forgotten.
func fuzzTargets(root fs.FS) ([]target, error) {
	var found []target
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(root, name)
		for _, match := range fuzzed.FindAllSubmatch(text, -1) {
			found = append(found, target{name: string(match[1]), folder: "./" + path.Dir(name)})
		}
		return err
	})
	return found, err
}

func main() {
	fuzztime := flag.String("fuzztime", "20s", "how long each fuzz target runs")
	flood := flag.String("flood", "10000", "how many objects one tenant creates at once")
	only := flag.String("only", "", "regular expression of the surfaces to try")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "security:", err)
		os.Exit(2)
	}
	all, err := surfaces(*fuzztime, *flood)
	if err != nil {
		fmt.Fprintln(os.Stderr, "security:", err)
		os.Exit(2)
	}
	if failures := try(ctx, all, wanted); failures > 0 {
		fmt.Fprintf(os.Stderr, "security: %d failures\n", failures)
		os.Exit(1)
	}
}

// try runs all surfaces and prints the table.
func try(ctx context.Context, all []surface, wanted *regexp.Regexp) (failures int) {
	var table bytes.Buffer
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(columns, "SURFACE\tTRIED\tFAILURES")
	for _, s := range all {
		if !wanted.MatchString(s.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintln(os.Stderr, "security:", s.name)
		tried, failed := s.run(ctx)
		failures += failed
		_, _ = fmt.Fprintf(columns, "%s\t%d\t%d\n", s.name, tried, failed)
	}
	_ = columns.Flush() // a Buffer takes everything
	fmt.Print(table.String())
	return failures
}

// run counts what was tried and what failed.
func (s surface) run(ctx context.Context) (tried, failed int) {
	output, err := execute(ctx, s.command)
	if s.fuzz && err == nil && executions(output) == 0 {
		// A machine with much else to do gets nowhere in a short time: then one input, however long it takes.
		output, err = execute(ctx, append(slices.Clone(s.command), "-fuzztime=1x"))
	}
	switch {
	case s.fuzz:
		tried = executions(output)
	case s.command[0] == "go":
		tried, failed = results(output)
	default:
		tried = 1
	}
	if tried == 0 {
		err = errors.Join(errors.New("nothing was tried"), err)
	}
	if err != nil {
		failed = max(failed, 1)
		fmt.Fprintf(os.Stderr, "security: %s: %v\n%s\n", s.name, err, tail(output))
	}
	return tried, failed
}

// execute runs a command and answers with all that it says.
func execute(ctx context.Context, line []string) ([]byte, error) {
	command := exec.CommandContext(ctx, line[0], line[1:]...)
	command.WaitDelay = 5 * time.Second // a program that was interrupted may leave others with its output
	return command.CombinedOutput()
}

// results counts the tests and subtests without subtests of their own.
func results(output []byte) (tried, failed int) {
	ended := map[string]string{}
	parents := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct{ Action, Package, Test string }
		if json.Unmarshal(lines.Bytes(), &event) != nil || event.Test == "" || event.Action != "pass" && event.Action != "fail" {
			continue
		}
		ended[event.Package+" "+event.Test] = event.Action
		if i := strings.LastIndex(event.Test, "/"); i > 0 {
			parents[event.Package+" "+event.Test[:i]] = true
		}
	}
	for test, action := range ended {
		if parents[test] {
			continue
		}
		tried++
		if action == "fail" {
			failed++
		}
	}
	return tried, failed
}

// counted is what a fuzz target tells of its progress: of the seeds, which it tries first, and then of all it tried.
var counted = regexp.MustCompile(`(?:gathering baseline coverage|execs): (\d+)`)

// executions is the last count a fuzz target tells.
func executions(output []byte) int {
	found := counted.FindAllSubmatch(output, -1)
	if len(found) == 0 {
		return 0
	}
	n, err := strconv.Atoi(string(found[len(found)-1][1]))
	if err != nil {
		return 0
	}
	return n
}

// tail is the end of what a failed command said.
func tail(output []byte) []byte {
	const most = 8 << 10
	return output[max(0, len(output)-most):]
}
