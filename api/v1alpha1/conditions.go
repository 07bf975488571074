// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. A condition whose polarity is abnormal-true is absent when there is nothing to tell.
const (
	// ConditionReady is True while a valid certificate that answers the spec is in the Secret. On an issuer: while it can be used. Always present.
	ConditionReady = "Ready"
	// ConditionReconciling is True (abnormal-true) while the operator works toward Ready by itself.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True (abnormal-true) while nothing will happen until somebody acts. Never together with Reconciling.
	ConditionStalled = "Stalled"
	// ConditionIssuing is True (abnormal-true) while an attempt is open or one is due.
	ConditionIssuing = "Issuing"
	// ConditionRenewalFailing is True (abnormal-true) while the certificate is valid and its renewal fails.
	ConditionRenewalFailing = "RenewalFailing"
	// ConditionSecretInSync is True when the Secret holds exactly what the spec asks to be rendered.
	ConditionSecretInSync = "SecretInSync"
	// ConditionRevocationFailing is True (abnormal-true) while a certificate that should be revoked is not, or will not be.
	ConditionRevocationFailing = "RevocationFailing"
	// ConditionRevocationRequested tells, as long as there is devicecert.io/revoke-requested, what becomes of it: True while it is carried out and
	// once it is, False if it names no certificate of this object.
	ConditionRevocationRequested = "RevocationRequested"
	// ConditionSuspended is True (abnormal-true) while the object or its issuer is suspended.
	ConditionSuspended = "Suspended"
	// ConditionDiffersFromRequest is True (abnormal-true) while the stored certificate differs from what was asked, as profiles may make it.
	ConditionDiffersFromRequest = "DiffersFromRequest"
	// ConditionBudgetExceeded is True (abnormal-true) on an issuer while certificates wait for another day because of limits.issuancesPerDay.
	ConditionBudgetExceeded = "BudgetExceeded"
	// ConditionOutputsIncomplete is True (abnormal-true) while an optional output could not be rendered; tls.crt and tls.key are not affected.
	ConditionOutputsIncomplete = "OutputsIncomplete"
	// ConditionProfilesUnpublished is True (abnormal-true) on an issuer while spec.publishProfiles is not carried out; buying is not affected.
	ConditionProfilesUnpublished = "ProfilesUnpublished"
)

// Reasons of conditions and events. Those a user meets are explained in docs/troubleshooting.md.
const (
	// ReasonStored: key and certificate are in the Secret and valid.
	ReasonStored = "Stored"
	// ReasonIssuing: a first certificate is being bought.
	ReasonIssuing = "Issuing"
	// ReasonRendering: the Secret is being written anew from the key it holds.
	ReasonRendering = "Rendering"
	// ReasonRenewing: a successor is being bought.
	ReasonRenewing = "Renewing"
	// ReasonRenewRequested: a successor is being bought because the user asked for it.
	ReasonRenewRequested = "RenewRequested"
	// ReasonOutOfDate: the spec asks for another certificate than the one stored.
	ReasonOutOfDate = "OutOfDate"
	// ReasonExpired: the certificate in the Secret has expired.
	ReasonExpired = "Expired"
	// ReasonNotYetValid: the certificate in the Secret is not valid yet.
	ReasonNotYetValid = "NotYetValid"
	// ReasonRevoked: the certificate in the Secret was revoked at the vendor.
	ReasonRevoked = "Revoked"
	// ReasonRevocationFailed: a predecessor that should be revoked is left valid at the vendor.
	ReasonRevocationFailed = "RevocationFailed"
	// ReasonRevoking: a certificate is replaced, where it is in use, and revoked as the user asks.
	ReasonRevoking = "Revoking"
	// ReasonUnknownSerial: the user asks to revoke what is neither stored nor a predecessor that is still valid at the vendor.
	ReasonUnknownSerial = "UnknownSerial"
	// ReasonCannotRevoke: spec.revocation asks for revocations that the issuer's credential cannot make.
	ReasonCannotRevoke = "CannotRevoke"
	// ReasonSecretMissing: there is no Secret.
	ReasonSecretMissing = "SecretMissing"
	// ReasonSecretBroken: the Secret lacks a usable private key or certificate.
	ReasonSecretBroken = "SecretBroken"
	// ReasonSecretConflict: the Secret belongs to somebody else.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretContested: others keep rewriting the Secret.
	ReasonSecretContested = "SecretContested"
	// ReasonSecretRefused: the API server refuses the Secret (quota, policy, RBAC, immutability, size).
	ReasonSecretRefused = "SecretRefused"
	// ReasonInvalidSpec: the spec cannot be carried out.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonRefused: the vendor refused the request.
	ReasonRefused = "RefusedByVendor"
	// ReasonUnverified: an issued certificate failed verification and was not stored; also an issuer whose credential no cheap call can try.
	ReasonUnverified = "Unverified"
	// ReasonPendingApproval: the vendor waits for a person's approval.
	ReasonPendingApproval = "PendingApproval"
	// ReasonResolving: the outcome of an attempt is being found out.
	ReasonResolving = "Resolving"
	// ReasonRateLimited: the attempt waits for a token.
	ReasonRateLimited = "RateLimited"
	// ReasonTooEarly: the renewal waits for the vendor's renewal window, as far as other renewals of the profile have shown it.
	ReasonTooEarly = "TooEarly"
	// ReasonBudgetExceeded: the attempt waits for another day, as limits.issuancesPerDay of its issuer is used up or kept for renewals.
	ReasonBudgetExceeded = "BudgetExceeded"
	// ReasonBackingOff: the attempt waits after a failure.
	ReasonBackingOff = "BackingOff"
	// ReasonTooManyReplacements: the last unscheduled purchase is too recent for another.
	ReasonTooManyReplacements = "TooManyReplacements"
	// ReasonIssuerNotReady: the issuer cannot be used.
	ReasonIssuerNotReady = "IssuerNotReady"
	// ReasonIssuerNotFound: there is no such issuer.
	ReasonIssuerNotFound = "IssuerNotFound"
	// ReasonNotGranted: the issuer grants this request to nobody in this namespace.
	ReasonNotGranted = "NotGranted"
	// ReasonProfileBlocked: the issuer does not buy from this profile until somebody acts.
	ReasonProfileBlocked = "ProfileBlocked"
	// ReasonSuspended: suspend is true.
	ReasonSuspended = "Suspended"
	// ReasonUnpublished: a profile's specification could not be read or written.
	ReasonUnpublished = "Unpublished"
	// ReasonConnected: an issuer's credential was accepted.
	ReasonConnected = "Connected"
	// ReasonCredentialMissing: a Secret or key an issuer or certificate names is not there.
	ReasonCredentialMissing = "CredentialMissing"
	// ReasonCredentialRefused: the vendor refused the credential.
	ReasonCredentialRefused = "CredentialRefused"
	// ReasonUnreachable: the vendor's host cannot be reached.
	ReasonUnreachable = "Unreachable"
	// ReasonHostForbidden: --allowed-hosts does not admit the host, or --allowed-proxies the proxy.
	ReasonHostForbidden = "HostForbidden"
	// ReasonClockSkew: the operator's clock and the vendor's are more than five minutes apart.
	ReasonClockSkew = "ClockSkew"
	// ReasonProbing: an issuer's credential is being tried.
	ReasonProbing = "Probing"
	// ReasonTerminating: the object is being deleted.
	ReasonTerminating = "Terminating"
	// ReasonInSync: the Secret holds exactly what the spec asks for.
	ReasonInSync = "InSync"
	// ReasonOrphan: a certificate's answer was lost.
	ReasonOrphan = "OrphanReported"
)
