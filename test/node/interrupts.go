// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func (s *story) deleteLeader(ctx context.Context) error {
	return s.interrupted(ctx, "interrupted", func(ctx context.Context) error {
		l := &coordinationv1.Lease{}
		if err := s.admin.Get(ctx, client.ObjectKey{Namespace: operator, Name: release}, l); err != nil {
			return err
		}
		leader, _, _ := strings.Cut(ptr.Deref(l.Spec.HolderIdentity, ""), "_")
		return s.kubectl(ctx, "delete", "pod", "--namespace="+operator, "--wait=false", leader)
	})
}

// rollOut upgrades to an image of another tag.
func (s *story) rollOut(ctx context.Context) error {
	return s.interrupted(ctx, "rolled", func(ctx context.Context) error {
		return s.helm(ctx, "upgrade", release, s.chart, "--namespace="+operator, "--reuse-values", "--set=image.tag=next")
	})
}

// interrupted orders a certificate, and does something to the manager after the certificate was issued and before its key is answered.
func (s *story) interrupted(ctx context.Context, name string, disturb func(context.Context) error) error {
	if _, err := s.vendorAdmin(ctx, http.MethodPost, "/faults", simulator.Fault{
		Match: simulator.Match{Operation: simulator.OperationEnroll, CommonName: commonName(name), Times: 1}, Action: simulator.ActionDelay,
		Stage: simulator.StageAfterCommit, Delay: simulator.Duration(10 * time.Second),
	}); err != nil {
		return err
	}
	if err := s.admin.Create(ctx, certificate(name)); err != nil {
		return err
	}
	if err := s.until(ctx, name+" is issued", func(ctx context.Context) (bool, error) {
		bought, err := s.bought(ctx, commonName(name))
		return len(bought) == 1, err
	}); err != nil {
		return err
	}
	if err := disturb(ctx); err != nil {
		return err
	}
	if err := s.until(ctx, name+" is Ready", func(ctx context.Context) (bool, error) {
		c, err := s.certificate(ctx, name)
		return err == nil && apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionReady) && c.Status.Attempt == nil, err
	}); err != nil {
		return err
	}
	c, err := s.certificate(ctx, name)
	if err != nil {
		return err
	}
	bought, err := s.bought(ctx, commonName(name))
	if err != nil {
		return err
	}
	if len(bought) != 1 || bought[0].SerialNumber != c.Status.SerialNumber || bought[0].Status != "ISSUED" || len(c.Status.Orphans) > 0 {
		return fmt.Errorf("bought %v, stored %s, orphans %v", bought, c.Status.SerialNumber, c.Status.Orphans)
	}
	return s.awaitDeployment(ctx, operator, release, 2)
}
