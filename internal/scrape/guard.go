// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package scrape guards the metrics endpoint: it is open to whoever the API server knows by a bearer token (TokenReview) and lets read the
// path (SubjectAccessReview). It does what the filter of controller-runtime does, without the API server's own libraries, which are a third
// of a manager's memory (docs/adr/0018-metrics-guard.md).
package scrape

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// remembered is how long an answer counts: a permission that is taken away, or given, takes effect within it.
	remembered = time.Minute
	// askTimeout bounds one question to the API server.
	askTimeout = 10 * time.Second
	// questionsPerSecond and burst bound what strangers can make the operator ask.
	questionsPerSecond, burst = 5, 20
	// maxRemembered bounds the memory: there are few scrapers.
	maxRemembered = 256
	// maxToken is above any bearer token of Kubernetes.
	maxToken = 16 << 10
)

// guard lets requests pass.
type guard struct {
	tokens authenticationclient.TokenReviewInterface
	access authorizationclient.SubjectAccessReviewInterface
	now    func() time.Time
	limit  *rate.Limiter

	mu      sync.Mutex
	answers map[question]answer
}

// question is a request as far as the answer depends on it. The token is only kept as a digest.
type question struct {
	token        [sha256.Size]byte
	method, path string
}

// answer is the HTTP status a question is answered with; 200 lets it pass.
type answer struct {
	status int
	until  time.Time
}

// Filter makes a metricsserver.Filter that asks the API server; it is a FilterProvider.
func Filter(config *rest.Config, c *http.Client) (metricsserver.Filter, error) {
	tokens, err := authenticationclient.NewForConfigAndClient(config, c)
	if err != nil {
		return nil, fmt.Errorf("make a client for token reviews: %w", err)
	}
	access, err := authorizationclient.NewForConfigAndClient(config, c)
	if err != nil {
		return nil, fmt.Errorf("make a client for access reviews: %w", err)
	}
	g := newGuard(tokens.TokenReviews(), access.SubjectAccessReviews(), clock.RealClock{}.Now)
	return func(log logr.Logger, next http.Handler) (http.Handler, error) { return g.before(log, next), nil }, nil
}

func newGuard(tokens authenticationclient.TokenReviewInterface, access authorizationclient.SubjectAccessReviewInterface, now func() time.Time) *guard {
	return &guard{tokens: tokens, access: access, now: now, limit: rate.NewLimiter(questionsPerSecond, burst), answers: map[question]answer{}}
}

func (g *guard) before(log logr.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok {
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		q := question{token: sha256.Sum256([]byte(token)), method: r.Method, path: r.URL.Path}
		status, known := g.recall(q)
		if !known {
			if !g.limit.AllowN(g.now(), 1) {
				http.Error(w, "too many questions to the API server", http.StatusTooManyRequests)
				return
			}
			var err error
			if status, err = g.ask(r.Context(), token, r); err != nil {
				log.Error(err, "asking the API server about a scraper failed")
				http.Error(w, "the API server does not answer", http.StatusInternalServerError)
				return
			}
			g.remember(q, status)
		}
		if status != http.StatusOK {
			http.Error(w, http.StatusText(status), status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bearer is the request's token.
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxToken
}

// ask asks the API server whose token it is, and whether they may.
func (g *guard) ask(ctx context.Context, token string, r *http.Request) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	review, err := g.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("review a token: %w", err)
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := review.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	may, err := g.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("review the access of %s: %w", user.Username, err)
	}
	if !may.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}

func (g *guard) recall(q question) (status int, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, ok := g.answers[q]
	return a.status, ok && g.now().Before(a.until)
}

func (g *guard) remember(q question, status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.answers) >= maxRemembered {
		clear(g.answers)
	}
	g.answers[q] = answer{status: status, until: g.now().Add(remembered)}
}
