// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/testkit/gitops"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// Every status the issuer controller can write, suspended or not: Argo CD and Flux say of it what kstatus says.
func TestArgoAndFluxAgreeWithKstatusOnEveryIssuer(t *testing.T) {
	kit, err := gitops.Load("../config/gitops")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]status.Status{
		"":                               status.CurrentStatus,
		v1alpha1.ReasonProbing:           status.InProgressStatus,
		v1alpha1.ReasonUnreachable:       status.InProgressStatus,
		v1alpha1.ReasonCredentialMissing: status.FailedStatus,
		v1alpha1.ReasonCredentialRefused: status.FailedStatus,
		v1alpha1.ReasonInvalidSpec:       status.FailedStatus,
		v1alpha1.ReasonHostForbidden:     status.FailedStatus,
		v1alpha1.ReasonClockSkew:         status.FailedStatus,
	}
	credentials := []trustmanager.Credential{{APIToken: "t"}, {Passcode: "p"}}
	for reason, want := range reasons {
		for _, credential := range credentials {
			for _, suspended := range []bool{false, true} {
				for _, can := range []v1alpha1.CapabilityState{v1alpha1.CapabilityYes, v1alpha1.CapabilityNo, v1alpha1.CapabilityUnknown} {
					found := observed{Connection: account.Connection{Credential: credential}}
					state := account.State{Reason: reason, Message: "what is wrong and what to do", Suspended: suspended}
					conditions := issuerConditions(found, state, &v1alpha1.Capabilities{Enroll: can, Search: can})
					t.Run(fmt.Sprintf("%s suspended=%t passcode=%t can=%s", reason, suspended, credential.Passcode != "", can), func(t *testing.T) {
						for kind, content := range issuersWith(t, conditions, suspended) {
							got, err := kit.Agreed(content)
							if diff := cmp.Diff(want, got); err != nil || diff != "" {
								t.Errorf("%s: error %v, kstatus (-want +got):\n%s", kind, err, diff)
							}
						}
					})
				}
			}
		}
	}
}

// issuersWith are issuers of both kinds as the API server would show them with these conditions.
func issuersWith(t *testing.T, conditions []metav1.Condition, suspended bool) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for kind, o := range map[v1alpha1.IssuerKind]client.Object{
		v1alpha1.KindDeviceIssuer: &v1alpha1.DeviceIssuer{}, v1alpha1.KindClusterDeviceIssuer: &v1alpha1.ClusterDeviceIssuer{},
	} {
		o.SetGeneration(4)
		i := issuerOf(o)
		i.status.ObservedGeneration = 4
		setIssuerConditions(i, conditions, time.Unix(1_900_000_000, 0))
		content, err := gitops.Content(o, string(kind))
		if err != nil {
			t.Fatal(err)
		}
		content["spec"] = map[string]any{"url": "https://one.digicert.com", "suspend": suspended} // without one the API server takes none
		all[string(kind)] = content
	}
	return all
}
