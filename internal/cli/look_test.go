// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// fleet is one certificate of each state.
func fleet(w *world) {
	w.certificate("camera-1", ready(30), func(c *v1alpha1.DeviceCertificate) { c.Labels = map[string]string{"site": "north"} })
	w.certificate("camera-2", ready(61), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Conditions = append(c.Status.Conditions, trueCondition(v1alpha1.ConditionIssuing, v1alpha1.ReasonRenewing, "the certificate is being renewed"))
	})
	w.certificate("gateway-1", ready(85), failing(v1alpha1.ReasonRefused, "the vendor refused the request"))
	w.certificate("gateway-2", stalled(v1alpha1.ReasonNotGranted, "profile is not among those granted to this namespace"))
	w.certificate("gateway-3", ready(91), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Conditions[0] = falseCondition(v1alpha1.ConditionReady, v1alpha1.ReasonExpired, "the certificate in the Secret has expired")
	})
	w.certificate("gateway-4")
	w.certificate("gateway-5", ready(10), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Suspend = true
		c.Status.Conditions = append(c.Status.Conditions, trueCondition(v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended, "spec.suspend is true"))
	})
}

func TestListShowsWhatExpiresFirstAtTheTop(t *testing.T) {
	w := newWorld(t, "fleet")
	fleet(w)
	w.golden("list", w.plugin("list"))
	w.golden("list-wide", w.plugin("list", "-o", "wide", "-l", "site=north"))
	w.golden("list-state", w.plugin("list", "--state", "failed,Expired"))
	w.golden("list-within", w.plugin("list", "--expires-within", "168h", "-o", "name"))
	w.wants(w.plugin("list", "-A", "--field-selector", "metadata.name=camera-1"), 0, "NAMESPACE", "fleet ", "camera-1")
	w.wants(w.plugin("list", "--expires-within", "7d", "-o", "name"), 0, "gateway-1")
	w.wants(w.plugin("list", "--expires-within", "1month"), 1, "such as 30d or 36h30m")
	w.wants(w.plugin("list", "--expires-within", "-1h"), 1, "such as 30d or 36h30m")
	w.wants(w.plugin("list", "-l", "site=south"), 0, "No DeviceCertificates of that kind in namespace fleet")
	w.wants(w.plugin("list", "--state", "fine"), 1, "choose from Expired, Failed", "--help")
	w.wants(w.plugin("list", "-o", "toml"), 1, "-o toml is not known here: choose wide, or one of ", "yaml")

	r := w.plugin("list", "-o", "json", "-l", "site=north")
	list := &v1alpha1.DeviceCertificateList{}
	if err := json.Unmarshal([]byte(r.out), list); err != nil || len(list.Items) != 1 || list.Items[0].Name != "camera-1" || list.Items[0].Kind != "DeviceCertificate" {
		t.Errorf("-o json: %v, %v\n%s", list, err, r.out)
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	w := newWorld(t, "colours")
	w.certificate("camera-1", ready(30))
	if r := w.plugin("list"); strings.Contains(r.out, "\x1b") {
		t.Errorf("colours in a pipe: %q", r.out)
	}
	w.terminal = true
	w.wants(w.plugin("list"), 0, "\x1b[32mReady\x1b[0m")
}

func TestStatusShowsAllThereIsToACertificate(t *testing.T) {
	w := newWorld(t, "edge")
	w.issuer()
	healthy := w.certificate("gateway-17", ready(30), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Revocation.OnSupersede = v1alpha1.RevocationRevoke
		c.Status.DNSNames = []string{"gateway-17.edge.example", "mqtt.edge.example"}
		c.Status.Superseded = []v1alpha1.SupersededCertificate{{
			IssuedCertificate: v1alpha1.IssuedCertificate{SerialNumber: "0A16", NotAfter: at(now.Add(days(20)))}, SupersededAt: at(now.Add(-time.Hour)),
		}}
	})
	w.must(api.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "gateway-17-tls", Namespace: w.namespace},
		Data:       map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("x"), "ca.crt": []byte("x")},
	}))
	for i, message := range []string{"serial 0A16 for gateway-17.edge.example is in Secret gateway-17-tls", "serial 0A17 for gateway-17.edge.example is in Secret gateway-17-tls"} {
		w.must(api.Create(t.Context(), &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{GenerateName: "event-", Namespace: w.namespace},
			InvolvedObject: corev1.ObjectReference{Kind: "DeviceCertificate", Namespace: w.namespace, Name: healthy.Name, UID: healthy.UID},
			Type:           corev1.EventTypeNormal, Reason: "Renewed", Message: message,
			LastTimestamp: at(now.Add(-days(60 - 59*i))),
		}))
	}
	w.golden("status", w.plugin("status", "gateway-17"))
	w.wants(w.plugin("status", "dcert/gateway-17", "-o", "jsonpath={.status.serialNumber}"), 0, "0A17")
	w.wants(w.plugin("status", "gateway-18"), 1, "there is no DeviceCertificate gateway-18 in namespace edge")
	w.wants(w.plugin("status"), 1, "say which DeviceCertificates")
	w.wants(w.plugin("status", "-l", "site=nowhere"), 1, "no DeviceCertificate of namespace edge is meant by that")
}

