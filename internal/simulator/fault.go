// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"fmt"
	"slices"
)

// Action is what a fault does.
type Action string

// Actions that happen before or after the certificate is committed, as Fault.Stage says.
const (
	// ActionHold waits until the fault is removed. Afterwards the request goes on.
	ActionHold Action = "hold"
	// ActionDelay waits for Fault.Delay, also when the client has given up. Afterwards the request goes on.
	ActionDelay Action = "delay"
	// ActionDrop closes the connection without an answer.
	ActionDrop Action = "drop"
	// ActionRespond answers with Fault.Response instead.
	ActionRespond Action = "respond"
)

// Actions that spoil the delivery of a proper answer.
const (
	// ActionTruncate closes the connection after Fault.Bytes of the body. With more bytes than the body has it delivers the
	// whole answer and closes the kept-alive connection under the client's next request.
	ActionTruncate Action = "truncate"
	// ActionContentLength declares Fault.Bytes more than the body has, then closes the connection. Negative declares less.
	ActionContentLength Action = "contentLength"
	// ActionSlow sends the answer, header included, one byte every Fault.Delay.
	ActionSlow Action = "slow"
	// ActionHugeBody answers with a JSON document of Fault.Bytes. Default 64 MiB.
	ActionHugeBody Action = "hugeBody"
	// ActionGzipBomb answers with a gzip-encoded document that unpacks to Fault.Bytes. Default 256 MiB.
	ActionGzipBomb Action = "gzipBomb"
	// ActionInformational sends Fault.Bytes interim 103 answers first. Default 100.
	ActionInformational Action = "informational"
	// ActionDateSkew adds Fault.Delay, which may be negative, to the Date header.
	ActionDateSkew Action = "dateSkew"
	// ActionWrapBody puts Fault.Prefix before and Fault.Suffix after the body.
	ActionWrapBody Action = "wrapBody"
)

// Actions that spoil what an enroll or renew answers.
const (
	// ActionWrongKey answers with the key of no certificate.
	ActionWrongKey Action = "wrongKey"
	// ActionMissingKey leaves private_key out.
	ActionMissingKey Action = "missingKey"
	// ActionBadBase64 breaks the alphabet of private_key.
	ActionBadBase64 Action = "badBase64"
	// ActionCRLF ends the lines of pem and of a PEM private_key with CR LF.
	ActionCRLF Action = "crlf"
	// ActionChainMissing answers with the leaf alone.
	ActionChainMissing Action = "chainMissing"
	// ActionChainReversed puts the root first and the leaf last.
	ActionChainReversed Action = "chainReversed"
	// ActionChainUnrelated answers with the chain of another authority.
	ActionChainUnrelated Action = "chainUnrelated"
	// ActionAlterAnswer sets the top-level fields of Fault.Set; null removes a field.
	ActionAlterAnswer Action = "alterAnswer"
	// ActionLeafIsCA issues a CA certificate.
	ActionLeafIsCA Action = "leafIsCA"
	// ActionLeafExpired issues a certificate that expired an hour ago.
	ActionLeafExpired Action = "leafExpired"
	// ActionLeafNotYetValid issues a certificate that becomes valid in Fault.Delay. Default 1h.
	ActionLeafNotYetValid Action = "leafNotYetValid"
	// ActionWeakKey issues for an RSA key of 1024 bits or a P-224 key.
	ActionWeakKey Action = "weakKey"
	// ActionOtherCommonName issues for Fault.CommonName instead of the requested one.
	ActionOtherCommonName Action = "otherCommonName"
	// ActionSameCertificate answers a renew with the predecessor and a fresh key, issuing nothing.
	ActionSameCertificate Action = "sameCertificate"
	// ActionRevokedAtIssue revokes the certificate before it is answered.
	ActionRevokedAtIssue Action = "revokedAtIssue"
)

func stagedActions() []Action {
	return []Action{ActionHold, ActionDelay, ActionDrop, ActionRespond}
}

func otherActions() []Action {
	return []Action{
		ActionTruncate, ActionContentLength, ActionSlow, ActionHugeBody, ActionGzipBomb, ActionInformational, ActionDateSkew,
		ActionWrapBody, ActionWrongKey, ActionMissingKey, ActionBadBase64, ActionCRLF, ActionChainMissing, ActionChainReversed,
		ActionChainUnrelated, ActionAlterAnswer, ActionLeafIsCA, ActionLeafExpired, ActionLeafNotYetValid, ActionWeakKey,
		ActionOtherCommonName, ActionSameCertificate, ActionRevokedAtIssue,
	}
}

// Stage is when a fault acts.
type Stage string

const (
	// StageBeforeCommit is after the request was read and before anything is issued or revoked. The default.
	StageBeforeCommit Stage = "beforeCommit"
	// StageAfterCommit is after the certificate is on disk in the ledger and before the answer.
	StageAfterCommit Stage = "afterCommit"
)

// Match says which requests a fault meets. Empty fields match everything.
type Match struct {
	Operation  Operation `json:"operation,omitempty"`
	ProfileID  string    `json:"profileID,omitempty"`
	CommonName string    `json:"commonName,omitempty"`
	// After lets this many matching requests pass first.
	After int `json:"after,omitempty"`
	// Every meets only each n-th of the following matching requests. 0 and 1 mean all.
	Every int `json:"every,omitempty"`
	// Times is how many requests the fault meets. 0 means 1; -1 means all until it is removed.
	Times int `json:"times,omitempty"`
}

