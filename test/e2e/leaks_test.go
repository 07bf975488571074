// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
)

// canaries are secrets of one test, like no others.
type canaries struct{ token, passcode, password string }

func newCanaries() canaries {
	return canaries{token: "tok-" + rand.Text(), passcode: "pass-" + rand.Text(), password: "store-" + rand.Text()}
}

func TestNoSecretLeavesItsSecret(t *testing.T) {
	c := newCanaries()
	w := newWorld(t, func(s *simulator.Config) {
		s.APIKeys[0].Key, s.Passcodes[0].Passcode = c.token, c.passcode
	})
	w.createSecret(issuerName, map[string][]byte{"credential": []byte(c.token)})
	w.createSecret("passcode-credential", map[string][]byte{"credential": []byte(c.passcode)})
	w.createSecret("store", map[string][]byte{"password": []byte(c.password)})
	w.must(env.admin.Create(w.ctx, &corev1.Secret{ObjectMeta: w.meta("mtls"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": w.vendor.file(deviceClient + ".crt"), "tls.key": w.vendor.file(deviceClient + ".key"),
	}}))
	transport := w.transportPair("transport")
	w.issuer()
	w.issuer(func(i *v1alpha1.DeviceIssuer) {
		i.Name = "passcode"
		i.Spec.Auth = v1alpha1.IssuerAuth{EnrollmentPasscode: &v1alpha1.EnrollmentPasscodeAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "passcode-credential", Key: "credential"}}}
	})
	w.issuer(func(i *v1alpha1.DeviceIssuer) {
		i.Name = "mtls"
		i.Spec.Auth = v1alpha1.IssuerAuth{ClientCertificate: &v1alpha1.ClientCertificateAuth{SecretRef: v1alpha1.SecretReference{Name: "mtls"}, URL: w.vendor.clientAuthURL}}
	})
	address := freeAddress(t)
	manager := w.startManager("--zap-log-level=7", "--metrics-bind-address="+address)

	stored := w.orderEverything(c)
	w.provokeErrors(c)
	metrics := w.metrics(address)
	manager.signal(t, syscall.SIGQUIT) // the runtime writes down all goroutines, and ends
	<-manager.Ended()

	h := newHunter()
	for name, secret := range map[string]string{"the token": c.token, "the passcode": c.passcode, "the keystores' password": c.password} {
		h.secret(name, []byte(secret))
	}
	h.key(t, "the client certificate's key", pkcs8(t, w.vendor.file(deviceClient+".key")))
	h.key(t, "the transport key", pkcs8(t, transport))
	for _, name := range stored {
		h.key(t, "the key of "+name, w.secret(name).Data[v1alpha1.KeyPrivateKey])
	}
	audit, err := os.ReadFile(env.controlPlane.AuditLog())
	w.must(err)
	log := []byte(manager.log())
	if !bytes.Contains(log, []byte("SIGQUIT")) || !bytes.Contains(log, []byte(`"level":"`)) && !bytes.Contains(log, []byte("DEBUG")) || !bytes.Contains(audit, []byte(w.namespace)) {
		t.Error("the log, the dump or the audit log is not what it should be")
	}
	for where, text := range map[string][]byte{"the log and the dump of all goroutines": log, "the audit log": audit, "the metrics": metrics} {
		t.Logf("%d bytes of %s were searched", len(text), where)
		for _, what := range h.find(text) {
			t.Errorf("%s holds %s", where, what)
		}
	}
	w.searchEtcd(h, append(stored, issuerName, "passcode-credential", "store", "mtls", "transport"))
}

