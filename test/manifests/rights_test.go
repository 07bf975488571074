// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var update = flag.Bool("update", false, "write the rights found into testdata instead of comparing them")

// Three kinds of place: a namespace that is served, the operator's own, and one that nobody mentions. What is allowed in the last is
// allowed everywhere, and only there are the rights on cluster-scoped objects looked at.
const (
	served    = "edge"
	elsewhere = "elsewhere"
)

// rights are the verbs by resource or URL.
type rights map[string][]string

// wantRights compares all the service account may do with a file.
func (p *plane) wantRights(t *testing.T, file string) {
	t.Helper()
	var lines []string
	common := p.rightsIn(t, elsewhere)
	p.confirm(t, elsewhere, common)
	for _, place := range []struct {
		title, namespace string
	}{{"everywhere", elsewhere}, {"in namespace " + served + ", which is served, also", served}, {"in namespace " + namespace + " also", namespace}} {
		lines = append(lines, place.title+":")
		found := p.rightsIn(t, place.namespace)
		for _, resource := range slices.Sorted(maps.Keys(found)) {
			verbs := found[resource]
			if place.namespace != elsewhere {
				verbs = slices.DeleteFunc(verbs, func(verb string) bool { return slices.Contains(common[resource], verb) })
			}
			if len(verbs) > 0 {
				lines = append(lines, fmt.Sprintf("  %-50s %s", resource, strings.Join(verbs, " ")))
			}
		}
	}
	got := strings.Join(lines, "\n") + "\n"
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the operator's rights changed (-want +got); if that is meant, go test ./test/manifests -update:\n%s", diff)
	}
}

// rightsIn asks, in the service account's name, for all its rights in a namespace, and takes away what every account has.
func (p *plane) rightsIn(t *testing.T, namespaceName string) rights {
	t.Helper()
	found, everybody := p.rightsOf(t, account, namespaceName), p.rightsOf(t, "nobody", namespaceName)
	for resource, verbs := range everybody {
		found[resource] = slices.DeleteFunc(found[resource], func(verb string) bool { return slices.Contains(verbs, verb) })
	}
	return found
}

func (p *plane) rightsOf(t *testing.T, name, namespaceName string) rights {
	t.Helper()
	config := p.Config()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	review, err := clients.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespaceName},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.Incomplete {
		t.Fatalf("the API server does not know all rights: %s", review.Status.EvaluationError)
	}
	all := rights{}
	add := func(key string, verbs []string) {
		all[key] = append(all[key], verbs...)
		slices.Sort(all[key])
		all[key] = slices.Compact(all[key])
	}
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				if group != "" {
					resource += "." + group
				}
				if len(rule.ResourceNames) > 0 {
					resource += fmt.Sprint(rule.ResourceNames)
				}
				add(resource, rule.Verbs)
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		for _, url := range rule.NonResourceURLs {
			add(url, rule.Verbs)
		}
	}
	return all
}

// confirm asks for every verb on every resource the API server has, one by one, whether the answer above is right.
func (p *plane) confirm(t *testing.T, namespaceName string, claimed rights) {
	t.Helper()
	_, lists, err := p.clients.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "escalate", "impersonate"}
	slots := make(chan struct{}, 8)
	var pending sync.WaitGroup
	for _, list := range lists {
		group, _, found := strings.Cut(list.GroupVersion, "/")
		if !found {
			group = ""
		}
		for _, resource := range list.APIResources {
			key, attributes := resource.Name, authorizationv1.ResourceAttributes{Group: group, Resource: resource.Name, Namespace: namespaceName}
			if group != "" {
				key += "." + group
			}
			if name, subresource, ok := strings.Cut(resource.Name, "/"); ok {
				attributes.Resource, attributes.Subresource = name, subresource
			}
			slots <- struct{}{}
			pending.Go(func() {
				defer func() { <-slots }()
				for _, verb := range verbs {
					attributes.Verb = verb
					if allowed := p.allowed(t.Context(), t, attributes); allowed != slices.Contains(claimed[key], verb) {
						t.Errorf("%s %s: allowed %t, but the list of rights says otherwise", verb, key, allowed)
					}
				}
			})
		}
	}
	pending.Wait()
}

func (p *plane) allowed(ctx context.Context, t *testing.T, attributes authorizationv1.ResourceAttributes) bool {
	review, err := p.clients.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "system:serviceaccount:" + namespace + ":" + account, ResourceAttributes: &attributes},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Error(err)
		return false
	}
	return review.Status.Allowed
}
