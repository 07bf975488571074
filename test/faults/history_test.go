// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// recording keeps every version of the case's certificates and of their Secrets. A watch skips none.
type recording struct {
	mu           sync.Mutex
	certificates []*v1alpha1.DeviceCertificate
	secrets      []*secretVersion
}

// secretVersion is a Secret as a watcher saw it.
type secretVersion struct {
	*corev1.Secret
	deleted bool
	// serial of the leaf in it; problem says why it is no whole matching set.
	serial  string
	problem error
}

// record starts to watch.
func record(w *world) *recording {
	w.Helper()
	r := &recording{}
	for _, list := range []client.ObjectList{&v1alpha1.DeviceCertificateList{}, &corev1.SecretList{}} {
		events, err := env.admin.Watch(w.ctx, list, client.InNamespace(w.namespace))
		w.must(err)
		w.Cleanup(events.Stop)
		go func() {
			for event := range events.ResultChan() {
				r.add(w, event)
			}
		}()
	}
	return r
}

func (r *recording) add(w *world, event watch.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch object := event.Object.(type) {
	case *v1alpha1.DeviceCertificate:
		if event.Type != watch.Deleted {
			r.certificates = append(r.certificates, object)
		}
	case *corev1.Secret:
		if object.Labels[v1alpha1.LabelWatch] == "" && object.Annotations[v1alpha1.AnnotationAttemptID] == "" {
			return // a credential, or somebody else's
		}
		s := &secretVersion{Secret: object, deleted: event.Type == watch.Deleted}
		s.serial, s.problem = inspect(object, w.roots())
		r.secrets = append(r.secrets, s)
	}
}

func (r *recording) of(name string) ([]*v1alpha1.DeviceCertificate, []*secretVersion) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var certificates []*v1alpha1.DeviceCertificate
	for _, c := range r.certificates {
		if c.Name == name {
			certificates = append(certificates, c)
		}
	}
	var secrets []*secretVersion
	for _, s := range r.secrets {
		if s.Annotations[v1alpha1.AnnotationCertificateName] == name {
			secrets = append(secrets, s)
		}
	}
	return certificates, secrets
}

// names are those of all certificates that ever were.
func (r *recording) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	seen := map[string]bool{}
	for _, c := range r.certificates {
		if !seen[c.Name] {
			names, seen[c.Name] = append(names, c.Name), true
		}
	}
	return names
}

// roots are the vendors' own: what a device's peer trusts.
func (w *world) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, v := range w.vendors {
		pool.AppendCertsFromPEM([]byte(v.server.RootCertificate()))
	}
	return pool
}

// inspect judges what a Secret shows by the standard library alone: the key fits the leaf, and the chain leads to a root.
func inspect(s *corev1.Secret, roots *x509.CertPool) (serial string, problem error) {
	pair, err := tls.X509KeyPair(s.Data["tls.crt"], s.Data["tls.key"])
	if err != nil {
		return "", err
	}
	intermediates := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "", err
		}
		intermediates.AddCert(c)
	}
	serial = serialOf(pair.Leaf)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: pair.Leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if len(s.Data["ca.crt"]) == 0 {
		err = errors.Join(err, errors.New("ca.crt is missing"))
	}
	return serial, err
}

// serialOf spells a serial number as the vendor does: upper-case hex in whole octets.
func serialOf(c *x509.Certificate) string {
	return strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes()))
}

// version orders what was written to the API server: etcd counts for all objects together.
func version(o client.Object) uint64 {
	v, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func (s *secretVersion) String() string {
	return fmt.Sprintf("version %s of Secret %s (serial %s)", s.ResourceVersion, s.Name, s.serial)
}