// orderEverything buys a certificate in every way and form, and answers with the names of the Secrets whose keys are open.
func (w *world) orderEverything(c canaries) []string {
	w.Helper()
	orders := map[string]func(*v1alpha1.DeviceCertificate){
		"leak-pem": func(*v1alpha1.DeviceCertificate) {},
		"leak-rsa": func(d *v1alpha1.DeviceCertificate) {
			d.Spec.PrivateKey.KeyType = "rsa_2048"
			password := v1alpha1.SecretKeyReference{Name: "store", Key: "password"}
			d.Spec.Secret.Outputs = &v1alpha1.Outputs{
				PKCS12: &v1alpha1.PKCS12Output{PasswordSecretRef: password}, JKS: &v1alpha1.JKSOutput{PasswordSecretRef: password},
				Formats: []v1alpha1.OutputFormat{"CombinedPEM", "DER"},
			}
		},
		"leak-der":    func(d *v1alpha1.DeviceCertificate) { d.Spec.PrivateKey.Format = v1alpha1.FormatDER },
		"leak-pkcs12": func(d *v1alpha1.DeviceCertificate) { d.Spec.PrivateKey.Format = v1alpha1.FormatPKCS12 },
		"leak-cms": func(d *v1alpha1.DeviceCertificate) {
			d.Spec.PrivateKey = v1alpha1.PrivateKey{Format: v1alpha1.FormatCertEncrypted, Delivery: v1alpha1.DeliveryDecrypted, Encryption: &v1alpha1.KeyEncryption{
				CertificateRef:   &v1alpha1.ObjectKeyReference{Kind: v1alpha1.ObjectKindSecret, Name: "transport", Key: "tls.crt"},
				DecryptionKeyRef: &v1alpha1.SecretKeyReference{Name: "transport", Key: "tls.key"},
			}}
		},
		"leak-passcode": func(d *v1alpha1.DeviceCertificate) {
			d.Spec.IssuerRef.Name, d.Spec.EnrollmentProfileID = "passcode", profilePasscode
		},
		"leak-mtls": func(d *v1alpha1.DeviceCertificate) {
			d.Spec.IssuerRef.Name, d.Spec.EnrollmentProfileID = "mtls", profileMTLS
		},
	}
	var names []string
	for name, edit := range orders {
		w.certificate(name, edit)
		names = append(names, name)
	}
	for _, name := range names {
		w.awaitReady(name)
	}
	first := w.get("leak-rsa").Status.SerialNumber
	w.requestRenewal("leak-rsa")
	w.await("leak-rsa", "renewed", patience, renewed(first))
	return names
}

// provokeErrors makes the vendor say what it was sent, and send what cannot be used.
func (w *world) provokeErrors(c canaries) {
	w.Helper()
	reflected := fmt.Sprintf("denied: x-api-key: %[1]s, Authorization: Bearer %[1]s", c.token)
	faults := map[string]simulator.Fault{
		"reflects":    {Action: simulator.ActionRespond, Response: simulator.Response{Status: 400, Message: reflected}},
		"wrapped":     {Action: simulator.ActionWrapBody, Prefix: "garbage "},
		"truncated":   {Action: simulator.ActionTruncate, Bytes: 700},
		"passcode":    {Action: simulator.ActionRespond, Response: simulator.Response{Status: 400, Message: "wrong passcode " + c.passcode}},
		"unavailable": {Action: simulator.ActionRespond, Response: simulator.Response{Status: 503, Message: reflected}},
	}
	provoke := func(name string, f simulator.Fault) {
		f.Match = simulator.Match{Operation: simulator.OperationEnroll, CommonName: commonName(name), Times: -1}
		w.vendor.misbehave(f)
		w.certificate(name, func(d *v1alpha1.DeviceCertificate) {
			if name == "passcode" {
				d.Spec.IssuerRef.Name, d.Spec.EnrollmentProfileID = "passcode", profilePasscode
			}
		})
	}
	for name, f := range faults {
		provoke(name, f)
	}
	// What cannot be used blocks its profile and format, which the others need.
	for format, action := range map[v1alpha1.KeyFormat]simulator.Action{v1alpha1.FormatPEM: simulator.ActionWrongKey, v1alpha1.FormatDER: simulator.ActionBadBase64} {
		name := "unusable-" + string(format)
		faults[name] = simulator.Fault{Action: action, Match: simulator.Match{Operation: simulator.OperationEnroll, CommonName: commonName(name)}}
		w.vendor.misbehave(faults[name])
		w.certificate(name, func(d *v1alpha1.DeviceCertificate) {
			d.Spec.EnrollmentProfileID, d.Spec.PrivateKey.Format = profileShort, format
		})
	}
	notIssued := func(name string) {
		w.await(name, "not issued", patience, func(d *v1alpha1.DeviceCertificate) bool {
			return condition(d.Status.Conditions, v1alpha1.ConditionReady).Status == "False" && (d.Status.Failures != nil || d.Status.Attempt != nil)
		})
	}
	for name := range faults {
		notIssued(name)
	}
	// A page instead of an answer is the account's matter, and stops buying: it comes last.
	provoke("as-html", simulator.Fault{Action: simulator.ActionRespond, Response: simulator.Response{Status: 400, Body: "<html>" + reflected, ContentType: "text/html"}})
	notIssued("as-html")
}

