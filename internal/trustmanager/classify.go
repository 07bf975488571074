// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
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

// transportFailure reports a call without an answer. Until a connection was handed to
// the request, net/http had nothing to write it to.
func (c *Client) transportFailure(call call, err error, progress *progress) *Error {
	delivery := Ambiguous
	if !progress.connected.Load() || isAlert(err, clientCertificateAlerts[:]) {
		delivery = NotSent
	}
	actor := Nobody
	if isPermanent(err) || progress.handshakeFailed.Load() && !isNetworkTrouble(err) {
		actor = Issuer
	}
	text := c.redactor(call).clean(c.describe(err), maxMessageBytes)
	return &Error{
		Op: call.op, Delivery: delivery, Actor: actor, Message: text,
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
	if failure.foreign = !fromVendor && len(received.body) > 0; failure.foreign {
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

// clientCertificateAlerts are those by which a server turns down a client certificate
// (RFC 8446, section 6.2). With TLS 1.3 they arrive after the client has finished its
// side of the handshake, when the request may be written already. They still prove
// that the server never read it: Go's client offers certificates in the handshake only.
var clientCertificateAlerts = [...]tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	116, // certificate_required
}

// settingsAlerts are those by which a server says that it and we do not fit.
var settingsAlerts = [...]tls.AlertError{
	40,  // handshake_failure
	49,  // access_denied
	70,  // protocol_version
	71,  // insufficient_security
	112, // unrecognized_name
	120, // no_application_protocol
}

// remoteErrorOp is how crypto/tls labels an alert from the other side.
const remoteErrorOp = "remote error"

// isAlert reports whether the server sent one of the alerts. crypto/tls keeps the type
// of a received alert to itself, hence the comparison of texts it makes itself.
func isAlert(err error, alerts []tls.AlertError) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	if !ok || operation.Op != remoteErrorOp {
		return false
	}
	return slices.ContainsFunc(alerts, func(alert tls.AlertError) bool {
		return operation.Err.Error() == alert.Error()
	})
}

// isPermanent reports whether the connection fails until its owner changes something.
func isPermanent(err error) bool {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	if proxy, ok := errors.AsType[*proxyRefusedError](err); ok {
		return proxy.status < http.StatusInternalServerError
	}
	if _, forbidden := errors.AsType[*forbiddenDestinationError](err); forbidden {
		return true
	}
	return isAlert(err, clientCertificateAlerts[:]) || isAlert(err, settingsAlerts[:])
}

// isNetworkTrouble tells a handshake that broke off from one that did not work out.
func isNetworkTrouble(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// describe puts a transport error into words that are the same each time: without our
// ephemeral port, the resolver's address or the time of day.
func (c *Client) describe(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no complete answer before the deadline"
	}
	if errors.Is(err, context.Canceled) {
		return "the call was cancelled"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("look up %s: %s", dns.Name, dns.Err)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "the server's certificate has expired or is not yet valid"
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return c.describeOperation(operation)
	}
	return err.Error()
}

func (c *Client) describeOperation(operation *net.OpError) string {
	switch operation.Op {
	case "proxyconnect":
		return fmt.Sprintf("connect to the proxy: %v", operation.Err)
	case remoteErrorOp:
		return fmt.Sprintf("%s ended the TLS connection: %v", c.baseURL.Host, operation.Err)
	}
	return fmt.Sprintf("%s %s: %v", operation.Op, c.baseURL.Host, operation.Err)
}

// describeForeign describes an answer that does not look like the vendor's API at all
// without quoting it.
func describeForeign(received *answer) string {
	kind := received.contentType
	if kind == "" {
		kind = "no content type"
	}
	return fmt.Sprintf("the answer is not the vendor's JSON (%s): check the URL and any proxy in between", kind)
}

// isMarkup reports whether the answer is a web page, such as the login of a proxy.
func isMarkup(received *answer) bool {
	return strings.HasPrefix(strings.TrimSpace(string(received.body[:min(len(received.body), 64)])), "<")
}
