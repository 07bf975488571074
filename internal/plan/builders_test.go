// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

const (
	day       = 24 * time.Hour
	wanted    = "v1:wanted"
	attemptID = "5f0c6e5e-0000-4000-8000-000000000001"
)

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

// A change makes one thing about a snapshot different.
type change func(*Snapshot)

// fresh is an object that was never issued, with everything in place to do so.
func fresh(changes ...change) *Snapshot {
	s := &Snapshot{
		Now: now,
		Certificate: &v1alpha1.DeviceCertificate{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "edge", Name: "gateway-17", UID: "7d3a4f0e-0000-4000-8000-000000000017", Generation: 3,
				Annotations: map[string]string{}, Finalizers: []string{v1alpha1.Finalizer},
			},
			Spec: v1alpha1.DeviceCertificateSpec{
				IssuerRef:           v1alpha1.IssuerReference{Kind: v1alpha1.KindClusterDeviceIssuer, Name: "digicert"},
				EnrollmentProfileID: "IOT_1",
			},
		},
		Secret:       Secret{Name: "gateway-17-tls"},
		Issuer:       Issuer{Found: true, Known: true, Ready: true, Version: "issuer-1"},
		IssuanceHash: wanted,
	}
	for _, c := range changes {
		c(s)
	}
	return s
}

// stored is an object whose certificate of ninety days is thirty days old, valid, in sync and not due.
func stored(changes ...change) *Snapshot {
	s := fresh()
	s.Secret = pair("gateway-17-tls")
	s.Certificate.Status.CertificateID = s.Secret.CertificateID
	for _, c := range changes {
		c(s)
	}
	return s
}

// pair is a Secret that holds what the spec asks for.
func pair(name string) Secret {
	return Secret{
		State: SecretOurs, Name: name, InSync: true,
		NotBefore: now.Add(-30 * day), NotAfter: now.Add(60 * day), IssuedAt: now.Add(-30 * day),
		Serial: "0A17", CertificateID: "cert-1", AttemptID: "earlier", IssuanceHash: wanted,
	}
}

// askedByName is a spec with attributes by name, whose hash stands beside that of what was bought.
func askedByName(s *Snapshot) { s.RequestHash, s.Secret.RequestHash = "v1:names", "v1:names" }

// due makes the stored certificate due for renewal, with ten of its ninety days left.
func due(s *Snapshot) { expiresIn(10 * day)(s) }

func expired(s *Snapshot) { expiresIn(0)(s) }

// lastSixth leaves the stored certificate less than a sixth of its ninety days.
func lastSixth(s *Snapshot) { expiresIn(14 * day)(s) }

func expiresIn(left time.Duration) change {
	return func(s *Snapshot) {
		s.Secret.NotAfter = now.Add(left)
		s.Secret.NotBefore = s.Secret.NotAfter.Add(-90 * day)
		s.Secret.IssuedAt = s.Secret.NotBefore
	}
}

func inFlightNow(s *Snapshot) { s.InFlight = true }

func deletedAgo(ago time.Duration) change {
	return func(s *Snapshot) {
		at := metav1.NewTime(now.Add(-ago))
		s.Certificate.DeletionTimestamp = &at
	}
}

func withoutFinalizer(s *Snapshot) { s.Certificate.Finalizers = nil }

// open is an attempt whose outcome can be known in a minute.
func open(s *Snapshot) {
	s.Certificate.Status.Attempt = &v1alpha1.Attempt{
		ID: attemptID, Kind: v1alpha1.AttemptEnroll, ProfileID: "IOT_1", SecretName: "gateway-17-tls", StartedAt: metav1.NewTime(now.Add(-time.Minute)),
	}
	s.SettlesAt = now.Add(time.Minute)
}

func settled(s *Snapshot) { s.SettlesAt = now }

func pending(s *Snapshot) {
	open(s)
	s.Certificate.Status.Attempt.RequestID = "request-9"
}

func annotated(key, value string) change {
	return func(s *Snapshot) { s.Certificate.Annotations[key] = value }
}

func foreignSecret(s *Snapshot) {
	s.Secret = Secret{State: SecretForeign, Name: "gateway-17-tls", Owner: "Certificate web"}
}

func adoptable(s *Snapshot) {
	s.Secret.State, s.Secret.InSync, s.Secret.IssuanceHash = SecretAdoptable, false, ""
}