// searchEtcd searches every version of every object but the Secrets that are there to hold secrets. That it finds secrets in those shows
// that it would find them elsewhere.
func (w *world) searchEtcd(h *hunter, secrets []string) {
	w.Helper()
	var searched, size, positive int
	w.eachStored(func(key string, value []byte) {
		found := h.find(value)
		if name, ok := strings.CutPrefix(key, "/registry/secrets/"+w.namespace+"/"); ok && slices.Contains(secrets, name) {
			positive += len(found)
			return
		}
		searched, size = searched+1, size+len(value)
		for _, what := range found {
			w.Errorf("etcd holds %s under %s", what, key)
		}
	})
	w.Logf("%d versions of objects in etcd, %d bytes, were searched", searched, size)
	if positive < len(secrets) || searched < 100 {
		w.Errorf("only %d secrets were found where they belong, and %d versions searched: the search does not work", positive, searched)
	}
}

// eachStored takes a snapshot of etcd and shows every version of every object in it.
func (w *world) eachStored(show func(key string, value []byte)) {
	w.Helper()
	path := filepath.Join(w.TempDir(), "snapshot.db")
	w.must(os.WriteFile(path, w.snapshot(), 0o600))
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	w.must(err)
	defer db.Close()
	w.must(db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("key"))
		if bucket == nil {
			return errors.New("the snapshot is none of etcd's")
		}
		return bucket.ForEach(func(_, record []byte) error {
			// A record is a protocol buffer whose first field is the key.
			length, n := binary.Uvarint(record[1:])
			if record[0] != 0x0a || n <= 0 || 1+n+int(length) > len(record) {
				return fmt.Errorf("unknown record %x", record[:min(len(record), 16)])
			}
			show(string(record[1+n:1+n+int(length)]), record)
			return nil
		})
	}))
}

func (w *world) snapshot() []byte {
	w.Helper()
	response, err := http.Post(env.controlPlane.EtcdURL()+"/v3/maintenance/snapshot", "application/json", strings.NewReader("{}"))
	w.must(err)
	defer response.Body.Close()
	var snapshot []byte
	for stream := json.NewDecoder(response.Body); ; {
		var part struct{ Result struct{ Blob []byte } }
		err := stream.Decode(&part)
		if errors.Is(err, io.EOF) {
			break
		}
		w.must(err)
		snapshot = append(snapshot, part.Result.Blob...)
	}
	const checksum = 32 // at the end
	if len(snapshot) < checksum {
		w.Fatalf("etcd's snapshot has %d bytes (%s)", len(snapshot), response.Status)
	}
	return snapshot[:len(snapshot)-checksum]
}

// transportPair makes a pair that keys are encrypted to, and answers with its private half.
func (w *world) transportPair(name string) []byte {
	w.Helper()
	dir := w.TempDir()
	key, certificate := filepath.Join(dir, "key.pem"), filepath.Join(dir, "crt.pem")
	output(w.T, nil, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=transport", "-days", "2", "-keyout", key, "-out", certificate)
	data := map[string][]byte{}
	for file, path := range map[string]string{"tls.key": key, "tls.crt": certificate} {
		text, err := os.ReadFile(path)
		w.must(err)
		data[file] = text
	}
	w.createSecret(name, data)
	return data["tls.key"]
}

// pkcs8 is a private key in PEM, of whatever form, as openssl rewrites it.
func pkcs8(t *testing.T, key []byte) []byte {
	t.Helper()
	return []byte(output(t, bytes.NewReader(key), "openssl", "pkcs8", "-topk8", "-nocrypt"))
}
