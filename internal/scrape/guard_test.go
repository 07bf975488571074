// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package scrape

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

// apiServer knows the token of a scraper, who may get /metrics, and that of a stranger, who may not.
type apiServer struct {
	*httptest.Server
	asked []string
	down  bool
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked = append(a.asked, r.URL.Path)
		body, err := io.ReadAll(r.Body)
		if err != nil || a.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/tokenreviews") {
			var review authenticationv1.TokenReview
			if err := json.Unmarshal(body, &review); err != nil {
				t.Errorf("read a review: %v", err)
			}
			review.Status.Authenticated = review.Spec.Token == "scraper" || review.Spec.Token == "stranger"
			review.Status.User = authenticationv1.UserInfo{Username: review.Spec.Token, Groups: []string{"group"}, Extra: map[string]authenticationv1.ExtraValue{"key": {"value"}}}
			_ = json.NewEncoder(w).Encode(review)
			return
		}
		var review authorizationv1.SubjectAccessReview
		if err := json.Unmarshal(body, &review); err != nil {
			t.Errorf("read a review: %v", err)
		}
		s := review.Spec
		review.Status.Allowed = s.User == "scraper" && s.NonResourceAttributes.Path == "/metrics" && s.NonResourceAttributes.Verb == "get" &&
			s.Groups[0] == "group" && s.Extra["key"][0] == "value"
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(a.Close)
	return a
}

// guarded is a guard before an endpoint, with a clock of its own.
func guarded(t *testing.T, a *apiServer) (http.Handler, *time.Time) {
	t.Helper()
	config := &rest.Config{Host: a.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	tokens, err := authenticationclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	access, err := authorizationclient.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	g := newGuard(tokens.TokenReviews(), access.SubjectAccessReviews(), func() time.Time { return now })
	return g.before(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })), &now
}

func get(h http.Handler, method, path, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestOnlyWhoIsKnownAndAllowedMayScrape(t *testing.T) {
	for _, c := range []struct {
		name, method, path, authorization string
		status                            int
	}{
		{"a scraper", "GET", "/metrics", "Bearer scraper", 200},
		{"a scraper, spelt otherwise", "GET", "/metrics", "bearer  scraper", 200},
		{"a stranger", "GET", "/metrics", "Bearer stranger", 403},
		{"another path", "GET", "/debug", "Bearer scraper", 403},
		{"another verb", "POST", "/metrics", "Bearer scraper", 403},
		{"an unknown token", "GET", "/metrics", "Bearer nobody", 401},
		{"no token", "GET", "/metrics", "", 401},
		{"an empty token", "GET", "/metrics", "Bearer ", 401},
		{"a password", "GET", "/metrics", "Basic c2NyYXBlcg==", 401},
		{"a token without end", "GET", "/metrics", "Bearer " + strings.Repeat("x", maxToken+1), 401},
	} {
		h, _ := guarded(t, newAPIServer(t))
		w := get(h, c.method, c.path, c.authorization)
		if w.Code != c.status || (w.Body.String() == "metrics") != (c.status == 200) {
			t.Errorf("%s: %d %q, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
}

func TestAnAnswerIsRememberedForAMinute(t *testing.T) {
	a := newAPIServer(t)
	h, now := guarded(t, a)
	for _, authorization := range []string{"Bearer scraper", "Bearer nobody"} {
		a.asked = nil
		first := get(h, "GET", "/metrics", authorization).Code
		asked := len(a.asked)
		if again := get(h, "GET", "/metrics", authorization).Code; again != first || len(a.asked) != asked {
			t.Errorf("%s: %d, then %d after %d questions", authorization, first, again, len(a.asked))
		}
		*now = now.Add(remembered)
		get(h, "GET", "/metrics", authorization)
		if len(a.asked) != 2*asked {
			t.Errorf("%s: %d questions after a minute, want %d", authorization, len(a.asked), 2*asked)
		}
	}
}

func TestAnAPIServerThatIsDownLetsNobodyIn(t *testing.T) {
	a := newAPIServer(t)
	h, _ := guarded(t, a)
	a.down = true
	if got := get(h, "GET", "/metrics", "Bearer scraper").Code; got != 500 {
		t.Errorf("%d, want 500", got)
	}
	a.down = false
	if got := get(h, "GET", "/metrics", "Bearer scraper").Code; got != 200 {
		t.Errorf("%d after the API server is back, want 200: a failure is not remembered", got)
	}
}

func TestStrangersCannotMakeTheOperatorAskWithoutEnd(t *testing.T) {
	a := newAPIServer(t)
	h, _ := guarded(t, a)
	codes := map[int]int{}
	for i := range 100 {
		codes[get(h, "GET", "/metrics", "Bearer guess-"+strings.Repeat("x", i)).Code]++
	}
	if codes[401] != burst || codes[429] != 100-burst || len(a.asked) != burst {
		t.Errorf("answers %v after %d questions, want %d of them", codes, len(a.asked), burst)
	}
}
