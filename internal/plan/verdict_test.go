// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

func TestOnlyProvenOrphansAreRevoked(t *testing.T) {
	deadline := now.Add(time.Minute)
	attempt := v1alpha1.Attempt{
		ID: attemptID, CommonName: "gw.a.example", SANDigest: "sans", KeyType: "p_256", PredecessorSerial: "0A16", StartedAt: metav1.NewTime(now),
	}
	nameless := attempt
	nameless.CommonName, nameless.SANDigest, nameless.KeyType = "", "", ""
	candidate := func(edits ...func(*Candidate)) Candidate {
		c := Candidate{CertificateID: "cert-2", Serial: "0A18", CommonName: "gw.a.example", SANDigest: "sans", KeyType: "p_256", NotBefore: now}
		for _, edit := range edits {
			edit(&c)
		}
		return c
	}
	begins := func(at time.Time) func(*Candidate) { return func(c *Candidate) { c.NotBefore = at } }
	revoked := func(c *Candidate) { c.Revoked = true }
	accounted := func(c *Candidate) { c.Accounted = true }
	marked := func(c *Candidate) { c.Marked = true }
	feared := func(c *Candidate) { c.Feared = true }
	other := func(c *Candidate) { c.CertificateID, c.Serial = "cert-3", "0A19" }
	otherSANs := func(c *Candidate) { c.SANDigest = "others" }
	otherKey := func(c *Candidate) { c.KeyType = "rsa_2048" }
	otherName := func(c *Candidate) { c.CommonName = "gw.b.example" }
	list := func(c ...Candidate) []Candidate { return c }
	nothing := Verdict{}
	for name, c := range map[string]struct {
		attempt    v1alpha1.Attempt
		policy     v1alpha1.OrphanPolicy
		candidates []Candidate
		want       Verdict
	}{
		"none":                                             {attempt, v1alpha1.OrphansRevoke, nil, nothing},
		"names alone prove nothing":                        {attempt, v1alpha1.OrphansReport, list(candidate()), Verdict{Report: list(candidate())}},
		"no policy reports":                                {attempt, "", list(candidate()), Verdict{Report: list(candidate())}},
		"the only enroller":                                {attempt, v1alpha1.OrphansRevoke, list(candidate()), Verdict{Revoke: list(candidate())}},
		"the name in another case":                         {attempt, v1alpha1.OrphansReport, list(candidate(func(c *Candidate) { c.CommonName = "GW.A.Example" })), Verdict{Report: list(candidate(func(c *Candidate) { c.CommonName = "GW.A.Example" }))}},
		"two candidates are one too many":                  {attempt, v1alpha1.OrphansRevoke, list(candidate(), candidate(other)), Verdict{Report: list(candidate(), candidate(other))}},
		"one agrees, one may be":                           {attempt, v1alpha1.OrphansRevoke, list(candidate(other, otherSANs), candidate()), Verdict{Revoke: list(candidate()), Report: list(candidate(other, otherSANs))}},
		"rewritten SANs":                                   {attempt, v1alpha1.OrphansRevoke, list(candidate(otherSANs)), Verdict{Report: list(candidate(otherSANs))}},
		"another key type":                                 {attempt, v1alpha1.OrphansRevoke, list(candidate(otherKey)), Verdict{Report: list(candidate(otherKey))}},
		"another device":                                   {attempt, v1alpha1.OrphansRevoke, list(candidate(otherName)), nothing},
		"the predecessor":                                  {attempt, v1alpha1.OrphansRevoke, list(candidate(func(c *Candidate) { c.Serial = "0A16" })), nothing},
		"revoked already":                                  {attempt, v1alpha1.OrphansRevoke, list(candidate(revoked), candidate(revoked, marked)), nothing},
		"in use, as another cluster's":                     {attempt, v1alpha1.OrphansRevoke, list(candidate(accounted), candidate(accounted, marked)), nothing},
		"another object fears it":                          {attempt, v1alpha1.OrphansRevoke, list(candidate(feared)), Verdict{Report: list(candidate(feared))}},
		"another object fears one of two":                  {attempt, v1alpha1.OrphansRevoke, list(candidate(feared), candidate(other)), Verdict{Revoke: list(candidate(other)), Report: list(candidate(feared))}},
		"another object fears it, and the leaf proves it":  {attempt, v1alpha1.OrphansReport, list(candidate(feared, marked)), Verdict{Revoke: list(candidate(feared, marked))}},
		"backdated as far as vendors do":                   {attempt, v1alpha1.OrphansReport, list(candidate(begins(now.Add(-backdating)))), Verdict{Report: list(candidate(begins(now.Add(-backdating))))}},
		"older than the attempt":                           {attempt, v1alpha1.OrphansRevoke, list(candidate(begins(now.Add(-backdating - time.Second)))), nothing},
		"by a vendor's clock ahead":                        {attempt, v1alpha1.OrphansReport, list(candidate(begins(deadline.Add(clockTolerance)))), Verdict{Report: list(candidate(begins(deadline.Add(clockTolerance))))}},
		"younger than the attempt":                         {attempt, v1alpha1.OrphansRevoke, list(candidate(begins(deadline.Add(clockTolerance + time.Second)))), nothing},
		"the mark proves":                                  {attempt, v1alpha1.OrphansReport, list(candidate(marked, otherName), candidate(other)), Verdict{Revoke: list(candidate(marked, otherName)), Report: list(candidate(other))}},
		"the mark is enough, and the policy takes no more": {attempt, v1alpha1.OrphansRevoke, list(candidate(marked), candidate(other)), Verdict{Revoke: list(candidate(marked)), Report: list(candidate(other))}},
		"an attempt that named nothing":                    {nameless, v1alpha1.OrphansRevoke, list(candidate(func(c *Candidate) { c.CommonName = "" })), Verdict{Report: list(candidate(func(c *Candidate) { c.CommonName = "" }))}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Judge(&c.attempt, deadline, c.policy, c.candidates)
			if diff := cmp.Diff(c.want.Revoke, got.Revoke); diff != "" {
				t.Errorf("revoke (-want +got):\n%s", diff)
			}
			if len(got.Report) != len(c.want.Report) || len(got.Report) > 0 && !cmp.Equal(c.want.Report, got.Report) {
				t.Errorf("report (-want +got):\n%s", cmp.Diff(c.want.Report, got.Report))
			}
		})
	}
}