func broken(s *Snapshot) { s.Secret.Broken, s.Secret.InSync = "it has no tls.key", false }

func outOfSync(s *Snapshot) { s.Secret.InSync = false }

// renamed: the pair is in the Secret that the spec named before.
func renamed(s *Snapshot) {
	s.Previous = pair("gateway-17-old")
	s.Previous.InSync = false
	s.Secret = Secret{Name: "gateway-17-tls"}
}

func specChanged(s *Snapshot) { s.IssuanceHash = "v1:another" }

func suspendedByUser(s *Snapshot) { s.Certificate.Spec.Suspend = true }

func renewalDisabled(s *Snapshot) { s.Certificate.Spec.Renewal.Policy = v1alpha1.RenewalDisabled }

func issuerMissing(s *Snapshot) { s.Issuer = Issuer{} }

func issuerSuspended(s *Snapshot) { s.Issuer.Suspended = true }

func issuerUnknown(s *Snapshot) { s.Issuer.Known = false }

func issuerDown(s *Snapshot) {
	s.Issuer.Ready, s.Issuer.Reason, s.Issuer.Message = false, v1alpha1.ReasonUnreachable, "no route to host"
}

func denied(s *Snapshot) { s.Issuer.Denied = "ask the owner of digicert" }

func problem(s *Snapshot) {
	s.Problem = &Problem{Reason: v1alpha1.ReasonInvalidSpec, Message: "the transport certificate is not RSA"}
}

func refusedSecret(s *Snapshot) { s.Secret.InSync, s.Secret.Refused = false, "the Secret is immutable" }

// failed is a purchase that failed under the present spec and issuer, and may be tried again in an hour.
func failed(kind v1alpha1.AttemptKind, reason string, edits ...func(*v1alpha1.Failures)) change {
	return func(s *Snapshot) {
		next := metav1.NewTime(now.Add(time.Hour))
		f := &v1alpha1.Failures{
			Count: 1, NextTime: &next, Kind: kind, Generation: 3, IssuanceHash: wanted, IssuerVersion: "issuer-1",
			Reason: reason, Message: "the vendor said no", Terminal: reason == v1alpha1.ReasonRefused,
		}
		for _, edit := range edits {
			edit(f)
		}
		s.Certificate.Status.Failures = f
	}
}

func revokedAsOrphan(s *Snapshot) {
	s.Certificate.Status.Orphans = []v1alpha1.Orphan{{AttemptID: attemptID, CertificateID: s.Secret.CertificateID, Outcome: v1alpha1.OrphanRevoked}}
}

// superseded is a predecessor that was replaced some time ago.
func superseded(ago time.Duration) change {
	return func(s *Snapshot) {
		predecessor := v1alpha1.SupersededCertificate{SupersededAt: metav1.NewTime(now.Add(-ago))}
		predecessor.CertificateID, predecessor.SerialNumber, predecessor.NotAfter = "cert-0", "0A16", metav1.NewTime(now.Add(30*day))
		s.Certificate.Status.Superseded = append(s.Certificate.Status.Superseded, predecessor)
	}
}

func revokeSuperseded(s *Snapshot) {
	s.Certificate.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke
}

// revokedElsewhere: somebody revoked the certificate at the vendor.
func revokedElsewhere(s *Snapshot) {
	s.Certificate.Status.SerialNumber, s.Certificate.Status.IssuanceHash = "0A17", wanted
	s.Certificate.Status.Revoked = &v1alpha1.RevokedCertificate{SerialNumber: "a17", ObservedAt: metav1.NewTime(now)}
}

func reenroll(s *Snapshot) { s.Certificate.Spec.Renewal.OnRevoked = v1alpha1.OnRevokedReenroll }

// secretLost: the Secret is gone.
func secretLost(s *Snapshot) { s.Secret = Secret{Name: "gateway-17-tls"} }

func cannotRevoke(s *Snapshot) { s.Issuer.CannotRevoke = true }

func revocationRefused(s *Snapshot) {
	s.Certificate.Status.Superseded[0].RevocationFailure = "not allowed"
}

func predecessorExpired(s *Snapshot) {
	s.Certificate.Status.Superseded[0].NotAfter = metav1.NewTime(now)
}
