// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"
)

// Config says which account the simulator plays. The fields with JSON names come from the YAML file, the others are for Go
// callers. New validates it.
type Config struct {
	// Profiles are the enrollment profiles of the account; at least one.
	Profiles []Profile `json:"profiles"`
	// APIKeys are accepted in the header x-api-key.
	APIKeys []APIKey `json:"apiKeys,omitempty"`
	// Passcodes are accepted in the header x-passcode, for enroll and renew of one profile.
	Passcodes []Passcode `json:"passcodes,omitempty"`
	// ClientCertificates are accepted in the TLS handshake of the client certificate listener.
	ClientCertificates []ClientCertificate `json:"clientCertificates,omitempty"`
	// Switches are the initial settings; the admin API changes them at run time.
	Switches Switches `json:"switches,omitempty"`
	// KeyPool says how many private keys per key type to generate ahead in the background, for benchmarks. A key is never
	// handed out twice; when the pool is empty keys are generated on demand.
	KeyPool map[string]int `json:"keyPool,omitempty"`

	// LedgerPath is the bbolt file that keeps certificates, devices and the certificate authorities. The empty string
	// means a temporary file without fsync, removed by Close.
	LedgerPath string `json:"-"`
	// Now is the clock of everything with a calendar: validity, expiry, inventory lag, the Date header. Default time.Now.
	// Delays of faults are real time always.
	Now func() time.Time `json:"-"`
	// Logger receives one line per request. Default: nothing is logged.
	Logger *slog.Logger `json:"-"`
}

// Profile is one enrollment profile.
type Profile struct {
	// ID is "IOT_" and a lower-case UUID.
	ID string `json:"id"`
	// Name is for people.
	Name string `json:"name,omitempty"`
	// Methods are the enrollment methods. The REST API needs API. Default: API.
	Methods []string `json:"methods,omitempty"`
	// KeyGenerationOption is server_side, client_or_server_side or client_side. Default server_side.
	KeyGenerationOption string `json:"keyGenerationOption,omitempty"`
	// KeyTypes are allowed in requests. Default: all seven known ones.
	KeyTypes []string `json:"keyTypes,omitempty"`
	// DefaultKeyType is used by requests that name none. Default: the first of KeyTypes.
	DefaultKeyType string `json:"defaultKeyType,omitempty"`
	// FixedKeyType, when set, is used whatever the request says, as the vendor documents for profiles that fix it.
	FixedKeyType string `json:"fixedKeyType,omitempty"`
	// CertificateFields are the certificate attributes a request may carry. Default: an obligatory subject.common_name.
	CertificateFields []Field `json:"certificateFields,omitempty"`
	// DeviceFields are the device attributes a request may carry. Default: an optional DEVICE_IDENTIFIER.
	DeviceFields []Field `json:"deviceFields,omitempty"`
	// Validity is the time from issuing to notAfter. Default 8760h.
	Validity Duration `json:"validity,omitempty"`
	// Backdate is how far before issuing notBefore lies. Default 1m.
	Backdate *Duration `json:"backdate,omitempty"`
	// Renewal says when a certificate may be renewed.
	Renewal Renewal `json:"renewal,omitempty"`
	// Approval is auto or manual. A manual profile answers 200 with a pending status and no certificate. Default auto.
	Approval string `json:"approval,omitempty"`
	// DuplicateDevice is reuse or reject: what an enroll does whose device has a live certificate already. Default reuse.
	DuplicateDevice string `json:"duplicateDevice,omitempty"`
	// UsageLimit caps enrolls plus renews of the profile. 0 means no limit.
	UsageLimit int `json:"usageLimit,omitempty"`
	// SubjectRewrite changes the requested subject, as some certificate profiles do.
	SubjectRewrite SubjectRewrite `json:"subjectRewrite,omitempty"`
}

// Field is a certificate or device attribute of a profile.
type Field struct {
	// ID is what requests name: a dotted path, DEVICE_IDENTIFIER, a UUID or a slug.
	ID string `json:"id"`
	// Name is what people see. Default: the id.
	Name string `json:"name,omitempty"`
	// Mandatory fields must come with the request unless Default or Fixed gives a value.
	Mandatory bool `json:"mandatory,omitempty"`
	// Multiple fields take several values.
	Multiple bool `json:"multiple,omitempty"`
	// Default is used when the request gives no value.
	Default Values `json:"default,omitempty"`
	// Fixed is used always; a request that sends another value is refused.
	Fixed Values `json:"fixed,omitempty"`
	// Options, when set, are the only values accepted.
	Options []string `json:"options,omitempty"`
}

