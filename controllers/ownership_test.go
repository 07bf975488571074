// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

func TestSomebodyElsesSecretIsLeftAloneAndNothingIsBought(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"out of the cache's sight": nil,
		"in the cache's sight":     {v1alpha1.LabelWatch: "true"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.createSecret("gateway", map[string]string{"password": "precious"}, func(s *corev1.Secret) { s.Labels = labels })
			before := w.secret("gateway").ResourceVersion
			w.certificate("gateway")
			w.settle()
			w.pass(time.Hour)
			g.Expect(w.posts()).To(BeZero())
			g.Expect(w.secret("gateway").ResourceVersion).To(Equal(before))
			g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
			g.Expect(w.shows("gateway", v1alpha1.ConditionStalled)).To(Equal("True SecretConflict"))
			g.Expect(w.message("gateway", v1alpha1.ConditionStalled)).To(ContainSubstring(v1alpha1.AnnotationAdoptableBy + "=gateway"))
			g.Expect(w.kstatus("gateway")).To(BeEquivalentTo("Failed"))
		})
	}
}

func TestAConflictEndsWhenTheOtherSecretGoes(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.createSecret("gateway", map[string]string{"password": "precious"}, func(s *corev1.Secret) { s.Labels = map[string]string{v1alpha1.LabelWatch: "true"} })
	w.certificate("gateway")
	w.settle()
	w.deleteSecret("gateway")
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.issued()).To(Equal(1))
}

func TestOfTwoCertificatesWithOneSecretTheOlderWinsAndTheOtherBuysNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	shared := func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "shared" }
	w.certificate("a", shared)
	w.mu.Lock()
	w.woken = nil // the younger one is looked at first
	w.mu.Unlock()
	w.certificate("b", shared) // perhaps within the same second, of which the names decide
	w.settle()
	g.Expect(w.posts()).To(BeZero(), "although nobody has written the Secret yet")
	g.Expect(w.shows("b", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
	g.Expect(w.message("b", v1alpha1.ConditionReady)).To(ContainSubstring("DeviceCertificate a, which is older"))
	w.wakeAll()
	w.pass(time.Hour)
	g.Expect(w.shows("a", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("b", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
	g.Expect(w.message("b", v1alpha1.ConditionReady)).To(ContainSubstring("belongs to DeviceCertificate a"))
	g.Expect(w.issued()).To(Equal(1))

	w.edit("a", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.Name = "mine" })
	w.pass(10 * time.Minute)
	g.Expect(w.shows("a", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.shows("b", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"), "the Secret that was left behind still says whose it is")
	g.Expect(w.issued()).To(Equal(1))
}

func TestASecretWhoseOwnerConsentsIsTakenOver(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.createSecret("gateway", map[string]string{"tls.crt": "", "tls.key": ""}, func(s *corev1.Secret) {
		s.Type = corev1.SecretTypeTLS
		s.Annotations = map[string]string{v1alpha1.AnnotationAdoptableBy: "gateway"}
	})
	w.certificate("gateway")
	w.settle()
	w.pass(time.Minute)
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"), w.message("gateway", v1alpha1.ConditionReady))
	g.Expect(w.issued()).To(Equal(1))
}

func TestConsentForSomebodyElseIsNoConsent(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.createSecret("gateway", nil, func(s *corev1.Secret) {
		s.Annotations = map[string]string{v1alpha1.AnnotationAdoptableBy: "other"}
	})
	w.certificate("gateway")
	w.settle()
	g.Expect(w.posts()).To(BeZero())
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("False SecretConflict"))
}

func TestARecreatedCertificateTakesItsSecretOverWithoutBuying(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway")
	w.settle()
	first := w.get("gateway")
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.hasSecret("gateway")).To(BeTrue(), "Retain is the default")

	w.certificate("gateway")
	w.settle()
	again := w.get("gateway")
	g.Expect(again.UID).NotTo(Equal(first.UID))
	g.Expect(again.Status.CertificateID).To(Equal(first.Status.CertificateID))
	g.Expect(w.posts()).To(Equal(1))
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.secret("gateway").Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationCertificateUID, string(again.UID)))

	w.advance(time.Hour)
	w.restart()
	g.Expect(w.posts()).To(Equal(1))
}

func TestARestoredBackupWithoutStatusesBuysNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		w.certificate(name)
	}
	w.settle()
	for _, name := range names {
		w.editStatus(name, func(s *v1alpha1.DeviceCertificateStatus) { *s = v1alpha1.DeviceCertificateStatus{} })
	}
	w.restart()
	g.Expect(w.posts()).To(Equal(3))
	for _, name := range names {
		g.Expect(w.shows(name, v1alpha1.ConditionReady)).To(Equal("True Stored"))
		g.Expect(w.get(name).Status.SerialNumber).NotTo(BeEmpty())
	}
}

