// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/profile"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// siteID is a custom device field's id, as the vendor makes them up.
const siteID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

// particular is a vendor whose long-lived profile has attributes of every sort.
func particular(config *simulator.Config) {
	p := &config.Profiles[0]
	p.CertificateFields = []simulator.Field{
		{ID: "subject.common_name", Name: "Common name", Mandatory: true},
		{ID: "subject.organization_name", Name: "Organization", Fixed: simulator.Values{"Example Ltd"}},
		{ID: "subject.organization_unit", Name: "Unit", Options: []string{"Edge", "Core"}},
		{ID: "san.dns_name", Name: "DNS names", Multiple: true},
	}
	p.DeviceFields = []simulator.Field{
		{ID: "DEVICE_IDENTIFIER", Name: "Device name", Mandatory: true},
		{ID: siteID, Name: "Site"},
	}
}

// asking sets the attributes of a spec, of the device unless their id looks like that of a certificate field.
func asking(certificate, device map[string]string) func(*v1alpha1.DeviceCertificate) {
	attributes := func(m map[string]string) (list []v1alpha1.Attribute) {
		for id, value := range m {
			list = append(list, v1alpha1.Attribute{ID: id, Value: &value})
		}
		return list
	}
	return func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes, c.Spec.DeviceAttributes = attributes(certificate), attributes(device)
	}
}

var (
	byIDs   = asking(map[string]string{"subject.common_name": "gateway.example"}, map[string]string{"DEVICE_IDENTIFIER": "gw-17", siteID: "Bern"})
	byNames = asking(map[string]string{"Common name": "gateway.example"}, map[string]string{"Device name": "gw-17", "Site": "Bern"})
)

func TestAttributesMayStandByTheirNames(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, particular)
	w.certificate("gateway", byNames)
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	bought := w.vendor.Ledger()[0]
	g.Expect(bought.CommonName).To(Equal("gateway.example"))
	g.Expect(bought.DeviceIdentifier).To(Equal("gw-17"))
	g.Expect(w.get("gateway").Status.DNSNames).To(BeEmpty())
	g.Expect(w.asked(simulator.OperationSpecification)).To(Equal(1))

	w.certificate("another", asking(map[string]string{"Common name": "another.example"}, map[string]string{"Device name": "gw-18"}))
	w.settle()
	g.Expect(w.shows("another", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.asked(simulator.OperationSpecification)).To(Equal(1), "once per profile and credential")

	w.pass(24 * time.Hour)
	w.restart()
	w.pass(24 * time.Hour)
	g.Expect(w.asked(simulator.OperationSpecification)).To(Equal(1), "who has what he asked for has nothing to ask")
	g.Expect(w.issued()).To(Equal(2))
}

func TestSpellingAnAttributeOtherwiseCostsNothing(t *testing.T) {
	for name, step := range map[string]struct {
		first, then func(*v1alpha1.DeviceCertificate)
	}{
		"from name to id": {byNames, byIDs},
		"from id to name": {byIDs, byNames},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t, particular)
			w.certificate("gateway", step.first)
			w.settle()
			w.edit("gateway", step.then)
			w.pass(time.Minute)
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
			w.restart()
			w.pass(time.Hour)
			g.Expect(w.posts()).To(Equal(1))
			g.Expect(w.asked(simulator.OperationSpecification)).To(Equal(1), "also after a restart the meaning of the names is known")
			w.edit("gateway", asking(map[string]string{"Common name": "gateway.example"}, map[string]string{"Device name": "gw-17", "Site": "Basel"}))
			w.settle()
			g.Expect(w.posts()).To(Equal(2), "another value costs a certificate")
		})
	}
}

func TestASpecificationThatBecomesReadableBuysNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, particular, func(c *simulator.Config) {
		// A profile that takes the word "Site" as an id until the specification tells that it is a name.
		c.Profiles[0].DeviceFields = append(c.Profiles[0].DeviceFields, simulator.Field{ID: "Location"}, simulator.Field{ID: "location-id", Name: "Location"})
	})
	w.fault(answering(simulator.OperationSpecification, -1, 503))
	w.certificate("gateway", asking(map[string]string{"subject.common_name": "gateway.example"}, map[string]string{"DEVICE_IDENTIFIER": "gw", "Location": "Bern"}))
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), "ids go as they are while nobody knows better")
	w.vendor.ResetFaults()
	w.pass(12 * time.Hour)
	w.restart()
	w.pass(12 * time.Hour)
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestWhatTheProfileDoesNotAdmitIsToldBeforeTheCall(t *testing.T) {
	for name, c := range map[string]struct {
		ask  func(*v1alpha1.DeviceCertificate)
		says string
	}{
		"mandatory attribute absent": {
			asking(map[string]string{"subject.common_name": "gateway.example"}, nil), "device attribute DEVICE_IDENTIFIER (Device name) is mandatory",
		},
		"fixed attribute contradicted": {
			asking(map[string]string{"subject.common_name": "gateway.example", "Organization": "Other"}, map[string]string{"Device name": "gw"}),
			`subject.organization_name (Organization) is fixed by the profile to "Example Ltd"`,
		},
		"not an option": {
			asking(map[string]string{"subject.common_name": "gateway.example", "Unit": "Cloud"}, map[string]string{"Device name": "gw"}),
			`takes one of "Edge", "Core"`,
		},
		"unknown name": {
			asking(map[string]string{"Comon name": "gateway.example"}, map[string]string{"Device name": "gw"}),
			`"Comon name" is neither the id nor the name of a certificate attribute of the profile, which has subject.common_name (Common name)`,
		},
		"twice": {
			asking(map[string]string{"Common name": "a.example", "subject.common_name": "b.example"}, map[string]string{"Device name": "gw"}), "is there twice",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t, particular)
			w.certificate("gateway", c.ask)
			w.settle()
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False InvalidSpec"))
			g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True InvalidSpec"))
			g.Expect(w.message("gateway", v1alpha1.ConditionReady)).To(ContainSubstring(c.says))
			g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Failed"))
			w.pass(time.Hour)
			g.Expect(w.posts()).To(BeZero())
			g.Expect(w.asked(simulator.OperationSpecification)).To(BeNumerically("<=", 20), "the vendor is not asked without end")
			w.edit("gateway", byIDs)
			w.settle()
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
		})
	}
}

func TestAProfileThatWantsMoreByNowDoesNotKeepAFleetFromRenewing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	// The profile's document demands what the vendor, as ever, does not.
	f := answering(simulator.OperationSpecification, -1, 200)
	f.Response.Shape = simulator.ShapeRaw
	f.Response.Body = `{"fields":[{"id":"subject.common_name","type":"CERTIFICATE"},{"id":"subject.country","type":"CERTIFICATE","mandatory":true}]}`
	w.fault(f)
	w.restart()
	w.pass(200 * 24 * time.Hour)
	w.pass(100 * 24 * time.Hour)
	g.Expect(w.asked(simulator.OperationSpecification)).To(BeNumerically(">=", 2))
	g.Expect(w.asked(simulator.OperationRenew)).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestBuyingGoesOnWhereSpecificationsCannotBeRead(t *testing.T) {
	for name, fault := range map[string]simulator.Fault{
		"forbidden":  answering(simulator.OperationSpecification, -1, 403),
		"not found":  answering(simulator.OperationSpecification, -1, 404),
		"in trouble": answering(simulator.OperationSpecification, -1, 500),
		"cut off":    onNext(simulator.OperationSpecification, -1, simulator.ActionDrop),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t, particular)
			w.fault(fault)
			for _, name := range []string{"a", "b", "c", "d", "e", "f"} { // more than the failures that open a circuit
				w.certificate(name, byIDs)
				w.settle()
				g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"))
				w.clock.Step(10 * time.Minute)
			}
			w.certificate("named", byNames)
			w.settle()
			g.Expect(w.shows("named", v1alpha1.ConditionReady)).To(Equal("False InvalidSpec"), "only what cannot be an id must wait")
			g.Expect(w.message("named", v1alpha1.ConditionReady)).To(ContainSubstring("write the id"))
			g.Expect(w.posts()).To(Equal(6))
			w.vendor.ResetFaults()
			w.pass(7 * time.Hour)
			g.Expect(w.shows("named", v1alpha1.ConditionReady)).To(Equal("True Stored"), "and no longer than it takes")
		})
	}
}