// Renewal are the renewal settings of a profile, named as the vendor's templates name them.
type Renewal struct {
	// RenewValidCert is anytime, in_specific_window or dont_allow. Default anytime.
	RenewValidCert string `json:"renewValidCert,omitempty"`
	// RenewBeforeExpirationWindow is the window before notAfter, required for in_specific_window.
	RenewBeforeExpirationWindow Duration `json:"renewBeforeExpirationWindow,omitempty"`
	// RenewExpiredCert is anytime, in_specific_window or dont_allow. Default dont_allow.
	RenewExpiredCert string `json:"renewExpiredCert,omitempty"`
	// RenewAfterExpirationWindow is the window after notAfter, required for in_specific_window.
	RenewAfterExpirationWindow Duration `json:"renewAfterExpirationWindow,omitempty"`
	// RenewRevokedCert allows renewing a revoked certificate. Default true.
	RenewRevokedCert *bool `json:"renewRevokedCert,omitempty"`
	// RefuseSecondRenew refuses to renew a certificate that has a successor.
	RefuseSecondRenew bool `json:"refuseSecondRenew,omitempty"`
}

// SubjectRewrite changes the subject a request asks for.
type SubjectRewrite struct {
	// CommonName replaces the common name.
	CommonName string `json:"commonName,omitempty"`
	// AppendOrganization adds an organization.
	AppendOrganization string `json:"appendOrganization,omitempty"`
}

// APIKey is the token of a user or service user.
type APIKey struct {
	// Name is what the ledger and the request log show instead of the key; unique among all credentials.
	Name string `json:"name"`
	// Key is the token itself.
	Key string `json:"key"`
	// Deny lists operations answered with 403 access_denied, to rehearse credentials with few permissions.
	Deny []Operation `json:"deny,omitempty"`
	// Expires is when every call starts to fail with 401. Absent means never.
	Expires *time.Time `json:"expires,omitempty"`
	// RequestsPerSecond answers 429 with Retry-After: 1 beyond this rate, with a burst of one second. 0 means no limit.
	RequestsPerSecond int `json:"requestsPerSecond,omitempty"`
}

// Passcode is an enrollment passcode of one profile.
type Passcode struct {
	// Name is what the ledger and the request log show; unique among all credentials.
	Name string `json:"name"`
	// Passcode is the secret itself.
	Passcode string `json:"passcode"`
	// ProfileID is the only profile it opens.
	ProfileID string `json:"profileID"`
	// UsageLimit caps enrolls plus renews. 0 means no limit.
	UsageLimit int `json:"usageLimit,omitempty"`
	// RegisteredValues pin certificate fields: an absent field gets the value, another value is refused.
	RegisteredValues []RegisteredValue `json:"registeredValues,omitempty"`
	// Expires is when it starts to fail with 401. Absent means never.
	Expires *time.Time `json:"expires,omitempty"`
}

// RegisteredValue pins one certificate field of a passcode.
type RegisteredValue struct {
	// CertificateField is the attribute id, such as subject.common_name.
	CertificateField string `json:"certificateField"`
	// Value is the only accepted value or set of values.
	Value Values `json:"value"`
}

// ClientCertificate is a TLS client certificate known to the account. Exactly one of CertificateFile, Certificate and
// Generate is set.
type ClientCertificate struct {
	// Name is what the ledger and the request log show; unique among all credentials.
	Name string `json:"name"`
	// CertificateFile is the path of a PEM certificate; in YAML relative to the configuration file.
	CertificateFile string `json:"certificateFile,omitempty"`
	// Certificate is a PEM certificate.
	Certificate string `json:"certificate,omitempty"`
	// Generate makes the simulator issue a client certificate and key; Server.ClientCertificate returns them.
	Generate bool `json:"generate,omitempty"`
	// ProfileID registers it on one profile, for enroll and renew only. Empty means the whole account.
	ProfileID string `json:"profileID,omitempty"`
	// Deny lists operations answered with 403 access_denied.
	Deny []Operation `json:"deny,omitempty"`
}

// Duration is a time.Duration written as in Go: "90s", "720h", "1h30m".
type Duration time.Duration

// UnmarshalJSON accepts a string in Go's duration syntax.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("a duration is a string such as \"90s\" or \"720h\", not %s", data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("duration %q: write it as \"90s\" or \"720h\": %w", text, err)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalJSON writes Go's duration syntax.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// Values is one string or several. In JSON and YAML a single value may stand without brackets.
type Values []string

// UnmarshalJSON accepts a string or an array of strings.
func (v *Values) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = Values{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return fmt.Errorf("a value is a string or an array of strings, not %s", data)
	}
	*v = many
	return nil
}

// MarshalJSON writes a single value as a string and several as an array.
func (v Values) MarshalJSON() ([]byte, error) {
	if len(v) == 1 {
		return json.Marshal(v[0])
	}
	return json.Marshal([]string(v))
}

// LoadConfig reads a YAML file. Unknown fields are errors, so that a misspelt switch does not go unnoticed.
func LoadConfig(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	var config Config
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := config.validate(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	for i, cc := range config.ClientCertificates {
		if cc.CertificateFile != "" && !filepath.IsAbs(cc.CertificateFile) {
			config.ClientCertificates[i].CertificateFile = filepath.Join(filepath.Dir(path), cc.CertificateFile)
		}
	}
	return config, nil
}
