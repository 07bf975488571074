// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/limit"
)

// FuzzReconcileAgainstHostileInput tells stories of a hostile tenant and a hostile vendor, beside a neighbour who is neither: objects,
// Secrets and answers made of what comes in. At the end no broken pair was visible, no key is where it does not belong, every certificate
// is accounted for (checkInvariants), no more was bought than was asked for, and the neighbour is served.
func FuzzReconcileAgainstHostileInput(f *testing.F) {
	for _, seed := range [][]byte{
		[]byte("\x00\x01-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
		[]byte("\x01\x00-----BEGIN PRIVATE KEY-----\x02{}\x03null\x04\x05"),
		[]byte("\x02\x02\x02{\"pem\":[],\"private_key\":{},\"status\":7}"),
		[]byte("\x03\x01\x00\x04../../certificate/1/revoke\x02\x1b[31m%s%n"),
		[]byte("\x04\x03<html>login</html>\x05\x00\xff\xfe\x00"),
		[]byte("\x05\x05\x05\x01\x01\x02\x02\x03\x03\x04\x04\x00\x00"),
		[]byte("\x06\x01PK\x05\x06\x00\x00\x00\x00\x02\x04\x30\x80\x30\x80"),
		[]byte("\x07\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, story []byte) {
		limit.Story.Hold(t, len(story), func() { tellHostile(t, story) })
	})
}

func tellHostile(t *testing.T, story []byte) {
	w := newWorld(t)
	w.certificate("neighbour")
	w.settle()
	hostile := &teller{world: w, story: story}
	for range 8 {
		hostile.step()
	}
	w.settle()
	w.pass(time.Hour)
	w.vendor.ResetFaults()
	if w.shows("neighbour", v1alpha1.ConditionReady) != "True Stored" {
		t.Errorf("the neighbour is %s", w.shows("neighbour", v1alpha1.ConditionReady))
	}
	// One for the neighbour and, of each order, the first, two free replacements, and what an hour's patience lets through.
	if bought, most := w.posts(), 1+8*hostile.orders; bought > most {
		t.Errorf("%d requests for %d orders", bought, hostile.orders)
	}
}

// teller turns bytes into a story.
type teller struct {
	*world
	story  []byte
	orders int
}

// take is the next n bytes, fewer at the end.
func (s *teller) take(n int) []byte {
	n = min(n, len(s.story))
	taken := s.story[:n]
	s.story = s.story[n:]
	return taken
}

func (s *teller) number(below int) int {
	b := s.take(1)
	if len(b) == 0 {
		return 0
	}
	return int(b[0]) % below
}

func (s *teller) step() {
	switch s.number(6) {
	case 0:
		s.secret()
	case 1:
		s.order()
	case 2:
		s.answer(simulator.OperationEnroll)
	case 3:
		s.answer(simulator.OperationSearch)
	case 4:
		s.edit()
	case 5:
		s.pass(time.Duration(s.number(60)) * time.Minute)
	}
}

func (s *teller) name() string { return fmt.Sprint("hostile-", s.number(3)) }

// secret makes a Secret, or damages the one that is there. The API server refuses some; that is its part.
func (s *teller) secret() {
	keys := []string{v1alpha1.KeyCertificate, v1alpha1.KeyPrivateKey, v1alpha1.KeyCA, v1alpha1.KeySealedKey, v1alpha1.KeySealedBundle}
	annotations := []string{
		v1alpha1.AnnotationCertificateName, v1alpha1.AnnotationCertificateID, v1alpha1.AnnotationIssuedAt, v1alpha1.AnnotationFingerprint,
		v1alpha1.AnnotationAdoptableBy, v1alpha1.AnnotationAttemptID, v1alpha1.AnnotationIssuanceHash, v1alpha1.AnnotationHandledRenewRequest,
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name()}}
	secret.Labels = map[string]string{v1alpha1.LabelWatch: "true"}
	secret.Annotations = map[string]string{annotations[s.number(len(annotations))]: secret.Name, annotations[s.number(len(annotations))]: fmt.Sprintf("%q", s.take(20))}
	secret.Data = map[string][]byte{keys[s.number(len(keys))]: s.take(200), keys[s.number(len(keys))]: s.take(200)}
	if s.client.Create(s.ctx, secret) != nil {
		_ = s.client.Update(s.ctx, secret) // without a version: last one wins; a wrong type is refused
	}
	s.wakeAll()
}

func (s *teller) order() {
	formats := []v1alpha1.KeyFormat{v1alpha1.FormatDER, v1alpha1.FormatPKCS12}
	name, target := s.name(), s.name()
	text := string(s.take(40))
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindDeviceIssuer, Name: "digicert"}
	// The neighbour's format stays out of it: one wrong answer blocks a profile and format, which is another story.
	c.Spec.EnrollmentProfileID = profileLong
	c.Spec.PrivateKey.Format = formats[s.number(len(formats))]
	c.Spec.Secret.Name = target
	c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: attributeCommonName, Value: new(name + ".example")}, {ID: "subject.organization_unit", Value: &text}}
	if s.client.Create(s.ctx, c) != nil {
		c.Spec.CertificateAttributes = c.Spec.CertificateAttributes[:1]
		c.ResourceVersion = ""
		if s.client.Create(s.ctx, c) != nil {
			return // it is there already
		}
	}
	s.orders++
	s.wakeAll()
	s.settle()
}

// answer makes the vendor answer with what comes in.
func (s *teller) answer(operation simulator.Operation) {
	fault := simulator.Fault{Match: simulator.Match{Operation: operation, ProfileID: profileLong}}
	switch s.number(4) {
	case 0:
		fault.Action = simulator.ActionRespond
		fault.Response = simulator.Response{Status: []int{200, 201, 202, 204, 400, 401, 403, 404, 409, 429, 500, 503}[s.number(12)], Body: string(s.take(300)), Shape: simulator.ShapeRaw}
	case 1:
		fault.Action, fault.Set = simulator.ActionAlterAnswer, map[string]any{
			[]string{"pem", "private_key", "certificate_id", "status", "request_id", "certificate"}[s.number(6)]: fmt.Sprintf("%q", s.take(200)),
		}
	case 2:
		fault.Action, fault.Prefix, fault.Suffix = simulator.ActionWrapBody, string(s.take(20)), string(s.take(20))
	case 3:
		fault.Action, fault.Bytes = simulator.ActionTruncate, int64(s.number(256))
	}
	s.world.fault(fault)
}

func (s *teller) edit() {
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name()}}
	note := fmt.Sprintf("%q", s.take(30))
	for _, key := range []string{v1alpha1.AnnotationRenewRequestedAt, v1alpha1.AnnotationRevokeRequested, v1alpha1.AnnotationAbandonAttempt, v1alpha1.AnnotationAcknowledgeOrphan, v1alpha1.AnnotationRetryRequestedAt} {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, key, note)
	}
	live := &v1alpha1.DeviceCertificate{}
	if s.client.Get(s.ctx, client.ObjectKeyFromObject(c), live) != nil {
		return // there is none of that name
	}
	live.Annotations = c.Annotations
	s.must(s.client.Update(s.ctx, live))
	s.wakeAll()
	s.settle()
}