func TestARefusalListsWhatTheProfileWants(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, particular)
	w.certificate("gateway", asking(map[string]string{"subject.common_name": "gateway.example"}, map[string]string{"Device name": "gw", "Sitte": "Bern"}))
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False RefusedByVendor"), "a slug may be an id that is not listed")
	g.Expect(w.message("gateway", v1alpha1.ConditionReady)).To(And(
		ContainSubstring("attribute Sitte is not part of the enrollment profile"), ContainSubstring(siteID+" (Site)"),
		ContainSubstring("device attribute Sitte is not listed by the profile")))
	w.pass(10 * time.Minute)
	w.certificate("next", byIDs)
	w.settle()
	g.Expect(w.asked(simulator.OperationSpecification)).To(Equal(2), "the refusal called the specification into question")
}

func TestGrantsSeeThroughTheNamesOfAttributes(t *testing.T) {
	for _, bound := range []string{"subject.common_name", "Common name"} {
		for name, order := range map[string]func(*v1alpha1.DeviceCertificate){"names": byNames, "ids": byIDs} {
			t.Run(bound+" and an order by "+name, func(t *testing.T) { grantsSeeThrough(t, bound, order) })
		}
	}
}

// grantsSeeThrough orders what a grant on the common name, under its id or its name, does not give.
func grantsSeeThrough(t *testing.T, bound string, order func(*v1alpha1.DeviceCertificate)) {
	g := NewWithT(t)
	w := newWorld(t, particular)
	issuer := &v1alpha1.ClusterDeviceIssuer{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	issuer.Spec.URL = w.vendorURL
	issuer.Spec.Auth.APIToken = &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}
	issuer.Spec.Grants = []v1alpha1.Grant{{
		Namespaces: metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
		Attributes: []v1alpha1.AttributeGrant{{ID: bound, Suffixes: []string{".mine.example"}}},
	}}
	w.must(w.client.Create(w.ctx, issuer))
	t.Cleanup(func() { w.must(w.client.Delete(w.ctx, issuer)) })
	connection := w.connection
	connection.UID, connection.Generation = string(issuer.UID), issuer.Generation
	w.must(w.accounts.Update(issuerOf(issuer).issuer().ID, connection))
	through := func(c *v1alpha1.DeviceCertificate) {
		c.Spec.IssuerRef = v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: issuer.Name}
	}
	w.certificate("gateway", order, through)
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False NotGranted"), w.message("gateway", v1alpha1.ConditionReady))
	g.Expect(w.posts()).To(BeZero())
	w.certificate("allowed", asking(map[string]string{"Common name": "gw.mine.example"}, map[string]string{"Device name": "gw"}), through)
	w.settle()
	g.Expect(w.shows("allowed", v1alpha1.ConditionReady)).To(Equal("True Stored"))
}

func TestValuesAreSentAsTheProfileTypesThem(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, particular)
	one := "gateway.example"
	w.certificate("gateway", byIDs, func(c *v1alpha1.DeviceCertificate) {
		c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.common_name", Values: []string{one}}, {ID: "DNS names", Value: &one}}
	})
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	g.Expect(w.get("gateway").Status.DNSNames).To(Equal([]string{one}))
	hash, err := plan.IssuanceHash(w.connection.Host, &w.get("gateway").Spec, "")
	w.must(err)
	g.Expect(w.secret("gateway").Annotations[v1alpha1.AnnotationRequestHash]).To(Equal(hash))
}

func TestOneValueIsSentAsAListWhereSeveralAreTaken(t *testing.T) {
	one := "a"
	attributes := []v1alpha1.Attribute{{ID: "single", Values: []string{"a"}}, {ID: "several", Value: &one}, {ID: "unlisted", Values: []string{"a"}}, {ID: "word", Value: &one}}
	wants := profile.New("", []profile.Field{
		{Type: "DEVICE", Attribute: profile.Attribute{ID: "single"}}, {Type: "DEVICE", Attribute: profile.Attribute{ID: "several", Multiple: true}},
	})
	want := []trustmanager.Attribute{
		{ID: "single", Value: "a"}, {ID: "several", Values: []string{"a"}}, {ID: "unlisted", Values: []string{"a"}}, {ID: "word", Value: "a"},
	}
	if diff := cmp.Diff(want, wireAttributes(attributes, wants, profile.Device)); diff != "" {
		t.Errorf("on the wire (-want +got):\n%s", diff)
	}
	want[0], want[1] = trustmanager.Attribute{ID: "single", Values: []string{"a"}}, trustmanager.Attribute{ID: "several", Value: "a"}
	if diff := cmp.Diff(want, wireAttributes(attributes, nil, profile.Device)); diff != "" {
		t.Errorf("on the wire, of an unknown profile (-want +got):\n%s", diff)
	}
}
