// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// validated is what Envoy's generated types have.
type validated interface {
	proto.Message
	ValidateAll() error
}

// block matches a file of docs/workloads.md: its path, and its text.
var block = regexp.MustCompile("(?s)```\n# (/etc/envoy/[a-z.]+)\n(.*?)```")

// documented reads a file of docs/workloads.md as Envoy does: unknown fields are refused, and what the types ask for is there.
func documented[M validated](t *testing.T, path string, into M) M {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "workloads.md"))
	must(t, err)
	for _, found := range block.FindAllStringSubmatch(string(page), -1) {
		if found[1] == path {
			text, err := yaml.YAMLToJSONStrict([]byte(found[2]))
			must(t, err)
			must(t, protojson.Unmarshal(text, into))
			must(t, into.ValidateAll())
			return into
		}
	}
	t.Fatalf("docs/workloads.md has no %s", path)
	return into
}

// packed is the message in an Any, whose own validation does not look inside.
func packed[M validated](t *testing.T, packed *anypb.Any, into M) M {
	t.Helper()
	must(t, packed.UnmarshalTo(into))
	must(t, into.ValidateAll())
	return into
}

func TestTheDocumentedFilesAreWhatEnvoyAsksFor(t *testing.T) {
	const sdsPath = "/etc/envoy/sds.yaml"
	secrets := map[string]*tlsv3.Secret{}
	for _, resource := range documented(t, sdsPath, &discoveryv3.DiscoveryResponse{}).Resources {
		secret := packed(t, resource, &tlsv3.Secret{})
		secrets[secret.Name] = secret
	}
	listeners := documented(t, "/etc/envoy/envoy.yaml", &bootstrapv3.Bootstrap{}).StaticResources.Listeners
	if len(listeners) != 1 || len(listeners[0].FilterChains) != 1 {
		t.Fatalf("%d listeners, want one with one filter chain", len(listeners))
	}
	chain := listeners[0].FilterChains[0]
	manager := packed(t, chain.Filters[0].GetTypedConfig(), &managerv3.HttpConnectionManager{})
	packed(t, manager.HttpFilters[0].GetTypedConfig(), &routerv3.Router{})
	common := packed(t, chain.TransportSocket.GetTypedConfig(), &tlsv3.DownstreamTlsContext{}).CommonTlsContext

	certificate, roots := common.TlsCertificateSdsSecretConfigs[0], common.GetValidationContextSdsSecretConfig()
	for _, config := range []*tlsv3.SdsSecretConfig{certificate, roots} {
		if got := config.SdsConfig.GetPathConfigSource().GetPath(); got != sdsPath {
			t.Errorf("%s is read from %q, want %s", config.Name, got, sdsPath)
		}
	}
	pair, trust := secrets[certificate.Name].GetTlsCertificate(), secrets[roots.Name].GetValidationContext()
	for _, c := range []struct{ what, got, want string }{
		{"chain", pair.GetCertificateChain().GetFilename(), "/tls/tls.crt"},
		{"key", pair.GetPrivateKey().GetFilename(), "/tls/tls.key"},
		{"folder of the pair", pair.GetWatchedDirectory().GetPath(), "/tls"},
		{"roots", trust.GetTrustedCa().GetFilename(), "/tls/ca.crt"},
		{"folder of the roots", trust.GetWatchedDirectory().GetPath(), "/tls"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %s", c.what, c.got, c.want)
		}
	}
}