func TestStatusSaysWhatHappensNext(t *testing.T) {
	w := newWorld(t, "next")
	w.issuer(func(i *v1alpha1.DeviceIssuer) {
		i.Status.Conditions = []metav1.Condition{falseCondition(v1alpha1.ConditionReady, v1alpha1.ReasonCredentialRefused, "the vendor refused the credential: replace the token in Secret digicert")}
	})
	w.certificate("failing", ready(70), failing(v1alpha1.ReasonRefused, "the vendor refused the request (profile is inactive)"), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Orphans = []v1alpha1.Orphan{
			{AttemptID: "aaaa", CertificateID: "bbbb", ProfileID: profileA, WindowStart: at(now.Add(-days(1))), WindowEnd: at(now.Add(-days(1))), Outcome: v1alpha1.OrphanReported, Message: "nothing proves that it is ours"},
			{AttemptID: "cccc", ProfileID: profileA, WindowStart: at(now.Add(-days(2))), WindowEnd: at(now.Add(-days(2))), Outcome: v1alpha1.OrphanRevoked},
		}
		c.Status.Replacements = &v1alpha1.Replacements{Count: 4, LastTime: at(now.Add(-time.Hour))}
	})
	w.golden("status-failing", w.plugin("status", "failing"))
	w.certificate("approval", stalled(v1alpha1.ReasonPendingApproval, "the vendor holds request 77 for approval"), func(c *v1alpha1.DeviceCertificate) {
		c.Status.Attempt = attempt("dddd")
		c.Status.Attempt.RequestID = "77"
	})
	w.golden("status-approval", w.plugin("status", "approval"))
	w.certificate("unseen")
	w.golden("status-unseen", w.plugin("status", "unseen"))
	w.certificate("disabled", ready(30), func(c *v1alpha1.DeviceCertificate) {
		c.Spec.Renewal.Policy = v1alpha1.RenewalDisabled
		c.Status.RenewalTime = nil
	})
	w.wants(w.plugin("status", "disabled"), 0, "it is not renewed by itself", "kubectl devicecert renew disabled -n next")
}

