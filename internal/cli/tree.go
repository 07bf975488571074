// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
)

// tree is a DeviceCertificate with all that belongs to it.
func (o *statusOptions) tree(around surroundings, now time.Time) node {
	c, p := around.certificate, painter(o.Colours)
	is := stateOf(c, now)
	root := leaf("%s %s", p.paint(strong, "DeviceCertificate "+title(c)), p.paint(is.tone(), string(is)))
	if matter := concern(c); matter.Type != "" {
		root.add(leaf("%s %s", p.paint(is.tone(), matter.Reason+":"), clean(matter.Message)))
	}
	if c.DeletionTimestamp == nil && c.Status.ObservedGeneration >= 0 && c.Status.ObservedGeneration < c.Generation {
		root.add(leaf("%s the operator has not looked at the last change of the spec yet", p.paint(busy, "Outdated:")))
	}
	root.add(o.certificateNode(c, now), o.secretNode(around), o.issuerNode(around))
	for _, n := range []node{o.attemptNode(c, now), o.failuresNode(c, now), o.remarksNode(c), o.orphansNode(c, now), o.supersededNode(c, now), o.eventsNode(around, now)} {
		if n.text != "" {
			root.add(n)
		}
	}
	root.add(o.nextNode(c, now))
	return root
}

func (o *statusOptions) head(text string) string { return painter(o.Colours).paint(strong, text) }

func (o *statusOptions) certificateNode(c *v1alpha1.DeviceCertificate, now time.Time) node {
	st := &c.Status
	if st.SerialNumber == "" {
		return leaf("%s none yet; wanted: %s from profile %s", o.head("Certificate"), wanted(c), c.Spec.EnrollmentProfileID)
	}
	n := leaf("%s serial %s", o.head("Certificate"), clean(st.SerialNumber))
	n.add(leaf("subject %s", orNone(clean(st.Subject))))
	if len(st.DNSNames) > 0 {
		n.add(leaf("names   %s", clean(strings.Join(st.DNSNames, ", "))))
	}
	n.add(leaf("key     %s, from profile %s", orNone(clean(st.KeyType)), c.Spec.EnrollmentProfileID))
	if st.NotBefore != nil && st.NotAfter != nil {
		until := when(st.NotAfter.Time, now)
		if !now.Before(st.NotAfter.Time) {
			until = painter(o.Colours).paint(bad, until)
		}
		n.add(leaf("valid   from %s to %s", instant(st.NotBefore.Time), until))
	}
	if st.CertificateID != "" {
		n.add(leaf("id      %s at the vendor", clean(st.CertificateID)))
	}
	return n
}

// wanted is what the spec asks for, in a word.
func wanted(c *v1alpha1.DeviceCertificate) string {
	for _, a := range slices.Concat(c.Spec.CertificateAttributes, c.Spec.DeviceAttributes) {
		if a.Value != nil {
			return clean(*a.Value)
		}
	}
	return "a certificate"
}

func (o *statusOptions) secretNode(around surroundings) node {
	c, p := around.certificate, painter(o.Colours)
	sync := condition(c.Status.Conditions, v1alpha1.ConditionSecretInSync)
	said := p.paint(faint, "not written yet")
	switch {
	case sync.Status == metav1.ConditionTrue && apimeta.IsStatusConditionTrue(c.Status.Conditions, v1alpha1.ConditionOutputsIncomplete):
		said = p.paint(busy, "holds the certificate, and not every output that the spec asks for")
	case sync.Status == metav1.ConditionTrue:
		said = p.paint(good, "holds what the spec asks for")
	case sync.Status == metav1.ConditionFalse:
		said = p.paint(bad, "out of sync: ") + clean(sync.Message)
	case concern(c).Reason == v1alpha1.ReasonSecretConflict:
		said = p.paint(bad, "which belongs to somebody else")
	}
	n := leaf("%s %s, %s", o.head("Secret"), secretName(c), said)
	if around.secret == nil {
		if sync.Type != "" || around.secretUnknown != missing {
			n.add(leaf("%s", p.paint(faint, around.secretUnknown)))
		}
		return n
	}
	n.add(leaf("keys    %s", strings.Join(slices.Sorted(maps.Keys(around.secret.Data)), ", ")))
	return n
}

func (o *statusOptions) issuerNode(around surroundings) node {
	ref, p := around.certificate.Spec.IssuerRef, painter(o.Colours)
	n := leaf("%s %s %s", o.head("Issuer"), ref.Kind, ref.Name)
	if around.issuer == nil {
		n.text += ", " + p.paint(faint, around.issuerUnknown)
		return n
	}
	ready := condition(around.issuer.status.Conditions, v1alpha1.ConditionReady)
	switch {
	case around.issuer.spec.Suspend:
		n.text += ", " + p.paint(busy, "suspended")
	case ready.Status == metav1.ConditionTrue:
		n.text += ", " + p.paint(good, "ready")
	default:
		n.text += ", " + p.paint(bad, "not ready")
		n.add(leaf("%s: %s", orNone(ready.Reason), clean(ready.Message)))
	}
	n.text += ", at " + around.issuer.host()
	return n
}

