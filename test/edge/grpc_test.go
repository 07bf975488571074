// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/tls/certprovider"
	_ "google.golang.org/grpc/credentials/tls/certprovider/pemfile"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/testkit/mounted"
)

// fileWatcher is gRPC's provider of certificates from files, with the settings of docs/workloads.md. Only the folder is another, and it looks
// at the files more often.
func fileWatcher(t *testing.T, dir string) certprovider.Provider {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "workloads.md"))
	must(t, err)
	_, section, _ := strings.Cut(string(page), "\n## gRPC\n")
	found := regexp.MustCompile("(?s)```\n(\\{.*?\\})\n```").FindStringSubmatch(section)
	if found == nil {
		t.Fatal("docs/workloads.md has no settings for gRPC")
	}
	settings := strings.NewReplacer("/tls/", dir+"/", `"60s"`, `"0.02s"`).Replace(found[1])
	provider, err := certprovider.GetProvider("file_watcher", json.RawMessage(settings), certprovider.BuildOptions{WantRoot: true, WantIdentity: true})
	must(t, err)
	t.Cleanup(provider.Close)
	return provider
}

// mutual are the TLS settings of either side, with what the provider has at the moment.
func mutual(ctx context.Context, provider certprovider.Provider) (*tls.Config, error) {
	material, err := provider.KeyMaterial(ctx)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: material.Certs, RootCAs: material.Roots, ClientCAs: material.Roots, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: []string{"h2"}, ServerName: "device.edge.example",
	}, nil
}

// presented is the serial number that the other side of a call has shown.
func presented(p *peer.Peer) string {
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		return certs.SerialString(info.State.PeerCertificates[0])
	}
	return ""
}

func TestGRPCFollowsTheMountedFilesThroughRenewals(t *testing.T) {
	w := start(t)
	w.certificate("device", "device.edge.example")
	serial := w.ready("device", "").Status.SerialNumber
	files, err := mounted.New(t.TempDir(), w.data("device"))
	must(t, err)
	provider := fileWatcher(t, files.Dir)

	clients := make(chan string, 1)
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return mutual(hello.Context(), provider)
		}})),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			p, _ := peer.FromContext(ctx)
			clients <- presented(p)
			return next(ctx, request)
		}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)

	// call answers with the serial numbers that client and server have shown each other on a new connection.
	call := func() (client, shown string) {
		config, err := mutual(t.Context(), provider)
		must(t, err)
		connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
		must(t, err)
		defer func() { _ = connection.Close() }()
		var p peer.Peer
		_, err = healthpb.NewHealthClient(connection).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.Peer(&p))
		must(t, err)
		return <-clients, presented(&p)
	}
	for range 2 {
		if client, shown := call(); client != serial || shown != serial {
			t.Errorf("client and server show %s and %s, want %s", client, shown, serial)
		}
		serial = w.renew("device", serial)
		must(t, files.Update(w.data("device")))
		w.until("both sides show the renewed certificate", func() bool {
			client, shown := call()
			return client == serial && shown == serial
		})
	}
}