func TestStatusRemarksWhatDoesNotTouchReady(t *testing.T) {
	w := newWorld(t, "remarks")
	w.wants(w.plugin("list"), 0, "No DeviceCertificates in namespace remarks")
	w.certificate("gateway-1", ready(30), func(c *v1alpha1.DeviceCertificate) {
		c.Annotations = map[string]string{
			v1alpha1.AnnotationRenewRequestedAt: "2030-01-01T00:00:00Z", v1alpha1.AnnotationRetryRequestedAt: "now",
			"devicecert.io/renew-requested": "2030-06-01T00:00:00Z", "example.com/renew-requested": "now",
		}
		c.Status.Conditions = append(c.Status.Conditions,
			trueCondition(v1alpha1.ConditionOutputsIncomplete, v1alpha1.ReasonCredentialMissing, "names Secret keystore, which does not exist: create it"),
			trueCondition(v1alpha1.ConditionRevocationFailing, v1alpha1.ReasonCannotRevoke, "the credential cannot revoke"),
			falseCondition(v1alpha1.ConditionRevocationRequested, v1alpha1.ReasonUnknownSerial, `names "0B", which is nothing of ours`))
	})
	r := w.plugin("status", "gateway-1")
	w.wants(r, 0,
		"and not every output that the spec asks for", "OutputsIncomplete: names Secret keystore", "RevocationFailing: the credential cannot revoke",
		`RevocationRequested: names "0B"`, "annotation devicecert.io/retry-requested-at does nothing: its value must be a time",
		"annotation devicecert.io/renew-requested does nothing: it is none of those", "is not made, as the certificate is newer: kubectl devicecert renew gateway-1 -n remarks")
	if strings.Contains(r.out, "example.com") {
		t.Errorf("somebody else's annotation is judged:\n%s", r.out)
	}
	w.wants(w.plugin("list"), 0, "Ready   OutputsIncomplete")
	w.wants(w.plugin("doctor"), 0, "warning remarks/gateway-1, OutputsIncomplete: names Secret keystore", "warning remarks/gateway-1, RevocationFailing")
}

func TestStatusSaysWhatACertificateWaitsFor(t *testing.T) {
	w := newWorld(t, "waits")
	waits := func(reason, message string) func(*v1alpha1.DeviceCertificate) {
		return func(c *v1alpha1.DeviceCertificate) {
			c.Status.Conditions = []metav1.Condition{falseCondition(v1alpha1.ConditionReady, reason, message), trueCondition(v1alpha1.ConditionReconciling, reason, message)}
		}
	}
	w.certificate("alone", waits(v1alpha1.ReasonIssuerNotFound, "DeviceIssuer digicert does not exist"))
	w.wants(w.plugin("status", "alone"), 0, "it goes on by itself once there is DeviceIssuer digicert")
	w.wants(w.plugin("doctor"), 1, "problem waits/alone is issuing, IssuerNotFound: DeviceIssuer digicert does not exist")
	w.certificate("early", waits(v1alpha1.ReasonIssuerNotReady, "DeviceIssuer digicert is not ready"))
	w.wants(w.plugin("status", "early"), 0, "it goes on by itself once DeviceIssuer digicert is ready")
	w.certificate("taken", stalled(v1alpha1.ReasonSecretConflict, "Secret taken-tls belongs to somebody else"))
	w.wants(w.plugin("status", "taken"), 0, "Secret taken-tls, which belongs to somebody else")

	leaving := w.certificate("leaving", waits(v1alpha1.ReasonIssuing, "the first certificate is being issued"), func(c *v1alpha1.DeviceCertificate) {
		c.Finalizers = []string{v1alpha1.Finalizer}
		c.Status.Attempt = attempt("eeee")
	})
	w.must(api.Delete(t.Context(), leaving))
	r := w.plugin("status", "leaving")
	w.wants(r, 0, "leaving Terminating", "a deletion waits for the vendor for a quarter of an hour at most")
	if strings.Contains(r.out, "Outdated") {
		t.Errorf("a deletion is no change of the spec:\n%s", r.out)
	}
}

