// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IssuerStatus is the operator's notebook about one issuer.
type IssuerStatus struct {
	// observedGeneration is the last generation of the spec that this status speaks of; -1 until the object was seen.
	// +kubebuilder:default=-1
	// +kubebuilder:validation:Minimum=-1
	// +kubebuilder:validation:Maximum=9007199254740991
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions are Ready, always present, and Reconciling, Stalled, Suspended and BudgetExceeded as they apply.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.lastTransitionTime.getFullYear() >= 2000 && c.lastTransitionTime.getFullYear() <= 9999 && (!has(c.observedGeneration) || c.observedGeneration <= 9007199254740991))",message="lastTransitionTime must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z, and observedGeneration a generation"
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// capabilities of the credential, probed once for each version of it.
	// +optional
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	// credentialVersion is the version of the credential that was probed: a digest that does not give the credential away.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	CredentialVersion string `json:"credentialVersion,omitempty"`
	// credentialExpiresAt is the end of the client certificate. Absent for tokens and passcodes, whose end is not known.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 1 && self.getFullYear() <= 9999",message="must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"
	// +optional
	CredentialExpiresAt *metav1.Time `json:"credentialExpiresAt,omitempty"`
	// clockSkewSeconds is the vendor's clock minus the operator's, in whole seconds, when it was last above a minute.
	// +kubebuilder:validation:Minimum=-9007199254740991
	// +kubebuilder:validation:Maximum=9007199254740991
	// +optional
	ClockSkewSeconds *int64 `json:"clockSkewSeconds,omitempty"`
	// publishedProfiles are the enrollment profiles whose specification is published as a ConfigMap, at most 100.
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +optional
	PublishedProfiles []string `json:"publishedProfiles,omitempty"`
	// blockedProfiles are not bought from until somebody acts, at most 50.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +optional
	BlockedProfiles []BlockedProfile `json:"blockedProfiles,omitempty"`
	// sweeps say, for each enrollment profile in use, when the vendor's inventory was last compared with the cluster and when it is next; at most
	// 100 profiles are swept. Absent when the credential cannot search.
	// +listType=map
	// +listMapKey=profileID
	// +kubebuilder:validation:MaxItems=100
	// +optional
	Sweeps []Sweep `json:"sweeps,omitempty"`
	// orphans counts what stands in status.orphans of the DeviceCertificates that name this issuer. Absent when there are none.
	// +optional
	Orphans *OrphanCount `json:"orphans,omitempty"`
	// budget is what of limits.issuancesPerDay was used on the last day on which anything was bought.
	// +optional
	Budget *IssuerBudget `json:"budget,omitempty"`
	// forecast of the renewals of this issuer's certificates.
	// +optional
	Forecast *RenewalForecast `json:"forecast,omitempty"`
}

// Sweep is the comparison of one profile's inventory with the cluster.
type Sweep struct {
	// profileID is the enrollment profile.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	ProfileID string `json:"profileID,omitempty"`
	// lastTime is when the last sweep began that came to its end. Absent before the first.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +optional
	LastTime *metav1.Time `json:"lastTime,omitempty"`
	// nextTime is when the next one is due.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +required
	NextTime metav1.Time `json:"nextTime,omitzero"`
	// records of the inventory that the last sweep looked at.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	Records int32 `json:"records,omitempty"`
	// failures counts the sweeps in a row that did not come to their end.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	Failures int32 `json:"failures,omitempty"`
	// message says what a sweep could not do, in at most 2048 characters. Absent when all was looked at.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Message string `json:"message,omitempty"`
}

// OrphanCount counts orphans by their outcome.
type OrphanCount struct {
	// reported are left to a person.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	Reported int32 `json:"reported,omitempty"`
	// revoked need nothing from anybody.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	Revoked int32 `json:"revoked,omitempty"`
	// revokeFailed could not be revoked and are left to a person.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	RevokeFailed int32 `json:"revokeFailed,omitempty"`
	// oldest is the earliest time at which one of those that are left to a person may have been issued.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 2000 && self.getFullYear() <= 9999",message="must be an RFC 3339 time of this century, such as 2026-01-31T12:00:00Z"
	// +optional
	Oldest *metav1.Time `json:"oldest,omitempty"`
}

// IssuerBudget is what was taken from limits.issuancesPerDay. The operator writes it in blocks before it buys, so that neither a restart
// nor the deletion of certificates resets it; it is at most one block ahead of what was bought.
type IssuerBudget struct {
	// day in UTC, such as 2026-01-31.
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$')",message="day must be a date, such as 2026-01-31"
	// +required
	Day string `json:"day,omitempty"`
	// reserved issuances of that day: bought, or set aside to be bought next.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	Reserved int32 `json:"reserved"`
}

// RenewalForecast counts an issuer's certificates by when their renewal falls due. It is written along with other changes, and by itself
// at most once an hour when it has changed much.
type RenewalForecast struct {
	// observedAt is when it was counted.
	// +kubebuilder:validation:XValidation:rule="self.getFullYear() >= 1 && self.getFullYear() <= 9999",message="must be an RFC 3339 time, such as 2026-01-31T12:00:00Z"
	// +required
	ObservedAt metav1.Time `json:"observedAt,omitzero"`
	// certificates that are renewed by themselves.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	Certificates int32 `json:"certificates"`
	// overdue are those whose renewal was due already.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	Overdue int32 `json:"overdue"`
	// nextHour counts the renewals that fall due within an hour, the overdue ones included.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	NextHour int32 `json:"nextHour"`
	// nextDay counts those within 24 hours.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	NextDay int32 `json:"nextDay"`
	// nextWeek counts those within seven days.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	// +required
	NextWeek int32 `json:"nextWeek"`
}

// CapabilityState is Yes, No or Unknown.
// +kubebuilder:validation:Enum=Yes;No;Unknown
type CapabilityState string

// The states of a capability.
const (
	CapabilityYes     CapabilityState = "Yes"
	CapabilityNo      CapabilityState = "No"
	CapabilityUnknown CapabilityState = "Unknown"
)

// Capabilities are what the credential was seen to be able to do.
type Capabilities struct {
	// enroll certificates. Default: Unknown.
	// +kubebuilder:default=Unknown
	// +optional
	Enroll CapabilityState `json:"enroll,omitempty"`
	// renew certificates. Default: Unknown.
	// +kubebuilder:default=Unknown
	// +optional
	Renew CapabilityState `json:"renew,omitempty"`
	// search the inventory; without it a lost answer can only be reported. Default: Unknown.
	// +kubebuilder:default=Unknown
	// +optional
	Search CapabilityState `json:"search,omitempty"`
	// revoke certificates. Default: Unknown.
	// +kubebuilder:default=Unknown
	// +optional
	Revoke CapabilityState `json:"revoke,omitempty"`
	// specification of enrollment profiles can be read. Default: Unknown.
	// +kubebuilder:default=Unknown
	// +optional
	Specification CapabilityState `json:"specification,omitempty"`
}

// BlockedProfile is a profile that this issuer does not buy from until somebody acts.
type BlockedProfile struct {
	// profileID is the enrollment profile.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +required
	ProfileID string `json:"profileID,omitempty"`
	// format of the private key that is blocked.
	// +required
	Format KeyFormat `json:"format,omitempty"`
	// reason why, as a word.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +required
	Reason string `json:"reason,omitempty"`
	// message says why and what to do, in at most 2048 characters. Changing the issuer's spec lifts the block.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +required
	Message string `json:"message,omitempty"`
}
