// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// badInput is what a person may get wrong, or a vendor.
type badInput struct {
	issuer      func(*v1alpha1.DeviceIssuer)
	certificate func(*v1alpha1.DeviceCertificate)
	// issuerReason and issuerSays are of the issuer's Ready condition, "" when the issuer is fine.
	issuerReason, issuerSays string
	// reason and says are of the certificate's Ready condition.
	reason string
	says   []string
	status status.Status
}

func badInputs(w *world) map[string]badInput {
	return map[string]badInput{
		"unknown-profile": {
			certificate: func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileUnknown },
			reason:      v1alpha1.ReasonRefused, says: []string{"nothing was bought", "correct the spec or the enrollment profile"}, status: status.FailedStatus,
		},
		"mandatory-attribute-missing": {
			certificate: func(c *v1alpha1.DeviceCertificate) {
				c.Spec.CertificateAttributes = []v1alpha1.Attribute{{ID: "subject.organization_unit", Value: new("unit")}}
			},
			reason: v1alpha1.ReasonInvalidSpec, says: []string{"nothing was asked of the vendor", "subject.common_name is mandatory"}, status: status.FailedStatus,
		},
		"attribute-unknown-to-the-profile": {
			certificate: func(c *v1alpha1.DeviceCertificate) {
				c.Spec.CertificateAttributes = append(c.Spec.CertificateAttributes, v1alpha1.Attribute{ID: "subject.nickname", Value: new("x")})
			},
			reason: v1alpha1.ReasonRefused, says: []string{"subject.nickname", "correct the spec"}, status: status.FailedStatus,
		},
		"pending-approval": {
			certificate: func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileManual },
			reason:      v1alpha1.ReasonPendingApproval, says: []string{"approve by itself", v1alpha1.AnnotationAbandonAttempt + "="}, status: status.FailedStatus,
		},
		"issuer-missing": {
			certificate: func(c *v1alpha1.DeviceCertificate) { c.Spec.IssuerRef.Name = "nobody" },
			reason:      v1alpha1.ReasonIssuerNotFound, says: []string{"DeviceIssuer nobody does not exist", "create it, or correct spec.issuerRef"}, status: status.InProgressStatus,
		},
		"transport-key-missing": {
			certificate: func(c *v1alpha1.DeviceCertificate) {
				c.Spec.PrivateKey = v1alpha1.PrivateKey{Format: v1alpha1.FormatCertEncryptedKeyOnly, Delivery: v1alpha1.DeliveryDecrypted, Encryption: &v1alpha1.KeyEncryption{
					CertificateRef:   &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindSecret, Name: "absent", Key: "tls.crt"},
					DecryptionKeyRef: &v1alpha1.SecretKeyReference{Name: "absent", Key: "tls.key"},
				}}
			},
			reason: v1alpha1.ReasonCredentialMissing, says: []string{"spec.privateKey.encryption.certificateRef", "Secret absent", "create it"}, status: status.FailedStatus,
		},
		"wrong-token": {
			issuer:       func(i *v1alpha1.DeviceIssuer) { i.Spec.Auth.APIToken.SecretRef.Key = "wrong" },
			issuerReason: v1alpha1.ReasonCredentialRefused, issuerSays: "check that the credential is the right one, enabled and not expired",
			reason: v1alpha1.ReasonIssuerNotReady, says: []string{"check that the credential is the right one"}, status: status.InProgressStatus,
		},
		"token-missing": {
			issuer:       func(i *v1alpha1.DeviceIssuer) { i.Spec.Auth.APIToken.SecretRef.Name = "absent" },
			issuerReason: v1alpha1.ReasonCredentialMissing, issuerSays: "absent does not exist",
			reason: v1alpha1.ReasonIssuerNotReady, says: []string{"absent does not exist"}, status: status.InProgressStatus,
		},
		"unreachable-host": {
			issuer:       func(i *v1alpha1.DeviceIssuer) { i.Spec.URL = "https://127.0.0.1:1" },
			issuerReason: v1alpha1.ReasonUnreachable, issuerSays: "check the URL, the CA bundle, the proxy and the network",
			reason: v1alpha1.ReasonIssuerNotReady, says: []string{"check the URL"}, status: status.InProgressStatus,
		},
		"wrong-ca": {
			issuer:       func(i *v1alpha1.DeviceIssuer) { i.Spec.CABundle = string(w.vendor.file("root.crt")) },
			issuerReason: v1alpha1.ReasonUnreachable, issuerSays: "the CA bundle",
			reason: v1alpha1.ReasonIssuerNotReady, says: []string{"the CA bundle"}, status: status.InProgressStatus,
		},
		"forbidden-host": {
			issuer:       func(i *v1alpha1.DeviceIssuer) { i.Spec.URL = "https://one.example.com" },
			issuerReason: v1alpha1.ReasonHostForbidden, issuerSays: "--allowed-hosts",
			reason: v1alpha1.ReasonIssuerNotReady, says: []string{"--allowed-hosts"}, status: status.InProgressStatus,
		},
	}
}

