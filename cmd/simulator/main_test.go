// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const sample = "../../config/simulator/simulator.yaml"

const enrollBody = `{"enrollment_profile_id":"IOT_00000000-0000-0000-0000-000000000001",
 "certificate_profile_attributes":[{"id":"subject.common_name","value":"gw-17"}],
 "server_side_key_gen":true,"key_type":"p_256","private_key_format":"pem"}`

// asProgram makes the test binary behave as the program, so that tests can run and kill it without compiling it again.
const asProgram = "SIMULATOR_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is the simulator as a command that was not started yet.
func program(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, os.Args[0], arguments...)
	command.Env = append(os.Environ(), asProgram+"=1")
	return command
}

// process is a running simulator.
type process struct {
	command *exec.Cmd
	urls    map[string]string // api, clientauth, admin, ca of the ready line
	logPath string
}

// log is what the program has written to standard error so far.
func (p *process) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func launch(t *testing.T, dataDir string, arguments ...string) *process {
	t.Helper()
	arguments = append([]string{
		"--config", sample, "--data-dir", dataDir,
		"--listen", "127.0.0.1:0", "--clientauth-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
	}, arguments...)
	p := &process{command: program(context.Background(), arguments...), urls: map[string]string{}, logPath: filepath.Join(t.TempDir(), "log")}
	log, err := os.Create(p.logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.command.Stderr = log
	output, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.command.ProcessState == nil {
			_ = p.command.Process.Kill()
			_ = p.command.Wait()
		}
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "simulator ready ") {
		t.Fatalf("ready line %q, %v\n%s", line, err, p.log(t))
	}
	for _, pair := range strings.Fields(line)[2:] {
		name, value, _ := strings.Cut(pair, "=")
		p.urls[name] = value
	}
	return p
}

