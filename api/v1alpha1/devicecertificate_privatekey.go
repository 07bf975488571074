// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// PrivateKey says which key the vendor makes and how it travels.
//
// +kubebuilder:validation:XValidation:rule="!(self.format in ['cert_encrypted', 'cert_encrypted_key_only']) || has(self.encryption)",message="format cert_encrypted and cert_encrypted_key_only need encryption: name the certificate the vendor encrypts the key to in encryption.certificateRef or encryption.certificate"
// +kubebuilder:validation:XValidation:rule="self.format in ['cert_encrypted', 'cert_encrypted_key_only'] || !has(self.encryption)",message="encryption is only for format cert_encrypted and cert_encrypted_key_only: remove it or choose one of these formats"
// +kubebuilder:validation:XValidation:rule="self.format in ['cert_encrypted', 'cert_encrypted_key_only'] || self.delivery != 'Sealed'",message="delivery Sealed needs format cert_encrypted or cert_encrypted_key_only: in every other format the operator sees the key"
// +kubebuilder:validation:XValidation:rule="self.delivery != 'Decrypted' || !has(self.encryption) || has(self.encryption.decryptionKeyRef)",message="delivery Decrypted needs encryption.decryptionKeyRef, the private key that opens what the vendor encrypted: set it, or set delivery to Sealed"
// +kubebuilder:validation:XValidation:rule="self.delivery != 'Sealed' || !has(self.encryption) || !has(self.encryption.decryptionKeyRef)",message="delivery Sealed never opens the key: remove encryption.decryptionKeyRef, or set delivery to Decrypted"
type PrivateKey struct {
	// keyType in the vendor's own words, such as p_256, rsa_2048 or ed_25519: 1 to 32 lower-case letters, digits and _.
	// The profile must allow it, and may fix another. Default: the profile's. Changing it costs a certificate.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9_]+$')",message="keyType must be in the vendor's own words, in lower-case letters, digits and _, such as p_256 or rsa_2048"
	// +optional
	KeyType string `json:"keyType,omitempty"`
	// format in which the key travels from the vendor. It does not show in the Secret unless delivery is Sealed. Default: pem.
	// +kubebuilder:default=pem
	// +optional
	Format KeyFormat `json:"format,omitempty"`
	// syntax is passed to the vendor as private_key_syntax, as it is: 1 to 32 printable ASCII characters without spaces.
	// The operator reads every syntax. Default: the vendor's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$')",message="syntax must be one word of printable ASCII, as the vendor's private_key_syntax takes it"
	// +optional
	Syntax string `json:"syntax,omitempty"`
	// delivery is Decrypted (tls.key in the clear) or Sealed (the encrypted payload, byte for byte; only with the cert_encrypted formats).
	// Changing it costs a certificate and needs a new secret.name. Default: Decrypted.
	// +kubebuilder:default=Decrypted
	// +optional
	Delivery Delivery `json:"delivery,omitempty"`
	// encryption names the certificate the vendor encrypts the key to. Required for the two cert_encrypted formats, refused for others.
	// +optional
	Encryption *KeyEncryption `json:"encryption,omitempty"`
}

// KeyFormat is the vendor's private_key_format.
// +kubebuilder:validation:Enum=pem;der;pkcs_12;cert_encrypted;cert_encrypted_key_only
type KeyFormat string

// The vendor's private key formats.
const (
	FormatPEM                  KeyFormat = "pem"
	FormatDER                  KeyFormat = "der"
	FormatPKCS12               KeyFormat = "pkcs_12"
	FormatCertEncrypted        KeyFormat = "cert_encrypted"
	FormatCertEncryptedKeyOnly KeyFormat = "cert_encrypted_key_only"
)

// Encrypted tells whether the vendor encrypts the key to a certificate of ours in this format.
func (f KeyFormat) Encrypted() bool {
	return f == FormatCertEncrypted || f == FormatCertEncryptedKeyOnly
}

// Delivery says whether the operator opens the key.
// +kubebuilder:validation:Enum=Decrypted;Sealed
type Delivery string

// The deliveries.
const (
	// DeliveryDecrypted stores the key in the clear, as tls.key.
	DeliveryDecrypted Delivery = "Decrypted"
	// DeliverySealed stores the key as the vendor encrypted it; the operator never sees it.
	DeliverySealed Delivery = "Sealed"
)

// KeyEncryption names the RSA certificate the vendor encrypts the private key to. Exactly one of certificateRef and certificate is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.certificateRef) != has(self.certificate)",message="set exactly one of encryption.certificateRef and encryption.certificate"
type KeyEncryption struct {
	// certificateRef names a Secret or ConfigMap of this namespace that holds the certificate in PEM.
	// +optional
	CertificateRef *ObjectKeyReference `json:"certificateRef,omitempty"`
	// certificate is the certificate itself: one PEM block and nothing else, at most 16384 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	// +kubebuilder:validation:XValidation:rule="self.matches('^\\\\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\\\s]+-----END CERTIFICATE-----\\\\s*$')",message="encryption.certificate must be one certificate in PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, and nothing else"
	// +optional
	Certificate string `json:"certificate,omitempty"`
	// decryptionKeyRef names the Secret of this namespace that holds the private key of that certificate, in PEM. Required for delivery
	// Decrypted, refused for Sealed.
	// +optional
	DecryptionKeyRef *SecretKeyReference `json:"decryptionKeyRef,omitempty"`
}
