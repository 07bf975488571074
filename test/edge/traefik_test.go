// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/rs/zerolog/log"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/provider/kubernetes/gateway"
	"github.com/traefik/traefik/v3/pkg/provider/kubernetes/ingress"
	"github.com/traefik/traefik/v3/pkg/safe"
	traefiktls "github.com/traefik/traefik/v3/pkg/tls"
)

// traefik are the parts of Traefik by which a Secret becomes a handshake: what watches Ingresses, Gateways and Secrets, and what keeps their
// certificates. It answers with the address that it serves TLS at.
func traefik(t *testing.T, kubeconfig string) string {
	t.Helper()
	t.Setenv("KUBECONFIG", kubeconfig)
	log.Logger = log.Output(t.Output())
	pool, messages := safe.NewPool(t.Context()), make(chan dynamic.Message)
	t.Cleanup(pool.Stop)
	gateways := &gateway.Provider{EntryPoints: map[string]gateway.Entrypoint{"websecure": {Address: ":8443", HasHTTPTLSConf: true}}}
	gateways.SetDefaults()
	must(t, gateways.Init())
	must(t, gateways.Provide(messages, pool))
	must(t, (&ingress.Provider{AllowEmptyServices: true}).Provide(messages, pool))

	store := traefiktls.NewManager(nil)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return store.Get(traefiktls.DefaultTLSStoreName, traefiktls.DefaultTLSConfigName)
		},
	})
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go follow(t, store, messages)
	go serve(listener)
	return listener.Addr().String()
}

// follow keeps the certificates of each provider's last message.
func follow(t *testing.T, store *traefiktls.Manager, messages <-chan dynamic.Message) {
	latest := map[string][]*traefiktls.CertAndStores{}
	for {
		select {
		case <-t.Context().Done():
			return
		case message := <-messages:
			latest[message.ProviderName] = nil
			if message.Configuration.TLS != nil {
				latest[message.ProviderName] = message.Configuration.TLS.Certificates
			}
		}
		var all []*traefiktls.CertAndStores
		for _, some := range latest {
			all = append(all, some...)
		}
		options := map[string]traefiktls.Options{traefiktls.DefaultTLSConfigName: traefiktls.DefaultTLSOptions}
		store.UpdateConfigs(t.Context(), nil, options, all)
	}
}

func serve(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_ = connection.(*tls.Conn).Handshake() // the client says what is wrong
			_ = connection.Close()
		}()
	}
}
