// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AwaitRights waits until the API server grants a user what the rules say, in a namespace or, if that is empty, in the cluster: it hears of a
// new role and its binding a moment after it has stored them.
func AwaitRights(ctx context.Context, admin client.Client, user, namespace string, rules ...rbacv1.PolicyRule) error {
	const interval, patience = 20 * time.Millisecond, time.Minute
	for _, rule := range rules {
		err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
			review := &authorizationv1.SubjectAccessReview{Spec: question(user, namespace, rule)}
			err := admin.Create(ctx, review)
			return review.Status.Allowed, err
		})
		if err != nil {
			return fmt.Errorf("wait until %s may do what %v says: %w", user, rule, err)
		}
	}
	return nil
}

// question asks for the first thing that a rule allows: the API server hears of a role as a whole.
func question(user, namespace string, rule rbacv1.PolicyRule) authorizationv1.SubjectAccessReviewSpec {
	asked := authorizationv1.SubjectAccessReviewSpec{User: user}
	if len(rule.NonResourceURLs) > 0 {
		asked.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: rule.NonResourceURLs[0], Verb: rule.Verbs[0]}
		return asked
	}
	resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
	asked.ResourceAttributes = &authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: resource, Subresource: subresource,
	}
	if len(rule.ResourceNames) > 0 {
		asked.ResourceAttributes.Name = rule.ResourceNames[0]
	}
	return asked
}
