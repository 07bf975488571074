// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

const (
	maxMessageBytes = 512
	maxCodeBytes    = 64
)

// refuse reports a call that was not made because it is invalid.
func (c *Client) refuse(call call, err error) *Error {
	text := c.redactor(call).clean(err.Error(), maxMessageBytes)
	return &Error{
		Op: call.op, Delivery: NotSent, Actor: User, Message: text,
		cause: &cleanedError{text: text, err: err},
	}
}

// transportFailure reports a call without an answer. connected says whether a
// connection, TLS included, was ever handed to the request: until then net/http has
// nothing to write it to.
func (c *Client) transportFailure(call call, err error, connected bool) *Error {
	delivery := Ambiguous
	if !connected || isHandshakeRefusal(err) {
		delivery = NotSent
	}
	text := c.redactor(call).clean(c.describe(err), maxMessageBytes)
	return &Error{
		Op: call.op, Delivery: delivery, Actor: transportActor(err), Message: text,
		cause: &cleanedError{text: text, err: err},
	}
}

// statusFailure reports an answer other than 2xx.
func (c *Client) statusFailure(call call, received *answer, retryAfter string) *Error {
	reason, fromVendor := parseErrorBody(received.body)
	clean := c.redactor(call)
	failure := &Error{
		Op:            call.op,
		HTTPStatus:    received.status,
		Code:          clean.clean(reason.code, maxCodeBytes),
		Message:       clean.clean(reason.message, maxMessageBytes),
		TransactionID: received.transactionID,
		ServerDate:    received.serverDate,
	}
	failure.Delivery, failure.Actor = classifyStatus(received.status, reason)
	if foreign := !fromVendor && len(received.body) > 0; foreign {
		failure.Message = clean.clean(describeForeign(received), maxMessageBytes)
		if failure.Actor == User {
			failure.Actor = Issuer
		}
	}
	now := received.serverDate
	if now.IsZero() {
		now = c.now()
	}
	failure.RetryAfter = parseRetryAfter(retryAfter, now)
	return failure
}

// unusable reports a 2xx whose body is of no use.
func (c *Client) unusable(call call, received *answer, err error) *Error {
	text := c.redactor(call).clean(err.Error(), maxMessageBytes)
	actor := Nobody
	if isMarkup(received) {
		actor = Issuer
	}
	failure := &Error{
		Op: call.op, Delivery: Answered, Actor: actor, HTTPStatus: received.status, Message: text,
		TransactionID: received.transactionID, ServerDate: received.serverDate,
		cause: &cleanedError{text: text, err: err},
	}
	if reason, ok := errors.AsType[*errorInSuccess](err); ok {
		failure.Code = c.redactor(call).clean(reason.code, maxCodeBytes)
	}
	return failure
}

// classifyStatus decides what a status other than 2xx means.
func classifyStatus(status int, reason vendorReason) (Delivery, Actor) {
	switch {
	case status >= 300 && status <= 399:
		return Ambiguous, Issuer
	case status == http.StatusRequestTimeout || status == statusClientClosedRequest:
		// Gateways use both for a backend that was given the request and was slow.
		return Ambiguous, Nobody
	case status >= 400 && status <= 499:
		return Refused, refusalActor(status, reason)
	}
	return Ambiguous, Nobody
}

// statusClientClosedRequest is what nginx and its kin log and sometimes send.
const statusClientClosedRequest = 499

func refusalActor(status int, reason vendorReason) Actor {
	switch status {
	case http.StatusTooManyRequests, http.StatusTooEarly:
		return Time
	case http.StatusForbidden:
		if reason.speaksOfRate() {
			return Time
		}
		return Issuer
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusProxyAuthRequired,
		http.StatusMisdirectedRequest, http.StatusUpgradeRequired, http.StatusRequestHeaderFieldsTooLarge,
		http.StatusUnavailableForLegalReasons:
		return Issuer
	}
	if reason.speaksOfQuota() {
		return Issuer
	}
	return User
}

// speaksOfRate reports whether a 403 is a throttle in disguise.
func (r vendorReason) speaksOfRate() bool {
	return containsAny(r.code+" "+r.message, "throttl", "rate limit", "rate_limit", "ratelimit", "too many", "request_limit_exceeded")
}

// speaksOfQuota reports whether licences or seats are used up. Only the code counts:
// a message may quote attributes, and their author must not be able to have a whole
// connection paused by naming a device "license".
func (r vendorReason) speaksOfQuota() bool {
	return containsAny(r.code, "quota", "license", "licence", "seat")
}

func containsAny(text string, words ...string) bool {
	text = strings.ToLower(text)
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// Alerts by which a server turns down a client certificate (RFC 8446, section 6.2).
// With TLS 1.3 they arrive after the client has finished its side of the handshake,
// when the request may be written already.
var clientCertificateAlerts = [...]tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	116, // certificate_required
}

// isHandshakeRefusal reports whether the server broke off the handshake over our
// client certificate. Such an alert proves that the server never read the request:
// Go's client offers certificates in the handshake only. crypto/tls keeps the type of
// a received alert to itself, hence the comparison of texts it made itself.
func isHandshakeRefusal(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	if !ok || operation.Op != "remote error" {
		return false
	}
	for _, alert := range clientCertificateAlerts {
		if operation.Err.Error() == alert.Error() {
			return true
		}
	}
	return false
}

// transportActor tells disturbances from what stays until the connection's owner
// changes something.
func transportActor(err error) Actor {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return Issuer
	}
	if isHandshakeRefusal(err) || hasType[*forbiddenDestinationError](err) || hasType[tls.RecordHeaderError](err) ||
		hasType[*tls.CertificateVerificationError](err) || hasType[x509.UnknownAuthorityError](err) ||
		hasType[x509.HostnameError](err) || hasType[x509.CertificateInvalidError](err) {
		return Issuer
	}
	if proxy, ok := errors.AsType[*proxyRefusedError](err); ok && proxy.status < 500 {
		return Issuer
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "remote error" {
		return Issuer // any other TLS alert: protocol version, handshake failure
	}
	return Nobody
}

func hasType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// describe puts a transport error into words that are the same each time: without our
// ephemeral port, the resolver's address or the query.
func (c *Client) describe(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no complete answer within %s", c.requestTimeout)
	}
	if errors.Is(err, context.Canceled) {
		return "the call was cancelled"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("look up %s: %s", dns.Name, dns.Err)
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Sprintf("%s %s: %v", operation.Op, c.baseURL.Host, operation.Err)
	}
	return err.Error()
}

// describeForeign describes an answer that does not look like the vendor's API at all
// without quoting it.
func describeForeign(received *answer) string {
	kind := received.contentType
	if kind == "" {
		kind = "no content type"
	}
	return fmt.Sprintf("the answer is not the vendor's JSON but %d bytes of another kind (%s): check the URL and any proxy in between", len(received.body), kind)
}

// isMarkup reports whether the answer is a web page, such as the login of a proxy.
func isMarkup(received *answer) bool {
	return strings.HasPrefix(strings.TrimSpace(string(received.body[:min(len(received.body), 64)])), "<")
}
