// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package foreign

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// TestAGoServerPicksUpRenewalsByACertificateWatcher uses controller-runtime's, which most webhooks serve with.
func TestAGoServerPicksUpRenewalsByACertificateWatcher(t *testing.T) {
	p := newVendor(t).order("webhook.example", "p_256", v1alpha1.Outputs{})
	files := mount(t, p.data())
	w, err := certwatcher.New(files.file("tls.crt"), files.file("tls.key"))
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: w.GetCertificate})
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				_ = c.(*tls.Conn).Handshake() // the client says what is wrong
				_ = c.Close()
			}(c)
		}
	}()
	s := &server{t: t, address: listener.Addr().String(), log: &logBuffer{}}
	for range 3 {
		s.until("it shows the certificate", func() bool { return s.shows(p) == p.serial() })
		p.renew()
		files.update(p.data())
	}
	s.until("it shows the last renewal", func() bool { return s.shows(p) == p.serial() })
}
