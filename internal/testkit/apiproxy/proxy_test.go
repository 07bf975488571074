// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package apiproxy_test

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

// upstream plays the API server: it remembers requests, answers every write with version 7, and streams what the test says.
type upstream struct {
	mu       sync.Mutex
	requests []string
	tokens   map[string]bool
	events   chan string
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.requests = append(u.requests, r.Method+" "+r.URL.RequestURI()+" "+string(body))
	u.tokens[r.Header.Get("Authorization")] = true
	u.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if !r.URL.Query().Has("watch") {
		_, _ = io.WriteString(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"settings","resourceVersion":"7"}}`)
		return
	}
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	for {
		select {
		case line := <-u.events:
			_, _ = io.WriteString(w, line+"\n")
			_ = flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (u *upstream) heard() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.requests...)
}

// begin starts an upstream, a proxy before it and a client of the proxy.
func begin(t *testing.T) (*upstream, *apiproxy.Proxy, kubernetes.Interface) {
	t.Helper()
	u := &upstream{tokens: map[string]bool{}, events: make(chan string, 10)}
	server := httptest.NewTLSServer(u)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{
		Server: server.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: "own-token"}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	direct, through := filepath.Join(t.TempDir(), "direct"), filepath.Join(t.TempDir(), "through")
	if err := clientcmd.WriteToFile(*config, direct); err != nil {
		t.Fatal(err)
	}
	proxy, err := apiproxy.Start(direct, through)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	rest, err := clientcmd.BuildConfigFromFlags("", through)
	if err != nil {
		t.Fatal(err)
	}
	rest.ContentType = "application/json"
	clients, err := kubernetes.NewForConfig(rest)
	if err != nil {
		t.Fatal(err)
	}
	return u, proxy, clients
}

const patch = `{"metadata":{"resourceVersion":"6"},"data":{"mode":"on"}}`

func write(t *testing.T, clients kubernetes.Interface, options metav1.PatchOptions) error {
	t.Helper()
	_, err := clients.CoreV1().ConfigMaps("edge").Patch(t.Context(), "settings", types.MergePatchType, []byte(patch), options)
	return err
}

func TestARequestIsHandedThroughWithItsTokenAndRecorded(t *testing.T) {
	u, proxy, clients := begin(t)
	if err := write(t, clients, metav1.PatchOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if len(u.heard()) != 1 || !strings.HasSuffix(u.heard()[0], patch) || !u.tokens["Bearer own-token"] {
		t.Errorf("the API server heard %q with tokens %v", u.heard(), u.tokens)
	}
	got := proxy.History()[0]
	if got.Committed.Before(got.Arrived) {
		t.Errorf("arrived at %s, committed at %s", got.Arrived, got.Committed)
	}
	got.Arrived, got.Committed = time.Time{}, time.Time{}
	want := apiproxy.Exchange{
		Sequence: 1, Verb: "patch", Resource: "configmaps", Namespace: "edge", Name: "settings", DryRun: true,
		VersionIn: "6", VersionOut: "7", Code: 200, Answered: 200, Request: []byte(patch),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if got.Written() {
		t.Error("a dry run counts as written")
	}
}

func TestTheBodyOfASecretIsNotKept(t *testing.T) {
	_, proxy, clients := begin(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string][]byte{"key": []byte("hidden")}}
	if _, err := clients.CoreV1().Secrets("edge").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := proxy.History()[0]; got.Request != nil || got.String() != "create secrets" || got.Name != "settings" {
		t.Errorf("history %+v", got)
	}
}

func TestEachFaultDoesWhatItSays(t *testing.T) {
	for name, c := range map[string]struct {
		fault     apiproxy.Fault
		committed bool
		answered  int
		is        func(error) bool
	}{
		"an answer instead": {apiproxy.Fault{Action: apiproxy.Respond, Status: 409}, false, 409, apierrors.IsConflict},
		"an answer instead, after the commit": {
			apiproxy.Fault{Action: apiproxy.Respond, Status: 500, Stage: apiproxy.AfterCommit}, true, 500, apierrors.IsInternalError,
		},
		"a dropped request": {apiproxy.Fault{Action: apiproxy.Drop}, false, 0, isNoStatus},
		"a dropped answer":  {apiproxy.Fault{Action: apiproxy.Drop, Stage: apiproxy.AfterCommit}, true, 0, isNoStatus},
		"a cut answer":      {apiproxy.Fault{Action: apiproxy.Truncate}, true, 0, isNoStatus},
	} {
		t.Run(name, func(t *testing.T) {
			u, proxy, clients := begin(t)
			called := false
			c.fault.Match = apiproxy.Match{Verb: "patch", Resource: "configmaps", Name: "settings", Body: regexp.MustCompile(`"mode":"on"`)}
			c.fault.Do = func() { called = true }
			armed := proxy.Add(c.fault)
			if err := write(t, clients, metav1.PatchOptions{}); !c.is(err) {
				t.Errorf("the client got %v", err)
			}
			<-armed.Met()
			if committed := len(u.heard()) == 1; committed != c.committed || !called || armed.Hits() != 1 {
				t.Errorf("committed %t, called %t, hits %d", committed, called, armed.Hits())
			}
			if got := proxy.History()[0]; got.Answered != c.answered || got.Fault == "" || got.Written() != c.committed {
				t.Errorf("history %+v", got)
			}
			if err := write(t, clients, metav1.PatchOptions{}); err != nil {
				t.Errorf("the next request got %v", err)
			}
		})
	}
}

// isNoStatus tells whether an error is no answer of an API server.
func isNoStatus(err error) bool {
	return err != nil && apierrors.ReasonForError(err) == metav1.StatusReasonUnknown
}

func TestAFaultPassesOverWhatItDoesNotMatch(t *testing.T) {
	dry, wet := true, false
	for name, match := range map[string]apiproxy.Match{
		"another verb":        {Verb: "apply"},
		"another resource":    {Resource: "secrets"},
		"a subresource":       {Resource: "configmaps", Subresource: "status"},
		"another name":        {Name: "other"},
		"a dry run":           {DryRun: &dry},
		"another body":        {Body: regexp.MustCompile("off")},
		"one of the next few": {DryRun: &wet, After: 3},
	} {
		t.Run(name, func(t *testing.T) {
			_, proxy, clients := begin(t)
			proxy.Add(apiproxy.Fault{Match: match, Action: apiproxy.Drop})
			if err := write(t, clients, metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAHangingRequestEndsWithItsClientOrItsFault(t *testing.T) {
	u, proxy, clients := begin(t)
	armed := proxy.Add(apiproxy.Fault{Action: apiproxy.Hang, Match: apiproxy.Match{Times: -1}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-armed.Met(); cancel() }()
	_, err := clients.CoreV1().ConfigMaps("edge").Patch(ctx, "settings", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err == nil {
		t.Error("a hanging request was answered")
	}
	proxy.Reset()
	if err := write(t, clients, metav1.PatchOptions{}); err != nil || len(u.heard()) != 1 {
		t.Errorf("after Reset: %v, the API server heard %q", err, u.heard())
	}
}

const added, modified = `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"settings","resourceVersion":"8"}}}`,
	`{"type":"MODIFIED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"settings","resourceVersion":"9"}}}`

func TestAFrozenWatchDeliversWhenItThaws(t *testing.T) {
	u, proxy, clients := begin(t)
	thaw := proxy.Freeze("configmaps")
	events, err := clients.CoreV1().ConfigMaps("edge").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	u.events <- added
	if err := write(t, clients, metav1.PatchOptions{}); err != nil {
		t.Errorf("a write while the watch is frozen: %v", err)
	}
	select {
	case event := <-events.ResultChan():
		t.Errorf("frozen, but it delivered %+v", event)
	default:
	}
	thaw()
	if event := <-events.ResultChan(); string(event.Type) != "ADDED" {
		t.Errorf("got %+v", event)
	}
}

func TestASwallowedEventIsNeverDelivered(t *testing.T) {
	u, proxy, clients := begin(t)
	proxy.Swallow("configmaps", func(e apiproxy.Event) bool { return e == apiproxy.Event{Type: "ADDED", Name: "settings"} })
	events, err := clients.CoreV1().ConfigMaps("edge").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	u.events <- added
	u.events <- modified
	if event := <-events.ResultChan(); string(event.Type) != "MODIFIED" {
		t.Errorf("got %+v", event)
	}
}

func TestOldListsAreReadAtTheirVersionAndTheirWatchesAreSilentUntilReset(t *testing.T) {
	u, proxy, clients := begin(t)
	maps := clients.CoreV1().ConfigMaps("edge")
	proxy.ServeOld("configmaps", "5")
	if _, err := maps.Watch(t.Context(), metav1.ListOptions{SendInitialEvents: new(true)}); !apierrors.IsInvalid(err) {
		t.Errorf("a streamed list got %v", err)
	}
	if _, err := maps.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if got := u.heard(); len(got) != 1 || !strings.Contains(got[0], "resourceVersion=5&resourceVersionMatch=Exact") {
		t.Errorf("the API server heard %q", got)
	}
	events, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "5"})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	proxy.Reset()
	if event := <-events.ResultChan(); !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		t.Errorf("got %+v, want the advice to list again", event)
	}
}

func TestRepeatedEventsComeTwiceWithOldOnesInBetween(t *testing.T) {
	u, proxy, clients := begin(t)
	proxy.Repeat("configmaps")
	events, err := clients.CoreV1().ConfigMaps("edge").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	u.events <- added
	u.events <- modified
	var got []string
	for range 4 {
		event := <-events.ResultChan()
		got = append(got, string(event.Type))
	}
	if want := "ADDED MODIFIED ADDED MODIFIED"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAWatchThatIsCutEnds(t *testing.T) {
	_, proxy, clients := begin(t)
	events, err := clients.CoreV1().ConfigMaps("edge").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	proxy.EndWatches("configmaps")
	if event, more := <-events.ResultChan(); more {
		t.Errorf("got %+v", event)
	}
}