func TestTheDeletionPolicyDecidesWhatBecomesOfTheSecret(t *testing.T) {
	for policy, remains := range map[v1alpha1.DeletionPolicy]bool{v1alpha1.DeletionRetain: true, v1alpha1.DeletionDelete: false} {
		t.Run(string(policy), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.DeletionPolicy = policy })
			w.settle()
			g.Expect(w.get("gateway").Finalizers).To(ContainElement(v1alpha1.Finalizer))
			g.Expect(w.secret("gateway").OwnerReferences).To(BeEmpty(), "the garbage collector has no say")
			w.delete("gateway")
			g.Expect(w.exists("gateway")).To(BeFalse())
			g.Expect(w.hasSecret("gateway")).To(Equal(remains))
			g.Expect(w.statuses()).To(Equal([]string{"ISSUED"}), "revocation.onDelete is Keep")
			if !remains {
				w.release(w.vendor.Ledger()[0].CertificateID)
			}
		})
	}
}

func TestDeletionLeavesASecretThatIsNotItsOwn(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.createSecret("gateway", map[string]string{"password": "precious"})
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete
		c.Finalizers = []string{v1alpha1.Finalizer}
	})
	w.settle()
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.secret("gateway").Data).To(HaveKey("password"))
}

func TestTheDeletionPolicyOfTheLastMomentCounts(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete })
	w.settle()
	c := w.get("gateway")
	c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionRetain
	w.must(w.client.Update(w.ctx, c)) // nobody is told of it
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.hasSecret("gateway")).To(BeTrue())
}

func TestFinalizersOfOthersAreLeftToThem(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	var theirs []string
	for n := range 1000 {
		theirs = append(theirs, fmt.Sprint("devicecert.io/not-ours-", n))
	}
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Finalizers = slices.Clone(theirs) })
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	w.delete("gateway")
	g.Expect(w.get("gateway").Finalizers).To(Equal(theirs), "only the operator's own is taken off")
	c := w.get("gateway")
	c.Finalizers = nil
	w.must(w.client.Update(w.ctx, c))
	g.Expect(w.exists("gateway")).To(BeFalse())
}

func TestNoRoomInTheAnnotationsAndForeignOwnersOfTheStatusHinderNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Annotations = map[string]string{"example.com/filler": strings.Repeat("x", 256<<10-len("example.com/filler"))} // what the API server admits
	})
	claim := fmt.Appendf(nil, `{"apiVersion":%q,"kind":"DeviceCertificate","metadata":{"name":"gateway","namespace":%q},
		"status":{"serialNumber":"FF","conditions":[{"type":"Ready","status":"False","reason":"Theirs","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`,
		v1alpha1.SchemeGroupVersion.String(), w.namespace)
	foreign := &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "gateway"}}
	w.must(w.client.Status().Patch(w.ctx, foreign, client.RawPatch(types.ApplyPatchType, claim), client.FieldOwner("foreign"), client.ForceOwnership))
	w.settle()
	g.Expect(w.shows("gateway", v1alpha1.ConditionReady)).To(Equal("True Stored"))
	g.Expect(w.get("gateway").Status.SerialNumber).To(Equal(w.vendor.Ledger()[0].SerialNumber))
	g.Expect(w.issued()).To(Equal(1))
}

func TestACertificateThatNeverBoughtAnythingHasNoFinalizer(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.Suspend = true })
	w.settle()
	g.Expect(w.get("gateway").Finalizers).To(BeEmpty())
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
}

// An uninstall takes the finalizers off. Who installs again expects deletions to do what the spec says.
func TestAFinalizerThatWasTakenOffComesBack(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Secret.DeletionPolicy = v1alpha1.DeletionDelete
		c.Spec.Revocation.OnDelete = v1alpha1.RevocationRevoke
	})
	w.settle()
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Finalizers = nil })
	w.restart()
	g.Expect(w.get("gateway").Finalizers).To(ContainElement(v1alpha1.Finalizer))
	g.Expect(w.posts()).To(Equal(1))

	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.hasSecret("gateway")).To(BeFalse())
	g.Expect(w.statuses()).To(Equal([]string{"REVOKED"}))
}

func TestADeletedCertificateBuysNothingMore(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Finalizers = []string{"example.com/held"} })
	w.settle()
	w.delete("gateway")
	w.deleteSecret("gateway")
	w.pass(time.Hour)
	g.Expect(w.exists("gateway")).To(BeTrue(), "somebody else holds it")
	g.Expect(w.posts()).To(Equal(1))
	w.release(w.vendor.Ledger()[0].CertificateID)
}

func TestDeletionEndsWithinABoundAlsoWhenTheVendorIsDown(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.fault(lost(simulator.OperationEnroll))
	w.certificate("gateway")
	w.settle()
	g.Expect(w.get("gateway").Status.Attempt).NotTo(BeNil())
	w.must(w.vendor.SetSwitches(simulator.Switches{Mode: simulator.ModeUnavailable}))
	w.delete("gateway")
	g.Expect(w.exists("gateway")).To(BeTrue(), "the attempt is looked for first")
	w.pass(20 * time.Minute)
	g.Expect(w.exists("gateway")).To(BeFalse())
	g.Expect(w.events.reasons).To(ContainElement(v1alpha1.ReasonOrphan), "what is left behind is said")
	w.release(w.vendor.Ledger()[0].CertificateID)
}