// client trusts ca.crt and shows certificate and key of the data directory, if named.
func client(t *testing.T, dataDir, certificate string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dataDir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(ca)
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dataDir, certificate+".crt"), filepath.Join(dataDir, certificate+".key"))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// enroll returns the certificate id, or an error when the answer did not come whole.
func enroll(c *http.Client, base, body string, header ...string) (string, error) {
	request, err := http.NewRequest(http.MethodPost, base+"/iot/api/v1/certificate", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := c.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	var answer struct {
		CertificateID string `json:"certificate_id"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.CertificateID == "" {
		return "", errors.New(response.Status + ": " + string(text))
	}
	return answer.CertificateID, nil
}

func ledgerIDs(t *testing.T, admin string) map[string]bool {
	t.Helper()
	response, err := http.Get(admin + "/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var ledger struct {
		Entries []struct {
			CertificateID string `json:"certificateID"`
		} `json:"entries"`
	}
	if err := json.NewDecoder(response.Body).Decode(&ledger); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, e := range ledger.Entries {
		ids[e.CertificateID] = true
	}
	return ids
}

func TestEveryAnsweredCertificateSurvivesKillMinusNine(t *testing.T) {
	dataDir := t.TempDir()
	first := launch(t, dataDir)
	c := client(t, dataDir, "")
	var mu sync.Mutex
	var answered []string
	var workers sync.WaitGroup
	enough := make(chan struct{}, 1000)
	for range 4 {
		workers.Go(func() {
			for {
				id, err := enroll(c, first.urls["api"], enrollBody, "x-api-key", "demo-token")
				if err != nil {
					return // killed
				}
				mu.Lock()
				answered = append(answered, id)
				mu.Unlock()
				enough <- struct{}{}
			}
		})
	}
	for range 25 {
		<-enough
	}
	if err := first.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	workers.Wait()
	_ = first.command.Wait()

	second := launch(t, dataDir)
	ids := ledgerIDs(t, second.urls["admin"])
	for _, id := range answered {
		if !ids[id] {
			t.Errorf("certificate %s was answered and is not in the ledger", id)
		}
	}
	if _, err := enroll(client(t, dataDir, ""), second.urls["api"], enrollBody, "x-api-key", "demo-token"); err != nil {
		t.Errorf("enroll after the restart: %v", err)
	}
}

func TestSIGTERMEndsTheProgramCleanlyEvenWithAHeldRequest(t *testing.T) {
	dataDir := t.TempDir()
	p := launch(t, dataDir)
	response, err := http.Post(p.urls["admin"]+"/faults", "application/json", strings.NewReader(`{"action":"hold"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	c := client(t, dataDir, "")
	held := make(chan error, 1)
	go func() {
		_, err := enroll(c, p.urls["api"], enrollBody, "x-api-key", "demo-token")
		held <- err
	}()
	waitForHit(t, p.urls["admin"])
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.command.Wait(); err != nil {
		t.Errorf("exit: %v\n%s", err, p.log(t))
	}
	if err := <-held; err == nil {
		t.Error("the held request was answered")
	}
}

func waitForHit(t *testing.T, admin string) {
	t.Helper()
	for range 2000 {
		response, err := http.Get(admin + "/faults")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if strings.Contains(string(text), `"hits": 1`) {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatal("no request met the fault")
}

func TestTheSampleCredentialsOpenTheirProfiles(t *testing.T) {
	dataDir := t.TempDir()
	p := launch(t, dataDir, "--quiet")
	profile := func(last string) string { return strings.Replace(enrollBody, "000000000001", "00000000000"+last, 1) }
	for name, send := range map[string]func() (string, error){
		"API key": func() (string, error) {
			return enroll(client(t, dataDir, ""), p.urls["api"], profile("2"), "x-api-key", "demo-token")
		},
		"passcode": func() (string, error) {
			return enroll(client(t, dataDir, ""), p.urls["api"], profile("4"), "x-passcode", "demo-passcode-secret")
		},
		"profile certificate": func() (string, error) {
			return enroll(client(t, dataDir, "demo-client"), p.urls["clientauth"], profile("5"))
		},
		"account certificate": func() (string, error) {
			return enroll(client(t, dataDir, "demo-account-client"), p.urls["clientauth"], profile("3"))
		},
	} {
		if _, err := send(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if log := p.log(t); log != "" {
		t.Errorf("--quiet logs: %s", log)
	}
}

func TestTheExamplesOfTheDocumentationWork(t *testing.T) {
	manual, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllSubmatch(manual, -1)
	if len(blocks) < 8 {
		t.Fatalf("%d examples found", len(blocks))
	}
	folder := t.TempDir()
	p := launch(t, filepath.Join(folder, "simulator-data"))
	script := "set -eu\n"
	for _, b := range blocks {
		script += string(b[1])
	}
	script = strings.NewReplacer(
		"https://127.0.0.1:8443", p.urls["api"], "https://127.0.0.1:8444", p.urls["clientauth"], "http://127.0.0.1:8445", p.urls["admin"],
	).Replace(script)
	command := exec.CommandContext(t.Context(), "sh", "-c", script)
	command.Dir = folder
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, output, p.log(t))
	}
	for _, want := range []string{"gw-17.pem: OK", "no answer, as scripted", "503, as switched", "is revoked already"} {
		if !strings.Contains(string(output), want) {
			t.Errorf("no %q in\n%s", want, output)
		}
	}
}

func TestTheCommandLineExplainsItself(t *testing.T) {
	var output bytes.Buffer
	if _, err := parseOptions([]string{"--help"}, &output); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"--config config/simulator/simulator.yaml", "-clientauth-listen address", "plain HTTP, no credential"} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("no %q in\n%s", want, output.String())
		}
	}
}

func TestTheCommandLineRefusesWhatCannotWork(t *testing.T) {
	for want, arguments := range map[string][]string{
		"--config is required":    {},
		"unexpected argument":     {"--config", "x", "extra"},
		"not a loopback address":  {"--config", "x", "--admin-listen", "0.0.0.0:8445"},
		"missing port in address": {"--config", "x", "--admin-listen", "127.0.0.1"},
		"empty host name":         {"--config", "x", "--host", "a,,b"},
		"flag provided but not":   {"--confg", "x"},
	} {
		if _, err := parseOptions(arguments, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", arguments, err, want)
		}
	}
	o, err := parseOptions([]string{"--config", "x", "--admin-listen", "0.0.0.0:8445", "--admin-allow-remote", "--host", "a,b", "--host", "192.0.2.1"}, io.Discard)
	if err != nil || len(o.hosts) != 3 || o.ledger != filepath.Join("simulator-data", "ledger.db") {
		t.Errorf("options %+v, error %v", o, err)
	}
}

func TestFurtherHostsAreInTheServingCertificate(t *testing.T) {
	dataDir := t.TempDir()
	p := launch(t, dataDir, "--host", "simulator.example")
	c := client(t, dataDir, "")
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	transport.TLSClientConfig.ServerName = "simulator.example"
	if _, err := enroll(c, p.urls["api"], enrollBody, "x-api-key", "demo-token"); err != nil {
		t.Error(err)
	}
}

func TestAFaultyStartEndsWithOneLine(t *testing.T) {
	command := program(t.Context(), "--config", "/nonexistent.yaml", "--data-dir", t.TempDir())
	output, err := command.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("exit %v", err)
	}
	if text := string(output); strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "simulator: read the configuration:") {
		t.Errorf("output %q", text)
	}
}