func TestStatusDoesNotRepeatItself(t *testing.T) {
	w := newWorld(t, "again")
	const message = "the vendor refused the request, and nothing was bought"
	c := w.certificate("gateway-1", stalled(v1alpha1.ReasonRefused, message))
	w.must(api.Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "gateway-1.", Namespace: w.namespace},
		InvolvedObject: corev1.ObjectReference{Kind: "DeviceCertificate", Namespace: w.namespace, Name: "gateway-1", UID: c.UID},
		Type:           corev1.EventTypeWarning, Reason: v1alpha1.ReasonRefused, Message: message, LastTimestamp: at(now.Add(-time.Minute)),
	}))
	r := w.plugin("status", "gateway-1")
	w.wants(r, 0, "60s ago RefusedByVendor: as above")
	if n := strings.Count(r.out, message); n != 1 {
		t.Errorf("said %d times:\n%s", n, r.out)
	}
}

func attempt(id string) *v1alpha1.Attempt {
	return &v1alpha1.Attempt{
		ID: id, Kind: v1alpha1.AttemptEnroll, IssuerKind: v1alpha1.KindDeviceIssuer, IssuerName: "digicert", Host: "one.digicert.com",
		ProfileID: profileA, SecretName: "x", IssuanceHash: "v1:00", StartedAt: at(now.Add(-20 * time.Minute)),
	}
}

func TestWhoMayReadCertificatesAloneSeesWhatTheyTell(t *testing.T) {
	w := newWorld(t, "least")
	w.issuer()
	w.certificate("gateway-17", ready(30))
	user := w.as("least-user", least)
	user.golden("status-least", user.plugin("status", "gateway-17"))
	user.wants(user.plugin("list", "-A"), 1, "you are not allowed to", "doctor")
	user.wants(user.plugin("inspect", "gateway-17"), 1, "you are not allowed to read Secret gateway-17-tls")
	stranger := w.as("stranger")
	stranger.wants(stranger.plugin("renew", "gateway-17"), 1, "you are not allowed to")
}

func TestVersionNamesWhatRunsWhere(t *testing.T) {
	w := newWorld(t, "version")
	w.golden("version", w.plugin("version"))
	w.wants(w.plugin("version", "--client", "-o", "json"), 0, `"plugin": "v0.0.0-test"`)
}

func TestHelpSpeaksOfKubectl(t *testing.T) {
	w := newWorld(t, "help")
	r := w.plugin("--help")
	w.wants(r, 0, "kubectl devicecert [command]", "Look:", "Steer:", "Prepare:")
	for _, hidden := range []string{"--as-uid", "kubectl-devicecert "} {
		if strings.Contains(r.out, hidden) {
			t.Errorf("the help shows %q:\n%s", hidden, r.out)
		}
	}
	w.wants(w.plugin("renew", "--help"), 0, "kubectl devicecert renew NAME...", "--ask-above")
	w.wants(w.plugin("renwe"), 1, "renew")
}

func TestTheShellCompletesNames(t *testing.T) {
	w := newWorld(t, "shell")
	w.certificate("gateway-1", ready(30))
	w.certificate("gateway-2", stalled(v1alpha1.ReasonNotGranted, "not granted"))
	complete := func(words ...string) result {
		return w.execute(append([]string{"__complete", words[0], "--kubeconfig=" + w.kubeconfig, "--namespace=" + w.namespace}, words[1:]...)...)
	}
	w.wants(complete("renew", ""), 0, "gateway-1\tready", "gateway-2\tfailed")
	if r := complete("renew", "gateway-1", ""); strings.Contains(r.out, "gateway-1\t") {
		t.Errorf("offered twice:\n%s", r.out)
	}
	if r := complete("revoke", "gateway-1", ""); strings.Contains(r.out, "gateway-2") {
		t.Errorf("revoke takes one name:\n%s", r.out)
	}
	w.wants(complete("list", "--state", ""), 0, "RenewalFailing")
	w.wants(complete("revoke", "--reason", ""), 0, "key_compromise")
	w.wants(w.plugin("completion", "kubectl"), 0, "kubectl_complete-devicecert", "kubectl-devicecert __complete")
	w.wants(w.plugin("completion", "bash"), 0, "kubectl-devicecert")
	w.wants(w.plugin("completion", "tcsh"), 1, "tcsh")
}
