// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// issuerKinds are the two kinds that share IssuerSpec: whatever it promises, both keep.
var issuerKinds = map[string]string{"DeviceIssuer": minimalIssuer, "ClusterDeviceIssuer": minimalClusterIssuer}

func TestAnIssuerGetsItsDefaults(t *testing.T) {
	want := v1alpha1.IssuerSpec{
		URL:            "https://one.digicert.com",
		Auth:           v1alpha1.IssuerAuth{APIToken: &v1alpha1.APITokenAuth{SecretRef: v1alpha1.SecretKeyReference{Name: "digicert", Key: "token"}}},
		Limits:         v1alpha1.IssuerLimits{RequestsPerSecond: 5, Burst: 20, MaxConcurrent: 8, IssuancesPerDay: 5000},
		RequestTimeout: &metav1.Duration{Duration: time.Minute},
		Orphans:        v1alpha1.OrphanPolicySpec{Policy: v1alpha1.OrphansReport, InventoryLag: &metav1.Duration{Duration: 5 * time.Minute}},
	}
	wantStatus := v1alpha1.IssuerStatus{ObservedGeneration: -1}

	issuer := decoded[v1alpha1.DeviceIssuer](t, accepts(t, object(t, minimalIssuer)))
	if diff := cmp.Diff(v1alpha1.DeviceIssuerSpec{IssuerSpec: want}, issuer.Spec); diff != "" {
		t.Errorf("DeviceIssuer spec (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantStatus, issuer.Status); diff != "" {
		t.Errorf("DeviceIssuer status (-want +got):\n%s", diff)
	}

	cluster := decoded[v1alpha1.ClusterDeviceIssuer](t, accepts(t, object(t, minimalClusterIssuer)))
	if diff := cmp.Diff(v1alpha1.ClusterDeviceIssuerSpec{IssuerSpec: want}, cluster.Spec); diff != "" {
		t.Errorf("ClusterDeviceIssuer spec (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantStatus, cluster.Status); diff != "" {
		t.Errorf("ClusterDeviceIssuer status (-want +got):\n%s", diff)
	}
}

func TestAPartOfAnIssuerGetsTheDefaultsOfTheRest(t *testing.T) {
	stored := accepts(t, object(t, minimalIssuer, `
spec:
  caBundleRef: {name: corp-ca, key: ca.crt}
  limits: {burst: 1}
  orphans: {policy: Revoke}
`))
	spec := decoded[v1alpha1.DeviceIssuer](t, stored).Spec
	if diff := cmp.Diff(v1alpha1.IssuerLimits{RequestsPerSecond: 5, Burst: 1, MaxConcurrent: 8, IssuancesPerDay: 5000}, spec.Limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	wantOrphans := v1alpha1.OrphanPolicySpec{Policy: v1alpha1.OrphansRevoke, InventoryLag: &metav1.Duration{Duration: 5 * time.Minute}}
	if diff := cmp.Diff(wantOrphans, spec.Orphans); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
	if got := spec.CABundleRef.Kind; got != v1alpha1.ObjectKindSecret {
		t.Errorf("caBundleRef.kind is %q, want Secret", got)
	}
}

func TestAGoodIssuerIsAccepted(t *testing.T) {
	for name, patch := range map[string]string{
		"everything at once": `
spec:
  url: https://one.digicert.com:8443
  auth: {apiToken: null, clientCertificate: {secretRef: {name: digicert-mtls}, url: "https://mtls.one.digicert.com"}}
  caBundleRef: {kind: ConfigMap, name: corp-ca, key: ca.crt}
  proxyURL: http://proxy.corp.example:3128
  limits: {requestsPerSecond: 1000, burst: 10000, maxConcurrent: 256, issuancesPerDay: 1000000}
  requestTimeout: 1m30s
  orphans: {policy: Revoke, markerAttribute: attempt id, inventoryLag: 0s}
  publishProfiles: [IOT_00000000-0000-0000-0000-000000000001]
  suspend: true`,
		"a passcode":                          `spec: {auth: {apiToken: null, enrollmentPasscode: {secretRef: {name: passcode, key: passcode}}}}`,
		"a client certificate":                `spec: {auth: {apiToken: null, clientCertificate: {secretRef: {name: mtls}}}}`,
		"a client certificate at an IP":       `spec: {url: "https://10.0.0.1:8443", auth: {apiToken: null, clientCertificate: {secretRef: {name: mtls}, url: "https://10.0.0.2"}}}`,
		"a host without dots":                 `spec: {url: "https://simulator"}`,
		"an internationalised host":           `spec: {url: "https://xn--mnchen-3ya.example"}`,
		"a host that begins with digits":      `spec: {url: "https://1and1.example"}`,
		"an IPv4 address":                     `spec: {url: "https://127.0.0.1:8443"}`,
		"an IPv6 address":                     `spec: {url: "https://[::1]:8443"}`,
		"the highest port":                    `spec: {url: "https://one.digicert.com:65535"}`,
		"a proxy by https":                    `spec: {proxyURL: "https://proxy.corp.example"}`,
		"an inline bundle with words between": `spec: {caBundle: "# corp root\n-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"}`,
		"the smallest limits":                 `spec: {limits: {requestsPerSecond: 1, burst: 1, maxConcurrent: 1, issuancesPerDay: 1}}`,
		"the shortest timeout":                `spec: {requestTimeout: 5s}`,
		"the longest timeout":                 `spec: {requestTimeout: 5m}`,
		"the longest inventory lag":           `spec: {orphans: {inventoryLag: 1h}}`,
	} {
		for kind, manifest := range issuerKinds {
			t.Run(kind+" with "+name, func(t *testing.T) {
				listDecodes(t, accepts(t, object(t, manifest, patch)).GetKind())
			})
		}
	}
}

func TestABadIssuerIsRefusedWithTheFixInTheMessage(t *testing.T) {
	for name, bad := range map[string]struct{ patch, message string }{
		"no url":                         {`spec: {url: null}`, "spec.url: Required"},
		"an empty url":                   {`spec: {url: ""}`, "url must begin with https://"},
		"no auth":                        {`spec: {auth: null}`, "spec.auth: Required"},
		"auth by nothing":                {`spec: {auth: {apiToken: null}}`, "set exactly one of auth.apiToken, auth.clientCertificate and auth.enrollmentPasscode"},
		"auth by two":                    {`spec: {auth: {clientCertificate: {secretRef: {name: mtls}}}}`, "set exactly one of auth.apiToken, auth.clientCertificate and auth.enrollmentPasscode"},
		"auth by three":                  {`spec: {auth: {clientCertificate: {secretRef: {name: mtls}}, enrollmentPasscode: {secretRef: {name: a, key: b}}}}`, "set exactly one of"},
		"a token without Secret":         {`spec: {auth: {apiToken: {secretRef: null}}}`, "secretRef: Required"},
		"a token without key":            {`spec: {auth: {apiToken: {secretRef: {key: null}}}}`, "secretRef.key: Required"},
		"a token elsewhere":              {`spec: {auth: {apiToken: {secretRef: {name: kube-system/token}}}}`, "without a namespace"},
		"a token under a path":           {`spec: {auth: {apiToken: {secretRef: {key: ../token}}}}`, "letters, digits, -, _ and ."},
		"a mutual TLS url with http":     {`spec: {auth: {apiToken: null, clientCertificate: {secretRef: {name: mtls}, url: "http://mtls.example"}}}`, "auth.clientCertificate.url must be https://"},
		"an empty mutual TLS url":        {`spec: {auth: {apiToken: null, clientCertificate: {secretRef: {name: mtls}, url: ""}}}`, "auth.clientCertificate.url must be https://"},
		"a mutual TLS url with path":     {`spec: {auth: {apiToken: null, clientCertificate: {secretRef: {name: mtls}, url: "https://mtls.example/x"}}}`, "auth.clientCertificate.url must be https://"},
		"a client certificate at IPv4":   {`spec: {url: "https://10.0.0.1:8443", auth: {apiToken: null, clientCertificate: {secretRef: {name: mtls}}}}`, "auth.clientCertificate.url is required"},
		"a client certificate at IPv6":   {`spec: {url: "https://[::1]", auth: {apiToken: null, clientCertificate: {secretRef: {name: mtls}}}}`, "auth.clientCertificate.url is required"},
		"a client certificate elsewhere": {`spec: {auth: {apiToken: null, clientCertificate: {secretRef: {name: kube-system/mtls}}}}`, "without a namespace"},
		"a bundle elsewhere":             {`spec: {caBundleRef: {name: kube-system/ca, key: ca.crt}}`, "without a namespace"},
		"two bundles":                    {`spec: {caBundle: "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----", caBundleRef: {name: ca, key: ca.crt}}`, "set caBundle or caBundleRef, not both"},
		"an empty bundle":                {`spec: {caBundle: ""}`, "caBundle must be CA certificates in PEM"},
		"a bundle of words":              {`spec: {caBundle: trust me}`, "caBundle must be CA certificates in PEM"},
		"a bundle with a private key":    {`spec: {caBundle: "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\nMII=\n-----END RSA PRIVATE KEY-----"}`, "never a private key"},
		"a bundle too long":              {`spec: {caBundle: "` + strings.Repeat("x", 65537) + `"}`, "may not be more than 65536"},
		"a proxy with a password":        {`spec: {proxyURL: "http://user:secret@proxy:3128"}`, "proxyURL must not contain a user or password"},
		"a proxy with a path":            {`spec: {proxyURL: "http://proxy:3128/"}`, "proxyURL must be http:// or https://"},
		"a SOCKS proxy":                  {`spec: {proxyURL: "socks5://proxy:1080"}`, "proxyURL must be http:// or https://"},
		"a proxy without scheme":         {`spec: {proxyURL: "proxy:3128"}`, "proxyURL must be http:// or https://"},
		"an empty proxy":                 {`spec: {proxyURL: ""}`, "proxyURL must be http:// or https://"},
		"no request per second":          {`spec: {limits: {requestsPerSecond: 0}}`, "greater than or equal to 1"},
		"requests beyond 1000":           {`spec: {limits: {requestsPerSecond: 1001}}`, "less than or equal to 1000"},
		"requests beyond an int32":       {`spec: {limits: {requestsPerSecond: 4294967297}}`, "less than or equal to 1000"},
		"requests beyond an int64":       {`spec: {limits: {requestsPerSecond: 1e30}}`, "spec.limits.requestsPerSecond"},
		"half a request":                 {`spec: {limits: {requestsPerSecond: 0.5}}`, "must be of type integer"},
		"no burst":                       {`spec: {limits: {burst: 0}}`, "greater than or equal to 1"},
		"negative burst":                 {`spec: {limits: {burst: -1}}`, "greater than or equal to 1"},
		"burst beyond 10000":             {`spec: {limits: {burst: 10001}}`, "less than or equal to 10000"},
		"no concurrency":                 {`spec: {limits: {maxConcurrent: 0}}`, "greater than or equal to 1"},
		"concurrency beyond 256":         {`spec: {limits: {maxConcurrent: 257}}`, "less than or equal to 256"},
		"no issuances":                   {`spec: {limits: {issuancesPerDay: 0}}`, "greater than or equal to 1"},
		"issuances beyond a million":     {`spec: {limits: {issuancesPerDay: 1000001}}`, "less than or equal to 1000000"},
		"a timeout of 4s":                {`spec: {requestTimeout: 4s}`, "from 5s to 5m"},
		"a timeout of 0s":                {`spec: {requestTimeout: 0s}`, "from 5s to 5m"},
		"a timeout of 301s":              {`spec: {requestTimeout: 301s}`, "from 5s to 5m"},
		"an inventory lag of 61m":        {`spec: {orphans: {inventoryLag: 61m}}`, "from 0s to 1h"},
		"another orphan policy":          {`spec: {orphans: {policy: Ignore}}`, `supported values: "Report", "Revoke"`},
		"an empty marker":                {`spec: {orphans: {markerAttribute: ""}}`, "markerAttribute"},
		"a marker with a control":        {`spec: {orphans: {markerAttribute: "a\nb"}}`, "markerAttribute must not contain control"},
		"a published word":               {`spec: {publishProfiles: [gateway]}`, "publishProfiles must be enrollment profile ids"},
		"a profile published twice":      {`spec: {publishProfiles: [IOT_00000000-0000-0000-0000-000000000001, IOT_00000000-0000-0000-0000-000000000001]}`, "Duplicate value"},
		"nothing published but a list":   {`spec: {publishProfiles: []}`, "spec.publishProfiles"},
		"51 profiles published":          {`spec: {publishProfiles: [` + items(51, "%s", "IOT_00000000-0000-0000-0000-0000000000%02d") + `]}`, "must have at most 50 items"},
	} {
		for kind, manifest := range issuerKinds {
			t.Run(kind+" with "+name, func(t *testing.T) { refuses(t, object(t, manifest, bad.patch), bad.message) })
		}
	}
}

func TestAnIssuerURLIsAnHTTPSHostAndNothingElse(t *testing.T) {
	const rule = "url must be https://, a host in lower case and an optional port"
	for url, message := range map[string]string{
		"http://one.digicert.com":                "url must begin with https://",
		"HTTPS://one.digicert.com":               "url must begin with https://",
		"file:///etc/passwd":                     "url must begin with https://",
		"gopher://one.digicert.com":              "url must begin with https://",
		"unix:///run/docker.sock":                "url must begin with https://",
		"one.digicert.com":                       "url must begin with https://",
		" https://one.digicert.com":              "url must begin with https://",
		"https://":                               rule,
		"https://one.digicert.com/":              rule,
		"https://one.digicert.com/iot/..":        rule,
		"https://one.digicert.com;x":             rule,
		"https://one.digicert.com%2f..":          rule,
		"https://one.digicert.com?x=y":           rule,
		"https://one.digicert.com#x":             rule,
		"https://user@one.digicert.com":          rule,
		"https://one.digicert.com@evil.example":  rule,
		"https://one.digicert.com:443@evil":      rule,
		"https://one.digicert.com.":              rule,
		"https://one..digicert.com":              rule,
		"https://-one.digicert.com":              rule,
		"https://One.DigiCert.com":               rule,
		"https://one.digicert.сom":               rule, // a Cyrillic es
		"https://one.digicert.com:":              rule,
		"https://one.digicert.com:0":             rule,
		"https://one.digicert.com:022":           rule,
		"https://one.digicert.com:65536":         rule,
		"https://one.digicert.com:99999":         rule,
		"https://one.digicert.com:https":         rule,
		"https://one.digicert.com\r\nX-Evil: 1":  rule,
		"https://one.digicert.com\n":             rule,
		"https://one.digicert.com\x00":           rule,
		"https://2130706433":                     rule,
		"https://0x7f000001":                     rule,
		"https://0177.0.0.1":                     rule,
		"https://127.1":                          rule,
		"https://256.0.0.1":                      rule,
		"https://127.0.0.1.":                     rule,
		"https://[fe80::1%25eth0]":               rule,
		"https://[::ffff:127.0.0.1]":             rule,
		"https://[::1":                           rule,
		"https://::1":                            rule,
		"https://$(VAR)":                         rule,
		"https://{{ .Host }}":                    rule,
		"https://" + strings.Repeat("h", 64):     rule,
		"https://" + strings.Repeat("h.", 1<<19): "may not be more than 267",
	} {
		name := url
		if len(name) > 80 {
			name = name[:80]
		}
		t.Run(name, func(t *testing.T) {
			o := object(t, minimalIssuer)
			merge(o.Object, map[string]any{"spec": map[string]any{"url": url}})
			refuses(t, o, message)
		})
	}
}

func TestAGoodGrantIsAccepted(t *testing.T) {
	for name, grants := range map[string]string{
		"everything at once": `[{
  namespaces: {matchLabels: {team: a}, matchExpressions: [{key: tier, operator: In, values: [edge]}, {key: frozen, operator: DoesNotExist}]},
  profiles: [IOT_00000000-0000-0000-0000-000000000001, IOT_00000000-0000-0000-0000-000000000002],
  attributes: [{id: subject.common_name, suffixes: [.a.example]}, {id: san.dns_name, prefixes: [gw-], values: [a.example]}]}]`,
		"all namespaces":   `[{namespaces: {}}]`,
		"the most grants":  `[` + items(64, "{namespaces: {matchLabels: {team: %s}}}", "t%d") + `]`,
		"the same twice":   `[{namespaces: {matchLabels: {team: a}}}, {namespaces: {matchLabels: {team: a}}}]`,
		"8 expressions":    `[{namespaces: {matchExpressions: [` + items(8, "{key: %s, operator: Exists}", "k%d") + `]}}]`,
		"one bound at all": `[{namespaces: {}, attributes: [{id: a, values: [b]}]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			listDecodes(t, accepts(t, object(t, minimalClusterIssuer, `spec: {grants: `+grants+`}`)).GetKind())
		})
	}
}

func TestABadGrantIsRefusedWithTheFixInTheMessage(t *testing.T) {
	for name, bad := range map[string]struct{ grants, message string }{
		"no grant but a list":             {`[]`, "spec.grants"},
		"no namespaces":                   {`[{profiles: [IOT_00000000-0000-0000-0000-000000000001]}]`, "grants[0].namespaces: Required"},
		"65 grants":                       {`[` + items(65, "{namespaces: {matchLabels: {team: %s}}}", "t%d") + `]`, "must have at most 64 items"},
		"no profile but a list":           {`[{namespaces: {}, profiles: []}]`, "grants[0].profiles"},
		"a profile that is a word":        {`[{namespaces: {}, profiles: ["*"]}]`, "profiles must be enrollment profile ids"},
		"a profile twice":                 {`[{namespaces: {}, profiles: [IOT_00000000-0000-0000-0000-000000000001, IOT_00000000-0000-0000-0000-000000000001]}]`, "Duplicate value"},
		"65 profiles":                     {`[{namespaces: {}, profiles: [` + items(65, "%s", "IOT_00000000-0000-0000-0000-0000000000%02d") + `]}]`, "must have at most 64 items"},
		"no attribute but a list":         {`[{namespaces: {}, attributes: []}]`, "grants[0].attributes"},
		"an attribute without bound":      {`[{namespaces: {}, attributes: [{id: a}]}]`, "set at least one of values, prefixes and suffixes"},
		"an attribute twice":              {`[{namespaces: {}, attributes: [{id: a, values: [b]}, {id: a, values: [c]}]}]`, "Duplicate value"},
		"an attribute without id":         {`[{namespaces: {}, attributes: [{values: [b]}]}]`, "attributes[0].id: Required"},
		"an attribute with a control":     {`[{namespaces: {}, attributes: [{id: "a\n", values: [b]}]}]`, "id must not contain control"},
		"33 attributes":                   {`[{namespaces: {}, attributes: [` + items(33, "{id: %s, values: [x]}", "a%d") + `]}]`, "must have at most 32 items"},
		"no value but a list":             {`[{namespaces: {}, attributes: [{id: a, values: []}]}]`, "attributes[0].values"},
		"an empty value":                  {`[{namespaces: {}, attributes: [{id: a, values: [""]}]}]`, "attributes[0].values[0]"},
		"an empty prefix, which is any":   {`[{namespaces: {}, attributes: [{id: a, prefixes: [""]}]}]`, "attributes[0].prefixes[0]"},
		"an empty suffix, which is any":   {`[{namespaces: {}, attributes: [{id: a, suffixes: [""]}]}]`, "attributes[0].suffixes[0]"},
		"a suffix twice":                  {`[{namespaces: {}, attributes: [{id: a, suffixes: [b, b]}]}]`, "Duplicate value"},
		"17 prefixes":                     {`[{namespaces: {}, attributes: [{id: a, prefixes: [` + items(17, "%s", "p%d") + `]}]}]`, "must have at most 16 items"},
		"65 values":                       {`[{namespaces: {}, attributes: [{id: a, values: [` + items(65, "%s", "v%d") + `]}]}]`, "must have at most 64 items"},
		"an operator Kubernetes lacks":    {`[{namespaces: {matchExpressions: [{key: a, operator: Matches, values: [b]}]}}]`, "must be In, NotIn, Exists or DoesNotExist"},
		"In without values":               {`[{namespaces: {matchExpressions: [{key: a, operator: In}]}}]`, "operators In and NotIn need values"},
		"NotIn with an empty list":        {`[{namespaces: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}]`, "operators In and NotIn need values"},
		"Exists with values":              {`[{namespaces: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]`, "Exists and DoesNotExist refuse them"},
		"a bad eighth expression":         {`[{namespaces: {matchExpressions: [` + items(7, "{key: %s, operator: Exists}", "k%d") + `, {key: a, operator: Is}]}}]`, "must be In, NotIn, Exists or DoesNotExist"},
		"9 expressions":                   {`[{namespaces: {matchExpressions: [` + items(9, "{key: %s, operator: Exists}", "k%d") + `]}}]`, "at most 8 entries"},
		"a label that is a number":        {`[{namespaces: {matchLabels: {team: 7}}}]`, "must be of type string"},
		"a grant that grants a namespace": {`[{namespaces: [edge]}]`, "must be of type object"},
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, object(t, minimalClusterIssuer, `spec: {grants: `+bad.grants+`}`), bad.message)
		})
	}
}
