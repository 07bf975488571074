// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// hashVersion names the way IssuanceHash is computed. A change of it alone never buys anything: see sameHashVersion.
const hashVersion = "v1"

// IssuanceHash is the hash of what costs a certificate: vendor host, profile, attributes, key type and delivery; for sealed delivery
// also the encryption certificate's public key and whether the chain is inside the sealed bundle. Nothing else may enter: outputs,
// passwords, labels, the transport format, the issuer object's name, renewal times and the Secret's name never cost a certificate.
func IssuanceHash(host string, spec *v1alpha1.DeviceCertificateSpec, encryptionKeySHA256 string) (string, error) {
	bought := struct {
		Host, Profile, KeyType string
		Certificate, Device    []v1alpha1.Attribute
		Delivery               v1alpha1.Delivery
		EncryptionKey          string               `json:",omitempty"`
		Chain                  v1alpha1.ChainOutput `json:",omitempty"`
	}{
		Host: strings.ToLower(host), Profile: spec.EnrollmentProfileID, KeyType: spec.PrivateKey.KeyType,
		Certificate: byID(spec.CertificateAttributes), Device: byID(spec.DeviceAttributes),
		Delivery: cmp.Or(spec.PrivateKey.Delivery, v1alpha1.DeliveryDecrypted),
	}
	if bought.Delivery == v1alpha1.DeliverySealed {
		bought.EncryptionKey = encryptionKeySHA256
		if spec.PrivateKey.Format == v1alpha1.FormatCertEncrypted {
			bought.Chain = ChainWanted(spec)
		}
	}
	text, err := json.Marshal(bought)
	if err != nil {
		return "", fmt.Errorf("hash what is bought: %w", err)
	}
	sum := sha256.Sum256(text)
	return hashVersion + ":" + hex.EncodeToString(sum[:]), nil
}

// ChainWanted is spec.secret.outputs.chain with its default.
func ChainWanted(spec *v1alpha1.DeviceCertificateSpec) v1alpha1.ChainOutput {
	if o := spec.Secret.Outputs; o != nil && o.Chain != "" {
		return o.Chain
	}
	return v1alpha1.ChainInclude
}

// byID sorts attributes: their order in the spec means nothing.
func byID(attributes []v1alpha1.Attribute) []v1alpha1.Attribute {
	return slices.SortedFunc(slices.Values(attributes), func(a, b v1alpha1.Attribute) int { return cmp.Compare(a.ID, b.ID) })
}

func sameHashVersion(a, b string) bool {
	va, _, _ := strings.Cut(a, ":")
	vb, _, _ := strings.Cut(b, ":")
	return va == vb
}