// Fault is one scripted misbehaviour. A request meets at most one fault: the first one added that matches and is not used
// up, so that several faults with the same match happen one after the other.
type Fault struct {
	// ID names the fault; AddFault makes one up when it is empty.
	ID     string `json:"id,omitempty"`
	Match  Match  `json:"match,omitzero"`
	Action Action `json:"action"`
	// Stage is for hold, delay, drop and respond only.
	Stage Stage `json:"stage,omitempty"`
	// Delay is real time for delay and slow (default 1s), calendar time for dateSkew and leafNotYetValid.
	Delay Duration `json:"delay,omitempty"`
	// Reset makes drop end the TCP connection with RST instead of FIN.
	Reset bool `json:"reset,omitempty"`
	// Hold makes hugeBody and gzipBomb wait until the fault is removed, so that several come at once.
	Hold bool `json:"hold,omitempty"`
	// Bytes is a count of bytes, or of interim answers for informational.
	Bytes int64 `json:"bytes,omitempty"`
	// CommonName is for otherCommonName. Default: "other." before the requested one.
	CommonName string `json:"commonName,omitempty"`
	// Prefix and Suffix are for wrapBody.
	Prefix string `json:"prefix,omitempty"`
	Suffix string `json:"suffix,omitempty"`
	// Set is for alterAnswer.
	Set map[string]any `json:"set,omitempty"`
	// Response is for respond.
	Response Response `json:"response,omitzero"`

	// Hits counts the requests met so far; the simulator fills it in.
	Hits int `json:"hits"`
}

// Shapes of the body of a scripted answer.
const (
	// ShapeErrors is {"errors":[{"code","message"}]}, the vendor's usual one and the default.
	ShapeErrors = "errors"
	// ShapeError is {"error":{"code","message"}}.
	ShapeError = "error"
	// ShapeMessage is {"message","code":<status>}.
	ShapeMessage = "message"
	// ShapeHTML is a gateway's error page.
	ShapeHTML = "html"
	// ShapeEmpty is no body.
	ShapeEmpty = "empty"
	// ShapeRaw is Response.Body as it is.
	ShapeRaw = "raw"
)

// Response is a scripted answer.
type Response struct {
	// Status is the HTTP status. Default 500, or 307 with a Location.
	Status int `json:"status,omitempty"`
	// Shape of the body. Default errors, or raw when Body is set.
	Shape   string `json:"shape,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Body    string `json:"body,omitempty"`
	// ContentType overrides that of the shape.
	ContentType string `json:"contentType,omitempty"`
	// RetryAfter is sent as it is: seconds, an HTTP date, or garbage.
	RetryAfter string `json:"retryAfter,omitempty"`
	// RetryAfterDate sends Retry-After as the HTTP date this far from now.
	RetryAfterDate Duration `json:"retryAfterDate,omitempty"`
	// Location makes it a redirect.
	Location string `json:"location,omitempty"`
	// Header holds further response headers.
	Header map[string]string `json:"header,omitempty"`
}

// validate refuses scripts that cannot mean what they say.
func (f Fault) validate() error {
	staged := slices.Contains(stagedActions(), f.Action)
	switch {
	case !staged && !slices.Contains(otherActions(), f.Action):
		return fmt.Errorf("unknown action %q; known are %q", f.Action, append(stagedActions(), otherActions()...))
	case f.Stage != "" && !staged:
		return fmt.Errorf("stage is for hold, delay, drop and respond only, not for %s", f.Action)
	case f.Hold && f.Action != ActionHugeBody && f.Action != ActionGzipBomb:
		return fmt.Errorf("hold is for hugeBody and gzipBomb only, not for %s", f.Action)
	case f.Action == ActionTruncate && f.Bytes < 0:
		return errors.New("truncate needs bytes that are not negative")
	case f.Action == ActionDelay && f.Delay <= 0:
		return errors.New("delay needs a positive delay")
	case f.Match.Operation != "" && f.Match.Operation != OperationAny && !slices.Contains(allOperations(), f.Match.Operation):
		return fmt.Errorf("match.operation: unknown operation %q; known are %q", f.Match.Operation, append(allOperations(), OperationAny))
	case f.Match.After < 0 || f.Match.Every < 0 || f.Match.Times < -1:
		return errors.New("match.after and match.every must not be negative, match.times not below -1")
	case f.Response.Status != 0 && (f.Response.Status < 200 || f.Response.Status > 999):
		return fmt.Errorf("response.status %d is no final HTTP status", f.Response.Status)
	}
	return errors.Join(
		oneOf("stage", string(f.Stage), string(StageBeforeCommit), string(StageAfterCommit)),
		oneOf("response.shape", f.Response.Shape, ShapeErrors, ShapeError, ShapeMessage, ShapeHTML, ShapeEmpty, ShapeRaw))
}

// action is safe for a nil fault.
func (f *Fault) action() Action {
	if f == nil {
		return ""
	}
	return f.Action
}

// is reports whether the fault exists and does this.
func (f *Fault) is(action Action) bool { return f != nil && f.Action == action }
