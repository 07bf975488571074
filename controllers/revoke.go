// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/account"
	"github.com/devicecert/devicecert-operator/internal/certs"
	"github.com/devicecert/devicecert-operator/internal/plan"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

// revokeDue revokes the predecessors whose time has come, one by one, and takes them off the list. One that the vendor refuses stays on
// it, with the reason; one that the vendor fails to answer for is tried again.
func (r *DeviceCertificateReconciler) revokeDue(ctx context.Context, s *scope) {
	ctx, cancel := context.WithTimeout(ctx, resolveBound)
	defer cancel()
	live := &v1alpha1.DeviceCertificate{}
	if err := r.Reader.Get(ctx, s.key(), live); err != nil || live.UID != s.cert.UID || live.ResourceVersion != s.cert.ResourceVersion {
		r.memory.stumbled(s.cert.UID, r.Clock.Now()) // a revocation cannot be undone, so it is not decided from an old view
		return
	}
	due, _ := plan.DueRevocations(&s.snapshot)
	for i := range due {
		refused, err := r.revokePredecessor(ctx, s.cert, &due[i])
		if err != nil {
			s.log().Info("a predecessor cannot be revoked yet", "serial", due[i].SerialNumber, "error", err.Error())
			r.memory.stumbled(s.cert.UID, r.Clock.Now())
			return
		}
		serial := due[i].SerialNumber
		reported := r.conclude(ctx, s, "", func(status *v1alpha1.DeviceCertificateStatus) {
			at := slices.IndexFunc(status.Superseded, func(p v1alpha1.SupersededCertificate) bool { return p.SerialNumber == serial })
			switch {
			case at < 0:
			case refused != "":
				status.Superseded[at].RevocationFailure = truncate(refused)
				s.handleRetry(status)
			default:
				status.Superseded = slices.Delete(slices.Clone(status.Superseded), at, at+1)
			}
		})
		if !reported {
			return
		}
		if refused != "" {
			r.event(s.cert, corev1.EventTypeWarning, v1alpha1.ReasonRevocationFailed, "Revoke", "serial "+serial+": "+refused)
		} else {
			r.event(s.cert, corev1.EventTypeNormal, "Revoked", "Revoke", "serial "+serial+" was revoked")
		}
	}
}

// revokePredecessor revokes one certificate of this object after the inventory has confirmed that it is the very one: a status is only a
// notebook. refused says why it must be left to a person.
func (r *DeviceCertificateReconciler) revokePredecessor(ctx context.Context, c *v1alpha1.DeviceCertificate, p *v1alpha1.SupersededCertificate) (refused string, err error) {
	id := account.ID{Kind: p.IssuerKind, Namespace: c.Namespace, Name: p.IssuerName}
	if id.Kind == v1alpha1.KindClusterDeviceIssuer {
		id.Namespace = ""
	}
	const atVendor = "; revoke it at the vendor"
	if p.FingerprintSHA256 == "" {
		return "nothing proves that it is ours, because its private key was not seen here" + atVendor, nil
	}
	switch state := r.Accounts.State(id); {
	case !state.Known && !r.issuerGone(ctx, id):
		return "", fmt.Errorf("%s is being connected", id)
	case !state.Known:
		return "its issuer " + id.String() + " is gone" + atVendor, nil
	case p.Host != "" && state.Host != p.Host:
		return "its issuer " + id.String() + " speaks to another host by now" + atVendor, nil
	case !state.CanSearch || !state.CanRevoke:
		return "the credential cannot search and revoke" + atVendor, nil
	}
	var page *trustmanager.SearchPage
	err = r.Accounts.Call(ctx, id, func(ctx context.Context, client *trustmanager.Client) (err error) {
		page, err = client.Search(ctx, trustmanager.SearchQuery{ProfileID: p.ProfileID, SerialNumber: p.SerialNumber})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("confirm certificate %s: %w", p.SerialNumber, err)
	}
	record, ok := confirm(page.Records, p)
	if !ok {
		return "the inventory does not confirm that it is ours" + atVendor, nil
	}
	if strings.EqualFold(record.Status, statusRevoked) {
		return "", nil
	}
	refused, err = r.revokeAtVendor(ctx, id, record.ID, plan.RevocationReason(c, p.SerialNumber), "replaced (devicecert-operator)")
	if refused != "" {
		refused += atVendor
	}
	return refused, err
}

// revokeAtVendor revokes one certificate; one that is revoked already counts as done. refused says why repeating it is no use; an error is
// to be repeated.
func (r *DeviceCertificateReconciler) revokeAtVendor(ctx context.Context, id account.ID, certificateID string, reason v1alpha1.RevocationReason, comments string) (refused string, err error) {
	err = r.Accounts.Call(ctx, id, func(ctx context.Context, client *trustmanager.Client) error {
		return client.Revoke(ctx, certificateID, trustmanager.Revocation{Reason: string(reason), Comments: comments})
	})
	refusal, ok := trustmanager.AsError(err)
	switch {
	case err == nil, ok && refusal.AlreadyRevoked():
		return "", nil
	case ok && refusesForGood(refusal):
		return "the vendor refused to revoke it (" + refusal.Error() + ")", nil
	}
	return "", fmt.Errorf("revoke certificate %s: %w", certificateID, err)
}

// refusesForGood tells whether repeating a revocation is no use: the vendor refuses it, or the client would not even send it.
func refusesForGood(e *trustmanager.Error) bool {
	definite := e.Delivery == trustmanager.Refused || e.Delivery == trustmanager.NotSent
	return definite && e.Actor == trustmanager.User || e.Delivery == trustmanager.Refused && e.HTTPStatus == 403
}

// confirm finds the record of the very certificate, by its fingerprint. Serial number, name and id alone could be written by anybody who
// may edit the Secret, to have somebody else's certificate revoked.
func confirm(records []trustmanager.Record, p *v1alpha1.SupersededCertificate) (trustmanager.Record, bool) {
	for _, record := range records {
		if leaf := leafOf(record); leaf != nil && certs.FingerprintSHA256(leaf) == p.FingerprintSHA256 {
			return record, true
		}
	}
	return trustmanager.Record{}, false
}