func TestBadInputIsAnsweredWithWhatToDoAndCostsNothing(t *testing.T) {
	w := newWorld(t)
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(goodToken), "wrong": []byte("wrong-token")})
	w.issuer()
	w.startManager()
	inputs := badInputs(w)
	for name, in := range inputs {
		w.certificate(name, func(c *v1alpha1.DeviceCertificate) {
			if in.issuer != nil {
				w.issuer(func(i *v1alpha1.DeviceIssuer) { i.Name = name; in.issuer(i) })
				c.Spec.IssuerRef.Name = name
			}
			if in.certificate != nil {
				in.certificate(c)
			}
		})
	}
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) { in.check(w.in(t), name) })
	}
	w.wantBought("", 0)
}

func (in badInput) check(w *world, name string) {
	w.Helper()
	if in.issuerReason != "" {
		i := w.awaitReason(name, in.issuerReason)
		if c := condition(i.Status.Conditions, v1alpha1.ConditionReady); c.Status != "False" || !strings.Contains(c.Message, in.issuerSays) {
			w.Errorf("issuer: Ready=%s %q, want one that says %q", c.Status, c.Message, in.issuerSays)
		}
	}
	told := func(c *v1alpha1.DeviceCertificate) bool {
		condition := condition(c.Status.Conditions, v1alpha1.ConditionReady)
		for _, words := range in.says {
			if !strings.Contains(condition.Message, words) {
				return false
			}
		}
		return condition.Reason == in.reason
	}
	c := w.await(name, "told "+in.reason+": "+strings.Join(in.says, " ... "), patience, told)
	if c.Status.ObservedGeneration != c.Generation || condition(c.Status.Conditions, v1alpha1.ConditionReady).Status != "False" {
		w.Errorf("generation %d of %d, Ready %+v", c.Status.ObservedGeneration, c.Generation, condition(c.Status.Conditions, v1alpha1.ConditionReady))
	}
	if got := kstatus(w.T, c); got != in.status {
		w.Errorf("kstatus %s, want %s", got, in.status)
	}
}

func TestARefusedCertificateIsBoughtAtOnceWhenItsSpecIsCorrected(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.certificate("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileUnknown })
	w.await("gateway", "refused", patience, func(c *v1alpha1.DeviceCertificate) bool {
		return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Reason == v1alpha1.ReasonRefused
	})
	w.edit("gateway", func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileLong })
	w.awaitReady("gateway")
	w.wantBought("", 1)
}

func TestGarbageInsteadOfAnAnswerIsTreatedAsALostAnswer(t *testing.T) {
	for name, stage := range map[string]simulator.Stage{"nothing was issued": simulator.StageBeforeCommit, "a certificate was issued": simulator.StageAfterCommit} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.connect()
			w.startManager()
			cn := commonName("gateway")
			w.vendor.misbehave(simulator.Fault{
				Match: simulator.Match{CommonName: cn}, Action: simulator.ActionRespond, Stage: stage,
				Response: simulator.Response{Status: 200, Shape: simulator.ShapeHTML},
			})
			w.certificate("gateway")
			open := w.await("gateway", "being resolved", patience, func(c *v1alpha1.DeviceCertificate) bool {
				return condition(c.Status.Conditions, v1alpha1.ConditionReconciling).Reason == v1alpha1.ReasonResolving
			})
			if got := kstatus(t, open); got != status.InProgressStatus {
				t.Errorf("kstatus %s", got)
			}
			end := w.await("gateway", "issued", resolvePatience, renewed(""))
			lost := w.vendor.ledger(cn)
			lost = lost[:len(lost)-1]
			if len(end.Status.Orphans) != len(lost) {
				t.Errorf("orphans %+v, but these were lost: %s", end.Status.Orphans, describe(lost))
			}
			if stage == simulator.StageBeforeCommit {
				w.wantBought(cn, 1)
			} else {
				w.wantBought(cn, 2)
			}
		})
	}
}

func TestAnUnusableCertificateIsRevokedAndBlocksItsProfileOnly(t *testing.T) {
	w := newWorld(t)
	w.connect()
	w.startManager()
	w.vendor.misbehave(simulator.Fault{Match: simulator.Match{ProfileID: profileShort, Operation: simulator.OperationEnroll, Times: -1}, Action: simulator.ActionWrongKey})
	for _, name := range []string{"first", "second", "third"} {
		w.certificate(name, func(c *v1alpha1.DeviceCertificate) { c.Spec.EnrollmentProfileID = profileShort })
	}
	w.certificate("healthy")
	w.awaitReady("healthy")
	for _, name := range []string{"first", "second", "third"} {
		w.await(name, "stalled", patience, func(c *v1alpha1.DeviceCertificate) bool {
			return condition(c.Status.Conditions, v1alpha1.ConditionStalled).Status == "True" && c.Status.Attempt == nil
		})
	}
	eventually(t, patience, "all that is unusable is revoked", func(context.Context) (bool, error) {
		all := w.vendor.ledger("")
		return len(all) == 2 && len(w.live("")) == 1, nil
	})
}
