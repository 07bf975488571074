// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"unicode/utf8"
)

// Revocation says why a certificate is revoked.
type Revocation struct {
	// Reason is the vendor's word: unspecified, key_compromise, affiliation_changed,
	// suspended, cessation_of_operation, certificate_hold, privilege_withdrawn or
	// aa_compromise. Required.
	Reason string

	// Comments is free text for the vendor's records; optional.
	Comments string
}

// Revoke revokes a certificate by its id. A nil error means that the vendor confirmed;
// see [Error.AlreadyRevoked] for the refusal that means the same. No revocation date is
// sent, and by the vendor's default the certificate then counts as revoked from its
// notBefore on. Repeating a revocation does no harm.
func (c *Client) Revoke(ctx context.Context, certificateID string, revocation Revocation) error {
	segment, err := certificateIDSegment(certificateID)
	if err != nil {
		return c.refuse(call{op: opRevoke}, err)
	}
	call := call{
		op: opRevoke, method: http.MethodPut, path: "/certificate/" + segment + "/revoke",
		body: wireRevocation{Reason: revocation.Reason, Comments: revocation.Comments},
	}
	if revocation.Reason == "" {
		return c.refuse(call, errors.New("the revocation has no reason"))
	}
	if !utf8.ValidString(revocation.Reason + revocation.Comments) {
		return c.refuse(call, errors.New("the revocation contains text that is not valid UTF-8"))
	}
	received, err := c.do(ctx, call)
	if err != nil {
		return err
	}
	if err := checkConfirmation(received.body); err != nil {
		return c.unusable(call, received, err)
	}
	return nil
}

// checkConfirmation accepts no body, which is what the vendor documents, and any JSON
// object that is not an error. A web page is not a confirmation.
func checkConfirmation(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	var object struct{}
	if err := decodeObject(body, &object); err != nil {
		return err
	}
	return checkNoError(body)
}