func (o *statusOptions) attemptNode(c *v1alpha1.DeviceCertificate, now time.Time) node {
	a := c.Status.Attempt
	if a == nil {
		return node{}
	}
	n := leaf("%s %s, %s since %s", o.head("Attempt"), clean(a.ID), strings.ToLower(string(a.Kind)), when(a.StartedAt.Time, now))
	if a.RequestID != "" {
		n.add(leaf("waits for approval of request %s at the vendor", clean(a.RequestID)))
	}
	if a.Failure != "" {
		n.add(leaf("%s", clean(a.Failure)))
	}
	return n
}

func (o *statusOptions) failuresNode(c *v1alpha1.DeviceCertificate, now time.Time) node {
	var n node
	if f := c.Status.Failures; f != nil && f.Count > 0 {
		n = leaf("%s %d in a row", o.head("Failures"), f.Count)
		if f.LastTime != nil {
			n.text += ", the last " + when(f.LastTime.Time, now)
		}
		if matter := concern(c); f.Message != "" && f.Message != matter.Message {
			n.add(leaf("%s: %s", clean(f.Reason), clean(f.Message)))
		}
	}
	return n
}

func (o *statusOptions) orphansNode(c *v1alpha1.DeviceCertificate, now time.Time) node {
	if len(c.Status.Orphans) == 0 {
		return node{}
	}
	n := leaf("%s %d: certificates whose private key was lost", o.head("Orphans"), len(c.Status.Orphans))
	for _, orphan := range c.Status.Orphans {
		id := orphan.AttemptID
		known := "attempt"
		if orphan.CertificateID != "" {
			id, known = orphan.CertificateID, "certificate"
		}
		tone := bad
		if orphan.Outcome == v1alpha1.OrphanRevoked {
			tone = good
		}
		one := leaf("%s %s, %s, from %s", known, clean(id), painter(o.Colours).paint(tone, string(orphan.Outcome)), when(orphan.WindowStart.Time, now))
		if orphan.Message != "" {
			one.add(leaf("%s", clean(orphan.Message)))
		}
		if orphan.Outcome != v1alpha1.OrphanRevoked {
			one.add(leaf("when it is taken care of: kubectl devicecert acknowledge %s %s -n %s", c.Name, clean(id), c.Namespace))
		}
		n.add(one)
	}
	return n
}

func (o *statusOptions) supersededNode(c *v1alpha1.DeviceCertificate, now time.Time) node {
	if len(c.Status.Superseded) == 0 {
		return node{}
	}
	n := leaf("%s %d: predecessors that were valid when they were replaced", o.head("Superseded"), len(c.Status.Superseded))
	for _, s := range c.Status.Superseded {
		one := leaf("serial %s, replaced %s, valid to %s", clean(s.SerialNumber), when(s.SupersededAt.Time, now), when(s.NotAfter.Time, now))
		if s.RevocationFailure != "" {
			one.add(leaf("not revoked: %s", clean(s.RevocationFailure)))
		} else if r, asked := plan.RevokeRequested(c); asked && r.Serial == s.SerialNumber {
			one.add(leaf("its revocation was asked for: %s", r.Reason))
		}
		n.add(one)
	}
	return n
}

func (o *statusOptions) eventsNode(around surroundings, now time.Time) node {
	n := node{text: o.head("Events")}
	if around.eventsUnknown != "" {
		n.text += ", " + painter(o.Colours).paint(faint, around.eventsUnknown)
		return n
	}
	if len(around.events) == 0 {
		return node{}
	}
	for i := range around.events {
		e := &around.events[i]
		reason := e.Reason
		if e.Type == corev1.EventTypeWarning {
			reason = painter(o.Colours).paint(bad, reason)
		}
		message := clean(e.Message)
		if e.Message == concern(around.certificate).Message {
			message = "as above"
		}
		n.add(leaf("%s %s: %s", relative(eventTime(e), now), reason, message))
	}
	return n
}

func (o *statusOptions) nextNode(c *v1alpha1.DeviceCertificate, now time.Time) node {
	lines := next(c, now)
	if len(lines) == 0 {
		lines = []string{"nothing is due"}
	}
	n := node{text: o.head("Next")}
	for _, line := range lines {
		n.add(leaf("%s", line))
	}
	return n
}
