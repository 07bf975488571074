// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package lean

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// full is an object with something of every kind, in memory of its own.
func full() *v1alpha1.DeviceCertificate {
	at := metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	value := strings.Clone("gateway.example")
	c := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{
		Name: strings.Clone("gateway"), Annotations: map[string]string{strings.Clone("a"): strings.Clone("b")}, CreationTimestamp: at,
	}}
	c.Spec.CertificateAttributes = append(make([]v1alpha1.Attribute, 0, 4), v1alpha1.Attribute{ID: strings.Clone("subject.common_name"), Value: &value})
	c.Status.NotAfter = &at
	c.Status.Issued = &v1alpha1.IssuedCertificate{SerialNumber: strings.Clone("00ff"), IssuerKind: v1alpha1.IssuerKind(strings.Clone("DeviceIssuer"))}
	c.Status.SerialNumber = strings.Clone("00ff")
	c.Status.Conditions = append(make([]metav1.Condition, 0, 4), metav1.Condition{Type: strings.Clone("Ready"), Message: strings.Repeat("long ", 200)})
	return c
}

func TestAPackedObjectSaysTheSame(t *testing.T) {
	c := full()
	Pack(c)
	if diff := cmp.Diff(full(), c); diff != "" {
		t.Errorf("object (-as it was +packed):\n%s", diff)
	}
	Pack((*v1alpha1.DeviceCertificate)(nil))
	Pack("no object")
}

func TestPackedObjectsShareTheirStringsAndHaveNoRoomToSpare(t *testing.T) {
	a, b := full(), full()
	Pack(a)
	Pack(b)
	same := func(what, x, y string) {
		t.Helper()
		if unsafe.StringData(x) != unsafe.StringData(y) {
			t.Errorf("the %s is kept twice", what)
		}
	}
	same("name", a.Name, b.Name)
	same("serial number within an object", a.Status.SerialNumber, a.Status.Issued.SerialNumber)
	same("kind", string(a.Status.Issued.IssuerKind), string(b.Status.Issued.IssuerKind))
	same("attribute", *a.Spec.CertificateAttributes[0].Value, *b.Spec.CertificateAttributes[0].Value)
	same("annotation", a.Annotations["a"], b.Annotations["a"])
	if cap(a.Status.Conditions) != 1 || cap(a.Spec.CertificateAttributes) != 1 {
		t.Errorf("capacities are %d and %d, want one", cap(a.Status.Conditions), cap(a.Spec.CertificateAttributes))
	}
}

func TestObjectsOfOneAnnotationShareIt(t *testing.T) {
	a, b, other := full(), full(), full()
	other.Annotations = map[string]string{"a": "c"}
	for _, c := range []*v1alpha1.DeviceCertificate{a, b, other} {
		Pack(c)
	}
	identity := func(c *v1alpha1.DeviceCertificate) uintptr { return reflect.ValueOf(c.Annotations).Pointer() }
	if identity(a) != identity(b) {
		t.Error("equal maps are kept twice")
	}
	if identity(a) == identity(other) || other.Annotations["a"] != "c" {
		t.Errorf("another map became %v", other.Annotations)
	}
}

func TestWhatIsPackedLaterSharesAStringThatIsKept(t *testing.T) {
	kept := strings.Clone("a serial number that was cached before many others")
	for i := range 4 * shelf {
		String(fmt.Sprint("another ", i))
	}
	if got := Keep(kept); unsafe.StringData(got) != unsafe.StringData(kept) {
		t.Error("a copy is kept instead of the string")
	}
	if got := String(strings.Clone(kept)); unsafe.StringData(got) != unsafe.StringData(kept) {
		t.Error("the string is kept twice")
	}
}

func TestAPieceOfALargeTextDoesNotKeepTheText(t *testing.T) {
	text := strings.Repeat("x", 1<<20) + "piece"
	piece := text[1<<20:]
	if got := String(piece); got != "piece" || unsafe.StringData(got) == unsafe.StringData(piece) {
		t.Error("the text is kept for a piece of it")
	}
}

func TestManyStringsOfOneTenantDoNotCrowdOutOthersForGood(t *testing.T) {
	for i := range 4 * shelf {
		if s := fmt.Sprint("flood ", i); String(s) != s {
			t.Fatalf("%q came back changed", s)
		}
	}
	again := String(strings.Clone("fleet"))
	if unsafe.StringData(again) != unsafe.StringData(String(strings.Clone("fleet"))) {
		t.Error("a string that is met twice in a row is kept twice")
	}
}
